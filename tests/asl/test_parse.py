"""Values → model: every error of form, each at its pointer with its code."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl import load
from statechain.asl import model as asl
from statechain.asl.model import ABSENT
from statechain.asl.parse import parse

PASS = {"Type": "Pass", "End": True}
TASK = {"Type": "Task", "Resource": "r", "End": True}
PROCESSOR = {"StartAt": "P", "States": {"P": PASS}}
DISTRIBUTED = {**PROCESSOR, "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}


def of(state: dict[str, Any], **top: Any) -> dict[str, Any]:
    ends = {"End": True} if state.get("Type") in {"Task", "Pass", "Wait", "Map", "Parallel"} else {}
    return {"StartAt": "A", "States": {"A": {**ends, **state}}, **top}


def at(field: str = "") -> str:
    return "/States/A" + (f"/{field}" if field else "")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Type": "Pss"}, {at("Type"): "unknown-type"}),
        ({}, {at(): "missing-field"}),
        ({"Type": "Pass", "Reslt": 1}, {at("Reslt"): "unknown-field"}),
        ({"Type": "Pass", "TimeoutSeconds": 5}, {at("TimeoutSeconds"): "unknown-field"}),
        ({"Type": "Pass", "Catch": []}, {at("Catch"): "unknown-field"}),
        ({"Type": "Wait", "Seconds": 1, "Retry": []}, {at("Retry"): "unknown-field"}),
        ({"Type": "Pass", "End": True, "Next": "A"}, {at(): "exclusive-fields"}),
        ({"Type": "Pass", "End": False}, {at("End"): "wrong-value"}),
        ({"Type": "Pass", "End": "yes"}, {at("End"): "wrong-type"}),
        ({"Type": "Pass", "InputPath": 5}, {at("InputPath"): "wrong-type"}),
        ({"Type": "Pass", "Assign": []}, {at("Assign"): "wrong-type"}),
        ({"Type": "Pass", "Output": 1}, {at("Output"): "mixed-query-languages"}),
        ({"Type": "Pass", "QueryLanguage": "XPath"}, {at("QueryLanguage"): "wrong-value"}),
        ({"Type": "Pass", "QueryLanguage": []}, {at("QueryLanguage"): "wrong-value"}),
        ({"Type": "Task"}, {at(): "missing-field"}),
        ({"Type": "Task", "Resource": "r", "TimeoutSeconds": 0}, {at("TimeoutSeconds"): "out-of-range"}),
        ({"Type": "Task", "Resource": "r", "TimeoutSeconds": 1.5}, {at("TimeoutSeconds"): "wrong-type"}),
        ({"Type": "Task", "Resource": "r", "TimeoutSeconds": True}, {at("TimeoutSeconds"): "wrong-type"}),
        (
            {"Type": "Task", "Resource": "r", "TimeoutSeconds": 1, "TimeoutSecondsPath": "$.a"},
            {at(): "exclusive-fields"},
        ),
        ({"Type": "Task", "Resource": "r", "TimeoutSeconds": "{% 1 %}"}, {at("TimeoutSeconds"): "wrong-type"}),
        ({"Type": "Task", "Resource": "r", "Retry": {}}, {at("Retry"): "wrong-type"}),
        ({"Type": "Task", "Resource": "r", "Retry": [{}]}, {at("Retry/0"): "missing-field"}),
        ({"Type": "Task", "Resource": "r", "Retry": [{"ErrorEquals": []}]}, {at("Retry/0"): "missing-field"}),
        (
            {"Type": "Task", "Resource": "r", "Retry": [{"ErrorEquals": ["E"], "BackoffRate": 0.5, "MaxAttempts": -1}]},
            {at("Retry/0/BackoffRate"): "out-of-range", at("Retry/0/MaxAttempts"): "out-of-range"},
        ),
        (
            {
                "Type": "Task",
                "Resource": "r",
                "Retry": [{"ErrorEquals": ["E"], "MaxDelaySeconds": 1, "JitterStrategy": []}],
            },
            {at("Retry/0/MaxDelaySeconds"): "out-of-range", at("Retry/0/JitterStrategy"): "wrong-value"},
        ),
        (
            {"Type": "Task", "Resource": "r", "Catch": [{"ErrorEquals": ["E"], "Output": 1}, 5]},
            {
                at("Catch/0"): "missing-field",
                at("Catch/0/Output"): "mixed-query-languages",
                at("Catch/1"): "wrong-type",
            },
        ),
        ({"Type": "Choice"}, {at(): "missing-field"}),
        ({"Type": "Choice", "Choices": []}, {at(): "missing-field"}),
        ({"Type": "Wait"}, {at(): "missing-field"}),
        ({"Type": "Wait", "Seconds": 1, "Timestamp": "2024-01-01T00:00:00Z"}, {at(): "exclusive-fields"}),
        ({"Type": "Wait", "Seconds": -1}, {at("Seconds"): "out-of-range"}),
        ({"Type": "Wait", "Timestamp": "tomorrow"}, {at("Timestamp"): "wrong-value"}),
        ({"Type": "Fail", "Error": "E", "ErrorPath": "$.e"}, {at(): "exclusive-fields"}),
        ({"Type": "Fail", "Error": 5}, {at("Error"): "wrong-type"}),
        ({"Type": "Succeed", "Next": "A"}, {at("Next"): "unknown-field"}),
        ({"Type": "Parallel"}, {at(): "missing-field"}),
        ({"Type": "Parallel", "Branches": [5]}, {at("Branches/0"): "wrong-type"}),
        (
            {"Type": "Parallel", "Branches": [{**PROCESSOR, "QueryLanguage": "JSONata"}]},
            {at("Branches/0/QueryLanguage"): "unknown-field"},
        ),
        ({"Type": "Map", "ItemProcessor": PROCESSOR, "Iterator": PROCESSOR}, {at(): "exclusive-fields"}),
        ({"Type": "Map", "ItemProcessor": PROCESSOR, "ItemsPath": None}, {at("ItemsPath"): "wrong-type"}),
        ({"Type": "Task", "Resource": "r", "Credentials": "x"}, {at("Credentials"): "wrong-type"}),
        ({"Type": "Task", "Resource": ""}, {at("Resource"): "wrong-value"}),
        ({"Type": "Succeed", "Assign": {"x": 1}}, {at("Assign"): "unknown-field"}),
        ({"Type": "Map", "ItemProcessor": PROCESSOR, "MaxConcurrency": -1}, {at("MaxConcurrency"): "out-of-range"}),
        (
            {"Type": "Map", "ItemProcessor": DISTRIBUTED, "ToleratedFailurePercentage": 100.5},
            {at("ToleratedFailurePercentage"): "out-of-range"},
        ),
        (
            {"Type": "Map", "ItemProcessor": {**PROCESSOR, "ProcessorConfig": {"Mode": [], "Kind": 1}}},
            {
                at("ItemProcessor/ProcessorConfig/Mode"): "wrong-value",
                at("ItemProcessor/ProcessorConfig/Kind"): "unknown-field",
            },
        ),
        (
            {"Type": "Map", "ItemProcessor": DISTRIBUTED, "ItemReader": {"Arguments": {}}},
            {at("ItemReader"): "missing-field", at("ItemReader/Arguments"): "mixed-query-languages"},
        ),
        (
            {"Type": "Map", "ItemProcessor": DISTRIBUTED, "ItemBatcher": {"MaxItemsPerBatch": 0, "Max": 1}},
            {at("ItemBatcher/MaxItemsPerBatch"): "out-of-range", at("ItemBatcher/Max"): "unknown-field"},
        ),
        ({"Type": "Map", "ItemProcessor": DISTRIBUTED, "ResultWriter": 5}, {at("ResultWriter"): "wrong-type"}),
    ],
)
def test_faults_of_states(faults: Any, state: dict[str, Any], expected: dict[str, str]) -> None:
    found = faults(of(state))
    assert {pointer: code for pointer, code in found.items() if code != "no-end"} == expected


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ({}, {"": "missing-field"}),
        ({"StartAt": "A", "States": {}}, {"/States": "no-states", "/StartAt": "missing-target"}),
        ({"StartAt": 5, "States": {"A": PASS}}, {"/StartAt": "wrong-type", "/States/A": "unreachable"}),
        ({"StartAt": "A", "States": {"A": 5}}, {"/States/A": "wrong-type"}),
        ({"StartAt": "x" * 81, "States": {"x" * 81: PASS}}, {f"/States/{'x' * 81}": "state-name"}),
        ({"StartAt": "A", "States": {"A": PASS}, "Timeout": 1}, {"/Timeout": "unknown-field"}),
        ({"StartAt": "A", "States": {"A": PASS}, "TimeoutSeconds": 0}, {"/TimeoutSeconds": "out-of-range"}),
        ({"StartAt": "A", "States": {"A": PASS}, "Version": 1}, {"/Version": "wrong-type"}),
    ],
)
def test_faults_of_machines(faults: Any, definition: Any, expected: dict[str, str]) -> None:
    assert faults(definition) == expected


def test_only_an_object_is_a_definition() -> None:
    for value in (None, 5, "x", [1]):
        machine, found = parse(value)
        assert machine is None
        assert [fault.code for fault in found] == ["wrong-type"]


def test_the_name_of_a_file_is_no_definition_and_the_message_says_how_a_file_is_read() -> None:
    _, (found,) = parse("orders.asl.json")
    assert found.message == "a definition is an object: to read a file, give Path('orders.asl.json')"


class TestQueryLanguage:
    def test_a_jsonata_definition_has_no_jsonpath_states(self, faults: Any) -> None:
        assert faults(of({"Type": "Pass", "QueryLanguage": "JSONPath"}, QueryLanguage="JSONata")) == {
            at("QueryLanguage"): "mixed-query-languages"
        }

    def test_the_other_languages_fields_are_told_apart(self, faults: Any) -> None:
        state = {"Type": "Task", "Resource": "r", "Parameters": {}, "ResultPath": None, "TimeoutSecondsPath": "$.a"}
        assert set(faults(of(state, QueryLanguage="JSONata")).values()) == {"mixed-query-languages"}
        state = {"Type": "Map", "ItemProcessor": PROCESSOR, "Items": [], "Output": 1}
        assert faults(of(state)) == {at("Items"): "mixed-query-languages", at("Output"): "mixed-query-languages"}

    def test_states_below_take_the_definitions_language_not_their_parents(self, faults: Any) -> None:
        inner = {"StartAt": "P", "States": {"P": {"Type": "Pass", "Output": 1, "End": True}}}
        for parent in ({"Type": "Map", "ItemProcessor": inner}, {"Type": "Parallel", "Branches": [inner]}):
            assert set(faults(of({**parent, "QueryLanguage": "JSONata"})).values()) == {"mixed-query-languages"}
            assert faults(of(parent, QueryLanguage="JSONata")) == {}

    def test_numbers_may_be_expressions_in_jsonata(self, faults: Any) -> None:
        state = {"Type": "Task", "Resource": "r", "TimeoutSeconds": "{% $t %}", "HeartbeatSeconds": "{% 1 %}"}
        assert faults(of(state, QueryLanguage="JSONata")) == {}
        assert faults(of({"Type": "Wait", "Seconds": "{% 1"}, QueryLanguage="JSONata")) == {at("Seconds"): "wrong-type"}


@pytest.mark.parametrize("items", [5, "a", None, True])
def test_items_are_an_array_an_object_or_an_expression(faults: Any, items: Any) -> None:
    state = {"Type": "Map", "ItemProcessor": PROCESSOR, "Items": items, "End": True}
    assert faults({**of(state), "QueryLanguage": "JSONata"}) == {at("Items"): "wrong-type"}
    for good in ([1], {"a": 1}, "{% $states.input %}"):
        assert faults({**of({**state, "Items": good}), "QueryLanguage": "JSONata"}) == {}


def test_the_model_says_what_the_text_says() -> None:
    definition = {
        "Comment": "c",
        "Version": "1.0",
        "TimeoutSeconds": 9,
        "StartAt": "Work",
        "States": {
            "Work": {
                **TASK,
                "Comment": "hard",
                "ResultPath": None,
                "Retry": [{"ErrorEquals": ["E"], "IntervalSeconds": 2, "MaxDelaySeconds": 9, "JitterStrategy": "FULL"}],
                "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Each", "ResultPath": "$.e"}],
            },
            "Each": {
                "Type": "Map",
                "Iterator": DISTRIBUTED,
                "MaxConcurrency": 9223372036854775807,
                "ItemsPath": "$.items",
                "Label": "l",
                "End": True,
            },
        },
    }
    machine = load(definition).model
    work, each = machine.states["Work"], machine.states["Each"]
    assert isinstance(work, asl.Task)
    assert isinstance(each, asl.Map)
    assert (machine.comment, machine.version, machine.timeout_seconds) == ("c", "1.0", 9)
    assert (work.next, work.result_path, work.parameters) == (None, None, ABSENT)
    retrier, catcher = work.retry[0], work.catch[0]
    assert (retrier.interval_seconds, retrier.max_attempts, retrier.backoff_rate) == (2, 3, 2.0)
    assert (retrier.max_delay_seconds, retrier.jitter_strategy) == (9, "FULL")
    assert (catcher.next, catcher.result_path, catcher.assign) == ("Each", "$.e", ABSENT)
    assert (each.max_concurrency, each.items_path, each.label) == (9223372036854775807, "$.items", "l")
    assert each.item_processor.machine.pointer == "/States/Each/Iterator"
    assert repr(ABSENT) == "ABSENT"
