"""DISTRIBUTED batches: workers of one storage share the items, wherever it was started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest

from statechain import (
    BatchExecutionOptions,
    BatchNotFound,
    Engine,
    ExecutionFilter,
    ExecutionStatus,
    MemoryRepository,
    TaskRegistry,
)
from statechain.records.batches import BatchStatus
from statechain.reports import BatchTotals
from statechain.storage.repository import Advance, StartExecution
from statechain.storage.shards import ShardStatus
from support.chaining.shared_batches import SHARED, Calls, sources, target

EngineFactory = Callable[..., Engine]


async def test_each_source_is_chained_once_and_results_are_in_order(engine_factory: EngineFactory) -> None:
    calls = Calls()
    async with engine_factory(tasks=calls.tasks) as engine:
        found = await sources(engine)
        results = await (await target(engine)).execute_batch(found, options=SHARED)
        assert [result.output for result in results] == [2 * number for number in range(12)]
        assert [result.index for result in results] == list(range(12))
        (batch,) = await engine.list_batches()
        assert batch.status is BatchStatus.SUCCEEDED
        assert batch.item_counts.succeeded == 12
        shards = await engine.repository.shards(batch.id)
        assert [(each.status, each.ended) for each in shards] == [(ShardStatus.DONE, 3)] * 4
    assert sorted(calls.inputs) == list(range(12))
    assert calls.peak <= 4


async def test_two_workers_share_a_batch_that_a_client_starts(engine_factory: EngineFactory) -> None:
    one, two = Calls(), Calls()
    async with (
        engine_factory(tasks=one.tasks),
        engine_factory(tasks=two.tasks),
        engine_factory(role="client") as client,
    ):
        found = await sources(client, 24)
        options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=4, shard_size=2)
        one.gate.clear()
        two.gate.clear()
        handle = await (await target(client)).start_batch(found, options=options)
        while not (one.inputs and two.inputs):  # noqa: ASYNC110 -- it waits for two engines
            await asyncio.sleep(0.01)
        one.gate.set()
        two.gate.set()
        results = [result async for result in handle.results()]
        assert (await handle.wait()).status is BatchStatus.SUCCEEDED
    assert sorted(result.output for result in results) == [2 * number for number in range(24)]
    assert sorted([*one.inputs, *two.inputs]) == list(range(24))
    assert one.peak + two.peak <= 4


async def test_a_started_batch_outlives_its_engine(engine_factory: EngineFactory) -> None:
    calls = Calls()
    async with engine_factory(role="client") as client, engine_factory(tasks=calls.tasks):
        found = await sources(client, 5)
    async with engine_factory(role="client") as client:
        handle = await (await target(client)).start_batch(found, options=SHARED)
    async with engine_factory(tasks=calls.tasks) as worker:
        while (await worker.get_batch(handle.id)).status is BatchStatus.RUNNING:  # noqa: ASYNC110 -- storage is asked
            await asyncio.sleep(0.02)
        assert (await worker.get_batch(handle.id)).item_counts.succeeded == 5


async def test_a_worker_without_the_handler_leaves_it(engine_factory: EngineFactory) -> None:
    calls = Calls()
    async with engine_factory(tasks=TaskRegistry()) as other:
        found = await sources(other, 3)
    async with engine_factory(tasks=TaskRegistry()) as other, engine_factory(role="client") as client:
        handle = await (await target(client)).start_batch(found, options=SHARED)
        await asyncio.sleep(1.2)
        assert list(await other.repository.shards(handle.id)) == []
        async with engine_factory(tasks=calls.tasks):
            assert (await handle.wait()).status is BatchStatus.SUCCEEDED


async def test_a_worker_that_leaves_hands_its_shards_over(engine_factory: EngineFactory) -> None:
    one, two = Calls(), Calls()
    one.gate.clear()
    async with engine_factory(role="client") as client:
        async with engine_factory(tasks=one.tasks) as first:
            found = await sources(first)
            handle = await (await target(client)).start_batch(found, options=SHARED)
            while not one.inputs:  # noqa: ASYNC110 -- it waits for another engine
                await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.05, one.gate.set)
        shards = await client.repository.shards(handle.id)
        assert all(each.owner is None for each in shards)
        async with engine_factory(tasks=two.tasks):
            assert (await handle.wait()).item_counts.succeeded == 12
    assert sorted([*one.inputs, *two.inputs]) == list(range(12))


async def test_callbacks_are_called_once_and_in_order(engine_factory: EngineFactory) -> None:
    told: list[tuple[str, int]] = []
    calls = Calls(3)
    async with engine_factory(tasks=calls.tasks) as engine:
        options = BatchExecutionOptions(
            mode="DISTRIBUTED",
            concurrent_batches=4,
            on_execution_start=lambda _, index: told.append(("start", index)),
            on_execution_complete=lambda _, index, error: told.append(("failed" if error else "done", index)),
        )
        await (await target(engine)).execute_batch(await sources(engine, 6), options=options)
    for index in range(6):
        assert [word for word, at in told if at == index] == ["start", "failed" if index == 3 else "done"]


async def test_results_and_callbacks_come_as_items_end(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    told: list[tuple[str, int]] = []
    options = BatchExecutionOptions(
        mode="DISTRIBUTED",
        concurrent_batches=6,
        shard_concurrency=6,
        shard_size=6,
        on_execution_start=lambda _, index: told.append(("start", index)),
        on_execution_complete=lambda _, index, _error: told.append(("done", index)),
    )
    async with engine_factory(tasks=calls.tasks) as engine:
        found = await sources(engine, 6)
        async with (await target(engine)).stream_batch(found, options=options) as results:
            first = asyncio.ensure_future(anext(results))
            while len(told) < 6:  # noqa: ASYNC110 -- all are to have begun
                await asyncio.sleep(0.01)
            assert sorted(told) == [("start", index) for index in range(6)]
            calls.released.add(2)
            assert (await first).index == 2
            assert told[6:] == [("done", 2)]
            shards = await engine.repository.shards((await engine.list_batches())[0].id)
            assert [each.status for each in shards] == [ShardStatus.RUNNING]
            calls.gate.set()
            assert sorted([result.index async for result in results]) == [0, 1, 3, 4, 5]
    assert sorted(told) == sorted((word, index) for word in ("start", "done") for index in range(6))


async def test_a_batch_of_nothing_ends(engine_factory: EngineFactory) -> None:
    async with engine_factory(tasks=Calls().tasks) as engine:
        nothing = ExecutionFilter(status=ExecutionStatus.TIMED_OUT)
        assert await (await target(engine)).execute_batch(nothing, options=SHARED) == []
        assert await (await target(engine)).execute_bulk([], options=SHARED) == []


async def test_callers_with_one_prefix_share_one_batch(engine_factory: EngineFactory) -> None:
    calls = Calls()
    options = attrs.evolve(SHARED, name_prefix="shared")
    async with engine_factory(tasks=calls.tasks) as one, engine_factory(tasks=calls.tasks) as two:
        found, machine = await sources(one), await target(one)
        again = await two.get_state_machine(machine.id)
        both = await asyncio.gather(*(each.execute_batch(found, options=options) for each in (machine, again)))
        assert len(await one.list_batches()) == 1
    assert [[result.output for result in results] for results in both] == [[2 * each for each in range(12)]] * 2
    assert sorted(calls.inputs) == list(range(12))


class Groups(MemoryRepository):
    """Keeps what was committed together."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[list[Any]] = []

    async def commit(self, writes: Sequence[Any]) -> Sequence[Any]:
        self.groups.append([*writes])
        return await super().commit(writes)


