"""Task tokens and activities: answers from here and from elsewhere, timeouts, crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from statechain import Engine, InvalidToken, TaskContext, TaskTimedOut
from statechain.clock import SystemClock
from statechain.records.callbacks import Callback
from support.engine_harness import EngineHarness, machine, task, types

ASK = "Ask.waitForTaskToken"
ACTIVITY = "arn:aws:states:eu-west-1:123456789012:activity:paint"


def asking(harness: EngineHarness) -> list[str]:
    """Register a handler that collects the tokens which it is given."""
    tokens: list[str] = []

    async def ask(_: Any, context: TaskContext) -> dict[str, bool]:
        assert context.task_token is not None
        tokens.append(context.task_token)
        harness.calls["Ask"] += 1
        return {"asked": True}

    harness.tasks.add("Ask", ask)
    return tokens


async def test_an_answer_wakes_the_task_at_once(quick: EngineHarness) -> None:
    tokens = asking(quick)
    started = await quick.start(machine(Ask=task(ASK, TimeoutSeconds=1000)), {"n": 1})
    await quick.reached("Ask")
    before = quick.clock.now()
    await quick.engine.send_task_success(tokens[0], {"said": "yes"})
    ended = await started.wait()
    assert ended.output == {"said": "yes"}
    assert quick.clock.now() - before < timedelta(seconds=1)
    history = await quick.history(started)
    assert types(history) == [
        "ExecutionStarted",
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "TaskSubmitted",
        "TaskSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]
    assert history[4]["taskSubmittedEventDetails"]["output"] == '{"asked":true}'
    assert tokens[0] not in str(history)


async def test_a_handler_may_answer_before_it_returns(quick: EngineHarness) -> None:
    async def hasty(_: Any, context: TaskContext) -> None:
        await quick.engine.send_task_success(context.task_token or "", "done")

    quick.tasks.add("Ask", hasty)
    assert (await quick.run(machine(Ask=task(ASK)))).output == "done"


async def test_an_answer_that_was_accepted_counts_though_the_handler_fails(quick: EngineHarness) -> None:
    async def clumsy(_: Any, context: TaskContext) -> None:
        await quick.engine.send_task_success(context.task_token or "", "done")
        raise RuntimeError("too late to matter")

    quick.tasks.add("Ask", clumsy)
    assert (await quick.run(machine(Ask=task(ASK)))).output == "done"


async def test_storage_is_asked_about_many_at_once(quick: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, repository = asking(quick), quick.engine.repository
    asked: list[int] = []
    read = repository.callbacks

    async def callbacks(ids: Sequence[str]) -> Sequence[Callback]:
        asked.append(len(ids))
        return await read(ids)

    monkeypatch.setattr(repository, "callbacks", callbacks)
    definition = machine(Ask=task(ASK))
    waiting = await asyncio.gather(*(quick.start(definition, {"n": n}) for n in range(200)))
    await quick.reached("Ask", 200)
    await asyncio.gather(*(quick.engine.send_task_success(token, "done") for token in tokens))
    assert {(await each.wait()).output for each in waiting} == {"done"}
    assert 1 <= len(asked) <= 100


async def test_a_fault_of_storage_ends_nobodys_waiting(quick: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, repository = asking(quick), quick.engine.repository
    read, is_asked = repository.callbacks, asyncio.Event()

    async def callbacks(ids: Sequence[str]) -> Sequence[Callback]:
        if not is_asked.is_set():
            is_asked.set()
            raise ValueError("no fault that the repository may have")
        return await read(ids)

    monkeypatch.setattr(repository, "callbacks", callbacks)
    waiting = await quick.start(machine(Ask=task(ASK)))
    await is_asked.wait()
    await quick.engine.send_task_success(tokens[0], "done")
    assert (await waiting.wait()).output == "done"


async def test_a_failure_is_retried_with_a_new_token_and_caught(quick: EngineHarness) -> None:
    tokens = asking(quick)
    retry = [{"ErrorEquals": ["Busy"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    catch = [{"ErrorEquals": ["Busy"], "Next": "Caught"}]
    started = await quick.start(machine(Ask=task(ASK, Retry=retry, Catch=catch), Caught={"Type": "Pass"}))
    for turn in range(2):
        await quick.reached("Ask", turn + 1)
        await quick.engine.send_task_failure(tokens[turn], "Busy", f"turn {turn}")
    assert (await started.wait()).output == {"Error": "Busy", "Cause": "turn 1"}
    assert tokens[0] != tokens[1]


async def test_a_failure_without_an_error_stays_without_one(harness: EngineHarness) -> None:
    tokens = asking(harness)
    started = await harness.start(machine(Ask=task(ASK)))
    await harness.reached("Ask")
    await harness.engine.send_task_failure(tokens[0])
    ended = await started.wait()
    assert (ended.status, ended.error, ended.cause) == ("FAILED", None, None)
    failed = (await harness.history(ended))[-2]
    assert failed["taskFailedEventDetails"] == {"resourceType": "task", "resource": ASK}


@pytest.mark.parametrize("name", ["States.ALL", "States.TaskFailed"])
async def test_a_failure_without_an_error_is_caught_with_nulls(quick: EngineHarness, name: str) -> None:
    tokens = asking(quick)
    catch = [{"ErrorEquals": [name], "Next": "Caught"}]
    started = await quick.start(machine(Ask=task(ASK, Catch=catch), Caught={"Type": "Pass"}))
    await quick.reached("Ask")
    await quick.engine.send_task_failure(tokens[0])
    assert (await started.wait()).output == {"Error": None, "Cause": None}


async def test_unknown_and_used_tokens_are_told_apart(quick: EngineHarness) -> None:
    tokens = asking(quick)
    started = await quick.start(machine(Ask=task(ASK)))
    await quick.reached("Ask")
    with pytest.raises(InvalidToken):
        await quick.engine.send_task_success("nobody's", 1)
    await quick.engine.send_task_success(tokens[0], 1)
    await started.wait()
    with pytest.raises(TaskTimedOut):
        await quick.engine.send_task_success(tokens[0], 2)
    with pytest.raises(TaskTimedOut):
        await quick.engine.send_task_heartbeat(tokens[0])


async def test_a_task_that_nobody_answers_times_out(quick: EngineHarness) -> None:
    tokens = asking(quick)
    began = quick.clock.now()
    ended = await quick.run(machine(Ask=task(ASK, TimeoutSeconds=600)))
    assert (ended.status, ended.error) == ("FAILED", "States.Timeout")
    assert (quick.clock.now() - began).total_seconds() == pytest.approx(600, abs=1)
    with pytest.raises(TaskTimedOut):
        await quick.engine.send_task_success(tokens[0], 1)


async def test_heartbeats_keep_a_task_alive_and_their_absence_ends_it(quick: EngineHarness) -> None:
    tokens = asking(quick)
    began = quick.clock.now()
    started = await quick.start(machine(Ask=task(ASK, TimeoutSeconds=1000, HeartbeatSeconds=10)))
    await quick.reached("Ask")
    await quick.clock.sleep_until(began + timedelta(seconds=6))
    await quick.engine.send_task_heartbeat(tokens[0])
    ended = await started.wait()
    assert ended.error == "States.Timeout"
    assert (quick.clock.now() - began).total_seconds() == pytest.approx(16, abs=1)


async def test_the_token_stands_in_the_parameters(quick: EngineHarness) -> None:
    given: list[Any] = []

    async def send(value: Any, context: TaskContext) -> None:
        given.append((value, context.task_token))
        quick.calls["Send"] += 1

    quick.tasks.add("Send", send)
    invoke = "arn:aws:states:::lambda:invoke.waitForTaskToken"
    parameters = {"FunctionName": "Send", "Payload": {"token.$": "$$.Task.Token"}}
    started = await quick.start(machine(Ask=task(invoke, Parameters=parameters)))
    await quick.reached("Send")
    ((value, token),) = given
    assert value == {"token": token}
    await quick.engine.send_task_success(token, {"as": "it is"})
    assert (await started.wait()).output == {"as": "it is"}


async def test_another_engine_may_answer(harness: EngineHarness) -> None:
    tokens = asking(harness)
    started = await harness.start(machine(Ask=task(ASK)))
    await harness.reached("Ask")
    async with Engine(harness.repository, tasks=harness.tasks, clock=harness.clock, recovery=False) as other:
        await other.send_task_success(tokens[0], "from afar")
    assert (await asyncio.wait_for(started.wait(), 60)).output == "from afar"


async def test_after_a_crash_the_task_waits_on_under_its_token(harness: EngineHarness) -> None:
    tokens = asking(harness)
    began = harness.clock.now()
    started = await harness.start(machine(Ask=task(ASK, TimeoutSeconds=500)))
    await harness.reached("Ask")
    await harness.written(started, 2)  # the token, and that it was handed out
    await harness.reopen()
    assert harness.clock.now() - began < timedelta(seconds=500)
    await harness.engine.send_task_success(tokens[0], "remembered")
    ended = await harness.ended(started.id)
    assert ended.output == "remembered"
    assert harness.calls["Ask"] == 1
    assert types(await harness.history(started)).count("TaskSubmitted") == 1


async def test_an_answer_while_nobody_runs_is_found_by_the_next_engine(harness: EngineHarness) -> None:
    tokens = asking(harness)
    started = await harness.start(machine(Ask=task(ASK)))
    await harness.reached("Ask")
    await harness.written(started, 2)  # the token, and that it was handed out
    await harness.crash()
    async with Engine(harness.repository, clock=SystemClock(), recovery=False) as operator:
        await operator.send_task_success(tokens[0], "meanwhile")
    await harness.open()
    assert (await harness.ended(started.id)).output == "meanwhile"
    assert harness.calls["Ask"] == 1


@pytest.mark.parametrize("answered", [0, 1])
async def test_a_handler_that_a_crash_cut_short_is_called_again_and_both_tokens_hold(
    harness: EngineHarness, answered: int
) -> None:
    tokens: list[str] = []

    async def ask(_: Any, context: TaskContext) -> None:
        tokens.append(context.task_token or "")
        harness.calls["Ask"] += 1
        if len(tokens) == 1:
            await asyncio.sleep(3600)

    harness.tasks.add("Ask", ask)
    started = await harness.start(machine(Ask=task(ASK)))
    await harness.reached("Ask")
    await harness.reopen()
    await harness.reached("Ask", 2)
    await harness.engine.send_task_success(tokens[answered], answered)
    assert (await harness.ended(started.id)).output == answered
    with pytest.raises(TaskTimedOut):
        await harness.engine.send_task_success(tokens[1 - answered], "the other")


async def test_an_at_most_once_handler_is_not_called_again_with_another_token(harness: EngineHarness) -> None:
    async def ask(_: Any) -> None:
        harness.calls["Ask"] += 1
        await asyncio.sleep(3600)

    harness.tasks.add("Ask", ask, delivery="at_most_once")
    started = await harness.start(machine(Ask=task(ASK)))
    await harness.reached("Ask")
    await harness.reopen()
    ended = await harness.ended(started.id)
    assert (ended.error, harness.calls["Ask"]) == ("States.TaskFailed", 1)


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once"])
@pytest.mark.parametrize("meanwhile", [True, False], ids=["while no engine runs", "before the crash"])
async def test_an_answer_that_was_accepted_counts_though_a_crash_cut_the_handler_short(
    harness: EngineHarness, delivery: str, *, meanwhile: bool
) -> None:
    tokens: list[str] = []

    async def ask(_: Any, context: TaskContext) -> None:
        tokens.append(context.task_token or "")
        if not meanwhile:
            await harness.engine.send_task_success(tokens[0], "accepted")
        harness.calls["Ask"] += 1
        if not harness.crashes:
            await asyncio.sleep(3600)

    harness.tasks.add("Ask", ask, delivery=delivery)
    started = await harness.start(machine(Ask=task(ASK)))
    await harness.reached("Ask")
    await harness.crash()
    if meanwhile:
        async with Engine(harness.repository, clock=SystemClock(), recovery=False) as operator:
            await operator.send_task_success(tokens[0], "accepted")
    await harness.open()
    ended = await harness.ended(started.id)
    assert (ended.status, ended.output) == ("SUCCEEDED", "accepted")
    assert harness.calls["Ask"] == 1
    history = await harness.history(ended)
    assert types(history)[2:6] == [
        "TaskScheduled",
        "TaskStarted",
        "TaskSubmitted",
        "TaskSucceeded",
    ]
    assert history[4]["taskSubmittedEventDetails"]["output"] == "null"  # what the handler returned is not known


async def test_nobody_can_answer_a_task_that_a_sibling_cut_short(harness: EngineHarness) -> None:
    tokens = asking(harness)
    bad = machine(Paint=task(ACTIVITY))
    fork = {"Type": "Parallel", "Branches": [machine(Ask=task(ASK)), bad]}
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "After"}]
    started = await harness.start(
        machine(Fork={**fork, "Catch": catch}, After=task(ACTIVITY.replace("paint", "after")))
    )
    await harness.reached("Ask")
    taken = await harness.engine.get_activity_task("paint")
    assert taken is not None
    await harness.engine.send_task_failure(taken.token, "No")
    after = await harness.engine.get_activity_task("after")
    assert after is not None
    with pytest.raises(TaskTimedOut):
        await harness.engine.send_task_success(tokens[0], "too late")
    await harness.engine.send_task_success(after.token, "done")
    assert (await started.wait()).output == "done"


async def test_either_the_answer_wins_or_the_timeout_never_both(harness: EngineHarness) -> None:
    tokens = asking(harness)
    count = 60
    created = await harness.engine.create_state_machine("racing", machine(Ask=task(ASK, TimeoutSeconds=1)))
    handles = [await created.start_execution(n) for n in range(count)]
    await harness.reached("Ask", count)

    async def answer(token: str) -> bool:
        try:
            await harness.engine.send_task_success(token, "answered")
        except TaskTimedOut:
            return False
        return True

    moment = harness.clock.now() + timedelta(seconds=1)
    await harness.clock.sleep_until(moment)
    accepted = sum(await asyncio.gather(*(answer(token) for token in tokens)))
    ends = [await handle.wait() for handle in handles]
    assert sum(end.output == "answered" for end in ends) == accepted
    assert sum(end.error == "States.Timeout" for end in ends) == count - accepted


async def test_a_handler_that_was_given_a_token_is_cut_off_at_the_deadline(quick: EngineHarness) -> None:
    async def hang(_: Any) -> None:
        await asyncio.Event().wait()

    quick.tasks.add("Ask", hang)
    began = quick.clock.now()
    async with asyncio.timeout(60):
        ended = await quick.run(machine(Ask=task(ASK, TimeoutSeconds=30)))
    assert (ended.error, ended.end_time) == ("States.Timeout", began + timedelta(seconds=30))
    assert types(await quick.history(ended))[2:5] == ["TaskScheduled", "TaskStarted", "TaskTimedOut"]


# Activities


async def test_a_worker_takes_an_activitys_task_and_answers(harness: EngineHarness) -> None:
    started = await harness.start(machine(Paint=task(ACTIVITY)), {"wall": "north"})
    taken = await harness.engine.get_activity_task("paint")
    assert taken is not None
    assert taken.input == {"wall": "north"}
    assert taken.token not in repr(taken)
    await harness.engine.send_task_success(taken.token, {"painted": True})
    assert (await started.wait()).output == {"painted": True}
    assert types(await harness.history(started)) == [
        "ExecutionStarted",
        "TaskStateEntered",
        "ActivityScheduled",
        "ActivityStarted",
        "ActivitySucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]


async def test_no_task_for_an_activity_is_none_after_some_patience(quick: EngineHarness) -> None:
    assert await quick.engine.get_activity_task(ACTIVITY, patience=0.01) is None


async def test_a_worker_that_waits_is_given_the_task_when_it_comes(quick: EngineHarness) -> None:
    waiting = asyncio.ensure_future(quick.engine.get_activity_task(ACTIVITY, patience=10))
    await asyncio.sleep(0.01)
    started = await quick.start(machine(Paint=task(ACTIVITY)), 7)
    taken = await waiting
    assert taken is not None
    await quick.engine.send_task_success(taken.token, taken.input)
    assert (await started.wait()).output == 7


async def test_an_activitys_heartbeats_count_from_when_it_is_taken(quick: EngineHarness) -> None:
    began = quick.clock.now()
    started = await quick.start(machine(Paint=task(ACTIVITY, TimeoutSeconds=5000, HeartbeatSeconds=20)))
    taken = await quick.engine.get_activity_task("paint")
    assert taken is not None
    at = quick.clock.now()
    ended = await started.wait()
    assert ended.error == "States.Timeout"
    assert (quick.clock.now() - at).total_seconds() == pytest.approx(20, abs=1)
    assert at - began < timedelta(seconds=1)


async def test_a_handler_under_the_activitys_name_serves_it_in_this_process(quick: EngineHarness) -> None:
    async def paint(value: Any) -> Any:
        return {"painted": value}

    quick.tasks.add("paint", paint)
    assert (await quick.run(machine(Paint=task(ACTIVITY)), "north")).output == {"painted": "north"}


async def test_an_activitys_task_survives_a_crash_of_the_engine(harness: EngineHarness) -> None:
    started = await harness.start(machine(Paint=task(ACTIVITY)), 1)
    taken = await harness.engine.get_activity_task("paint")
    assert taken is not None
    await harness.reopen()
    assert await harness.engine.get_activity_task("paint", patience=0) is None
    await harness.engine.send_task_success(taken.token, 2)
    assert (await harness.ended(started.id)).output == 2


@pytest.mark.parametrize("resource", [ASK, ACTIVITY], ids=["a task token", "an activity"])
async def test_an_answer_that_is_not_there_in_time_is_no_missed_heartbeat(quick: EngineHarness, resource: str) -> None:
    asking(quick)
    catch = [{"ErrorEquals": ["States.HeartbeatTimeout"], "Next": "Missed"}]
    waits = task(resource, TimeoutSeconds=30, Catch=catch, End=True)
    began = quick.clock.now()
    async with asyncio.timeout(60):
        ended = await quick.run(machine(Waits=waits, Missed={"Type": "Pass"}))
    assert (ended.status, ended.error) == ("FAILED", "States.Timeout")
    assert ended.end_time == began + timedelta(seconds=30)
