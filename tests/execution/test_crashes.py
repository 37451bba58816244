"""An engine that is struck down at every kind of wait: the next one ends the execution as if nothing had been."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statechain import TaskContext, TaskError
from statechain.limits import Limits
from statechain.storage.repository import Advance
from support.engine_harness import EngineHarness, machine, task, types

NEVER = 10_000_000.0


def stubborn(harness: EngineHarness, name: str, *, crashes: int = 1) -> None:
    """Register a handler that never returns while the first engines live."""

    async def handler(value: Any) -> Any:
        harness.calls[name] += 1
        if harness.calls[name] <= crashes:
            await asyncio.sleep(3600)
        return {"by": name, "of": value}

    harness.tasks.add(name, handler)


def counting(harness: EngineHarness, name: str) -> None:
    async def handler(value: Any) -> Any:
        harness.calls[name] += 1
        return {"by": name, "of": value}

    harness.tasks.add(name, handler)


async def test_a_task_that_was_under_way_runs_again_and_what_was_done_does_not(harness: EngineHarness) -> None:
    counting(harness, "First")
    stubborn(harness, "Second")
    counting(harness, "Third")
    started = await harness.start(
        machine(A=task("First", Next="B"), B=task("Second", Next="C"), C=task("Third")), {"n": 1}
    )
    await harness.reached("Second")
    await harness.reopen()
    ended = await harness.ended(started.id)
    assert ended.output == {"by": "Third", "of": {"by": "Second", "of": {"by": "First", "of": {"n": 1}}}}
    assert harness.calls == {"First": 1, "Second": 2, "Third": 1}
    history = await harness.history(started)
    assert types(history) == [
        "ExecutionStarted",
        *(3 * ["TaskStateEntered", "TaskScheduled", "TaskStarted", "TaskSucceeded", "TaskStateExited"]),
        "ExecutionSucceeded",
    ]
    assert [event["id"] for event in history] == list(range(1, len(history) + 1))


async def test_a_wait_ends_when_it_would_have(harness: EngineHarness) -> None:
    counting(harness, "Before")
    stubborn(harness, "Blocked")
    began = harness.clock.now()
    started = await harness.start(
        machine(
            Fork={
                "Type": "Parallel",
                "Branches": [
                    machine(Pause={"Type": "Wait", "Seconds": 100}),
                    machine(Stuck=task("Blocked")),
                ],
            }
        )
    )
    await harness.reached("Blocked")
    await harness.reopen()
    ended = await harness.ended(started.id)
    assert ended.status == "SUCCEEDED"
    assert ended.end_time is not None
    assert (ended.end_time - began).total_seconds() == pytest.approx(100, abs=1)


async def test_attempts_and_the_end_of_a_retry_delay_carry_over(harness: EngineHarness) -> None:
    async def failing(_: Any) -> None:
        harness.calls["Failing"] += 1
        raise TaskError("E", cause=f"call {harness.calls['Failing']}")

    harness.tasks.add("Failing", failing)
    stubborn(harness, "Blocked")
    began = harness.clock.now()
    started = await harness.start(
        machine(
            Fork={
                "Type": "Parallel",
                "Branches": [
                    machine(
                        Try=task(
                            "Failing",
                            Retry=[{"ErrorEquals": ["E"], "IntervalSeconds": 60, "MaxAttempts": 2, "BackoffRate": 1}],
                        )
                    ),
                    machine(Stuck=task("Blocked")),
                ],
            }
        )
    )
    await harness.reached("Blocked")
    await harness.reached("Failing")
    await harness.written(started, 2)  # the Parallel, and the delay
    await harness.reopen()
    ended = await harness.ended(started.id)
    assert (ended.status, ended.error, ended.cause) == ("FAILED", "E", "call 3")
    assert ended.end_time is not None
    assert (ended.end_time - began).total_seconds() == pytest.approx(120, abs=1)


async def test_branches_that_had_ended_do_not_run_again(harness: EngineHarness) -> None:
    counting(harness, "Quick")
    stubborn(harness, "Slow")
    started = await harness.start(
        machine(
            Fork={
                "Type": "Parallel",
                "Branches": [
                    machine(One=task("Quick", Next="Two"), Two=task("Quick")),
                    machine(Three=task("Quick", Next="Four"), Four=task("Slow")),
                ],
            }
        ),
        0,
    )
    await harness.reached("Slow")
    await harness.written(started, 4)  # the Parallel, and the three visits that were left
    await harness.reopen()
    ended = await harness.ended(started.id)
    quick = {"by": "Quick", "of": 0}
    assert ended.output == [{"by": "Quick", "of": quick}, {"by": "Slow", "of": quick}]
    assert harness.calls == {"Quick": 3, "Slow": 2}


async def test_a_branch_that_had_failed_decides_before_another_runs_on(harness: EngineHarness) -> None:
    released = asyncio.Event()
    held, gate = asyncio.Event(), asyncio.Event()

    async def slow(_value: Any) -> None:
        harness.calls["Slow"] += 1
        try:
            await asyncio.Event().wait()
        finally:
            await released.wait()

    async def first(_value: Any) -> None:
        nonlocal held, gate
        held, gate = harness.hold(lambda write: isinstance(write, Advance))
        harness.calls["First"] += 1

    async def second(_value: Any) -> None:
        await harness.reached("First")
        await held.wait()
        harness.calls["Second"] += 1

    async def failing(_value: Any) -> None:
        await harness.reached("Second")
        harness.calls["Failing"] += 1
        raise TaskError("Refused", "")

    for name, handler in {"Slow": slow, "First": first, "Second": second, "Failing": failing}.items():
        harness.tasks.add(name, handler)
    names = ("Slow", "First", "Second", "Failing")
    both = {"Type": "Parallel", "Branches": [machine(**{name: task(name)}) for name in names]}
    started = await harness.start(machine(Both=both))
    await harness.reached("Failing")
    for _ in range(20):
        await asyncio.sleep(0)
    gate.set()  # what is written next has the failure of one branch beside the end of another
    async with asyncio.timeout(60):
        while all(  # noqa: ASYNC110 -- storage has no event
            visit.error is None for visit in await harness.repository.visits(started.id)
        ):
            await asyncio.sleep(0.001)
    crashing = asyncio.create_task(harness.reopen())
    await asyncio.sleep(0)
    released.set()
    await crashing
    ended = await harness.ended(started.id)
    assert (ended.status, ended.error) == ("FAILED", "Refused")
    assert harness.calls["Slow"] == 1


async def test_iterations_of_nested_maps_go_on_where_they_stood(harness: EngineHarness) -> None:
    async def work(value: Any, context: TaskContext) -> Any:
        harness.calls[str(value)] += 1
        if value == 5 and harness.calls["5"] == 1:
            await asyncio.sleep(3600)
        return value * 10

    harness.tasks.add("Work", work)
    inner = {"Type": "Map", "MaxConcurrency": 1, "ItemProcessor": machine(Do=task("Work"))}
    outer = {"Type": "Map", "MaxConcurrency": 1, "ItemProcessor": machine(Inner=inner)}
    started = await harness.start(machine(Outer=outer), [[1, 2], [3], [4, 5, 6], [7]])
    await harness.reached("5")
    await harness.reopen()
    ended = await harness.ended(started.id)
    assert ended.output == [[10, 20], [30], [40, 50, 60], [70]]
    assert harness.calls == {"1": 1, "2": 1, "3": 1, "4": 1, "5": 2, "6": 1, "7": 1}
    told = types(await harness.history(started))
    assert told.count("MapIterationStarted") == told.count("MapIterationSucceeded") == 4 + 7
    assert told.count("MapStateStarted") == 1 + 4


@pytest.mark.parametrize("mode", ["INLINE", "DISTRIBUTED"])
async def test_a_map_in_a_loop_is_not_taken_for_its_earlier_rounds(harness: EngineHarness, mode: str) -> None:
    async def add(value: Any) -> Any:
        harness.calls["Add"] += 1
        if harness.calls["Add"] == 8:
            await asyncio.sleep(3600)
        return value + 1

    harness.tasks.add("Add", add)
    processor = {"ProcessorConfig": {"Mode": mode, "ExecutionType": "STANDARD"}} if mode == "DISTRIBUTED" else {}
    processor |= machine(A=task("Add", Next="B"), B={"Type": "Pass", "Next": "C"}, C={"Type": "Pass"})
    started = await harness.start(
        machine(
            Each={"Type": "Map", "MaxConcurrency": 1, "ItemProcessor": processor, "Next": "Enough"},
            Enough={
                "Type": "Choice",
                "Choices": [{"Variable": "$[0]", "NumericLessThan": 4, "Next": "Each"}],
                "Default": "Done",
            },
            Done={"Type": "Succeed"},
        ),
        [0, 10],
    )
    await harness.reached("Add", 8)
    await harness.reopen()
    ended = await harness.ended(started.id)
    assert ended.output == [4, 14]
    assert harness.calls["Add"] == 9


async def test_variables_carry_over(harness: EngineHarness) -> None:
    stubborn(harness, "Blocked")
    definition = {
        "QueryLanguage": "JSONata",
        **machine(
            Set={"Type": "Pass", "Assign": {"kept": "{% $states.input.n + 1 %}"}, "Next": "Stuck"},
            Stuck=task("Blocked", Next="Tell"),
            Tell={"Type": "Pass", "Output": "{% $kept %}"},
        ),
    }
    started = await harness.start(definition, {"n": 41})
    await harness.reached("Blocked")
    await harness.reopen()
    assert (await harness.ended(started.id)).output == 42


async def test_a_variable_of_any_length_carries_over(harness: EngineHarness) -> None:
    stubborn(harness, "Blocked")
    definition = {
        "QueryLanguage": "JSONata",
        **machine(
            Short={"Type": "Pass", "Assign": {"short": "{% $states.input.text %}", "kept": 1}, "Next": "Long"},
            Long={"Type": "Pass", "Assign": {"long": "{% $pad('', 3000, $short) %}"}, "Next": "Stuck"},
            Stuck=task("Blocked", Next="Tell"),
            Tell={"Type": "Pass", "Output": "{% [$short, $long, $kept] %}"},
        ),
    }
    started = await harness.start(definition, {"text": "x"})
    await harness.reached("Blocked")
    await harness.reopen()
    assert (await harness.ended(started.id)).output == ["x", "x" * 3000, 1]


async def test_the_machines_timeout_counts_from_its_start(harness: EngineHarness) -> None:
    began = harness.clock.now()
    stubborn(harness, "Blocked", crashes=1)
    states = machine(Stuck=task("Blocked", Next="Long"), Long={"Type": "Wait", "Seconds": 90})
    definition = {"TimeoutSeconds": 50, **states}
    started = await harness.start(definition)
    await harness.reached("Blocked")
    await harness.reopen()
    ended = await harness.ended(started.id)
    assert (ended.status, ended.error) == ("TIMED_OUT", None)
    assert ended.end_time is not None
    assert (ended.end_time - began).total_seconds() == pytest.approx(50, abs=1)
    assert types(await harness.history(started))[-2:] == ["WaitStateEntered", "ExecutionTimedOut"]


async def test_an_at_most_once_attempt_is_not_repeated(harness: EngineHarness) -> None:
    async def charge(_: Any) -> None:
        harness.calls["Charge"] += 1
        await asyncio.sleep(3600)

    harness.tasks.add("Charge", charge, delivery="at_most_once")
    started = await harness.start(machine(Pay=task("Charge")))
    await harness.reached("Charge")
    await harness.reopen()
    ended = await harness.ended(started.id)
    assert (ended.status, ended.error) == ("FAILED", "States.TaskFailed")
    assert "at_most_once" in (ended.cause or "")
    assert types(await harness.history(started))[2:] == [
        "TaskScheduled",
        "TaskStarted",
        "TaskFailed",
        "ExecutionFailed",
    ]
    assert harness.calls["Charge"] == 1


async def test_a_retrier_repeats_an_at_most_once_attempt_that_was_interrupted(harness: EngineHarness) -> None:
    async def work(value: Any) -> Any:
        harness.calls["Work"] += 1
        if harness.calls["Work"] == 1:
            await asyncio.sleep(3600)
        return value

    harness.tasks.add("Work", work, delivery="at_most_once")
    retry = [{"ErrorEquals": ["States.TaskFailed"], "MaxAttempts": 1}]
    started = await harness.start(machine(Work=task("Work", Retry=retry)), 7)
    await harness.reached("Work")
    await harness.reopen()
    ended = await harness.ended(started.id)
    assert (ended.status, ended.output, harness.calls["Work"]) == ("SUCCEEDED", 7, 2)
    assert types(await harness.history(ended))[2:-2] == [
        "TaskScheduled",
        "TaskStarted",
        "TaskFailed",
        "TaskScheduled",
        "TaskStarted",
        "TaskSucceeded",
    ]


async def test_the_idempotency_key_is_the_same_for_every_run_of_a_visit(harness: EngineHarness) -> None:
    keys: list[tuple[str, int, str]] = []

    async def note(_: Any, context: TaskContext) -> None:
        keys.append((context.state_name, context.attempt, context.idempotency_key))
        harness.calls["Note"] += 1
        if harness.calls["Note"] == 1:
            raise TaskError("Again")
        if harness.calls["Note"] == 2:
            await asyncio.sleep(3600)

    harness.tasks.add("Note", note)
    retry = [{"ErrorEquals": ["Again"], "IntervalSeconds": 1}]
    started = await harness.start(machine(A=task("Note", Retry=retry, Next="B"), B=task("Note")))
    await harness.reached("Note", 2)
    await harness.reopen()
    assert (await harness.ended(started.id)).status == "SUCCEEDED"
    assert [(name, attempt) for name, attempt, _ in keys] == [("A", 1), ("A", 2), ("A", 2), ("B", 1)]
    assert len({key for _, _, key in keys[:3]}) == 1
    assert keys[3][2] != keys[0][2]


async def test_an_express_execution_begins_anew(harness: EngineHarness) -> None:
    counting(harness, "First")
    stubborn(harness, "Second")
    started = await harness.start(machine(A=task("First", Next="B"), B=task("Second")), 1, type="EXPRESS")
    await harness.reached("Second")
    await harness.reopen()
    ended = await harness.ended(started.id)
    assert ended.output == {"by": "Second", "of": {"by": "First", "of": 1}}
    assert harness.calls == {"First": 2, "Second": 2}


async def test_a_stop_while_a_handler_runs_leaves_it_in_the_history(harness: EngineHarness) -> None:
    stubborn(harness, "Blocked")
    started = await harness.start(machine(Stuck=task("Blocked")))
    await harness.reached("Blocked")
    ended = await started.stop("Enough", "said the operator")
    assert (ended.status, ended.error, ended.cause) == ("ABORTED", "Enough", "said the operator")
    assert types(await harness.history(started)) == [
        "ExecutionStarted",
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "ExecutionAborted",
    ]


@pytest.mark.parametrize("stopped", [False, True], ids=["by itself", "by a stop"])
async def test_an_end_that_is_being_recorded_when_the_engine_closes_stands(
    harness: EngineHarness, *, stopped: bool
) -> None:
    """Waiters learn the real end, and no worker takes up an execution that has ended."""
    begun = asyncio.Event()

    async def work(_: Any) -> str:
        harness.calls["Work"] += 1
        begun.set()
        return await (asyncio.Event().wait() if stopped else asyncio.sleep(0, "done"))  # type: ignore[return-value]

    harness.tasks.add("Work", work)
    held, released = harness.hold(lambda write: isinstance(write, Advance) and write.end is not None)
    started = await harness.start(machine(Work=task("Work")))
    waiting = asyncio.ensure_future(started.wait())
    await begun.wait()
    stopping = asyncio.ensure_future(started.stop(error="Enough") if stopped else asyncio.sleep(0))
    await held.wait()
    closing = asyncio.ensure_future(harness.close())
    await asyncio.sleep(0)
    released.set()
    await closing
    await stopping
    told = await waiting
    assert (told.status, told.error, told.output) == (
        ("ABORTED", "Enough", None) if stopped else ("SUCCEEDED", None, "done")
    )
    await harness.open()
    assert await harness.engine.recover() == []
    assert await harness.ended(started.id) == told
    ends = [type_ for type_ in types(await harness.history(told)) if type_.startswith("Execution")]
    assert ends == ["ExecutionStarted", "ExecutionAborted" if stopped else "ExecutionSucceeded"]
    assert harness.calls["Work"] == 1


async def test_many_retries_are_written_in_rows_that_do_not_grow(harness: EngineHarness) -> None:
    async def failing(_: Any) -> None:
        harness.calls["Failing"] += 1
        raise TaskError("E")

    harness.tasks.add("Failing", failing)
    retry = [{"ErrorEquals": ["E"], "IntervalSeconds": 1, "BackoffRate": 1, "MaxAttempts": 100}]
    started = await harness.start(machine(Try=task("Failing", Retry=retry)))
    await harness.reached("Failing", 50)
    await harness.reopen()
    ended = await harness.ended(started.id)
    told = types(await harness.history(ended))
    assert harness.calls["Failing"] in {101, 102}
    assert told.count("TaskFailed") == told.count("TaskScheduled") == 101
    rows = await harness.repository.visits(started.id)
    assert max(len(row.detail or "") for row in rows) < 500


async def test_retries_end_with_the_history(quick: EngineHarness) -> None:
    async def failing(_: Any) -> None:
        raise TaskError("E")

    await quick.close()
    await quick.open(limits=Limits(history_events=100))
    quick.tasks.add("Failing", failing)
    retry = [{"ErrorEquals": ["E"], "IntervalSeconds": 1, "BackoffRate": 1, "MaxAttempts": 1000}]
    ended = await quick.run(machine(Try=task("Failing", Retry=retry)))
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert len(await quick.history(ended)) < 110
