"""A redrive goes on from what failed: what succeeded is not run again, and the history tells of both."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import pytest
from stage import Stage, machine, open_stage, task, types

from statechain import StatechainError, TaskError

DISTRIBUTED = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}


class Mended:
    """A handler that fails for some inputs until it is mended."""

    def __init__(self, stage: Stage, *bad: Any) -> None:
        self.bad = set(bad)
        self.waits_for: str | None = None
        self.stage = stage
        stage.tasks.add("Work", self.work)

    async def work(self, value: Any) -> Any:
        self.stage.calls[str(value)] += 1
        if value in self.bad:
            if self.waits_for is not None:
                await self.stage.reached(self.waits_for)
            raise TaskError("Broken", cause=str(value))
        return value


async def test_the_failed_state_runs_again(stage: Stage) -> None:
    mended = Mended(stage, "b")
    definition = machine(
        One={"Type": "Pass", "Result": "a", "Next": "A"},
        A=task("Work", Next="Two"),
        Two={"Type": "Pass", "Result": "b", "Next": "B"},
        B=task("Work", Retry=[{"ErrorEquals": ["Broken"], "MaxAttempts": 1}]),
    )
    failed = await stage.run(definition)
    assert (failed.status, stage.calls) == ("FAILED", {"a": 1, "b": 2})
    mended.bad.clear()
    ended = await (await stage.engine.redrive_execution(failed.id)).wait()
    assert (ended.status, ended.output, ended.redrive_count) == ("SUCCEEDED", "b", 1)
    assert (ended.error, ended.cause) == (None, None)
    assert stage.calls == {"a": 1, "b": 3}
    history = await stage.history(ended)
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


async def test_retries_count_anew(stage: Stage) -> None:
    Mended(stage, "b")
    retry = [{"ErrorEquals": ["Broken"], "MaxAttempts": 2, "IntervalSeconds": 1}]
    failed = await stage.run(machine(B=task("Work", Retry=retry)), "b")
    await (await stage.engine.redrive_execution(failed.id)).wait()
    assert stage.calls["b"] == 6


@pytest.mark.parametrize("mode", ["INLINE", "DISTRIBUTED"])
async def test_only_failed_iterations_run_again(stage: Stage, mode: str) -> None:
    mended = Mended(stage, 2)
    config = DISTRIBUTED if mode == "DISTRIBUTED" else {"ProcessorConfig": {"Mode": mode}}
    each = {"Type": "Map", "MaxConcurrency": 1, "ItemProcessor": {**config, **machine(Do=task("Work"))}}
    failed = await stage.run(machine(Each=each), [0, 1, 2, 3])
    assert failed.status == "FAILED"
    mended.bad.clear()
    ended = await (await stage.engine.redrive_execution(failed.id)).wait()
    assert ended.output == [0, 1, 2, 3]
    assert stage.calls == {"0": 1, "1": 1, "2": 2, "3": 1}


async def test_only_failed_and_cut_branches_run_again(stage: Stage) -> None:
    mended = Mended(stage, "bad")
    mended.waits_for = "Hang"

    async def hang(value: Any) -> Any:
        stage.calls["Hang"] += 1
        if mended.bad:
            await asyncio.sleep(3600)
        return value

    stage.tasks.add("Hang", hang)
    branches = [
        machine(A={"Type": "Pass", "Result": "good", "Next": "A2"}, A2=task("Work")),
        machine(B={"Type": "Pass", "Result": "bad", "Next": "B2"}, B2=task("Work")),
        machine(C={"Type": "Pass", "Result": "slow", "Next": "C2"}, C2=task("Work", Next="C3"), C3=task("Hang")),
    ]
    failed = await stage.run(machine(Fork={"Type": "Parallel", "Branches": branches}))
    assert failed.status == "FAILED"
    mended.bad.clear()
    ended = await (await stage.engine.redrive_execution(failed.id)).wait()
    assert ended.output == ["good", "bad", "slow"]
    assert stage.calls == {"good": 1, "bad": 2, "slow": 1, "Hang": 2}


async def test_an_aborted_execution_goes_on(stage: Stage) -> None:
    async def hang(value: Any) -> Any:
        stage.calls["Hang"] += 1
        if stage.calls["Hang"] == 1:
            await asyncio.sleep(3600)
        return value

    stage.tasks.add("Hang", hang)
    started = await stage.start(machine(Hang=task("Hang")), "kept")
    await stage.reached("Hang")
    aborted = await started.stop("Stopped", "by hand")
    assert aborted.status == "ABORTED"
    ended = await (await stage.engine.redrive_execution(started.id)).wait()
    assert ended.output == "kept"
    history = await stage.history(ended)
    assert types(history)[1:6] == [
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "ExecutionAborted",
        "ExecutionRedriven",
    ]
    assert history[4]["executionAbortedEventDetails"] == {"error": "Stopped", "cause": "by hand"}


async def test_the_machines_timeout_counts_from_the_redrive(stage: Stage) -> None:
    definition = {"TimeoutSeconds": 10, **machine(Long={"Type": "Wait", "Seconds": 15})}
    failed = await stage.run(definition)
    assert failed.status == "TIMED_OUT"
    ended = await (await stage.engine.redrive_execution(failed.id)).wait()
    assert ended.status == "SUCCEEDED"


async def test_a_crash_after_a_redrive_does_not_undo_it(stage: Stage) -> None:
    mended = Mended(stage, "b")
    pause = {"Type": "Wait", "Seconds": 5, "Next": "D"}
    failed = await stage.run(machine(B=task("Work", Next="C"), C=pause, D=task("Work")), "b")
    mended.bad.clear()
    await stage.engine.redrive_execution(failed.id)
    await stage.reopen()
    ended = await stage.ended(failed.id)
    assert ended.status == "SUCCEEDED"
    told = types(await stage.history(ended))
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


async def redriven(stage: Stage, *, dies_at: int | None) -> tuple[Any, list[str]]:
    """Redrive an execution that failed in the midst of a Map, the engine dying at a commit."""
    mended = Mended(stage, 2)
    failed = await stage.run(BROKEN, {"items": [1, 2, 3]})
    assert failed.status == "FAILED"
    mended.bad.clear()
    if dies_at is not None:
        stage.doom(dies_at, keeps_last=True)
    with contextlib.suppress(StatechainError):
        await (await stage.engine.redrive_execution(failed.id)).wait()
    if stage.is_struck:
        await stage.reopen()
    ended = await stage.ended(failed.id)
    return ended.output, types(await stage.history(ended))


async def test_a_redrive_ends_the_same_wherever_it_is_struck_down() -> None:
    async with open_stage("memory://") as stage:
        whole, told = await redriven(stage, dies_at=None)
        assert whole == [[1, 2, 3], "fine"]
        assert stage.calls == {"1": 1, "2": 2, "3": 1}
    for dies_at in range(1, 20):
        async with open_stage("memory://") as stage:
            output, history = await redriven(stage, dies_at=dies_at)
            assert output == whole, dies_at
            assert Counter(history) == Counter(told), dies_at
            if not stage.crashes:
                break
    assert dies_at > 3


async def test_the_map_run_is_told_as_redriven(stage: Stage) -> None:
    mended = Mended(stage, 2)
    each = {"Type": "Map", "ItemProcessor": {**DISTRIBUTED, **machine(Do=task("Work"))}}
    failed = await stage.run(machine(Each=each), [1, 2])
    mended.bad.clear()
    ended = await (await stage.engine.redrive_execution(failed.id)).wait()
    history = await stage.history(ended)
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


async def test_a_map_run_that_a_stop_cut_short_is_told_as_aborted(stage: Stage) -> None:
    async def hang(_: Any) -> None:
        stage.calls["Hang"] += 1
        await asyncio.sleep(3600)

    stage.tasks.add("Hang", hang)
    each = {"Type": "Map", "ItemProcessor": {**DISTRIBUTED, **machine(Do=task("Hang"))}}
    started = await stage.start(machine(Each=each), [1])
    await stage.reached("Hang")
    await started.stop()
    assert types(await stage.history(started))[-2:] == ["MapRunAborted", "ExecutionAborted"]
