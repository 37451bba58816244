"""Single fields that hold a number or a string, in each of the ways in which they may be given."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl.outcome import CallTask, Fail
from statechain.errors import StateError

TASK = {"Type": "Task", "Resource": "r"}


def fault_of(enter: Any, *arguments: Any, **more: Any) -> tuple[str, str | None]:
    with pytest.raises(StateError) as caught:
        enter(*arguments, **more)
    return caught.value.error, caught.value.cause


@pytest.mark.parametrize("value", [1, 1.0, 99_999_999])
def test_a_number_by_a_path(enter: Any, value: Any) -> None:
    asked = enter({**TASK, "TimeoutSecondsPath": "$.t"}, {"t": value})
    assert asked == CallTask("r", {"t": value}, value, None)


def test_a_path_looks_in_the_effective_input(enter: Any) -> None:
    asked = enter({**TASK, "InputPath": "$.a", "HeartbeatSecondsPath": "$.h"}, {"a": {"h": 3}})
    assert asked == CallTask("r", {"h": 3}, None, 3)


@pytest.mark.parametrize("value", ["1", None, True, 1.5, [1]])
def test_what_is_no_whole_number(enter: Any, value: Any) -> None:
    error, cause = fault_of(enter, {**TASK, "TimeoutSecondsPath": "$.t"}, {"t": value})
    assert error == "States.Runtime"
    assert (cause or "").startswith("The TimeoutSecondsPath parameter does not reference an integer value: $.t == ")


@pytest.mark.parametrize("value", [0, -1, 100_000_000])
def test_a_number_out_of_range(enter: Any, value: Any) -> None:
    error, cause = fault_of(enter, {**TASK, "TimeoutSecondsPath": "$.t"}, {"t": value})
    assert (error, cause) == ("States.Runtime", f"TimeoutSeconds must be between 1 and 99999999, and was {value}.")


def test_a_number_by_an_expression(enter: Any) -> None:
    asked = enter({**TASK, "TimeoutSeconds": "{% $states.input * 2 %}"}, 3, language="JSONata")
    assert asked == CallTask("r", 3, 6, None)


@pytest.mark.parametrize(("text", "name"), [("'a'", "string"), ("true", "boolean"), ("null", "null"), ("{}", "object")])
def test_an_expression_of_another_type(enter: Any, text: str, name: str) -> None:
    fields = {**TASK, "TimeoutSeconds": f"{{% {text} %}}"}
    error, cause = fault_of(enter, fields, 3, language="JSONata")
    assert error == "States.QueryEvaluationError"
    assert f"returned an unexpected result type. Expected 'number', but was '{name}' for value: " in (cause or "")


def test_an_expression_that_gives_no_whole_number(enter: Any) -> None:
    error, cause = fault_of(enter, {**TASK, "TimeoutSeconds": "{% 1.5 %}"}, 3, language="JSONata")
    assert (error, cause) == (
        "States.QueryEvaluationError",
        "The TimeoutSeconds field cannot be parsed as an integer: 1.5",
    )


def test_error_and_cause_are_literals_paths_intrinsics_or_expressions(enter: Any) -> None:
    fail = {"Type": "Fail"}
    assert enter(fail) == Fail(None, None)
    assert enter({**fail, "Error": "E", "CausePath": "$.c"}, {"c": "why"}) == Fail("E", "why")
    assert enter({**fail, "ErrorPath": "States.Format('{}!', $.c)"}, {"c": "why"}) == Fail("why!", None)
    assert enter({**fail, "Cause": "{% $states.input %}"}, "why", language="JSONata") == Fail(None, "why")


def test_what_is_no_text(enter: Any) -> None:
    assert fault_of(enter, {"Type": "Fail", "CausePath": "$.c"}, {"c": 1}) == (
        "States.Runtime",
        "The CausePath parameter does not reference a string: $.c == 1",
    )
    error, _ = fault_of(enter, {"Type": "Fail", "Cause": "{% 1 %}"}, None, language="JSONata")
    assert error == "States.QueryEvaluationError"
