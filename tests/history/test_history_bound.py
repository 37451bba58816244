"""The number of events of a history is bounded: wherever the bound is met, the last event is ExecutionFailed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statechain import Limits, RepositoryError, TaskError
from support.engine_harness import EngineHarness, engine_harness, machine, task, types

pytestmark = pytest.mark.slow  # ends executions at every bound

NAP = {"Type": "Wait", "Seconds": 1}


def each(processor: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a Map over the items of the input."""
    return {"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": processor, **more}


CATCH = [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "Again"}]
DEFINITIONS = {
    "a loop": machine(
        A={"Type": "Pass", "Next": "B"},
        B=task("Work", Next="C"),
        C={**NAP, "Next": "D"},
        D={"Type": "Choice", "Choices": [{"Variable": "$.done", "IsPresent": True, "Next": "E"}], "Default": "A"},
        E={"Type": "Succeed"},
    ),
    "retries": machine(
        Try=task("Break", Retry=[{"ErrorEquals": ["States.ALL"], "MaxAttempts": 100, "BackoffRate": 1}])
    ),
    "a catch": machine(
        Try=task("Break", Catch=CATCH, Next="Again"),
        Again={"Type": "Choice", "Choices": [{"Variable": "$.done", "IsPresent": True, "Next": "E"}], "Default": "Try"},
        E={"Type": "Succeed"},
    ),
    "a Map": machine(Each=each(machine(A={"Type": "Pass", "Next": "B"}, B=task("Item")))),
    "a narrow Map": machine(Each=each(machine(A={"Type": "Pass", "Next": "B"}, B=task("Item")), MaxConcurrency=1)),
    "a Map of waits": machine(Each=each(machine(A={**NAP, "Next": "B"}, B={"Type": "Pass"}), MaxConcurrency=3)),
    "a Parallel in a Map": machine(
        Each=each(
            machine(Fork={"Type": "Parallel", "Branches": [machine(A=task("Item")), machine(B=NAP), machine(C=NAP)]})
        )
    ),
    "a Map in a Parallel": machine(
        Fork={"Type": "Parallel", "Branches": [machine(Each=each(machine(A=task("Item")))), machine(B=NAP)]}
    ),
    "a Map that fails": machine(
        Try=each(machine(A=task("Break")), Catch=CATCH, Next="Again"),
        Again={"Type": "Choice", "Choices": [{"Variable": "$.done", "IsPresent": True, "Next": "E"}], "Default": "Try"},
        E={"Type": "Succeed"},
    ),
    "Map Runs": machine(
        Try=each({"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, **machine(A=NAP)}, Next="L"),
        L={"Type": "Pass", "Result": {"items": [1, 2]}, "Next": "M"},
        M={"Type": "Choice", "Choices": [{"Variable": "$.done", "IsPresent": True, "Next": "E"}], "Default": "Try"},
        E={"Type": "Succeed"},
    ),
}


def register(harness: EngineHarness) -> None:
    """Register handlers that give back what they are given, and one that fails."""

    async def work(value: Any) -> Any:
        return value

    async def fail(_: Any) -> Any:
        raise TaskError("Broken")

    harness.tasks.add("Work", work)
    harness.tasks.add("Item", work)
    harness.tasks.add("Break", fail)


@pytest.mark.parametrize("definition", DEFINITIONS.values(), ids=DEFINITIONS)
async def test_the_last_event_is_the_failure_wherever_the_bound_is_met(definition: dict[str, Any]) -> None:
    for most in range(3, 45):
        async with engine_harness("memory://") as harness:
            await harness.close()
            await harness.open(limits=Limits(history_events=most))
            register(harness)
            ended = await harness.run(definition, {"items": list(range(12))})
            history = await harness.history(ended)
            assert (ended.status, ended.error) == ("FAILED", "States.Runtime"), most
            assert ended.cause == f"The execution reached the maximum number of history events ({most})."
            assert types(history)[-1] == "ExecutionFailed"
            assert len(history) == most
            assert all(event["previousEventId"] < event["id"] for event in history)


async def test_an_execution_that_ends_with_its_last_event_succeeds(quick: EngineHarness) -> None:
    definition = machine(A={"Type": "Pass", "Next": "B"}, B={"Type": "Pass"})
    for most, status in ((6, "SUCCEEDED"), (5, "FAILED")):
        await quick.close()
        await quick.open(limits=Limits(history_events=most))
        ended = await quick.run(definition)
        assert ended.status == status
        assert len(await quick.history(ended)) == most


def steps(prefix: str, last: dict[str, Any]) -> dict[str, Any]:
    """Return a chain of twenty states that pass, and a last one."""
    passing = {f"{prefix}{number}": {"Type": "Pass", "Next": f"{prefix}{number + 1}"} for number in range(20)}
    return {**passing, f"{prefix}20": last}


async def test_the_events_of_a_distributed_maps_items_are_their_own_after_a_crash(harness: EngineHarness) -> None:
    async def hold(value: Any) -> Any:
        harness.calls["Hold"] += 1
        if harness.calls["Hold"] == 1:
            await asyncio.sleep(3600)
        return value

    await harness.close()
    await harness.open(limits=Limits(history_events=60))
    harness.tasks.add("Hold", hold)
    distributed = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
    processor = {**distributed, **machine(**steps("I", task("Hold")))}
    definition = machine(Each={**each(processor), "Next": "S0"}, **steps("S", {"Type": "Pass"}))
    started = await harness.start(definition, {"items": [1]})
    await harness.reached("Hold")
    await harness.reopen(limits=Limits(history_events=60))
    ended = await harness.ended(started.id)
    assert ended.status == "SUCCEEDED"
    assert len(await harness.history(ended)) == 50


async def test_a_crash_behind_the_end_of_a_branch_takes_no_event_of_the_bound() -> None:
    fork = {"Type": "Parallel", "Branches": [machine(A={"Type": "Pass"}), machine(B=NAP)], "Next": "Last"}
    definition = machine(Fork=fork, Last={"Type": "Pass"})
    async with engine_harness("memory://") as harness:
        undisturbed = types(await harness.history(await harness.run(definition, 0)))
    exactly = Limits(history_events=len(undisturbed))
    stored: list[list[str]] = []
    for dies_at in range(1, 4):
        async with engine_harness("memory://") as harness:
            await harness.close()
            await harness.open(limits=exactly)
            started = await harness.start(definition, 0)
            harness.crash_at_commit(dies_at, keeps_last=True)
            with pytest.raises(RepositoryError):
                await started.wait()
            stored.append([visit.state for visit in await harness.repository.visits(started.id)])
            await harness.reopen(limits=exactly)
            ended = await harness.ended(started.id)
            assert (ended.status, ended.cause) == ("SUCCEEDED", None)
            assert types(await harness.history(ended)) == undisturbed
    assert ["Fork", "A", "B"] in stored  # the branch of A has ended, and the row of its Parallel has not


async def test_a_full_history_is_not_redriven(quick: EngineHarness) -> None:
    await quick.close()
    await quick.open(limits=Limits(history_events=20))
    register(quick)
    failed = await quick.run(DEFINITIONS["a loop"], {})
    before = await quick.history(failed)
    redriven = await (await quick.engine.redrive_execution(failed.id)).wait()
    assert (redriven.status, redriven.cause) == (failed.status, failed.cause)
    assert [event["type"] for event in await quick.history(redriven)] == types(before)


async def test_an_iteration_that_was_started_and_had_no_visit_is_shown(quick: EngineHarness) -> None:
    """The last iterations are started, and cancelled before they enter a state."""
    register(quick)
    ended = await quick.run(machine(Each=each(machine(A={"Type": "Fail", "Error": "No"}))), {"items": [1, 2, 3]})
    history = await quick.history(ended)
    starts = [event["mapIterationStartedEventDetails"] for event in history if event["type"] == "MapIterationStarted"]
    aborts = [event for event in history if event["type"] in {"MapIterationAborted", "MapIterationFailed"}]
    assert len(aborts) == len(starts)
    assert [event["id"] for event in history] == list(range(1, len(history) + 1))