async def test_an_item_that_succeeded_is_ended_in_the_commit_that_starts_the_next() -> None:
    calls, storage = Calls(3), Groups()
    async with Engine(storage, tasks=calls.tasks) as engine:
        found, machine = await sources(engine, 6), await target(engine)
        options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=1, shard_size=6)
        await machine.execute_batch(found, options=options)
    started = [[each for each in group if isinstance(each, StartExecution)] for group in storage.groups]
    ended = [[each for each in group if isinstance(each, Advance) and each.end] for group in storage.groups]
    chained = [
        (ends[0].end.status, starts[0].execution.input_text)
        for starts, ends in zip(started, ended, strict=True)
        if starts and ends
    ]
    succeeded = ExecutionStatus.SUCCEEDED
    assert chained == [(succeeded, "1"), (succeeded, "2"), (succeeded, "3"), (succeeded, "5")], (
        "3 fails, 4 waits for it"
    )
    assert calls.peak == 1


async def test_how_far_a_batch_has_come_is_read_without_its_items(engine_factory: EngineFactory) -> None:
    calls = Calls(3, 5)
    async with engine_factory(tasks=calls.tasks) as engine:
        found, machine = await sources(engine), await target(engine)
        handle = await machine.start_batch(found, options=SHARED)
        batch = await handle.wait()
        totals = await engine.get_batch_totals(handle.id)
        assert totals == BatchTotals(status=batch.status, total=12, ended=12, failed=2)
        await machine.execute_batch(found, options=BatchExecutionOptions(concurrent_batches=4))
        (inline,) = [each for each in await engine.list_batches() if each.id != handle.id]
        totals = await engine.get_batch_totals(inline.id)
        assert totals == BatchTotals(status=inline.status, total=12, ended=None, failed=None)
        with pytest.raises(BatchNotFound):
            await engine.get_batch_totals("nowhere")
