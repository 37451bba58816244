"""Executions that a Task starts: awaited or not, stopped with their parent, joined after a crash."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from statechain import Engine
from statechain.storage.repository import Advance, StartExecution
from support.engine_harness import EngineHarness, machine, output, task, types

START = "arn:aws:states:::states:startExecution"
ACTIVITY = "arn:aws:states:eu-west-1:123456789012:activity:paint"


def nested(how: str = "", **more: Any) -> dict[str, Any]:
    parameters = {"StateMachineArn": "child", "Input": {"n.$": "$.n"}}
    return task(f"{START}{how}", Parameters=parameters, **more)


async def children(harness: EngineHarness) -> list[Any]:
    """Return the executions of the nested machine, also where the harness's own engine is closed."""
    async with Engine(harness.repository, recovery=False) as reader:
        child = await reader.get_state_machine("child")
        return [each for each in await reader.list_executions() if each.state_machine_id == child.id]


async def test_a_nested_execution_is_started_and_not_awaited(quick: EngineHarness) -> None:
    await quick.engine.create_state_machine("child", machine(Long={"Type": "Wait", "Seconds": 50}))
    ended = await quick.run(machine(Start=nested()), {"n": 1})
    (child,) = await children(quick)
    assert output(ended)["ExecutionArn"] == child.id
    assert child.status == "RUNNING"
    assert child.input == {"n": 1}


async def test_an_express_execution_starts_another_one_and_does_not_wait_for_it(quick: EngineHarness) -> None:
    await quick.engine.create_state_machine("child", machine(Same={"Type": "Pass"}))
    parent = await quick.engine.create_state_machine("parent", machine(Start=nested()), type="EXPRESS")
    started = await parent.execute({"n": 1})
    (child,) = await children(quick)
    assert output(started)["ExecutionArn"] == child.id


@pytest.mark.parametrize(("how", "told"), [(".sync", '{"n":1}'), (".sync:2", {"n": 1})])
async def test_a_nested_execution_is_awaited(quick: EngineHarness, how: str, told: Any) -> None:
    await quick.engine.create_state_machine("child", machine(Long={"Type": "Wait", "Seconds": 50}))
    ended = await quick.run(machine(Start=nested(how)), {"n": 1})
    assert (output(ended)["Status"], output(ended)["Output"]) == ("SUCCEEDED", told)
    assert output(ended)["StopDate"] - output(ended)["StartDate"] == pytest.approx(50_000, abs=1000)


async def test_the_history_shows_which_execution_is_awaited(quick: EngineHarness) -> None:
    await quick.engine.create_state_machine("child", machine(Same={"Type": "Pass"}))
    ended = await quick.run(machine(Start=nested(".sync:2")), {"n": 1})
    history = await quick.history(ended)
    assert types(history)[2:6] == ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"]
    (child,) = await children(quick)
    assert json.loads(history[4]["taskSubmittedEventDetails"]["output"])["ExecutionArn"] == child.id


async def test_the_answer_of_a_nested_execution_says_whether_it_can_be_redriven(quick: EngineHarness) -> None:
    await quick.engine.create_state_machine("child", machine(Same={"Type": "Pass"}))
    told = output(await quick.run(machine(Start=nested(".sync:2")), {"n": 1}))
    assert (told["RedriveCount"], told["RedriveStatus"]) == (0, "NOT_REDRIVABLE")
    assert told["RedriveStatusReason"] == "Execution is SUCCEEDED and cannot be redriven"
    await quick.engine.create_state_machine("child", machine(No={"Type": "Fail"}))
    failed = json.loads((await quick.run(machine(Start=nested(".sync:2")), {"n": 1})).cause or "")
    assert (failed["RedriveCount"], failed["RedriveStatus"]) == (0, "REDRIVABLE")
    assert "RedriveStatusReason" not in failed


@pytest.mark.parametrize("qualifier", ["", ":7", ":PROD"])
async def test_a_version_or_an_alias_of_a_nested_machine_means_the_machine(
    quick: EngineHarness, qualifier: str
) -> None:
    await quick.engine.create_state_machine("child", machine(Same={"Type": "Pass"}))
    arn = f"arn:aws:states:eu-west-1:123456789012:stateMachine:child{qualifier}"
    start = task(f"{START}.sync:2", Parameters={"StateMachineArn": arn, "Input": {"n": 1}})
    assert output(await quick.run(machine(Start=start)))["Output"] == {"n": 1}


