"""DISTRIBUTED bulk runs: inputs are stored first, all of them or none, and shared by workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from statechain import (
    BatchExecutionOptions,
    Engine,
    ExecutionAlreadyExists,
    ExecutionFailed,
    ExecutionStatus,
    InvalidPayload,
    Limits,
    MemoryRepository,
)
from statechain.records.batches import BatchStatus
from support.chaining.shared_batches import SHARED, Calls, target

EngineFactory = Callable[..., Engine]


async def test_a_stored_bulk_is_shared_and_outlives_its_engine(engine_factory: EngineFactory) -> None:
    calls = Calls(7)
    async with engine_factory(role="client") as client:
        handle = await (await target(client)).start_bulk(range(10), options=SHARED)
        stored = await client.get_batch(handle.id)
        assert (stored.item_counts.pending, stored.filter, stored.options["mode"]) == (10, {}, "DISTRIBUTED")
    async with engine_factory(tasks=calls.tasks), engine_factory(role="client") as client:
        while (await client.get_batch(handle.id)).status is BatchStatus.RUNNING:  # noqa: ASYNC110 -- storage is asked
            await asyncio.sleep(0.02)
        listed = await client.list_batch_results(handle.id)
        assert [(each.index, each.source_execution_id) for each in listed] == [(index, None) for index in range(10)]
        assert [each.index for each in await client.list_batch_results(handle.id, status=[ExecutionStatus.FAILED])] == [
            7
        ]
        names = {each.name for each in listed}
        assert names == {f"{stored.name_prefix}-{index}" for index in range(10)}
    assert sorted(calls.inputs) == list(range(10))


async def test_bulk_results_are_in_the_order_of_the_inputs(engine_factory: EngineFactory) -> None:
    async def inputs() -> AsyncIterator[int]:
        for number in range(600):  # several pages
            yield number

    calls = Calls(3)
    options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=50)
    async with engine_factory(tasks=calls.tasks) as engine:
        results = await (await target(engine)).execute_bulk(inputs(), options=options)
    assert [result.index for result in results] == list(range(600))
    assert [result.source_execution_id for result in results] == [None] * 600
    assert isinstance(results[3].error, ExecutionFailed)
    assert [result.output for result in results if not result.error] == [2 * n for n in range(600) if n != 3]


async def test_an_input_that_cannot_be_stored_is_an_item_that_failed(engine_factory: EngineFactory) -> None:
    calls = Calls()
    async with engine_factory(tasks=calls.tasks, limits=Limits(payload_bytes=100)) as engine:
        inputs: list[Any] = [0, "x" * 200, 2, {1, 2}]
        results = await (await target(engine)).execute_bulk(inputs, options=SHARED)
        (batch,) = await engine.list_batches()
        assert (batch.item_counts.succeeded, batch.item_counts.failed) == (2, 2)
    assert [type(result.error) for result in results] == [type(None), InvalidPayload, type(None), InvalidPayload]
    assert str(results[1].error).startswith("item 1: ")
    assert str(results[3].error).startswith("item 3: ")
    assert sorted(calls.inputs) == [0, 2]


async def test_of_inputs_that_raise_nothing_is_stored(engine_factory: EngineFactory) -> None:
    def inputs() -> Iterator[int]:
        yield from range(300)
        raise OSError("the file is gone")

    async with engine_factory(tasks=Calls().tasks) as engine:
        machine = await target(engine)
        with pytest.raises(OSError, match="the file is gone"):
            await machine.start_bulk(inputs())
        with pytest.raises(OSError, match="the file is gone"):
            await machine.execute_bulk(inputs(), options=SHARED)
        assert await engine.list_batches() == []
        if not isinstance(engine.repository, MemoryRepository):
            assert [each async for each in engine.repository.check()] == []  # type: ignore[attr-defined]


async def test_a_cancelled_caller_of_a_bulk_stops_it(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine:
        caller = asyncio.create_task((await target(engine)).execute_bulk(range(20), options=SHARED))
        while not calls.inputs:  # noqa: ASYNC110 -- it waits for a handler
            await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        (batch,) = await engine.list_batches()
        assert (batch.status, batch.item_counts.running) == (BatchStatus.ABORTED, 0)


async def test_a_bulk_with_the_same_prefix_runs_nothing_twice(engine_factory: EngineFactory) -> None:
    calls = Calls()
    options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=4, name_prefix="again")
    async with engine_factory(tasks=calls.tasks) as engine:
        machine = await target(engine)
        await machine.execute_bulk(range(5), options=options)
        results = await machine.execute_bulk([0, 1, 2, 3, 5], options=options)
    assert [result.error is None for result in results] == [True, True, True, True, False]
    assert isinstance(results[4].error, ExecutionAlreadyExists)
    assert sorted(calls.inputs) == list(range(5))
