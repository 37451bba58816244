"""Expressions through the library: what a cause says, and what is bound."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl.expressions.jsonata.compiled import compile_expression, fields_in
from statechain.asl.expressions.jsonata.expression import JSONataSyntaxError, States
from statechain.errors import StateError
from statechain.limits import DEFAULT_LIMITS
from support.visit import Visit


def evaluated(text: str, value: Any = None, **variables: Any) -> Any:
    visit = Visit(variables)
    return compile_expression(text, "It", "Output", DEFAULT_LIMITS)(States(visit, {"input": value}), visit)


def test_binds_what_is_named_and_changes_nothing() -> None:
    whole: Any = {"a": [None, 1]}
    assert evaluated("$append($v.a, $states.input)", 2, v=whole) == [None, 1, 2]
    assert whole == {"a": [None, 1]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("$none", "It returned nothing (undefined)."),
        ("function($x) { $x }", "It returned an unsupported result type."),
        ("$error('no')", "It threw an error during evaluation. D3137: no"),
        ("-'a'", 'It threw an error during evaluation. D1002: Cannot negate a non-numeric value: "a"'),
    ],
)
def test_what_a_cause_says(text: str, said: str) -> None:
    with pytest.raises(StateError) as caught:
        evaluated(text)
    assert (caught.value.error, caught.value.cause) == ("States.QueryEvaluationError", said)


@pytest.mark.parametrize("text", ["", "(", "1 +", "$a[", "{'a'", "'open", "/(/", "a := 1", "(" * 5_000])
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(JSONataSyntaxError) as caught:
        compile_expression(text, "It", "Output", DEFAULT_LIMITS)
    assert 0 <= caught.value.column <= len(text)


def test_fields_that_are_named() -> None:
    assert fields_in("$states.result.a + $states.input") == {"result", "input"}
    assert fields_in("$states") == set()
