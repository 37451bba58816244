"""Batches and bulk runs as streams: results as they complete, an end when the reader leaves, bounded memory."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from statechain import (
    BatchExecutionOptions,
    BatchExecutionResult,
    BatchStatus,
    BatchStopped,
    ExecutionAlreadyExists,
    InvalidPayload,
    StatechainError,
    open_repository,
)
from support.chaining.harness import ChainingHarness, chaining_harness, numbers, statuses
from support.statuses import ABORTED, FAILED, RUNNING, SUCCEEDED


async def test_results_come_as_they_complete(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(3))
    gates = [asyncio.Event() for _ in range(3)]

    async def wait_for_the_gate(value: dict[str, Any]) -> None:
        await gates[value["n"]].wait()

    chaining.work.does = wait_for_the_gate
    options = BatchExecutionOptions(concurrent_batches=3)
    async with chaining.targets.stream_batch(chaining.select(), options=options) as results:
        for index in (2, 0, 1):
            gates[index].set()
            assert (await anext(results)).index == index
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        with pytest.raises(StopAsyncIteration):
            await anext(results)


async def test_a_stream_that_is_only_iterated_runs_to_its_end(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(5))
    options = BatchExecutionOptions(page_size=2)
    stream = chaining.targets.stream_batch(chaining.select(), options=options)
    assert numbers([result async for result in stream]) == list(range(5))


async def test_a_loop_that_is_left_early_ends_its_batch_also_without_a_context_manager(
    chaining: ChainingHarness,
) -> None:
    await chaining.finish(*range(5))

    async def hang_after_the_first(value: dict[str, Any]) -> Any:
        if value["n"] > 0:
            await asyncio.Event().wait()
        return await chaining.work.answer(value)

    chaining.work.does = hang_after_the_first
    options = BatchExecutionOptions(concurrent_batches=3)
    async for result in chaining.targets.stream_batch(chaining.select(), options=options):
        assert result.index == 0
        break
    (batch,) = await chaining.engine.list_batches()
    while batch.status is BatchStatus.RUNNING:
        await asyncio.sleep(0)
        batch = await chaining.engine.get_batch(batch.id)
    assert batch.status is BatchStatus.ABORTED
    assert (batch.item_counts.running, batch.item_counts.succeeded) == (0, 1)


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_leaving_early_cancels_what_runs(chaining: ChainingHarness, concurrency: int) -> None:
    await chaining.finish(*range(9))

    async def hang_after_the_first(value: dict[str, Any]) -> Any:
        if value["n"] > 0:
            await asyncio.Event().wait()
        return await chaining.work.answer(value)

    chaining.work.does = hang_after_the_first
    options = BatchExecutionOptions(concurrent_batches=concurrency)
    async with asyncio.timeout(30), chaining.targets.stream_batch(chaining.select(), options=options) as results:
        async for result in results:
            assert result.index == 0
            while chaining.work.running < concurrency:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            break
    assert [execution.status for execution in await chaining.made()] == [SUCCEEDED] + [ABORTED] * concurrency
    (batch,) = await chaining.engine.list_batches()
    assert batch.status is BatchStatus.ABORTED
    assert batch.item_counts.pending == 8 - concurrency


async def test_a_reader_that_is_cancelled_ends_the_batch(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(3))
    chaining.work.does = chaining.work.hang
    options = BatchExecutionOptions(concurrent_batches=2)
    results = chaining.targets.stream_batch(chaining.select(), options=options)
    reading = asyncio.ensure_future(anext(results))
    while chaining.work.running < 2:  # noqa: ASYNC110 -- it waits for handlers
        await asyncio.sleep(0.001)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert [execution.status for execution in await chaining.made()] == [ABORTED] * 2
    assert (await chaining.engine.list_batches())[0].status is BatchStatus.ABORTED


async def test_a_second_reader_is_refused(chaining: ChainingHarness) -> None:
    await chaining.finish(0)
    gate = asyncio.Event()
    chaining.work.does = lambda _value: gate.wait()
    async with chaining.targets.stream_batch(chaining.select()) as results, asyncio.TaskGroup() as group:
        reading = group.create_task(anext(results))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(results)
        gate.set()
    assert reading.result().error is None


async def test_a_stream_of_an_engine_that_was_left_is_refused_and_closes() -> None:
    async with chaining_harness("memory://") as chaining:
        results = chaining.targets.stream_bulk([{"n": 1}])
    async with asyncio.timeout(30):
        with pytest.raises(StatechainError, match="not open"):
            await anext(results)
        await results.aclose()


async def test_a_generator_of_inputs_is_closed_when_the_run_stops(chaining: ChainingHarness) -> None:
    chaining.work.fails = {0}
    closed: list[bool] = []

    async def inputs() -> AsyncIterator[dict[str, int]]:
        try:
            for number in range(100):
                yield {"n": number}
        finally:
            closed.append(True)

    with pytest.raises(BatchStopped):
        await chaining.targets.execute_bulk(inputs(), options=BatchExecutionOptions(stop_on_error=True))
    assert closed == [True]


async def test_an_exception_of_the_reader_ends_the_batch(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(5))

    async def read() -> None:
        async with chaining.targets.stream_batch(chaining.select()) as results:
            async for _ in results:
                raise LookupError("the reader has had enough")

    with pytest.raises(LookupError, match="enough"):
        await read()
    assert await chaining.made(RUNNING) == []


async def test_a_stream_that_is_never_used_starts_nothing(chaining: ChainingHarness) -> None:
    await chaining.finish(0)
    chaining.targets.stream_batch(chaining.select())
    await asyncio.sleep(0.01)
    assert await chaining.made() == []
    assert await chaining.engine.list_batches() == []


async def test_a_stopped_stream_hands_out_what_ended_and_raises_then(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(4))
    chaining.work.fails = {1}
    options = BatchExecutionOptions(stop_on_error=True)
    read: list[BatchExecutionResult] = []

    async def read_all() -> None:
        async with chaining.targets.stream_batch(chaining.select(), options=options) as results:
            async for result in results:
                read.append(result)  # noqa: PERF401

    with pytest.raises(BatchStopped) as stopped:
        await read_all()
    assert statuses(read) == [SUCCEEDED, FAILED]
    assert stopped.value.__cause__ is read[1].error
    assert (stopped.value.results, str(stopped.value)) == ([], "the batch was stopped")


async def test_two_readers_of_two_streams_do_not_disturb_each_other(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(4))

    async def read(prefix: str) -> list[int]:
        options = BatchExecutionOptions(name_prefix=prefix, concurrent_batches=2)
        async with chaining.targets.stream_batch(chaining.select(), options=options) as results:
            return sorted([result.index async for result in results])

    assert list(await asyncio.gather(read("one"), read("two"))) == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("failing", [False, True])
async def test_a_reader_that_rests_is_waited_for(chaining: ChainingHarness, failing: bool) -> None:
    await chaining.finish(*range(40))
    if failing:
        chaining.work.fails = set(range(40))
    options = BatchExecutionOptions(concurrent_batches=3, page_size=5)
    async with chaining.targets.stream_batch(chaining.select(), options=options) as results:
        first = await anext(results)
        for _ in range(300):
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        # 3 results that were not taken, 3 executions that wait for room, and the one that was taken
        assert len(chaining.work.begun) <= 3 + 3 + 1
        rest = [result async for result in results]
    assert sorted(result.index for result in [first, *rest]) == list(range(40))


@pytest.mark.slow
async def test_memory_is_bounded_by_a_page_and_the_concurrency() -> None:
    """However many sources there are, storage is asked for pages, and one page at a time is alive."""
    async with open_repository("memory://") as repository, chaining_harness(repository) as chaining:
        async with chaining.sources.stream_bulk({"n": n} for n in range(300)) as made:
            async for _ in made:
                pass
        pages: list[weakref.ref[Any]] = []
        alive: list[int] = []
        read = repository.batch_items

        async def watched(batch_id: str, *, after: int = -1, page: int) -> Any:
            items = await read(batch_id, after=after, page=page)
            assert len(items) <= 10
            pages.extend(weakref.ref(item) for item in items)
            return items

        async def count(_source: str, index: int) -> None:
            if index % 30 == 0:
                gc.collect()
                alive.append(sum(reference() is not None for reference in pages))

        repository.batch_items = watched  # type: ignore[method-assign]
        options = BatchExecutionOptions(page_size=10, concurrent_batches=4, on_execution_start=count)
        done = 0
        async with chaining.targets.stream_batch(chaining.select(), options=options) as results:
            async for _ in results:
                done += 1
        assert done == len(pages) == 300
        assert len(alive) == 10
        assert max(alive) <= 10 + 4 + 4  # a page, what runs, and what waits to be taken
        assert chaining.work.peak <= 4


# Bulk


async def test_bulk_runs_one_execution_for_each_input(chaining: ChainingHarness) -> None:
    results = await chaining.targets.execute_bulk([{"n": n} for n in range(5)])
    assert numbers(results) == [result.index for result in results] == list(range(5))
    assert {result.source_execution_id for result in results} == {None}
    assert statuses(results) == [SUCCEEDED] * 5
    assert await chaining.targets.execute_bulk([]) == []


async def test_bulk_takes_any_iterable_and_pulls_only_as_there_is_room(chaining: ChainingHarness) -> None:
    pulled = 0

    def inputs() -> Iterator[Any]:
        nonlocal pulled
        for n in range(1000):
            pulled += 1
            yield {"n": n}

    async def slow_inputs() -> AsyncIterator[Any]:
        for value in inputs():
            await asyncio.sleep(0)
            yield value

    for feed in (inputs, slow_inputs):
        pulled = 0
        options = BatchExecutionOptions(concurrent_batches=2)
        async with chaining.targets.stream_bulk(feed(), options=options) as results:
            for _ in range(10):
                await anext(results)
            assert pulled <= 10 + 2 + 2
    assert await chaining.made(RUNNING) == []


async def test_bulk_with_a_prefix_again_runs_nothing_twice(chaining: ChainingHarness) -> None:
    options = BatchExecutionOptions(name_prefix="load")
    inputs: list[Any] = [{"n": n} for n in range(3)]
    first = await chaining.targets.execute_bulk(inputs, options=options)
    again = await chaining.targets.execute_bulk(inputs, options=options)
    assert [result.execution for result in again] == [result.execution for result in first]
    assert [result.execution.name for result in first if result.execution] == ["load-0", "load-1", "load-2"]
    assert chaining.work.begun == [0, 1, 2]
    changed = await chaining.targets.execute_bulk([{"n": 0}, {"n": 9}], options=options)
    assert [type(result.error) for result in changed] == [type(None), ExecutionAlreadyExists]


async def test_a_bulk_input_that_is_not_json_is_its_result_alone(chaining: ChainingHarness) -> None:
    inputs: list[Any] = [{"n": 0}, {"n": {1, 2}}, {"n": 2}]
    results = await chaining.targets.execute_bulk(inputs)
    assert [type(result.error) for result in results] == [type(None), InvalidPayload, type(None)]


async def test_bulk_stops_and_tells_as_a_batch_does(chaining: ChainingHarness) -> None:
    chaining.work.fails = {1}
    told: list[tuple[Any, ...]] = []
    options = BatchExecutionOptions(
        stop_on_error=True,
        on_execution_start=lambda *facts: told.append(facts),
        on_execution_complete=lambda *facts: told.append(facts),
    )
    with pytest.raises(BatchStopped) as stopped:
        await chaining.targets.execute_bulk(({"n": n} for n in range(9)), options=options)
    assert statuses(stopped.value.results) == [SUCCEEDED, FAILED]
    assert told == [(None, 0), (None, 0, None), (None, 1), (None, 1, stopped.value.results[1].error)]


async def test_a_tolerated_percentage_counts_against_the_inputs_where_they_have_a_length(
    chaining: ChainingHarness,
) -> None:
    chaining.work.fails = {0, 1}
    options = BatchExecutionOptions(tolerated_failure_percentage=20)
    assert len(await chaining.targets.execute_bulk([{"n": n} for n in range(10)], options=options)) == 10
    with pytest.raises(BatchStopped):
        await chaining.targets.execute_bulk([{"n": n} for n in range(9)], options=options)
    assert len(await chaining.targets.execute_bulk(({"n": n} for n in range(9)), options=options)) == 9


async def test_an_exception_of_the_inputs_ends_the_bulk_run_and_propagates(chaining: ChainingHarness) -> None:
    async def inputs() -> AsyncIterator[Any]:
        yield {"n": 0}
        yield {"n": 1}
        while chaining.work.running < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        raise OSError("the file ends here")

    chaining.work.does = chaining.work.hang
    with pytest.raises(OSError, match="ends here"):
        await chaining.targets.execute_bulk(inputs(), options=BatchExecutionOptions(concurrent_batches=5))
    assert [execution.status for execution in await chaining.made()] == [ABORTED, ABORTED]


async def test_cancelling_a_bulk_run_leaves_nothing_running(chaining: ChainingHarness) -> None:
    chaining.work.does = chaining.work.hang
    options = BatchExecutionOptions(concurrent_batches=3)
    bulk = asyncio.ensure_future(chaining.targets.execute_bulk(({"n": n} for n in range(9)), options=options))
    while chaining.work.running < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    bulk.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bulk
    assert [execution.status for execution in await chaining.made()] == [ABORTED] * 3