@pytest.mark.parametrize(("text", "value"), [('{"n":[1]}', {"n": [1]}), ('"text"', "text"), ("null", None)])
async def test_a_text_as_the_input_of_a_nested_execution_is_read_as_json(
    quick: EngineHarness, text: str, value: Any
) -> None:
    await quick.engine.create_state_machine("child", machine(Same={"Type": "Pass"}))
    start = task(f"{START}.sync:2", Parameters={"StateMachineArn": "child", "Input": text})
    assert output(await quick.run(machine(Start=start)))["Output"] == value


@pytest.mark.parametrize("text", ["", "text", "{"])
async def test_a_text_that_is_not_json_is_no_input_of_a_nested_execution(quick: EngineHarness, text: str) -> None:
    await quick.engine.create_state_machine("child", machine(Same={"Type": "Pass"}))
    start = task(START, Parameters={"StateMachineArn": "child", "Input": text})
    ended = await quick.run(machine(Start=start))
    assert ended.error == "StepFunctions.InvalidExecutionInputException"
    assert (ended.cause or "").startswith("Invalid State Machine Execution Input: 'not JSON: line 1, column ")


async def test_a_nested_failure_fails_the_task(quick: EngineHarness) -> None:
    await quick.engine.create_state_machine("child", machine(No={"Type": "Fail", "Error": "No", "Cause": "never"}))
    ended = await quick.run(machine(Start=nested(".sync")), {"n": 1})
    assert ended.error == "States.TaskFailed"
    assert '"Error":"No"' in (ended.cause or "")


async def test_starting_a_missing_machine_fails_with_the_error_of_aws(quick: EngineHarness) -> None:
    ended = await quick.run(machine(Start=nested(".sync")), {"n": 1})
    assert ended.error == "StepFunctions.StateMachineDoesNotExistException"


async def test_a_nested_execution_is_stopped_with_its_parent(quick: EngineHarness) -> None:
    await quick.engine.create_state_machine("child", machine(Long=task(ACTIVITY)))
    started = await quick.start(machine(Start=nested(".sync")), {"n": 1})
    assert await quick.engine.get_activity_task("paint") is not None
    await started.stop()
    (child,) = await children(quick)
    assert child.status == "ABORTED"


async def test_a_nested_execution_is_stopped_when_its_task_times_out(quick: EngineHarness) -> None:
    await quick.engine.create_state_machine("child", machine(Long={"Type": "Wait", "Seconds": 5000}))
    ended = await quick.run(machine(Start=nested(".sync", TimeoutSeconds=30)), {"n": 1})
    assert ended.error == "States.Timeout"
    (child,) = await children(quick)
    assert child.status == "ABORTED"


async def test_a_resumed_parent_joins_its_child(harness: EngineHarness) -> None:
    await harness.engine.create_state_machine("child", machine(Paint=task(ACTIVITY)))
    started = await harness.start(machine(Start=nested(".sync:2")), {"n": 1})
    taken = await harness.engine.get_activity_task("paint")
    assert taken is not None
    await harness.reopen()
    await harness.engine.send_task_success(taken.token, "joined")
    ended = await harness.ended(started.id)
    assert output(ended)["Output"] == "joined"
    assert len(await children(harness)) == 1


async def test_an_interrupted_parent_leaves_its_child_to_recovery(harness: EngineHarness) -> None:
    await harness.engine.create_state_machine("child", machine(Paint=task(ACTIVITY)))
    started = await harness.start(machine(Start=nested(".sync:2")), {"n": 1})
    taken = await harness.engine.get_activity_task("paint")
    assert taken is not None
    await harness.close()
    await harness.open()
    (child,) = await children(harness)
    assert child.status == "RUNNING"
    await harness.engine.send_task_success(taken.token, "joined")
    assert output(await harness.ended(started.id))["Output"] == "joined"


def is_the_childs_start(write: Any) -> bool:
    return isinstance(write, StartExecution) and write.execution.name != "one"


MOMENTS = {
    "the start is about to be made": (lambda write: isinstance(write, Advance), 0),
    "the start is being written": (is_the_childs_start, 1),
}


@pytest.mark.parametrize(("moment", "begun"), MOMENTS.values(), ids=MOMENTS)
async def test_an_engine_that_closes_while_a_child_is_being_started_leaves_one_child(
    harness: EngineHarness, moment: Callable[[Any], bool], begun: int
) -> None:
    """The parent goes on elsewhere: it starts the child that was not begun, and joins the one that was."""
    await harness.engine.create_state_machine("child", machine(Same={"Type": "Pass"}))
    created = await harness.engine.create_state_machine("parent", machine(Start=nested(".sync:2")))
    held, released = harness.hold(moment)
    started = await created.start_execution({"n": 1}, name="one")
    await held.wait()
    closing = asyncio.ensure_future(harness.close())
    await asyncio.sleep(0)
    released.set()
    await closing
    assert len(await children(harness)) == begun
    await harness.open()
    ended = await harness.ended(started.id)
    assert (ended.status, output(ended)["Output"]) == ("SUCCEEDED", {"n": 1})
    (child,) = await children(harness)
    assert output(ended)["ExecutionArn"] == child.id


