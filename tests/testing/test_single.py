"""One state alone: its output, its next state, its error, and the values on the way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from statechain import DefinitionError, Engine, Limits, TaskContext, TaskError, TaskRegistry
from statechain.testing import Return, ScriptedTasks, StateResult, Throw, VirtualClock, run_state

TASK = {
    "Type": "Task",
    "Resource": "price",
    "InputPath": "$.order",
    "Parameters": {"count.$": "$.count", "unit": 5},
    "ResultSelector": {"total.$": "$.total"},
    "ResultPath": "$.priced",
    "OutputPath": "$.priced",
    "Retry": [
        {"ErrorEquals": ["Busy"], "IntervalSeconds": 2, "BackoffRate": 3, "MaxAttempts": 2},
        {"ErrorEquals": ["Never"], "MaxAttempts": 0},
    ],
    "Catch": [
        {"ErrorEquals": ["Closed"], "Next": "Elsewhere"},
        {"ErrorEquals": ["States.ALL"], "ResultPath": "$.fault", "Next": "Refund"},
    ],
    "Next": "Ship",
}
INPUT = {"order": {"count": 3}}
MACHINE = {
    "QueryLanguage": "JSONata",
    "StartAt": "Each",
    "States": {
        "Each": {
            "Type": "Map",
            "Items": "{% $states.input.lines %}",
            "MaxConcurrency": 2,
            "ItemSelector": {"sku": "{% $states.context.Map.Item.Value %}"},
            "ItemProcessor": {
                "StartAt": "Pick",
                "States": {
                    "Pick": {
                        "Type": "Task",
                        "Resource": "pick",
                        "Arguments": {"sku": "{% $states.input.sku %}", "shop": "{% $shop %}"},
                        "Assign": {"picked": "{% $states.result %}"},
                        "Output": "{% $states.context.Execution.Name & ':' & $states.result %}",
                        "End": True,
                    }
                },
            },
            "End": True,
        }
    },
}


def tasks() -> TaskRegistry:
    registry = TaskRegistry()
    registry.add("price", lambda value: {"total": value["count"] * value["unit"], "noise": 1})
    return registry


async def test_a_task_with_its_values_on_the_way() -> None:
    assert await run_state(TASK, INPUT, tasks=tasks()) == StateResult(
        status="SUCCEEDED",
        output={"total": 15},
        next_state="Ship",
        inspection={
            "input": INPUT,
            "afterInputPath": {"count": 3},
            "afterParameters": {"count": 3, "unit": 5},
            "result": {"total": 15, "noise": 1},
            "afterResultSelector": {"total": 15},
            "afterResultPath": {"order": {"count": 3}, "priced": {"total": 15}},
        },
    )


@pytest.mark.parametrize(
    ("retry_count", "seconds"),
    [(0, 2), (1, 6)],
)
async def test_a_retrier_is_named_and_not_waited_for(retry_count: int, seconds: float) -> None:
    result = await run_state(TASK, INPUT, mock=Throw("Busy", "a queue"), retry_count=retry_count)
    assert (result.status, result.error, result.cause) == ("RETRIABLE", "Busy", "a queue")
    assert result.next_state is result.output is None
    assert result.inspection["errorDetails"] == {"retryIndex": 0, "retryBackoffIntervalSeconds": seconds}


@pytest.mark.parametrize(
    ("error", "retry_count", "index", "following", "output"),
    [
        ("Busy", 2, 1, "Refund", {**INPUT, "fault": {"Error": "Busy", "Cause": "why"}}),
        ("Never", 0, 1, "Refund", {**INPUT, "fault": {"Error": "Never", "Cause": "why"}}),
        ("Closed", 0, 0, "Elsewhere", {"Error": "Closed", "Cause": "why"}),
    ],
)
async def test_a_catcher_leads_on(error: str, retry_count: int, index: int, following: str, output: Any) -> None:
    result = await run_state(TASK, INPUT, mock=Throw(error, "why"), retry_count=retry_count)
    assert (result.status, result.next_state, result.output) == ("CAUGHT_ERROR", following, output)
    assert (result.error, result.cause) == (error, "why")
    assert result.inspection["errorDetails"] == {"catchIndex": index}


async def test_an_error_that_nobody_answers() -> None:
    plain = {"Type": "Task", "Resource": "price", "End": True}

    async def fail(_value: object) -> None:
        raise TaskError("Shop.Closed", cause="Sunday")

    registry = TaskRegistry()
    registry.add("price", fail)
    result = await run_state(plain, {}, tasks=registry)
    assert (result.status, result.error, result.cause) == ("FAILED", "Shop.Closed", "Sunday")
    unknown = await run_state(plain, {}, tasks=TaskRegistry())
    assert (unknown.status, unknown.error) == ("FAILED", "States.TaskFailed")
    assert "no handler is registered" in (unknown.cause or "")


async def test_a_fault_of_evaluation_names_what_was_not_found() -> None:
    result = await run_state({"Type": "Pass", "Parameters": {"a.$": "$.missing"}, "End": True}, {"b": 1})
    assert (result.status, result.error) == ("FAILED", "States.Runtime")
    assert "$.missing" in (result.cause or "")
    assert result.inspection == {"input": {"b": 1}, "afterInputPath": {"b": 1}}


@pytest.mark.parametrize(
    ("state", "value", "expected"),
    [
        ({"Type": "Pass", "Result": 5, "ResultPath": "$.five", "End": True}, {}, ("SUCCEEDED", {"five": 5}, None)),
        ({"Type": "Succeed"}, {"a": 1}, ("SUCCEEDED", {"a": 1}, None)),
        ({"Type": "Wait", "Seconds": 99_999, "Next": "On"}, {"a": 1}, ("SUCCEEDED", {"a": 1}, "On")),
        (
            {
                "Type": "Choice",
                "Choices": [{"Variable": "$.n", "NumericGreaterThan": 1, "Next": "Many"}],
                "Default": "One",
            },
            {"n": 2},
            ("SUCCEEDED", {"n": 2}, "Many"),
        ),
        ({"Type": "Fail", "Error": "E", "Cause": "C"}, {}, ("FAILED", None, None)),
    ],
)
async def test_states_that_call_nobody(state: dict[str, Any], value: Any, expected: tuple[Any, ...]) -> None:
    result = await run_state(state, value)
    assert (result.status, result.output, result.next_state) == expected


async def test_a_state_of_a_machine_nested_in_it_with_variables_and_context() -> None:
    async def pick(value: dict[str, str], context: TaskContext) -> str:
        assert context.state_name == "Pick"
        return f"{value['sku']}@{value['shop']}"

    registry = TaskRegistry()
    registry.add("pick", pick)
    result = await run_state(
        MACHINE,
        {"sku": "lamp"},
        state_name="Pick",
        tasks=registry,
        variables={"shop": "Rome"},
        context={"Execution": {"Name": "mine"}},
    )
    assert (result.status, result.output) == ("SUCCEEDED", "mine:lamp@Rome")
    assert result.variables == {"shop": "Rome", "picked": "lamp@Rome"}
    assert result.inspection == {
        "input": {"sku": "lamp"},
        "afterArguments": {"sku": "lamp", "shop": "Rome"},
        "result": "lamp@Rome",
    }


async def test_what_a_map_comes_to_is_for_a_mock_to_tell() -> None:
    value = {"lines": ["lamp", "desk"]}
    result = await run_state(MACHINE, value, state_name="Each", mock=Return([1, 2]))
    assert (result.status, result.output) == ("SUCCEEDED", [1, 2])
    assert result.inspection["afterItemSelector"] == [{"sku": "lamp"}, {"sku": "desk"}]
    assert result.inspection["maxConcurrency"] == 2
    with pytest.raises(ValueError, match="the result of the branches of the Map comes from a mock"):
        await run_state(MACHINE, value, state_name="Each")


async def test_a_task_that_waits_for_others_needs_a_mock_or_a_script() -> None:
    state = {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync", "End": True}
    value = {"StateMachineArn": "child"}
    with pytest.raises(ValueError, match="waits for comes from a mock"):
        await run_state(state, value)
    assert (await run_state(state, value, mock=Return({"Status": "SUCCEEDED"}))).output == {"Status": "SUCCEEDED"}
    scripted = ScriptedTasks({"State": Return("scripted")})
    assert (await run_state(state, value, tasks=scripted)).output == "scripted"


async def test_the_clock_and_the_retries_show_in_the_context_object() -> None:
    state = {
        "Type": "Task",
        "Resource": "Echo",
        "Parameters": {"at.$": "$$.State.EnteredTime", "tries.$": "$$.State.RetryCount", "id.$": "States.UUID()"},
        "End": True,
    }
    clock = VirtualClock(datetime(2025, 6, 1, 0, 0, 0, 250_000, tzinfo=UTC))
    tasks = TaskRegistry()

    @tasks.register("Echo")
    async def echo(value: dict[str, Any]) -> dict[str, Any]:
        return value

    result = await run_state(state, clock=clock, retry_count=3, tasks=tasks)
    assert isinstance(result.output, dict)
    assert (result.output["at"], result.output["tries"]) == ("2025-06-01T00:00:00.250Z", 3)
    assert result.output == result.inspection["afterParameters"], "each evaluation draws the same numbers"


async def test_run_state_gives_a_retry_count_only_to_states_that_retry() -> None:
    clock = VirtualClock(datetime(2025, 6, 1, tzinfo=UTC))
    result = await run_state({"Type": "Pass", "InputPath": "$$.State", "End": True}, clock=clock, retry_count=3)
    assert result.output == {"EnteredTime": "2025-06-01T00:00:00Z", "Name": "State"}


async def test_a_timeout_is_the_states_own() -> None:
    state = {"Type": "Task", "Resource": "slow", "TimeoutSeconds": 60, "End": True}
    scripted = ScriptedTasks({"State": Return(after=3600)})
    result = await run_state(state, tasks=scripted, clock=VirtualClock())
    assert (result.status, result.error) == ("FAILED", "States.Timeout")


async def test_faults_are_told() -> None:
    with pytest.raises(DefinitionError, match="Seconds"):
        await run_state({"Type": "Wait", "Seconds": "soon", "End": True})
    with pytest.raises(ValueError, match="there is no state 'Pack': give state_name as one of Each, Pick"):
        await run_state(MACHINE, state_name="Pack")


async def test_a_cause_is_cut_off() -> None:
    state = {"Type": "Pass", "Parameters": {"a.$": "$.none"}, "End": True}
    result = await run_state(state, {"text": "x" * 1000}, limits=Limits(cause_characters=100))
    assert (result.status, result.error) == ("FAILED", "States.Runtime")
    assert len(result.cause or "") == 100


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"Type": "Task", "Resource": "price", "Catch": 5, "End": True}, "/States/State/Catch"),
        ({"Type": "Task", "Resource": "price", "Catch": None, "End": True}, "/States/State/Catch"),
        ({"Type": "Task", "Resource": "price", "Next": ["a"]}, "/States/State/Next"),
        ({"Type": "Choice", "Choices": 5}, "/States/State/Choices"),
    ],
)
async def test_a_state_of_a_wrong_shape_is_refused_as_a_definition_is(state: dict[str, Any], place: str) -> None:
    with pytest.raises(DefinitionError, match=place):
        await run_state(state)


async def test_items_that_take_long_to_make_are_shown_beside_an_engine() -> None:
    state = {
        "QueryLanguage": "JSONata",
        "Type": "Map",
        "Items": [1, 2],
        "ItemSelector": "{% $sum($map([1..3000], function($i) { $i })) %}",
        "ItemProcessor": {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}},
        "End": True,
    }
    async with Engine("memory://"):
        result = await run_state(state, {}, mock=Return([]))
    assert result.inspection["afterItemSelector"] == [4501500, 4501500]
