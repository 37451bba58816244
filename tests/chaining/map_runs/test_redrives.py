"""Redrives of executions with shared Map Runs: each reaches a Map Run once, whichever worker continues it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from statechain import Engine
from statechain.records.batches import BatchStatus
from statechain.storage.repository import Advance
from support.chaining.map_items import Items, created, distributed, map_run_of
from support.engine_harness import EngineHarness

EngineFactory = Callable[..., Engine]


async def test_a_map_run_that_is_over_is_not_redriven_again_by_the_worker_that_takes_over(
    harness: EngineHarness,
) -> None:
    items = Items(0, 1)
    harness.tasks.add("Item", items.item)
    await harness.close()
    await harness.open(map_runs="shared")
    handle = await harness.start(distributed(ToleratedFailureCount=1), [0, 1])
    assert (await harness.ended(handle.id)).status == "FAILED"
    items.failing.remove(1)
    items.inputs.clear()
    held, gate = harness.hold(
        lambda write: isinstance(write, Advance) and write.execution_id == handle.id and write.end
    )
    await harness.engine.redrive_execution(handle.id)
    await held.wait()
    assert sorted(items.inputs) == [0, 1]
    harness.crash_at_commit(1, keeps_last=False)
    gate.set()
    await harness.reopen(map_runs="shared")
    ended = await harness.ended(handle.id)
    assert ended.output == [2]
    assert sorted(items.inputs) == [0, 1], "the one that failed again is tolerated"


async def test_the_items_of_a_map_run_that_is_stored_are_not_read_again(
    engine_factory: EngineFactory, tmp_path: Path
) -> None:
    file = tmp_path / "data" / "items.json"
    file.parent.mkdir()
    file.write_text("[1, 2]")
    reader = {
        "Resource": "arn:aws:states:::s3:getObject",
        "ReaderConfig": {"InputType": "JSON"},
        "Parameters": {"Bucket": "data", "Key": "items.json"},
    }
    one, two = Items(2), Items()
    async with engine_factory(tasks=one.tasks, map_runs="shared", files=tmp_path) as first:
        machine = await created(first, distributed(MaxConcurrency=1, ItemReader=reader))
        handle = await machine.start_execution(None)
        assert (await handle.wait()).status == "FAILED"
    assert one.inputs == [1, 2]
    file.unlink()
    async with engine_factory(tasks=two.tasks, map_runs="shared", files=tmp_path) as second:
        assert (await (await second.redrive_execution(handle.id)).wait()).output == [2, 4]
    assert two.inputs == [2]


async def test_a_map_run_is_resumed_with_its_execution_alone(engine_factory: EngineFactory) -> None:
    async with engine_factory(tasks=Items(1).tasks, map_runs="shared") as engine:
        failed = await (await (await created(engine)).start_execution([1, 2])).wait()
        run = await map_run_of(engine, failed)
        for resume in (engine.resume_batch, engine.continue_batch, engine.join_batch):
            with pytest.raises(ValueError, match=rf"is a Map Run: redrive its execution '{failed.id}'"):
                await resume(run.id)


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
async def test_a_redrive_redrives_what_did_not_succeed(engine_factory: EngineFactory, type_: str) -> None:
    items = Items(3)
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        machine = await created(engine, distributed(type_, MaxConcurrency=2))
        failed = await (await machine.start_execution(list(range(8)))).wait()
        assert failed.status == "FAILED"
        run = await map_run_of(engine, failed)
        succeeded = [item.index for item in await engine.list_batch_results(run.id, status=["SUCCEEDED"])]
        items.failing.clear()
        redriven = await (await engine.redrive_execution(failed.id)).wait()
        assert redriven.output == [2 * number for number in range(8)]
        again = await map_run_of(engine, redriven)
        assert (again.id, again.status) == (run.id, BatchStatus.SUCCEEDED)
        results = await engine.list_batch_results(run.id)
        redrives = [(await engine.get_execution(item.execution_id or "")).redrive_count for item in results]
        assert redrives[3] == 1
        assert all(redrives[index] == 0 for index in succeeded)
        types = [event["type"] for event in await engine.get_execution_history(redriven.id)]
        assert [each for each in types if each.startswith("MapRun")] == [
            "MapRunStarted",
            "MapRunFailed",
            "MapRunRedriven",
            "MapRunSucceeded",
        ]
    assert all(items.inputs.count(index) == 1 for index in succeeded)


async def test_a_redrive_of_what_was_stopped_from_elsewhere(engine_factory: EngineFactory) -> None:
    items = Items()
    items.gate.clear()
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        handle = await (await created(engine)).start_execution([1, 2, 3])
        await items.reached(3)
        await engine.stop_execution(handle.id)
        items.gate.set()
        redriven = await (await engine.redrive_execution(handle.id)).wait()
        assert redriven.output == [2, 4, 6]


async def test_a_retry_begins_another_map_run(engine_factory: EngineFactory) -> None:
    items = Items(1)
    retry = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        handle = await (await created(engine, distributed(Retry=retry))).start_execution([1])
        while not await engine.list_batches(status=BatchStatus.FAILED):  # noqa: ASYNC110 -- storage is asked
            await asyncio.sleep(0.01)
        items.failing.clear()
        assert await handle.result() == [2]
        runs = await engine.list_batches(parent_execution_id=handle.id)
        assert [each.status for each in runs] == [BatchStatus.SUCCEEDED, BatchStatus.FAILED]
