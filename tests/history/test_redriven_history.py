"""What a history shows before a redrive is, event by event, the beginning of what it shows after it."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest

from statechain import StatechainError, TaskError
from support.engine_harness import EngineHarness, engine_harness, machine, task, types

RETRY = [{"ErrorEquals": ["Broken"], "MaxAttempts": 1, "IntervalSeconds": 1}]
CAUGHT = [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "After"}]
DISTRIBUTED = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
TEN = timedelta(seconds=10)
WORK = task("Work", Retry=RETRY)


def each(processor: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a Map over the items of the input."""
    return {"Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 2, "ItemProcessor": processor, **more}


def fork(*branches: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a Parallel state."""
    return {"Type": "Parallel", "Branches": list(branches), **more}


FINE = machine(Fine={"Type": "Pass", "Next": "Nap"}, Nap={"Type": "Wait", "Seconds": 30})
DEFINITIONS = {
    "a Task": machine(Do=WORK),
    "a Task behind others": machine(First={"Type": "Pass", "Next": "Do"}, Do=WORK),
    "a Parallel": machine(Fork=fork(machine(Do=WORK), FINE, machine(Rest={"Type": "Pass"}))),
    "a Parallel that was caught before": machine(
        Fork=fork(machine(Never=task("Never")), FINE, Catch=CAUGHT, Next="After"), After={**WORK}
    ),
    "a Parallel that was retried": machine(
        Fork=fork(machine(Do=task("Work")), FINE, Retry=[{"ErrorEquals": ["Broken"], "IntervalSeconds": 1}])
    ),
    "a Map": machine(Each=each(machine(Do=task("Item", Next="Rest"), Rest={"Type": "Pass"}), Next="Last"), Last=WORK),
    "a distributed Map": machine(Each=each({**DISTRIBUTED, **machine(Do=task("Item"))})),
    "a Parallel in a Map": machine(Each=each(machine(Fork=fork(machine(Do=task("Item")), FINE)))),
    "a Map in a Parallel": machine(Fork=fork(machine(Each=each(machine(Do=task("Item")))), FINE)),
}


class Fragile:
    """Handlers that fail until they have failed a number of times."""

    def __init__(self, harness: EngineHarness, failures: int) -> None:
        self.left = failures
        self._stage = harness
        for name in ("Work", "Item", "Never"):
            harness.tasks.add(name, getattr(self, name.lower()))

    async def work(self, value: Any) -> Any:
        if self.left > 0:
            self.left -= 1
            raise TaskError("Broken", cause=f"{self.left} left")
        return value

    async def item(self, value: Any) -> Any:
        return value if isinstance(value, int) and value != 2 else await self.work(value)

    async def never(self, _: Any) -> Any:
        raise TaskError("Broken", cause="for good")


def follow(history: list[dict[str, Any]]) -> bool:
    """Return whether the events count up, and each follows an earlier one."""
    ids = [event["id"] for event in history] == list(range(1, len(history) + 1))
    return ids and all(event["previousEventId"] < event["id"] for event in history)


@pytest.mark.parametrize("definition", DEFINITIONS.values(), ids=DEFINITIONS)
async def test_a_history_is_the_beginning_of_the_redriven_one(quick: EngineHarness, definition: dict[str, Any]) -> None:
    Fragile(quick, failures=6)
    ended = await quick.run(definition, {"items": [1, 2, 3, 4]})
    before: list[dict[str, Any]] = []
    redrives = 0
    while ended.status != "SUCCEEDED" and redrives < 8:
        history = await quick.history(ended)
        assert history[: len(before)] == before
        assert follow(history)
        await quick.clock.sleep_until(quick.clock.now() + timedelta(seconds=5))
        redriven = await quick.engine.redrive_execution(ended.id)
        running = await quick.history(redriven)
        assert running[: len(history)] == history
        before, redrives = history, redrives + 1
        ended = await redriven.wait()
    history = await quick.history(ended)
    assert history[: len(before)] == before
    assert follow(history)
    assert types(history).count("ExecutionRedriven") == redrives > 0
    details = [event["executionRedrivenEventDetails"] for event in history if event["type"] == "ExecutionRedriven"]
    assert details == [{"redriveCount": number} for number in range(1, redrives + 1)]


async def test_the_first_event_of_a_redrive_follows_it(quick: EngineHarness) -> None:
    Fragile(quick, failures=2)
    ended = await quick.run(DEFINITIONS["a Task"], 1)
    ended = await (await quick.engine.redrive_execution(ended.id)).wait()
    history = await quick.history(ended)
    redriven = types(history).index("ExecutionRedriven")
    assert [(event["type"], event["previousEventId"]) for event in history[redriven : redriven + 2]] == [
        ("ExecutionRedriven", redriven),
        ("TaskScheduled", redriven + 1),
    ]


async def test_a_failure_after_a_redrive_is_decided_by_the_branch_that_failed_then(quick: EngineHarness) -> None:
    async def second(_: Any) -> None:
        await quick.clock.sleep_until(quick.clock.now() + TEN)
        quick.calls["second"] += 1
        if quick.calls["second"] == 1:
            raise TaskError("Second")

    fragile = Fragile(quick, failures=1)
    quick.tasks.add("Second", second)
    definition = machine(Fork=fork(machine(Do=task("Work")), machine(Do2=task("Second"))))
    failed = await quick.run(definition)
    assert (failed.error, fragile.left) == ("Broken", 0)
    failed = await (await quick.engine.redrive_execution(failed.id)).wait()
    assert failed.error == "Second"
    history = await quick.history(failed)
    decided = max(place for place, event in enumerate(history, start=1) if event["type"] == "TaskFailed")
    assert history[-2]["type"] == "ParallelStateFailed"
    assert history[-2]["previousEventId"] == decided


@pytest.mark.parametrize("how", ["stopped", "timed out"])
async def test_what_was_interrupted_keeps_its_end(harness: EngineHarness, how: str) -> None:
    async def hang(value: Any) -> Any:
        harness.calls["Hang"] += 1
        if harness.calls["Hang"] < 3:
            await asyncio.sleep(3600)
        return value

    harness.tasks.add("Hang", hang)
    branches = fork(machine(Hang=task("Hang")), machine(Fine={"Type": "Pass"}))
    definition = machine(Fork=branches) | ({"TimeoutSeconds": 50} if how == "timed out" else {})
    started = await harness.start(definition)
    before: list[dict[str, Any]] = []
    for times in (1, 2):
        await harness.reached("Hang", times)
        ended = await (started.stop("Stopped", "by hand") if how == "stopped" else started.wait())
        history = await harness.history(ended)
        assert history[: len(before)] == before
        assert follow(history)
        before = history
        started = await harness.engine.redrive_execution(ended.id)
    ended = await started.wait()
    history = await harness.history(ended)
    assert history[: len(before)] == before
    ends = [event for event in history if event["type"] in {"ExecutionAborted", "ExecutionTimedOut"}]
    if how == "stopped":
        assert [event["executionAbortedEventDetails"] for event in ends] == [
            {"error": "Stopped", "cause": "by hand"}
        ] * 2
        assert [event["previousEventId"] for event in ends] == [0, 0]
    else:
        assert [event["executionTimedOutEventDetails"] for event in ends] == [{}, {}]


async def test_a_crash_after_a_redrive_leaves_the_history_before_it() -> None:
    for dies_at in range(1, 12):
        async with engine_harness("memory://") as harness:
            Fragile(harness, failures=2)
            failed = await harness.run(DEFINITIONS["a Map in a Parallel"], {"items": [1, 2, 3]})
            before = await harness.history(failed)
            harness.crash_at_commit(dies_at, keeps_last=True)
            with contextlib.suppress(StatechainError):
                await (await harness.engine.redrive_execution(failed.id)).wait()
            if not harness.is_struck:
                break
            await harness.reopen()
            await harness.ended(failed.id)
            history = await harness.history(failed)
            assert history[: len(before) - 1] == before[:-1], dies_at
            assert history[len(before) - 1]["type"] == "ExecutionFailed"
            assert follow(history)
    assert dies_at > 3