async def test_parents_and_children_share_one_place(quick: EngineHarness) -> None:
    await quick.close()
    await quick.open(max_concurrent_executions=1)
    await quick.engine.create_state_machine("child", machine(Long={"Type": "Wait", "Seconds": 5}))
    ended = await asyncio.wait_for(quick.run(machine(Start=nested(".sync:2")), {"n": 1}), 60)
    assert output(ended)["Output"] == {"n": 1}


async def test_a_retry_starts_another_child(quick: EngineHarness) -> None:
    await quick.engine.create_state_machine("child", machine(No={"Type": "Fail", "Error": "No"}))
    retry = [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 2, "IntervalSeconds": 1}]
    await quick.run(machine(Start=nested(".sync", Retry=retry)), {"n": 1})
    assert len(await children(quick)) == 3


@pytest.mark.parametrize("name", ["", "x" * 81, "a\nb"])
async def test_a_name_that_no_execution_can_have_fails_the_task(quick: EngineHarness, name: str) -> None:
    await quick.engine.create_state_machine("child", machine(Work={"Type": "Pass"}))
    start = task(START, Parameters={"StateMachineArn": "child", "Name": name})
    ended = await quick.run(machine(Start=start))
    assert ended.error == "StepFunctions.ValidationException"
    assert await quick.engine.count_executions() == 1


def reporting(harness: EngineHarness) -> dict[str, Any]:
    """Register a handler that answers under the token in its input; return the definition of what calls it."""

    async def report(value: Any) -> None:
        harness.calls["Report"] += 1
        await harness.engine.send_task_success(value["token"], {"by": "the child"})

    harness.tasks.add("Report", report)
    return machine(Pause={"Type": "Wait", "Seconds": 50, "Next": "Report"}, Report=task("Report"))


def under_token(**more: Any) -> dict[str, Any]:
    parameters = {"StateMachineArn": "child", "Input": {"token.$": "$$.Task.Token"}, **more}
    return task(f"{START}.waitForTaskToken", Parameters=parameters)


async def test_a_nested_execution_answers_under_the_token_in_its_input(quick: EngineHarness) -> None:
    await quick.engine.create_state_machine("child", reporting(quick))
    ended = await quick.run(machine(Start=under_token()))
    assert output(ended) == {"by": "the child"}
    (child,) = await children(quick)
    history = await quick.history(ended)
    assert types(history)[2:6] == ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"]
    assert json.loads(history[4]["taskSubmittedEventDetails"]["output"])["ExecutionArn"] == child.id


async def test_a_nested_execution_that_was_started_before_a_crash_answers_under_the_token_of_then(
    harness: EngineHarness,
) -> None:
    await harness.engine.create_state_machine("child", reporting(harness))
    created = await harness.engine.create_state_machine("parent", machine(Start=under_token()))
    held, released = harness.hold(is_submitted)
    started = await created.start_execution(name="one")
    await held.wait()
    crashing = asyncio.ensure_future(harness.crash())
    await asyncio.sleep(0)
    released.set()
    await crashing
    await harness.open()
    ended = await harness.ended(started.id)
    assert (ended.status, output(ended)) == ("SUCCEEDED", {"by": "the child"})
    assert len(await children(harness)) == 1
    submitted = [event for event in await harness.history(ended) if event["type"] == "TaskSubmitted"]
    assert [event["taskSubmittedEventDetails"]["output"] for event in submitted] == ["null"]


def is_submitted(write: Any) -> bool:
    return isinstance(write, Advance) and any('"submitted"' in (visit.detail or "") for visit in write.visits)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"Name": "taken"}, "StepFunctions.ExecutionAlreadyExistsException"),
        ({"StateMachineArn": "missing"}, "StepFunctions.StateMachineDoesNotExistException"),
    ],
)
async def test_a_nested_execution_under_a_token_that_cannot_be_started_fails_the_task(
    quick: EngineHarness, given: dict[str, Any], error: str
) -> None:
    child = await quick.engine.create_state_machine("child", machine(Same={"Type": "Pass"}))
    await child.start_execution({"another": "input"}, name="taken")
    ended = await quick.run(machine(Start=under_token(**given)))
    assert ended.error == error
    assert types(await quick.history(ended))[2:5] == ["TaskScheduled", "TaskStarted", "TaskFailed"]
