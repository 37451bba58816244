"""EXPRESS executions: the same outcomes as STANDARD ones, by the express lane and off it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statechain import Engine, ExecutionFailed, ExecutionStatus, Limits, TaskContext, TaskError, TaskRegistry
from statechain.asl.expressions import intrinsics
from statechain.codec import private
from statechain.testing import VirtualClock

tasks = TaskRegistry()
seen: list[Any] = []


@tasks.register
async def add(value: dict[str, Any]) -> dict[str, Any]:
    value["n"] += 1  # a handler may do with its input as it likes
    return value


@tasks.register
async def keep(value: dict[str, Any]) -> dict[str, Any]:
    seen.append(value)
    return value


@tasks.register
async def spoil(value: dict[str, Any]) -> dict[str, Any]:
    seen[-1]["n"] = -1  # what an earlier handler returned is not the state's any more
    return value


@tasks.register
async def tell(value: Any, context: TaskContext) -> Any:
    return {"state": context.state_name, "value": value}


@tasks.register
async def decline(value: Any) -> Any:
    raise TaskError("Card.Declined", "card 42")


@tasks.register
async def cancel(value: Any) -> Any:
    raise asyncio.CancelledError


@tasks.register
async def odd(value: Any) -> Any:
    return {"odd": {1, 2}}


@tasks.register
async def large(value: Any) -> Any:
    return "x" * 300_000


@tasks.register
async def infinite(value: Any) -> Any:
    return float("inf")


def chain(*resources: str, prefix: str = "S") -> dict[str, Any]:
    """Return a definition of Tasks in a row."""
    states = {
        f"{prefix}{place}": {"Type": "Task", "Resource": resource, "Next": f"{prefix}{place + 1}"}
        for place, resource in enumerate(resources)
    }
    return {"StartAt": f"{prefix}0", "States": {**states, f"{prefix}{len(resources)}": {"Type": "Succeed"}}}


async def outcome(definition: dict[str, Any], value: Any, type_: Any, **options: Any) -> tuple[Any, ...]:
    """Return how an execution ends."""
    seen.clear()
    async with Engine("memory://", tasks=tasks, **options) as engine:
        machine = await engine.create_state_machine("m", definition, type=type_)
        ended = await (await machine.start_execution(value)).wait()
        return ended.status, ended.output, ended.error, ended.cause, ended.current_state


LOOP = {
    "StartAt": "Add",
    "States": {
        "Add": {"Type": "Task", "Resource": "add", "Next": "Enough"},
        "Enough": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.n", "NumericGreaterThanEquals": 300, "Next": "Done"}],
            "Default": "Add",
        },
        "Done": {"Type": "Pass", "Parameters": {"n.$": "$.n", "in.$": "$$.State.Name"}, "End": True},
    },
}
VARIABLES = {
    "StartAt": "Keep",
    "States": {
        "Keep": {"Type": "Pass", "Assign": {"first.$": "$"}, "Next": "Add"},
        "Add": {"Type": "Task", "Resource": "add", "Next": "Show"},
        "Show": {"Type": "Pass", "Parameters": {"first.$": "$first", "now.$": "$"}, "End": True},
    },
}
CAUGHT = {
    "StartAt": "Try",
    "States": {
        "Try": {
            "Type": "Task",
            "Resource": "decline",
            "Catch": [{"ErrorEquals": ["Card.Declined"], "Next": "Add", "ResultPath": "$.error"}],
            "End": True,
        },
        "Add": {"Type": "Task", "Resource": "add", "End": True},
    },
}
CASES = {
    "a loop of tasks and choices": (LOOP, {"n": 0}),
    "a handler that changes its input": (chain("add", "add"), {"n": 0}),
    "a result that is changed afterwards": (chain("keep", "spoil", "add"), {"n": 0}),
    "a handler with a context": (chain("add", "tell"), {"n": 0}),
    "a failure": (chain("add", "decline"), {"n": 0}),
    "a failure that is caught": (CAUGHT, {"n": 0}),
    "a handler that cancels itself": (chain("cancel"), {}),
    "a result that is no JSON": (chain("odd"), {}),
    "a number that is no JSON": (chain("infinite"), {}),
    "a result that is too large": (chain("large"), {}),
    "input by parameters": (
        {"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "add", "Parameters": {"n": 7}, "End": True}}},
        {},
    ),
    "a path that is not there": (
        {
            "StartAt": "A",
            "States": {
                "A": {"Type": "Task", "Resource": "add", "Parameters": {"n.$": "$.missing"}, "Next": "B"},
                "B": {"Type": "Pass", "End": True},
            },
        },
        {},
    ),
    "a choice that fits nothing": (
        {
            "StartAt": "A",
            "States": {
                "A": {"Type": "Pass", "Next": "B"},
                "B": {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericEquals": 1, "Next": "C"}]},
                "C": {"Type": "Succeed"},
            },
        },
        {"n": 2},
    ),
    "a Fail state": ({"StartAt": "A", "States": {"A": {"Type": "Fail", "Error": "E", "Cause": "C"}}}, {}),
    "variables": (VARIABLES, {"n": 0}),
    "branches": (
        {
            "StartAt": "Both",
            "States": {
                "Both": {
                    "Type": "Parallel",
                    "Branches": [chain("add", prefix="A"), chain("add", "add", prefix="B")],
                    "End": True,
                },
            },
        },
        {"n": 0},
    ),
}


@pytest.mark.parametrize(("definition", "value"), CASES.values(), ids=CASES)
async def test_an_express_execution_ends_as_a_standard_one(definition: dict[str, Any], value: Any) -> None:
    express = await outcome(definition, value, "EXPRESS")
    assert express == await outcome(definition, value, "STANDARD")


async def test_each_visit_has_an_idempotency_key_of_its_own() -> None:
    keys: list[str] = []
    registry = TaskRegistry()

    @registry.register
    async def note(value: Any, context: TaskContext) -> Any:
        keys.append(context.idempotency_key)
        return value

    states: dict[str, dict[str, Any]] = {}
    for place in range(3):
        states[f"Pass{place}"] = {"Type": "Pass", "Next": f"Note{place}"}
        states[f"Note{place}"] = {"Type": "Task", "Resource": "note", "Next": f"Pass{place + 1}"}
    async with Engine("memory://", tasks=registry) as engine:
        definition = {"StartAt": "Pass0", "States": {**states, "Pass3": {"Type": "Succeed"}}}
        machine = await engine.create_state_machine("m", definition, type="EXPRESS")
        await machine.execute({})
    assert len(set(keys)) == len(keys) == 3


async def test_a_plain_task_sees_the_context_object_of_its_visit() -> None:
    parameters = {"name.$": "$$.State.Name", "entered.$": "$$.State.EnteredTime", "began.$": "$$.Execution.StartTime"}
    call = {"Type": "Task", "Resource": "keep", "Parameters": parameters, "End": True}
    definition = {"StartAt": "First", "States": {"First": {"Type": "Pass", "Next": "Call"}, "Call": call}}
    status, output, *_ = await outcome(definition, {}, "EXPRESS", clock=VirtualClock())
    assert status is ExecutionStatus.SUCCEEDED
    assert output == {"name": "Call", "entered": output["began"], "began": output["began"]}


async def test_what_runs_without_end_is_ended() -> None:
    leave = {"Variable": "$.n", "NumericEquals": 1, "Next": "C"}
    endless = {
        "StartAt": "A",
        "States": {
            "A": {"Type": "Pass", "Next": "B"},
            "B": {"Type": "Choice", "Choices": [leave], "Default": "A"},
            "C": {"Type": "Succeed"},
        },
    }
    status, _, error, cause, _ = await outcome(endless, {"n": 2}, "EXPRESS", limits=Limits(transitions=1000))
    assert (status, error) == (ExecutionStatus.FAILED, "States.Runtime")
    assert "1000" in cause


async def test_others_have_their_turn_beside_an_endless_loop() -> None:
    async with Engine("memory://", tasks=tasks) as engine:
        machine = await engine.create_state_machine("loop", LOOP, type="EXPRESS")
        running = await machine.start_execution({"n": -1_000_000_000})
        assert (await machine.execute({"n": 299})).output == {"n": 300, "in": "Done"}
        assert (await running.stop()).status is ExecutionStatus.ABORTED


async def test_a_failure_raises_where_it_is_awaited() -> None:
    async with Engine("memory://", tasks=tasks) as engine:
        machine = await engine.create_state_machine("m", chain("decline"), type="EXPRESS")
        with pytest.raises(ExecutionFailed) as failed:
            await machine.execute({})
        assert (failed.value.error, failed.value.cause) == ("Card.Declined", "card 42")


@pytest.mark.parametrize(
    "last",
    [{"Type": "Pass"}, {"Type": "Task", "Resource": "add"}],
    ids=["in a pure state", "in a Task"],
)
async def test_an_unexpected_exception_is_placed_as_in_a_standard_execution(
    last: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("of the library")

    monkeypatch.setitem(intrinsics.FUNCTIONS, "States.UUID", (broken, 0, 0))
    definition = {
        "StartAt": "A",
        "States": {
            "A": {"Type": "Pass", "Next": "B"},
            "B": {"Type": "Task", "Resource": "add", "Next": "C"},
            "C": {**last, "Parameters": {"id.$": "States.UUID()"}, "End": True},
        },
    }
    express = await outcome(definition, {"n": 1}, "EXPRESS")
    assert express == await outcome(definition, {"n": 1}, "STANDARD")
    place = "An error occurred while executing the state 'C' (entered at the event id #9)."
    reason = "The engine met an unexpected ZeroDivisionError: of the library"
    assert express[2:] == ("States.Runtime", f"{place} {reason}", "C")


async def test_an_unexpected_exception_names_the_task_whose_result_it_met(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(value: dict[str, Any], **limits: Any) -> Any:
        if value["n"] == 3:
            raise ZeroDivisionError("of the library")
        return private(value, **limits)

    monkeypatch.setattr("statechain.execution.lines.fast_path.private", broken)
    _, _, error, cause, state = await outcome(chain("add", "add"), {"n": 1}, "EXPRESS")
    assert (state, error) == ("S1", "States.Runtime")
    assert "executing the state 'S1' (entered at the event id #7)" in cause


@pytest.mark.parametrize(
    "resource",
    ["add.waitForTaskToken", "arn:aws:states:::states:startExecution.sync", "arn:aws:states:l:1:activity:by-hand"],
)
async def test_what_an_earlier_version_stored_does_not_wait_in_an_express_execution(
    resource: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statechain.asl.checks.check._check_express", lambda *_: iter(()))
    parameters = {"StateMachineArn": "m"}
    definition = {
        "StartAt": "A",
        "States": {"A": {"Type": "Task", "Resource": resource, "Parameters": parameters, "End": True}},
    }
    _, _, error, cause, _ = await outcome(definition, {"n": 1}, "EXPRESS")
    assert (error, cause) == ("States.TaskFailed", f"an EXPRESS execution cannot wait for {resource!r}")
