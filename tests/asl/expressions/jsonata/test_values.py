"""Values between JSON and the library: shared where they can be, counted, and numbers as JavaScript writes them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain.asl.expressions.jsonata.values import NULL, NotJSON, TooLarge, number_text, text_of, to_json, to_library

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_there_and_back_is_the_same(value: Any) -> None:
    assert to_json(to_library(value)) == value


def test_what_holds_no_null_is_not_copied() -> None:
    whole: Any = {"a": [1, {"b": "x"}], "n": [None]}
    there = to_library(whole)
    assert there["a"] is whole["a"]
    assert there["n"] == [NULL]
    assert whole["n"] == [None]
    assert to_json(whole["a"]) is whole["a"]


@pytest.mark.parametrize("value", [len, [len], {"a": [object()]}])
def test_what_json_does_not_have(value: Any) -> None:
    with pytest.raises(NotJSON):
        to_json(value)


@pytest.mark.slow
def test_a_small_value_that_unfolds_into_a_huge_one() -> None:
    value: Any = [1]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(TooLarge):
        to_json(value)
    with pytest.raises(TooLarge):
        text_of(value)


@pytest.mark.parametrize(
    ("number", "result"),
    [(1.0, 1), (-0.0, 0), (1.5, 1.5), (2.0**53, 2.0**53), (math.inf, "Infinity"), (-math.inf, "-Infinity")],
)
def test_numbers_come_out_as_aws_writes_them(number: float, result: Any) -> None:
    assert to_json(number) == result
    assert type(to_json(number)) is type(result)
    assert to_json(math.nan) == "NaN"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1 + 0.2, "0.3"), (1e21, "1e+21"), (1e20, "100000000000000000000"), (1e-6, "0.000001"), (1e-7, "1e-7"),
        (-1.5e-9, "-1.5e-9"), (123456.789, "123456.789"), (-0.0, "0"), (10**18, "1000000000000000000"),
        (1.25e300, "1.25e+300"), (100.0, "100"), (-20.0, "-20"), (0.05, "0.05"), (math.nan, "null"),
    ],
)  # fmt: skip
def test_writes_numbers_as_javascript_does(number: float, text: str) -> None:
    assert number_text(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_written_number_is_nearly_the_number(number: float) -> None:
    assert math.isclose(float(number_text(number)), number, rel_tol=1e-14)


def test_a_value_is_written_as_jsonata_string_writes_it() -> None:
    value = {"a": [1, NULL, len, "ä\n"], "b": {}, "c": True}
    assert text_of(value) == '{"a":[1,null,"","ä\\n"],"b":{},"c":true}'
    assert text_of({"a": [1], "b": []}, indent=2) == '{\n  "a": [\n    1\n  ],\n  "b": []\n}'
