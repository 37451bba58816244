"""Retry, Catch, timeouts and ends, and what the history shows of branches that a failure cuts short."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from statechain import ExecutionFailed, TaskError
from support.engine_harness import EngineHarness, machine, task, types


def failing(harness: EngineHarness, *errors: str | None) -> list[float]:
    """Register a handler that fails so, one call after the other; return when it was called, in seconds."""
    left = list(errors)
    began = harness.clock.now()
    at: list[float] = []

    async def work(value: Any) -> Any:
        at.append((harness.clock.now() - began).total_seconds())
        error = left.pop(0) if left else None
        if error is not None:
            raise TaskError(error, cause=f"call {len(at)}")
        return {"done": value}

    harness.tasks.add("Work", work)
    return at


@pytest.mark.parametrize(
    ("retrier", "at"),
    [
        ({}, [0, 1, 3, 7]),
        ({"IntervalSeconds": 2, "BackoffRate": 1}, [0, 2, 4, 6]),
        ({"IntervalSeconds": 2, "BackoffRate": 3, "MaxAttempts": 2}, [0, 2, 8]),
        ({"IntervalSeconds": 10, "BackoffRate": 10, "MaxDelaySeconds": 25}, [0, 10, 35, 60]),
        ({"MaxAttempts": 0}, [0]),
        ({"MaxAttempts": 1}, [0, 1]),
    ],
)
async def test_retries_wait_longer_and_longer(quick: EngineHarness, retrier: dict[str, Any], at: list[float]) -> None:
    called = failing(quick, *["E"] * 9)
    ended = await quick.run(machine(Work=task("Work", Retry=[{"ErrorEquals": ["E"], **retrier}])))
    assert called == pytest.approx(at, abs=0.1)
    assert (ended.error, ended.cause) == ("E", f"call {len(at)}")


async def test_full_jitter_waits_less_than_the_delay_and_repeats_itself(quick: EngineHarness) -> None:
    called = failing(quick, *["E"] * 3)
    retrier = {"ErrorEquals": ["E"], "IntervalSeconds": 100, "BackoffRate": 1, "JitterStrategy": "FULL"}
    await quick.run(machine(Work=task("Work", Retry=[retrier])))
    delays = [after - before for before, after in pairwise(called)]
    assert len(delays) == 3
    assert all(0 <= delay <= 100 for delay in delays)
    assert len({round(delay, 3) for delay in delays}) == 3


async def test_a_state_below_one_whose_name_is_no_unicode_text_is_retried(quick: EngineHarness) -> None:
    called = failing(quick, "E")
    branch = machine(Work=task("Work", Retry=[{"ErrorEquals": ["E"]}]))
    ended = await quick.run(machine(**{"\ud800": {"Type": "Parallel", "Branches": [branch]}}), 1)
    assert (ended.output, len(called)) == ([{"done": 1}], 2)


async def test_each_retrier_counts_for_itself(quick: EngineHarness) -> None:
    called = failing(quick, "A", "B", "A", "B", "B")
    retry = [
        {"ErrorEquals": ["A"], "MaxAttempts": 2, "IntervalSeconds": 1, "BackoffRate": 1},
        {"ErrorEquals": ["States.ALL"], "MaxAttempts": 2, "IntervalSeconds": 1, "BackoffRate": 1},
    ]
    ended = await quick.run(machine(Work=task("Work", Retry=retry)))
    assert len(called) == 5
    assert (ended.error, ended.cause) == ("B", "call 5")


@pytest.mark.parametrize(
    ("names", "error", "is_caught"),
    [
        (["E"], "E", True),
        (["F"], "E", False),
        (["States.ALL"], "E", True),
        (["States.TaskFailed"], "E", True),
        (["States.ALL"], "States.DataLimitExceeded", True),
        (["States.ALL"], "States.Runtime", False),
        (["States.Runtime"], "States.Runtime", False),
        (["States.TaskFailed"], "States.Timeout", False),
        (["States.Timeout"], "States.HeartbeatTimeout", True),
        (["States.HeartbeatTimeout"], "States.Timeout", False),
    ],
)
async def test_a_catcher_answers_the_errors_that_its_names_mean(
    quick: EngineHarness, names: list[str], error: str, *, is_caught: bool
) -> None:
    failing(quick, error)
    catch = [{"ErrorEquals": names, "ResultPath": "$.error", "Next": "Caught"}]
    ended = await quick.run(machine(Work=task("Work", Catch=catch), Caught={"Type": "Pass"}), {"n": 1})
    if is_caught:
        assert ended.output == {"n": 1, "error": {"Error": error, "Cause": "call 1"}}
    else:
        assert (ended.status, ended.error) == ("FAILED", error)


async def test_retries_come_before_catchers(quick: EngineHarness) -> None:
    called = failing(quick, "E", "E", "E")
    definition = machine(
        Work=task(
            "Work",
            Retry=[{"ErrorEquals": ["E"], "MaxAttempts": 1}],
            Catch=[{"ErrorEquals": ["E"], "Next": "Caught"}],
        ),
        Caught={"Type": "Pass"},
    )
    ended = await quick.run(definition)
    assert len(called) == 2
    assert ended.output == {"Error": "E", "Cause": "call 2"}
    assert types(await quick.history(ended)) == [
        "ExecutionStarted",
        "TaskStateEntered",
        *(2 * ["TaskScheduled", "TaskStarted", "TaskFailed"]),
        "TaskStateExited",
        "PassStateEntered",
        "PassStateExited",
        "ExecutionSucceeded",
    ]


async def test_a_timeout_is_each_attempts_own(quick: EngineHarness) -> None:
    began = quick.clock.now()

    async def hang(_: Any) -> None:
        await asyncio.sleep(3600)

    quick.tasks.add("Hang", hang)
    retry = [{"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 5, "MaxAttempts": 1}]
    ended = await quick.run(machine(Hang=task("Hang", TimeoutSecondsPath="$.limit", Retry=retry)), {"limit": 20})
    assert ended.error == "States.Timeout"
    assert (quick.clock.now() - began).total_seconds() == pytest.approx(45, abs=1)
    assert types(await quick.history(ended)).count("TaskTimedOut") == 2


async def test_a_fail_state_fails_the_execution(quick: EngineHarness) -> None:
    definition = machine(No={"Type": "Fail", "Error": "No", "Cause": "never"})
    created = await quick.engine.create_state_machine("fails", definition)
    with pytest.raises(ExecutionFailed) as raised:
        await created.execute({})
    assert (raised.value.error, raised.value.cause) == ("No", "never")
    ended = await quick.run(machine(No={"Type": "Fail"}))
    assert (ended.status, ended.error, ended.cause) == ("FAILED", None, None)


async def test_cancelling_an_execute_aborts_the_execution(harness: EngineHarness) -> None:
    async def hang(_: Any) -> None:
        harness.calls["Hang"] += 1
        await asyncio.sleep(3600)

    harness.tasks.add("Hang", hang)
    created = await harness.engine.create_state_machine("long", machine(Hang=task("Hang")))
    waiting = asyncio.ensure_future(created.execute(None, name="one"))
    await harness.reached("Hang")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    (execution,) = await harness.engine.list_executions()
    assert execution.status == "ABORTED"


async def test_the_machines_timeout_ends_it_and_its_handler(quick: EngineHarness) -> None:
    ends: list[str] = []

    async def hang(_: Any) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ends.append("cancelled")

    quick.tasks.add("Hang", hang)
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
    definition = {"TimeoutSeconds": 30, **machine(Hang=task("Hang", Catch=catch), Caught={"Type": "Pass"})}
    ended = await quick.run(definition)
    assert (ended.status, ended.error) == ("TIMED_OUT", None)
    assert ends == ["cancelled"]
    assert types(await quick.history(ended))[-1] == "ExecutionTimedOut"


# What a failure cuts short


def parallel(*branches: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"Type": "Parallel", "Branches": list(branches), **more}


async def test_a_failing_branch_cancels_its_siblings(quick: EngineHarness) -> None:
    ends: list[str] = []

    async def hang(_: Any) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    quick.tasks.add("Hang", hang)
    slow = machine(Wait={"Type": "Wait", "Seconds": 500})
    stuck = machine(Hang=task("Hang"))
    bad = machine(Pause={"Type": "Wait", "Seconds": 1, "Next": "No"}, No={"Type": "Fail", "Error": "No"})
    ended = await quick.run(machine(Fork=parallel(slow, stuck, bad)))
    assert (ended.status, ended.error) == ("FAILED", "No")
    assert ends == ["cancelled"]
    history = await quick.history(ended)
    told = types(history)
    failure = told.index("FailStateEntered")
    assert told[failure + 1 :] == ["WaitStateAborted", "TaskStateAborted", "ParallelStateFailed", "ExecutionFailed"]
    assert [event["previousEventId"] for event in history[failure + 1 :]] == [failure + 1] * 3 + [len(told) - 1]


async def test_the_failing_task_of_a_branch_is_told_as_aborted(quick: EngineHarness) -> None:
    failing(quick, "E")
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Handled"}]
    ended = await quick.run(machine(Fork=parallel(machine(Work=task("Work")), Catch=catch), Handled={"Type": "Pass"}))
    history = await quick.history(ended)
    assert types(history) == [
        "ExecutionStarted",
        "ParallelStateEntered",
        "ParallelStateStarted",
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "TaskFailed",
        "TaskStateAborted",
        "ParallelStateFailed",
        "ParallelStateExited",
        "PassStateEntered",
        "PassStateExited",
        "ExecutionSucceeded",
    ]
    assert [event["previousEventId"] for event in history] == [0, 0, 2, 3, 4, 5, 6, 7, 7, 9, 10, 11, 12]


async def test_a_failing_iteration_tells_of_those_that_it_cut(quick: EngineHarness) -> None:
    bad = {"Variable": "$", "StringEquals": "bad", "Next": "Pause"}
    route = {"Type": "Choice", "Default": "Long", "Choices": [bad]}
    processor = machine(
        Route=route,
        Long={"Type": "Wait", "Seconds": 15},
        Pause={"Type": "Wait", "Seconds": 1, "Next": "Boom"},
        Boom={"Type": "Fail", "Error": "Boom"},
    )
    ended = await quick.run(machine(Each={"Type": "Map", "ItemProcessor": processor}), ["long", "bad"])
    history = await quick.history(ended)
    told = types(history)
    failure = told.index("FailStateEntered")
    assert told[failure + 1 :] == [
        "MapIterationAborted",
        "WaitStateAborted",
        "MapIterationFailed",
        "MapStateFailed",
        "ExecutionFailed",
    ]
    assert [event["previousEventId"] for event in history[failure + 1 : -1]] == [failure + 1] * 4
    assert history[failure + 1]["mapIterationAbortedEventDetails"] == {"name": "Each", "index": 0}
    assert history[failure + 3]["mapIterationFailedEventDetails"] == {"name": "Each", "index": 1}


async def test_a_runtime_fault_in_a_branch_ends_the_execution_without_a_word(quick: EngineHarness) -> None:
    bad = machine(Bad={"Type": "Pass", "Parameters": {"m.$": "$.nope"}})
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
    ended = await quick.run(machine(Fork=parallel(bad, Catch=catch), Caught={"Type": "Pass"}), {"x": "a"})
    assert ended.error == "States.Runtime"
    assert types(await quick.history(ended)) == [
        "ExecutionStarted",
        "ParallelStateEntered",
        "ParallelStateStarted",
        "PassStateEntered",
        "ExecutionFailed",
    ]


async def test_a_parallel_that_is_retried_begins_all_branches_anew(quick: EngineHarness) -> None:
    called = failing(quick, None, "E", None, None)
    retry = [{"ErrorEquals": ["E"], "IntervalSeconds": 1}]
    both = parallel(machine(A=task("Work")), machine(B=task("Work")), Retry=retry)
    ended = await quick.run(machine(Both=both), 1)
    assert ended.output == [{"done": 1}, {"done": 1}]
    assert len(called) == 4
    assert types(await quick.history(ended)).count("ParallelStateStarted") == 2


async def test_no_task_is_left_when_a_branch_fails(quick: EngineHarness) -> None:
    before = len(asyncio.all_tasks())
    slow = [machine(**{f"Wait{n}": {"Type": "Wait", "Seconds": 500}}) for n in range(3)]
    await quick.run(machine(Fork=parallel(*slow, machine(No={"Type": "Fail"}))))
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before


@pytest.mark.parametrize(
    ("field", "error", "cause"),
    [
        ({"Type": "Wait", "SecondsPath": "$"}, "States.Runtime", "Wait state delay is too long."),
        (task("Work", TimeoutSecondsPath="$"), "States.Runtime", "TimeoutSeconds must be between 1 and 99999999"),
        (task("Work", HeartbeatSecondsPath="$"), "States.Runtime", "HeartbeatSeconds must be between 1 and 99999999"),
    ],
    ids=["a Wait", "a timeout", "a heartbeat"],
)
async def test_a_number_beyond_a_double_is_too_long_a_time(
    quick: EngineHarness, field: dict[str, Any], error: str, cause: str
) -> None:
    failing(quick)
    ended = await quick.run(machine(Only=field), 10**400)
    assert ended.error == error
    assert cause in (ended.cause or "")


@pytest.mark.parametrize("given", [{"Timestamp": "0001-01-01T00:00:00+14:00"}, {"TimestampPath": "$"}])
async def test_a_wait_for_a_moment_before_the_year_1_is_over_at_once(
    quick: EngineHarness, given: dict[str, Any]
) -> None:
    before = quick.clock.now()
    ended = await quick.run(machine(Wait={"Type": "Wait", **given}), "0001-01-01T00:30:00+01:00")
    assert ended.status == "SUCCEEDED"
    assert quick.clock.now() == before
