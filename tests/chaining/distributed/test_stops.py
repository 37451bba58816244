"""DISTRIBUTED batches that stop before their end: past the tolerance, by a caller, or with a caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import attrs
import pytest

from statechain import (
    BatchExecutionOptions,
    BatchStopped,
    Engine,
    ExecutionFilter,
)
from statechain.records.batches import BatchStatus
from support.chaining.shared_batches import SHARED, Calls, sources, target

EngineFactory = Callable[..., Engine]


async def test_past_the_tolerance_the_batch_fails_and_has_its_results(engine_factory: EngineFactory) -> None:
    calls = Calls(0, 1)
    async with engine_factory(tasks=calls.tasks) as engine:
        found = await sources(engine, 40)
        options = BatchExecutionOptions(
            mode="DISTRIBUTED", concurrent_batches=2, shard_size=2, tolerated_failure_count=1
        )
        with pytest.raises(BatchStopped) as stopped:
            await (await target(engine)).execute_batch(found, options=options)
        failed = [result for result in stopped.value.results if result.error is not None and result.execution]
        assert {result.index for result in failed} >= {0, 1}
        (batch,) = await engine.list_batches()
        assert (batch.status, batch.end_time is None) == (BatchStatus.FAILED, False)
        assert batch.item_counts.running == 0
        assert batch.item_counts.pending > 0


async def test_a_stopped_batch_aborts_what_runs(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine, engine_factory(role="client") as client:
        found = await sources(engine)
        handle = await (await target(client)).start_batch(found, options=SHARED)
        while not calls.inputs:  # noqa: ASYNC110 -- it waits for another engine
            await asyncio.sleep(0.01)
        await handle.stop()
        with pytest.raises(BatchStopped):
            async for _ in handle.results():
                pass
        assert (await handle.wait()).status is BatchStatus.ABORTED
        running = ExecutionFilter(status="RUNNING")
        while await engine.list_executions(running):  # noqa: ASYNC110 -- storage is asked
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("count", [1, 3])
async def test_a_stop_aborts_what_runs_elsewhere_before_it_returns(engine_factory: EngineFactory, count: int) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine, engine_factory(role="client") as client:
        machine = await target(client)
        handle = await machine.start_batch(
            await sources(engine, count), options=attrs.evolve(SHARED, shard_concurrency=3)
        )
        while len(calls.inputs) < count:  # noqa: ASYNC110 -- it waits for another engine
            await asyncio.sleep(0.01)
        await handle.stop()
        stopped = await client.get_batch(handle.id)
        assert (stopped.status, stopped.item_counts.aborted) == (BatchStatus.ABORTED, count)
        assert stopped.end_time
        for result in await client.list_batch_results(handle.id):
            aborted = await client.get_execution(result.execution_id or "")
            assert aborted.cause == f"the batch {handle.id} was stopped"


async def test_a_cancelled_caller_stops_the_batch(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine:
        found = await sources(engine)
        caller = asyncio.create_task((await target(engine)).execute_batch(found, options=SHARED))
        while not calls.inputs:  # noqa: ASYNC110 -- it waits for a handler
            await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        (batch,) = await engine.list_batches()
        assert batch.status is BatchStatus.ABORTED
        assert batch.item_counts.running == 0


async def test_a_caller_that_joined_a_batch_does_not_stop_it(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine:
        found, machine = await sources(engine), await target(engine)
        options = attrs.evolve(SHARED, name_prefix="shared")
        handle = await machine.start_batch(found, options=options)
        async with machine.stream_batch(found, options=options) as stream:
            calls.released.update(range(12))
            assert (await anext(stream)).error is None
        calls.gate.set()
        assert (await handle.wait()).item_counts.succeeded == 12
        assert [each.id for each in await engine.list_batches()] == [handle.id]
