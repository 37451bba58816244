"""Templates, filters and ResultPath."""

from __future__ import annotations

import re
from typing import Any

import pytest

from statechain.asl.expressions.payload import (
    expression_in,
    input_filter,
    jsonata_template,
    jsonpath_template,
    result_merger,
    states_of,
)
from statechain.asl.model import ABSENT
from statechain.errors import StateError
from statechain.limits import DEFAULT_LIMITS
from support.visit import Visit


def made(template: Any, value: Any, **variables: Any) -> Any:
    return jsonpath_template(template, DEFAULT_LIMITS)(value, Visit(variables))


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ({"a.$": "$.n", "b": "$.n"}, {"a": 1, "b": "$.n"}),
        ({"a": {"b": [{"c.$": "$.n"}, 2]}}, {"a": {"b": [{"c": 1}, 2]}}),
        ({"a.$": "States.Array($.n)"}, {"a": [1]}),
        ({"a.$": "$$.State.Name", "b.$": "$v"}, {"a": "A", "b": 7}),
        ({"past.$": "$.list[5]"}, {"past": None}),
        ({"none.$": "$.list[*].x"}, {"none": []}),
        ([{"a.$": "$.n"}], [{"a": 1}]),
        ({"a.$": "$"}, {"a": {"n": 1, "list": [0]}}),
        (5, 5),
        ({}, {}),
        ({".$": "$.n"}, {"": 1}),
    ],
)
def test_a_payload_template_is_filled_from_input_variables_and_intrinsics(template: Any, result: Any) -> None:
    assert made(template, {"n": 1, "list": [0]}, v=7) == result


def test_names_the_field_and_what_was_searched() -> None:
    with pytest.raises(StateError) as caught:
        made({"deep": {"x.$": "$.nope"}}, {"ä": 1})
    assert caught.value.error == "States.Runtime"
    assert caught.value.cause == (
        """The JSONPath '$.nope' specified for the field 'x.$' could not be found in the input '{"ä":1}'"""
    )
    with pytest.raises(StateError, match=re.escape('\'{"Execution":')):
        made({"x.$": "$$.nope"}, {})
    with pytest.raises(StateError, match="could not be found"):
        made({"x.$": "$.list[5].y"}, {"list": []})


def test_input_and_output_paths() -> None:
    assert input_filter(ABSENT, DEFAULT_LIMITS) is None
    assert input_filter("$", DEFAULT_LIMITS) is None
    for path, result in ((None, {}), ("$.a", 1), ("$$.State.Name", "A"), ("$v", 2)):
        take = input_filter(path, DEFAULT_LIMITS)
        assert take is not None
        assert take({"a": 1}, Visit({"v": 2})) == result


def test_a_result_path_discards_replaces_or_places_the_result() -> None:
    assert result_merger(ABSENT) is None
    assert result_merger("$") is None
    discard, place = result_merger(None), result_merger("$.r.s")
    assert discard is not None
    assert place is not None
    assert discard({"a": 1}, 2) == {"a": 1}
    assert place({"a": 1}, 2) == {"a": 1, "r": {"s": 2}}


@pytest.mark.parametrize(
    ("value", "expression"),
    [("{% 1 %}", "1"), ("{%1%}", "1"), ("{%\n a \n%}", "a"), (" {% 1 %}", None), ("{% 1 %} ", None), ("{% 1", None),
     ("x", None), ("{%%}", ""), (5, None), (None, None), (ABSENT, None)],
)  # fmt: skip
def test_an_expression_is_what_stands_between_its_delimiters(value: Any, expression: str | None) -> None:
    assert expression_in(value) == expression


def test_fills_jsonata_templates_and_names_the_place() -> None:
    visit = Visit({"v": 3})

    def ask(template: Any) -> Any:
        return jsonata_template(template, "Output", DEFAULT_LIMITS)(states_of({"n": 1}, visit), visit)

    assert ask({"a": "{% $states.input.n + 1 %}", "b": ["{% $v %}", "plain", None, {"c": True}]}) == {
        "a": 2,
        "b": [3, "plain", None, {"c": True}],
    }
    for template, place in (
        ("{% $none %}", "Output"),
        ({"a": {"b": [[1, "{% $none %}"]]}}, "Output/a/b[0][1]"),
    ):
        with pytest.raises(StateError) as caught:
            ask(template)
        assert caught.value.location == place
        assert f"specified for the field '{place}' returned nothing (undefined)." in str(caught.value.cause)
