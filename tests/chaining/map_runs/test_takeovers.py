"""A shared Map Run whose worker dies, leaves, or loses its execution: the next worker goes on with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statechain import Engine, ExecutionFilter
from statechain.records.batches import BatchItem, BatchStatus
from statechain.storage.repository import AddBatchItems, CreateBatch
from support.chaining.map_items import Items, created, distributed, map_run_of
from support.engine_harness import EngineHarness

EngineFactory = Callable[..., Engine]
JSON = Any


async def crash(engine: Engine) -> None:
    """Leave an engine as one that is killed: what runs stays RUNNING, for other workers."""
    await engine.__aexit__(RuntimeError, RuntimeError("struck"), None)


@pytest.mark.parametrize("other", ["shared", "local"])
async def test_another_worker_goes_on_with_the_same_map_run(engine_factory: EngineFactory, other: str) -> None:
    one, two = Items(), Items()
    one.gate.clear()
    first = engine_factory(tasks=one.tasks, map_runs="shared")
    await first.__aenter__()
    handle = await (await created(first, distributed(MaxConcurrency=3))).start_execution(list(range(9)))
    await one.reached(3)
    await crash(first)
    async with engine_factory(tasks=two.tasks, map_runs=other) as second:
        ended = await (await second.get_handle(handle.id)).wait()
        assert ended.output == [2 * number for number in range(9)]
        run = await map_run_of(second, ended)
        assert run.item_counts.succeeded == 9
        assert await second.count_executions(ExecutionFilter(state_machine_id=run.state_machine_id)) == 9
    assert sorted(two.inputs) == list(range(9)), "those that had begun are run again, under their own executions"


async def test_items_that_failed_are_not_redriven_by_the_worker_that_takes_over(engine_factory: EngineFactory) -> None:
    one, two = Items(0), Items(0)
    one.gate.clear()
    first = engine_factory(tasks=one.tasks, map_runs="shared")
    await first.__aenter__()
    definition = distributed(MaxConcurrency=1, ToleratedFailureCount=1)
    handle = await (await created(first, definition)).start_execution([0, 1, 2])
    await one.reached(1)
    one.gate.set()  # the first item alone goes on, and fails
    one.gate.clear()
    await one.reached(2)
    options = (await map_run_of(first, handle.execution)).options
    await crash(first)
    async with engine_factory(tasks=two.tasks, map_runs="shared") as second:
        ended = await (await second.get_handle(handle.id)).wait()
        assert ended.output == [2, 4]
        assert (await map_run_of(second, ended)).options == options
    assert sorted(two.inputs) == [1, 2]


async def test_a_worker_that_lost_the_execution_leaves_the_map_run_to_the_next(engine_factory: EngineFactory) -> None:
    one, two = Items(), Items()
    one.gate.clear()
    two.gate.clear()
    async with engine_factory(tasks=one.tasks, map_runs="shared", lease=0.9, recovery=False) as first:
        handle = await (await created(first)).start_execution([1, 2])
        await one.reached(2)
        async with engine_factory(tasks=two.tasks, map_runs="shared") as second:
            await second.repository.release(first.worker.id)
            await two.reached(2)
            while first.worker.running_here(handle.id) is not None:  # noqa: ASYNC110 -- it learns of its loss when it renews its lease
                await asyncio.sleep(0.01)
            assert (await map_run_of(second, handle.execution)).status is BatchStatus.RUNNING
            two.gate.set()
            assert (await (await second.get_handle(handle.id)).wait()).output == [2, 4]


async def test_items_that_were_stored_in_part_are_stored_anew(harness: EngineHarness) -> None:
    """A worker that dies while it stores the items leaves some, which belong to no batch."""
    items = Items()
    harness.tasks.add("Item", items.item)
    await harness.close()
    await harness.open(map_runs="shared")
    held, gate = harness.hold(lambda write: isinstance(write, CreateBatch))
    handle = await harness.start(distributed(), [3, 4, 5])
    await held.wait()
    (begun,) = [
        each for each in await harness.engine.get_execution_history(handle.id) if each["type"] == "MapRunStarted"
    ]
    run_id = begun["mapRunStartedEventDetails"]["mapRunArn"]
    # Left over from a worker that had read more items, before the file was shortened.
    left = BatchItem(index=3, source_execution_id=None, name=f"{run_id}-3", input_text="6")
    await harness.repository.commit([AddBatchItems(batch_id=run_id, items=[left])])
    harness.crash_at_commit(1, keeps_last=False)
    gate.set()
    await harness.reopen()
    ended = await harness.ended(handle.id)
    assert ended.output == [6, 8, 10]
    (run,) = await harness.engine.list_batches()
    assert run.item_counts.succeeded == run.item_counts.total == 3
    assert [item.name for item in await harness.engine.list_batch_results(run.id)] == [
        f"{run.id}-{n}" for n in range(3)
    ]
    assert sorted(items.inputs) == [3, 4, 5]


async def test_an_engine_that_is_left_finishes_a_map_that_begins_then(engine_factory: EngineFactory) -> None:
    items, gate = Items(), asyncio.Event()

    async def first(value: JSON) -> JSON:
        await gate.wait()
        return value

    items.tasks.add("First", first)
    definition = distributed()
    definition["States"]["First"] = {"Type": "Task", "Resource": "First", "Next": "Each"}
    definition["StartAt"] = "First"
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        handle = await (await created(engine, definition)).start_execution([1, 2, 3])
        asyncio.get_running_loop().call_later(0.5, gate.set)
    async with engine_factory() as engine:
        assert (await engine.get_execution(handle.id)).output == [2, 4, 6]
