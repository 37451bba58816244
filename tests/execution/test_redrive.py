"""A redrive goes on from what failed: what succeeded is not run again, and the history shows both."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import pytest

from statechain import StatechainError, TaskError
from support.engine_harness import EngineHarness, engine_harness, machine, task, types

DISTRIBUTED = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}


class Mended:
    """A handler that fails for some inputs until it is fixed."""

    def __init__(self, harness: EngineHarness, *bad: Any) -> None:
        self.bad = set(bad)
        self.waits_for: str | None = None
        self.harness = harness
        harness.tasks.add("Work", self.work)

    async def work(self, value: Any) -> Any:
        self.harness.calls[str(value)] += 1
        if value in self.bad:
            if self.waits_for is not None:
                await self.harness.reached(self.waits_for)
            raise TaskError("Broken", cause=str(value))
        return value


async def test_the_failed_state_runs_again(harness: EngineHarness) -> None:
    mended = Mended(harness, "b")
    definition = machine(
        One={"Type": "Pass", "Result": "a", "Next": "A"},
        A=task("Work", Next="Two"),
        Two={"Type": "Pass", "Result": "b", "Next": "B"},
        B=task("Work", Retry=[{"ErrorEquals": ["Broken"], "MaxAttempts": 1}]),
    )
    failed = await harness.run(definition)
    assert (failed.status, harness.calls) == ("FAILED", {"a": 1, "b": 2})
    mended.bad.clear()
    ended = await (await harness.engine.redrive_execution(failed.id)).wait()
    assert (ended.status, ended.output, ended.redrive_count) == ("SUCCEEDED", "b", 1)
    assert (ended.error, ended.cause) == (None, None)
    assert harness.calls == {"a": 1, "b": 3}
    history = await harness.history(ended)
    told = types(history)
    failure = told.index("ExecutionFailed")
    assert told[failure - 1 :] == [
        "TaskFailed",
        "ExecutionFailed",
        "ExecutionRedriven",
        "TaskScheduled",
        "TaskStarted",
        "TaskSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]
    assert history[failure]["executionFailedEventDetails"] == {"error": "Broken", "cause": "b"}
    assert history[failure + 1]["executionRedrivenEventDetails"] == {"redriveCount": 1}
    assert [event["id"] for event in history] == list(range(1, len(history) + 1))


async def test_retries_count_anew(harness: EngineHarness) -> None:
    Mended(harness, "b")
    retry = [{"ErrorEquals": ["Broken"], "MaxAttempts": 2, "IntervalSeconds": 1}]
    failed = await harness.run(machine(B=task("Work", Retry=retry)), "b")
    await (await harness.engine.redrive_execution(failed.id)).wait()
    assert harness.calls["b"] == 6


@pytest.mark.parametrize("mode", ["INLINE", "DISTRIBUTED"])
async def test_only_failed_iterations_run_again(harness: EngineHarness, mode: str) -> None:
    mended = Mended(harness, 2)
    config = DISTRIBUTED if mode == "DISTRIBUTED" else {"ProcessorConfig": {"Mode": mode}}
    each = {"Type": "Map", "MaxConcurrency": 1, "ItemProcessor": {**config, **machine(Do=task("Work"))}}
    failed = await harness.run(machine(Each=each), [0, 1, 2, 3])
    assert failed.status == "FAILED"
    mended.bad.clear()
    ended = await (await harness.engine.redrive_execution(failed.id)).wait()
    assert ended.output == [0, 1, 2, 3]
    assert harness.calls == {"0": 1, "1": 1, "2": 2, "3": 1}


async def test_only_failed_and_cut_branches_run_again(harness: EngineHarness) -> None:
    mended = Mended(harness, "bad")
    mended.waits_for = "Hang"

    async def hang(value: Any) -> Any:
        harness.calls["Hang"] += 1
        if mended.bad:
            await asyncio.sleep(3600)
        return value

    harness.tasks.add("Hang", hang)
    branches = [
        machine(A={"Type": "Pass", "Result": "good", "Next": "A2"}, A2=task("Work")),
        machine(B={"Type": "Pass", "Result": "bad", "Next": "B2"}, B2=task("Work")),
        machine(C={"Type": "Pass", "Result": "slow", "Next": "C2"}, C2=task("Work", Next="C3"), C3=task("Hang")),
    ]
    failed = await harness.run(machine(Fork={"Type": "Parallel", "Branches": branches}))
    assert failed.status == "FAILED"
    mended.bad.clear()
    ended = await (await harness.engine.redrive_execution(failed.id)).wait()
    assert ended.output == ["good", "bad", "slow"]
    assert harness.calls == {"good": 1, "bad": 2, "slow": 1, "Hang": 2}


async def test_an_aborted_execution_goes_on(harness: EngineHarness) -> None:
    async def hang(value: Any) -> Any:
        harness.calls["Hang"] += 1
        if harness.calls["Hang"] == 1:
            await asyncio.sleep(3600)
        return value

    harness.tasks.add("Hang", hang)
    started = await harness.start(machine(Hang=task("Hang")), "kept")
    await harness.reached("Hang")
    aborted = await started.stop("Stopped", "by hand")
    assert aborted.status == "ABORTED"
    ended = await (await harness.engine.redrive_execution(started.id)).wait()
    assert ended.output == "kept"
    history = await harness.history(ended)
    assert types(history)[1:6] == [
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "ExecutionAborted",
        "ExecutionRedriven",
    ]
    assert history[4]["executionAbortedEventDetails"] == {"error": "Stopped", "cause": "by hand"}


async def test_the_machines_timeout_counts_from_the_redrive(harness: EngineHarness) -> None:
    definition = {"TimeoutSeconds": 10, **machine(Long={"Type": "Wait", "Seconds": 15})}
    failed = await harness.run(definition)
    assert failed.status == "TIMED_OUT"
    ended = await (await harness.engine.redrive_execution(failed.id)).wait()
    assert ended.status == "SUCCEEDED"


async def test_the_machines_timeout_counts_from_the_redrive_after_a_crash_too(harness: EngineHarness) -> None:
    failed = await harness.run({"TimeoutSeconds": 10, **machine(Long={"Type": "Wait", "Seconds": 15})})
    await harness.engine.redrive_execution(failed.id)
    await harness.reopen()
    assert (await harness.ended(failed.id)).status == "SUCCEEDED"


async def test_a_crash_after_a_redrive_does_not_undo_it(harness: EngineHarness) -> None:
    mended = Mended(harness, "b")
    pause = {"Type": "Wait", "Seconds": 5, "Next": "D"}
    failed = await harness.run(machine(B=task("Work", Next="C"), C=pause, D=task("Work")), "b")
    mended.bad.clear()
    await harness.engine.redrive_execution(failed.id)
    await harness.reopen()
    ended = await harness.ended(failed.id)
    assert ended.status == "SUCCEEDED"
    told = types(await harness.history(ended))
    assert told.count("ExecutionFailed") == told.count("ExecutionRedriven") == 1


BROKEN = machine(
    Fork={
        "Type": "Parallel",
        "Branches": [
            machine(
                Each={
                    "Type": "Map",
                    "ItemsPath": "$.items",
                    "MaxConcurrency": 1,
                    "ItemProcessor": machine(Do=task("Work", Next="Rest"), Rest={"Type": "Pass"}),
                }
            ),
            machine(Fine={"Type": "Pass", "Result": "fine", "Next": "Nap"}, Nap={"Type": "Wait", "Seconds": 1}),
        ],
        "Next": "Last",
    },
    Last={"Type": "Pass"},
)


async def redriven(harness: EngineHarness, *, dies_at: int | None) -> tuple[Any, list[str]]:
    """Redrive an execution that failed in the midst of a Map, the engine dying at a commit."""
    mended = Mended(harness, 2)
    failed = await harness.run(BROKEN, {"items": [1, 2, 3]})
    assert failed.status == "FAILED"
    mended.bad.clear()
    if dies_at is not None:
        harness.crash_at_commit(dies_at, keeps_last=True)
    with contextlib.suppress(StatechainError):
        await (await harness.engine.redrive_execution(failed.id)).wait()
    if harness.is_struck:
        await harness.reopen()
    ended = await harness.ended(failed.id)
    return ended.output, types(await harness.history(ended))


async def test_a_redrive_ends_the_same_wherever_it_is_struck_down() -> None:
    async with engine_harness("memory://") as harness:
        whole, told = await redriven(harness, dies_at=None)
        assert whole == [[1, 2, 3], "fine"]
        assert harness.calls == {"1": 1, "2": 2, "3": 1}
    for dies_at in range(1, 20):
        async with engine_harness("memory://") as harness:
            output, history = await redriven(harness, dies_at=dies_at)
            assert output == whole, dies_at
            assert Counter(history) == Counter(told), dies_at
            if not harness.crashes:
                break
    assert dies_at > 3


async def test_the_map_run_is_told_as_redriven(harness: EngineHarness) -> None:
    mended = Mended(harness, 2)
    each = {"Type": "Map", "ItemProcessor": {**DISTRIBUTED, **machine(Do=task("Work"))}}
    failed = await harness.run(machine(Each=each), [1, 2])
    mended.bad.clear()
    ended = await (await harness.engine.redrive_execution(failed.id)).wait()
    history = await harness.history(ended)
    told = types(history)
    assert told[told.index("MapRunFailed") :] == [
        "MapRunFailed",
        "MapStateFailed",
        "ExecutionFailed",
        "ExecutionRedriven",
        "MapRunRedriven",
        "MapRunSucceeded",
        "MapStateSucceeded",
        "MapStateExited",
        "ExecutionSucceeded",
    ]
    details = history[told.index("MapRunRedriven")]["mapRunRedrivenEventDetails"]
    assert details["redriveCount"] == 1
    assert details["mapRunArn"] == history[told.index("MapRunStarted")]["mapRunStartedEventDetails"]["mapRunArn"]


async def test_a_map_run_that_a_stop_cut_short_is_told_as_aborted(harness: EngineHarness) -> None:
    async def hang(_: Any) -> None:
        harness.calls["Hang"] += 1
        await asyncio.sleep(3600)

    harness.tasks.add("Hang", hang)
    each = {"Type": "Map", "ItemProcessor": {**DISTRIBUTED, **machine(Do=task("Hang"))}}
    started = await harness.start(machine(Each=each), [1])
    await harness.reached("Hang")
    await started.stop()
    assert types(await harness.history(started))[-2:] == ["MapRunAborted", "ExecutionAborted"]
