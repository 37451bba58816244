"""Histories hold against AWS's model of the service: every type of event that there is here, and every length."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statechain import TaskError
from support.engine_harness import EngineHarness, machine, task
from support.recorded.service_model import event_types, violations

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:"
ACTIVITY = "arn:aws:states:us-east-1:123456789012:activity:"
TOKEN = "arn:aws:states:::sqs:sendMessage.waitForTaskToken"
START = "arn:aws:states:::states:startExecution"
BOUNDS = {"TimeoutSeconds": 5, "HeartbeatSeconds": 3}
CATCH = [{"ErrorEquals": ["States.ALL"], "Next": "After"}]
DISTRIBUTED = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
LONG = "x" * 80

NEVER_HERE = {
    "ActivityScheduleFailed",
    "LambdaFunctionScheduleFailed",
    "LambdaFunctionStartFailed",
    "TaskStartFailed",
    "TaskSubmitFailed",
}
"""What can go wrong between AWS's services before a task begins; here that fails the task itself."""


def caught(state: dict[str, Any]) -> dict[str, Any]:
    """Return a machine of a state whose errors are caught."""
    return machine(State={**state, "Catch": CATCH, "Next": "After"}, After={"Type": "Succeed"})


def each(processor: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a Map of two items."""
    return {"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": processor, **more}


def parallel(*branches: dict[str, Any]) -> dict[str, Any]:
    """Return a Parallel state."""
    return {"Type": "Parallel", "Branches": list(branches)}


HANGING = machine(A=parallel(machine(B=each(machine(C={"Type": "Wait", "Seconds": 60})))))
FAILING = machine(F={"Type": "Wait", "Seconds": 1, "Next": "G"}, G={"Type": "Fail", "Error": "No", "Cause": "not"})
JSONATA = {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $number('x') %}"}
SOFT = caught(task("Echo", QueryLanguage="JSONata", Arguments="{% $error('no') %}"))
SOFT["States"]["State"]["Catch"] = [{"ErrorEquals": ["States.ALL"], "Next": "After"}]

PLAYED = {
    "pure states": machine(
        P={"Type": "Pass", "Assign": {"v": 1, "w.$": "$"}, "Next": "C"},
        C={"Type": "Choice", "Choices": [{"Variable": "$.items", "IsPresent": True, "Next": "S"}]},
        S={"Type": "Succeed"},
    ),
    "a Fail state": machine(F={"Type": "Fail", "Error": "E", "Cause": "c"}),
    "a Fail state without an error": machine(F={"Type": "Fail"}),
    "a wait": machine(W={"Type": "Wait", "Seconds": 1}),
    "an evaluation that fails": machine(**{LONG: JSONATA}),
    "a Task's evaluation that fails": SOFT,
    "a handler": machine(T=task("Echo", **BOUNDS)),
    "a handler with a long name": machine(T=task("E" * 300)),
    "a handler that fails": caught(task("Break")),
    "a handler with a long error": caught(task("BreakLong")),
    "a handler that takes too long": caught(task("Hang", TimeoutSeconds=1)),
    "a function": machine(T=task(f"{FUNCTION}Echo", **BOUNDS)),
    "a function that fails": caught(task(f"{FUNCTION}Break")),
    "a function that takes too long": caught(task(f"{FUNCTION}Hang", TimeoutSeconds=1)),
    "lambda:invoke": machine(T=task("arn:aws:states:::lambda:invoke", Parameters={"FunctionName": "Echo"}, **BOUNDS)),
    "a task token without an answer": caught(task(TOKEN, **BOUNDS)),
    "a service of the SDK": machine(T=task(f"arn:aws:states:::aws-sdk:{'s' * 90}:{'a' * 90}")),
    "an activity": machine(T=task(f"{ACTIVITY}echo")),
    "an activity that fails": caught(task(f"{ACTIVITY}break")),
    "an activity without a worker": caught(task(f"{ACTIVITY}idle", TimeoutSeconds=2)),
    "a nested execution": machine(T=task(f"{START}.sync:2", Parameters={"StateMachineArn": "child"})),
    "a nested execution of no machine": caught(task(START, Parameters={"StateMachineArn": "nothing"})),
    "a Parallel": machine(P=parallel(machine(A={"Type": "Pass"}), machine(B={"Type": "Wait", "Seconds": 1}))),
    "a Parallel that fails": caught(parallel(HANGING, machine(T=task("Hang")), FAILING)),
    "a Map": machine(**{LONG: each(machine(A={"Type": "Pass"}))}),
    "a Map that fails": caught(each(FAILING, MaxConcurrency=1)),
    "a Map Run": machine(M=each({**DISTRIBUTED, **machine(A={"Type": "Pass"})}, Label="L")),
    "a Map Run that fails": caught(each({**DISTRIBUTED, **FAILING})),
    "a machine that takes too long": {"TimeoutSeconds": 3, **HANGING},
}


async def register(harness: EngineHarness) -> None:
    """Register handlers, and the machine that is nested."""

    async def echo(value: Any) -> Any:
        return value

    async def fail(_: Any) -> Any:
        raise TaskError("Broken", "c" * 40_000)

    async def fail_at_length(_: Any) -> Any:
        raise TaskError("E" * 300)

    async def hang(_: Any) -> Any:
        harness.calls["Hang"] += 1
        await asyncio.sleep(3600)

    names = ("Echo", "E" * 300, f"arn:aws:states:::aws-sdk:{'s' * 90}:{'a' * 90}", TOKEN)
    for name in names:
        harness.tasks.add(name, echo)
    for name, handler in (("Break", fail), ("BreakLong", fail_at_length), ("Hang", hang)):
        harness.tasks.add(name, handler)
    await harness.engine.create_state_machine("child", machine(A={"Type": "Pass"}))


async def play(harness: EngineHarness, definition: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a definition, and answer for the activity that it may have; return the history."""
    started = await harness.start(definition, {"items": [1, 2]})
    resource = next(iter(definition["States"].values())).get("Resource")
    if resource == f"{ACTIVITY}echo":
        taken = await harness.engine.get_activity_task("echo")
        assert taken is not None
        await harness.engine.send_task_success(taken.token, 1)
    elif resource == f"{ACTIVITY}break":
        taken = await harness.engine.get_activity_task("break")
        assert taken is not None
        await harness.engine.send_task_failure(taken.token)
    await started.wait()
    return await harness.history(started)


async def interrupted(harness: EngineHarness, definition: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the history of an execution that was stopped, and redriven to be stopped again."""
    started = await harness.start(definition, {"items": [1, 2]})
    for times in (1, 2):
        await harness.reached("Hang", times)
        await started.stop("E" * 300, "c" * 40_000)
        started = await harness.engine.redrive_execution(started.id)
    await started.stop()
    return await harness.history(started)


@pytest.fixture
async def histories(quick: EngineHarness) -> dict[str, list[dict[str, Any]]]:
    """Return the histories of executions in which everything happens that can."""
    await register(quick)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, definition in PLAYED.items():
        found[name] = await play(quick, definition)
    hanging = each({**DISTRIBUTED, **machine(A=task("Hang"))}, MaxConcurrency=1)
    quick.calls.clear()
    found["a stopped Map Run"] = await interrupted(quick, machine(M=hanging))
    return found


async def test_every_event_is_as_the_services_model_says(histories: dict[str, list[dict[str, Any]]]) -> None:
    found = {name: [each for event in history for each in violations(event)] for name, history in histories.items()}
    assert {name: violated for name, violated in found.items() if violated} == {}


async def test_every_type_of_event_that_there_is_here_was_seen(histories: dict[str, list[dict[str, Any]]]) -> None:
    seen = {event["type"] for history in histories.values() for event in history}
    assert seen == event_types() - NEVER_HERE


async def test_events_count_up_and_follow_earlier_ones(histories: dict[str, list[dict[str, Any]]]) -> None:
    for name, history in histories.items():
        assert [event["id"] for event in history] == list(range(1, len(history) + 1)), name
        assert all(event["previousEventId"] < event["id"] for event in history), name
