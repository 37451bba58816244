"""What a caller that follows a DISTRIBUTED batch is shown: each item's own end, under its own name, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from statechain import (
    BatchExecutionOptions,
    BatchHandle,
    BatchStopped,
    Engine,
    ExecutionFailed,
    ExecutionFilter,
    ExecutionStatus,
    InputTransformerError,
    Source,
    TaskRegistry,
)
from statechain.chaining import following, map_runs
from statechain.chaining.shards import run as shard_run
from statechain.records.batches import BatchStatus
from statechain.storage.repository import EndBatch
from statechain.storage.shards import ShardStatus
from support.chaining.calls import Calls, failing_at_once
from support.chaining.map_items import Items, created
from support.chaining.sources import CALL, sources

EngineFactory = Callable[..., Engine]


async def test_callbacks_get_the_source_and_the_error_of_the_item(engine_factory: EngineFactory) -> None:
    started: dict[int, str] = {}
    ended: dict[int, tuple[str, type[Exception] | None]] = {}
    calls = Calls(1)
    async with engine_factory(tasks=calls.tasks) as engine:
        found, ids = await sources(engine, 3)
        options = BatchExecutionOptions(
            mode="DISTRIBUTED",
            on_execution_start=lambda source, index: started.__setitem__(index, source),
            on_execution_complete=lambda source, index, error: ended.__setitem__(
                index, (source, None if error is None else type(error))
            ),
        )
        await (await engine.create_state_machine("target", CALL)).execute_batch(found, options=options)
    assert started == dict(enumerate(ids))
    assert ended == {0: (ids[0], None), 1: (ids[1], ExecutionFailed), 2: (ids[2], None)}


async def test_what_ran_when_the_batch_was_stopped_is_shown_as_aborted(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine, engine_factory(role="client") as client:
        found, _ = await sources(client, 3)
        options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=3, shard_size=3, shard_concurrency=3)
        machine = await client.create_state_machine("target", CALL)
        handle = await machine.start_batch(found, options=options)
        await calls.reached(3)
        await handle.stop()
        following = handle.results()
        results = [await anext(following) for _ in range(3)]
        with pytest.raises(BatchStopped):
            await anext(following)
        assert [(result.index, type(result.error)) for result in results] == [(n, ExecutionFailed) for n in range(3)]
        assert {result.execution.status for result in results if result.execution} == {ExecutionStatus.ABORTED}
        assert (await engine.get_batch(handle.id)).item_counts.running == 0


async def test_a_failure_that_is_redriven_is_shown_by_its_new_end_alone(engine_factory: EngineFactory) -> None:
    broken, repaired = Calls(0, 1, 2), Calls()
    repaired.gate.clear()
    options = BatchExecutionOptions(
        mode="DISTRIBUTED", name_prefix="again", concurrent_batches=1, shard_size=3, redrive_failed=True
    )
    async with engine_factory(tasks=broken.tasks) as engine:
        found, _ = await sources(engine, 3)
        machine = await engine.create_state_machine("target", CALL)
        ended = await (await machine.start_batch(found, options=options)).wait()
        assert ended.item_counts.failed == 3
    async with engine_factory(role="client") as client:
        machine = await client.get_state_machine("target")
        handle = await machine.start_batch(found, options=options)
        results = handle.results()
        first = asyncio.ensure_future(anext(results))
        async with engine_factory(tasks=repaired.tasks):
            await repaired.reached(1)
            await asyncio.wait([first], timeout=0.3)  # the other two have ended FAILED before
            assert not first.done()
            repaired.gate.set()
            shown = [await first, *[result async for result in results]]
    assert [(result.index, result.output, result.error) for result in shown] == [(n, n, None) for n in range(3)]


async def test_a_failure_before_any_execution_is_the_cause_of_the_stop(engine_factory: EngineFactory) -> None:
    calls = Calls()

    @calls.tasks.transformer("refuse")
    def refuse(_output: object) -> object:
        raise ValueError("no input can be made")

    async with engine_factory(tasks=calls.tasks) as engine:
        found, _ = await sources(engine, 2)
        machine = await engine.create_state_machine("target", CALL)
        options = BatchExecutionOptions(mode="DISTRIBUTED", stop_on_error=True)
        handle = await machine.start_batch(found, input_transformer="refuse", options=options)
        assert (await handle.wait()).status is BatchStatus.FAILED
        with pytest.raises(BatchStopped) as stopped:
            await engine.resume_batch(handle.id)
        assert isinstance(stopped.value.__cause__, InputTransformerError)
    assert calls.inputs == []


async def test_the_outputs_of_more_items_than_a_page_are_in_order(
    engine_factory: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_runs, "PAGE", 4)
    items = Items()
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        machine = await created(engine)
        for count in (4, 11):
            assert (await machine.execute(list(range(count)))).output == [2 * number for number in range(count)]


async def test_an_item_without_an_execution_is_shown_while_its_shard_runs(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()

    @calls.tasks.transformer("odd")
    def odd(output: int) -> int:
        if output % 2 == 0:
            raise ValueError("no input can be made")
        return output

    options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=1, shard_size=2, redrive_failed=True)
    async with engine_factory(tasks=calls.tasks) as engine:
        found, _ = await sources(engine, 2)
        machine = await engine.create_state_machine("target", CALL)
        handle = await machine.start_batch(found, input_transformer="odd", options=options)
        results = handle.results()
        first = await anext(results)
        assert (first.index, type(first.error)) == (0, InputTransformerError)
        assert [each.status for each in await engine.repository.shards(handle.id)] == [ShardStatus.RUNNING]
        calls.gate.set()
        assert [(result.index, result.output) async for result in results] == [(1, 1)]


async def test_what_was_redriven_is_shown_while_former_failures_wait_for_their_turn(
    engine_factory: EngineFactory,
) -> None:
    broken, repaired = Calls(0, 1, 2), Calls()
    options = BatchExecutionOptions(
        mode="DISTRIBUTED", name_prefix="again", concurrent_batches=1, shard_size=3, redrive_failed=True
    )
    async with engine_factory(tasks=broken.tasks) as engine:
        found, _ = await sources(engine, 3)
        machine = await engine.create_state_machine("target", CALL)
        await (await machine.start_batch(found, options=options)).wait()

    async def one_by_one(value: int) -> int:
        if value == 1:
            await repaired.gate.wait()
        return value

    repaired.gate.clear()
    tasks = TaskRegistry()
    tasks.register("Call")(one_by_one)
    async with engine_factory(tasks=tasks) as engine:
        machine = await engine.get_state_machine("target")
        results = (await machine.start_batch(found, options=options)).results()
        assert (await anext(results)).index == 0
        second = asyncio.ensure_future(anext(results))
        await asyncio.wait([second], timeout=0.05)
        assert not second.done(), "1 and 2 failed before, and have not been redriven yet"
        repaired.gate.set()
        shown = [await second, *[result async for result in results]]
    assert [(result.index, result.output) for result in shown] == [(1, 1), (2, 2)]


async def test_a_failure_is_shown_while_its_shard_runs(engine_factory: EngineFactory) -> None:
    calls = Calls(0)
    calls.gate.clear()
    tasks = TaskRegistry()

    @tasks.register("Call")
    async def call(value: int) -> int:
        if value == 0:
            raise ValueError(value)
        return await calls.call(value)

    async with engine_factory(tasks=tasks) as engine:
        found, _ = await sources(engine, 2)
        machine = await engine.create_state_machine("target", CALL)
        options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=1, shard_size=2)
        results = (await machine.start_batch(found, options=options)).results()
        first = await anext(results)
        assert (first.index, type(first.error)) == (0, ExecutionFailed)
        calls.gate.set()
        assert [result.index async for result in results] == [1]


async def test_each_item_is_shown_once_however_often_storage_is_read(
    engine_factory: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_run, "COUNT_SECONDS", 0.01)
    monkeypatch.setattr(following, "NEXT_POLL", 0.01)
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine:
        machine = await engine.create_state_machine("target", CALL)
        options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=1, shard_size=3)
        handle = await machine.start_bulk(range(6), options=options)
        results = handle.results()
        for index in range(6):
            await calls.reached(index + 1)
            calls.gate.set()  # the one that waits goes on alone
            calls.gate.clear()
            assert (await anext(results)).index == index
        assert [result.index async for result in results] == []


async def test_of_a_batch_that_was_stopped_also_ends_that_were_not_counted_are_shown(
    engine_factory: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_run, "COUNT_SECONDS", 3600.0)
    calls = Calls()
    tasks = TaskRegistry()

    @tasks.register("Call")
    async def call(value: int) -> int:
        if value == 5:
            calls.gate.clear()
        return await calls.call(value)

    async with engine_factory(tasks=tasks) as engine:
        found, _ = await sources(engine, 7)
        machine = await engine.create_state_machine("target", CALL)
        options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=1, shard_size=7)
        handle = await machine.start_batch(found, options=options)
        await calls.reached(6)
        await handle.stop()
        shown = await shown_of_stopped(handle)
    assert shown == [ExecutionStatus.SUCCEEDED] * 5 + [ExecutionStatus.ABORTED]


async def shown_of_stopped(handle: BatchHandle) -> list[ExecutionStatus | None]:
    """Follow a batch that was stopped; return the statuses of what is shown, in order."""
    shown: list[ExecutionStatus | None] = []

    async def follow() -> None:
        async for result in handle.results():
            shown.append(result.execution and result.execution.status)  # noqa: PERF401 -- it ends by an exception

    with pytest.raises(BatchStopped):
        await follow()
    return shown


async def end(engine: Engine, batch_id: str) -> None:
    """End a batch as a worker elsewhere does that has met one failure too many."""
    ending = EndBatch(batch_id=batch_id, status=BatchStatus.FAILED, end_time=engine.clock.now())
    await engine.repository.commit([ending])


async def test_what_runs_when_its_batch_fails_elsewhere_is_shown_once_it_is_aborted(
    engine_factory: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SETTLE_SECONDS", 60.0)
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine, engine_factory(role="client") as client:
        found, _ = await sources(client, 2)
        machine = await client.create_state_machine("target", CALL)
        options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=2, shard_size=2, shard_concurrency=2)
        handle = await machine.start_batch(found, options=options)
        await calls.reached(2)
        await end(engine, handle.id)
        shown = await shown_of_stopped(handle)
    assert shown == [ExecutionStatus.ABORTED] * 2


@pytest.mark.parametrize("is_resumed", [False, True])
async def test_a_failed_batch_ends_for_its_followers_where_no_worker_aborts_what_runs(
    engine_factory: EngineFactory, monkeypatch: pytest.MonkeyPatch, *, is_resumed: bool
) -> None:
    monkeypatch.setattr(following, "SETTLE_SECONDS", 0.1)
    calls = Calls()
    calls.gate.clear()
    gone = engine_factory(tasks=calls.tasks)
    await gone.__aenter__()
    async with engine_factory(role="client") as client:
        found, _ = await sources(client, 1)
        machine = await client.create_state_machine("target", CALL)
        handle = await machine.start_batch(found, options=BatchExecutionOptions(mode="DISTRIBUTED"))
        await calls.reached(1)
        await gone.__aexit__(RuntimeError, RuntimeError("struck"), None)
        await end(client, handle.id)
        if is_resumed:
            resuming = asyncio.ensure_future(client.resume_batch(handle.id))
            while await client.repository.batch_status(handle.id) is not BatchStatus.RUNNING:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await end(client, handle.id)
            with pytest.raises(BatchStopped):
                await resuming
        else:
            assert await shown_of_stopped(handle) == [ExecutionStatus.RUNNING]


@pytest.mark.parametrize("status", [BatchStatus.FAILED, BatchStatus.ABORTED])
async def test_a_resumption_that_ends_elsewhere_is_over_once_what_ran_is_aborted(
    engine_factory: EngineFactory, monkeypatch: pytest.MonkeyPatch, status: BatchStatus
) -> None:
    """It fails from the first failure where the batch FAILED, and from none where that was stopped."""
    monkeypatch.setattr(following, "SETTLE_SECONDS", 60.0)
    calls = Calls()
    calls.gate.clear()
    tasks = failing_at_once(calls, 0)
    async with engine_factory(tasks=tasks) as engine, engine_factory(role="client") as client:
        machine = await client.create_state_machine("target", CALL)
        options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=3, shard_size=3, shard_concurrency=3)
        handle = await machine.start_bulk(range(3), options=options)
        await calls.reached(2)
        resuming = asyncio.ensure_future(client.resume_batch(handle.id))
        await asyncio.wait([resuming], timeout=0.2)
        assert not resuming.done()
        ending = EndBatch(batch_id=handle.id, status=status, end_time=engine.clock.now())
        await engine.repository.commit([ending])
        with pytest.raises(BatchStopped) as stopped:
            await resuming
        assert (await client.get_batch(handle.id)).item_counts.running == 0
    cause = stopped.value.__cause__
    assert isinstance(cause, ExecutionFailed) if status is BatchStatus.FAILED else cause is None


async def test_workers_chain_the_output_of_the_state_that_was_named(engine_factory: EngineFactory) -> None:
    calls = Calls()
    steps = {
        "StartAt": "First",
        "States": {
            "First": {"Type": "Pass", "Result": 1, "Next": "Then"},
            "Then": {"Type": "Pass", "Result": 2, "End": True},
        },
    }
    async with engine_factory(tasks=calls.tasks) as engine:
        source = await (await engine.create_state_machine("steps", steps)).execute()
        machine = await engine.create_state_machine("target", CALL)
        found = ExecutionFilter(state_machine_id="steps")
        options = BatchExecutionOptions(mode="DISTRIBUTED")
        (result,) = await machine.execute_batch(found, "First", options=options)
        assert (result.output, result.source_execution_id) == (1, source.id)
        assert result.execution is not None
        assert result.execution.source == Source(source.id, "First")
