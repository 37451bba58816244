"""Intrinsic functions: values, boundary values, arguments that do not fit, and the causes of AWS."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain.asl.expressions.intrinsic_functions import FUNCTIONS
from statechain.asl.expressions.intrinsics import IntrinsicSyntaxError, compile_intrinsic, is_intrinsic
from statechain.asl.expressions.jsonpath import PathSyntaxError
from statechain.errors import StateError
from support.visit import Visit

VALUE: Any = {
    "n": 1,
    "s": "text",
    "list": [1, 2, 3, 2, 1],
    "obj": {"a": 1},
    "nul": None,
    "t": True,
    "big": "x" * 10_001,
}
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("States.Format('plain')", "plain"),
        ("States.Format('{} and {}', $.s, 1.5)", "text and 1.5"),
        ("States.Format('{} {} {}', 0.00001, -2.5e-7, 1.25e300)", "1.0E-5 -2.5E-7 1.25E300"),
        ("States.Format('{} {}', 0.001, 1e7)", "0.001 10000000.0"),
        ("States.Format('{}', $.nul)", "null"),
        ("States.Format('{}', $.t)", "true"),
        ("States.Format('{}', $.obj)", "{a=1}"),
        ("States.Format('{}', $.list)", "[1, 2, 3, 2, 1]"),
        (r"States.Format('\\{\\}{}', 'x')", "{}x"),
        (r"States.Format('it\'s {}', 'ok')", "it's ok"),
        ("States.Format($.s)", "text"),
        ("States.StringToJson('[1, {\"a\": null}]')", [1, {"a": None}]),
        ("States.StringToJson('')", None),
        ("States.JsonToString($.obj)", '{"a":1}'),
        ("States.JsonToString('ä')", '"ä"'),
        ("States.Array()", []),
        ("States.Array(1, 'a', true, null, $.obj)", [1, "a", True, None, {"a": 1}]),
        ("States.ArrayPartition($.list, 2)", [[1, 2], [3, 2], [1]]),
        ("States.ArrayPartition($.list, 1.5)", [[1, 2], [3, 2], [1]]),
        ("States.ArrayPartition(States.Array(), 2)", []),
        ("States.ArrayContains($.list, 3)", True),
        ("States.ArrayContains($.list, true)", False),
        ("States.ArrayContains(States.Array($.obj), $.obj)", True),
        ("States.ArrayRange(1, 9, 2)", [1, 3, 5, 7, 9]),
        ("States.ArrayRange(3, 1, -1)", [3, 2, 1]),
        ("States.ArrayRange(1, 1, 1)", [1]),
        ("States.ArrayGetItem($.list, 2)", 3),
        ("States.ArrayLength($.list)", 5),
        ("States.ArrayLength($.none[*])", 0),
        ("States.ArrayUnique($.list)", [1, 2, 3]),
        ("States.ArrayUnique(States.Array(1, true, '1'))", [1, True, "1"]),
        ("States.Base64Encode('Data to encode')", "RGF0YSB0byBlbmNvZGU="),
        ("States.Base64Decode('RGF0YSB0byBlbmNvZGU=')", "Data to encode"),
        ("States.Base64Decode('')", ""),
        ("States.Hash('input data', 'SHA-1')", "aaff4a450a104cd177d28d18d74485e8cae074b7"),
        ("States.JsonMerge($.obj, States.StringToJson('{\"b\":2}'), false)", {"a": 1, "b": 2}),
        ("States.MathAdd(111, -1)", 110),
        ("States.MathAdd(1.4, 1.5)", 3),
        ("States.MathAdd(-1.5, 0)", -1),
        ("States.StringSplit('This.is+a,test=string', '.+,=')", ["This", "is", "a", "test", "string"]),
        ("States.StringSplit(',,', ',')", []),
        ("States.ArrayGetItem(States.StringSplit('a-b', '-'), 1)", "b"),
    ],
)
def test_an_intrinsic_function_has_the_value_and_type_that_aws_gives(intrinsic: Any, text: str, result: Any) -> None:
    found = intrinsic(text, VALUE)
    assert found == result
    assert type(found) is type(result)


def test_draws_are_the_visits_own_or_the_seeds(intrinsic: Any) -> None:
    assert 1 <= intrinsic("States.MathRandom(1, 999)") < 999
    assert intrinsic("States.MathRandom(0, 10, 42)") == intrinsic("States.MathRandom(0, 10, 42)") == 0
    assert re.fullmatch(UUID, intrinsic("States.UUID()"))


@pytest.mark.parametrize(
    "text",
    [
        "States.Format('{}')",
        "States.Format('x', 1)",
        "States.Format('{')",
        "States.Format(1)",
        "States.StringToJson('{')",
        "States.StringToJson(1)",
        "States.ArrayPartition($.list, 0)",
        "States.ArrayPartition($.s, 1)",
        "States.ArrayPartition($.list, 'a')",
        "States.ArrayContains(1, 1)",
        "States.ArrayRange(1, 10, 0)",
        "States.ArrayRange(0, 1000, 1)",
        "States.ArrayRange(0, 1000000000, 1)",
        "States.ArrayRange('a', 1, 1)",
        "States.ArrayGetItem($.list, 5)",
        "States.ArrayGetItem($.list, -1)",
        "States.ArrayLength('abc')",
        "States.ArrayUnique($.obj)",
        "States.Base64Encode(1)",
        "States.Base64Encode($.big)",
        "States.Base64Decode('not base64!')",
        "States.Hash('a', 'SHA256')",
        "States.Hash('a', $.list)",
        "States.Hash($.big, 'MD5')",
        "States.JsonMerge($.obj, $.obj, true)",
        "States.JsonMerge($.obj, $.list, false)",
        "States.MathRandom(2, 1)",
        "States.MathRandom(0, 4294967296, 1)",
        "States.MathAdd('1', 2)",
        "States.MathAdd(true, 2)",
        "States.StringSplit(1, ',')",
    ],
)
def test_refuses_what_does_not_fit(intrinsic: Any, text: str) -> None:
    with pytest.raises(StateError) as caught:
        intrinsic(text, VALUE)
    assert caught.value.error == "States.IntrinsicFailure"
    assert (caught.value.cause or "").startswith(f"The function '{text}' had the following error: ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "States.Format('{}',$.nope)",
            "The JsonPath argument for the field '$.nope' could not be found in the input '{\"o\":[1]}'",
        ),
        (
            "States.Format('{}', States.ArrayLength($.a.b))",
            "The JsonPath argument for the field '$.a.b' could not be found in the input '{\"o\":[1]}'",
        ),
        (
            "States.Array($.o[5])",
            "The JsonPath argument for the field '$.o[5]' could not be found in the input '{\"o\":[1]}'",
        ),
        (
            "States.Array($$.Nope.Deep)",
            "The JsonPath argument for the field '$.Nope.Deep' could not be found in the input '{\"o\":[1]}'",
        ),
        ("States.Array($.o[0][0])", "Filter: [0] can only be applied to arrays. Current context is: 1"),
    ],
)
def test_an_argument_that_is_not_there_names_the_whole_function(intrinsic: Any, text: str, reason: str) -> None:
    with pytest.raises(StateError) as caught:
        intrinsic(text, {"o": [1]})
    assert caught.value.error == "States.Runtime"
    assert caught.value.cause == f"The function '{text}' had the following error: {reason}"


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("States.Nope(1)", 0),
        ("States.Array(1,)", 15),
        ("States.Array(1", 14),
        ("States.Array(1) x", 16),
        ("States.Format('a)", 14),
        ("States.ArrayLength()", 0),
        ("States.UUID(1)", 0),
        ("States.Array(nope)", 13),
        ("States.Array($.a[)", 17),
    ],
)
def test_says_where_a_text_is_no_function(text: str, column: int) -> None:
    with pytest.raises(IntrinsicSyntaxError) as caught:
        compile_intrinsic(text)
    assert caught.value.column == column


def test_functions_nest_ten_deep() -> None:
    def nested(depth: int) -> str:
        return "States.Array(" * depth + ")" * depth

    compile_intrinsic(nested(10))
    with pytest.raises(IntrinsicSyntaxError, match="nest at most 10 deep"):
        compile_intrinsic(nested(11))


def test_a_text_grows_no_further_than_a_payload(intrinsic: Any) -> None:
    places = "{}" * 500
    with pytest.raises(StateError, match="would have more than 262144 characters"):
        intrinsic(f"States.Format('{places}'{', $.big' * 500})", VALUE)


def test_knows_what_means_to_be_a_function() -> None:
    assert is_intrinsic("States.Format('x')")
    assert not is_intrinsic("$.States")


ARGUMENTS = st.sampled_from(
    ["$.n", "$.s", "$.list", "$.obj", "$.nul", "$.t", "1", "-2.5", "'x'", "null", "true", "$.none", "1e308", "0"]
)


@given(st.sampled_from(sorted(FUNCTIONS)), st.lists(ARGUMENTS, max_size=4))
def test_no_argument_breaks_a_function(name: str, arguments: list[str]) -> None:
    try:
        evaluate = compile_intrinsic(f"{name}({', '.join(arguments)})")
    except (IntrinsicSyntaxError, PathSyntaxError):
        return
    error = None
    try:
        evaluate(VALUE, Visit())
    except StateError as fault:
        error = fault.error
    assert error in {None, "States.Runtime", "States.IntrinsicFailure"}


@given(st.text("States.Fomat('{}',$[]) \\1-e", max_size=30))
def test_any_text_is_an_intrinsic_or_a_syntax_error(text: str) -> None:
    with suppress(IntrinsicSyntaxError, PathSyntaxError):
        compile_intrinsic(f"States.{text}")
