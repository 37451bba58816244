"""What goes in and what comes out: the order of the fields, and what each of them sees."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl.outcome import CallTask, Done, Next
from statechain.errors import StateError

TASK = {"Type": "Task", "Resource": "r"}
VALUE = {"a": {"n": 1}, "b": 2}


def test_selects_and_shapes_the_input(enter: Any) -> None:
    assert enter({**TASK, "InputPath": "$.a"}, VALUE) == CallTask("r", {"n": 1})
    assert enter({**TASK, "InputPath": None}, VALUE) == CallTask("r", {})
    assert enter({**TASK, "InputPath": "$.a", "Parameters": {"m.$": "$.n"}}, VALUE) == CallTask("r", {"m": 1})


def test_selects_merges_and_filters_the_result(leave: Any) -> None:
    fields = {"ResultSelector": {"m.$": "$.r"}, "ResultPath": "$.got", "OutputPath": "$.got.m"}
    assert leave({**TASK, **fields}, VALUE, {"r": 5}) == Next("B", 5)
    assert leave({**TASK, "ResultPath": None}, VALUE, {"r": 5}) == Next("B", VALUE)
    assert leave({**TASK, "ResultPath": None, "OutputPath": None}, VALUE, {"r": 5}) == Next("B", {})
    assert leave({**TASK, "End": True}, VALUE, {"r": 5}) == Done({"r": 5})


def test_the_result_is_merged_into_the_raw_input(leave: Any) -> None:
    left = leave({**TASK, "InputPath": "$.a", "ResultPath": "$.a.r"}, VALUE, 5)
    assert left.output == {"a": {"n": 1, "r": 5}, "b": 2}
    assert VALUE == {"a": {"n": 1}, "b": 2}


def test_assign_sees_the_result_as_it_came_and_the_variables_before(leave: Any) -> None:
    fields = {"ResultSelector": {"m.$": "$.r"}, "ResultPath": None, "Assign": {"x.$": "$.r", "y.$": "$x"}}
    assert leave({**TASK, **fields}, VALUE, {"r": 5}, x="old") == Next("B", VALUE, {"x": 5, "y": "old"})


def test_a_jsonata_task_outputs_and_assigns_from_its_result(leave: Any) -> None:
    fields = {"Output": {"r": "{% $states.result %}", "i": "{% $states.input.b %}"}, "Assign": {"x": "{% $x + 1 %}"}}
    assert leave({**TASK, **fields}, VALUE, [5], language="JSONata", x=1) == Next("B", {"r": [5], "i": 2}, {"x": 2})
    assert leave(TASK, VALUE, [5], language="JSONata") == Next("B", [5])
    assert leave({**TASK, "Output": None}, VALUE, [5], language="JSONata") == Next("B", None)


def test_a_null_result_is_a_result(leave: Any) -> None:
    assert leave(TASK, VALUE, None) == Next("B", None)
    assert leave({**TASK, "ResultPath": "$.r"}, VALUE, None).output == {**VALUE, "r": None}
    assert leave({**TASK, "Output": "{% $states.result %}"}, VALUE, None, language="JSONata").output is None


def test_a_place_that_the_input_cannot_have(leave: Any) -> None:
    with pytest.raises(StateError) as caught:
        leave({**TASK, "ResultPath": "$.b.c"}, VALUE, 5)
    assert caught.value.error == "States.ResultPathMatchFailure"


def test_a_catcher_sees_the_error_and_the_input(catch: Any) -> None:
    fault = StateError("E", None)
    assert catch({}, VALUE, fault) == Next("B", {"Error": "E", "Cause": ""})
    output = {"e": "{% $states.errorOutput.Error %}", "b": "{% $states.input.b %}"}
    assert catch({"Output": output}, VALUE, fault, language="JSONata").output == {"e": "E", "b": 2}
