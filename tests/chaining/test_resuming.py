"""Batches that several processes resume: they share its items in shards, in each mode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import attrs
import pytest

from statechain import (
    Batch,
    BatchExecutionOptions,
    BatchStatus,
    BatchStopped,
    Engine,
    ExecutionFilter,
    ItemCounts,
)
from statechain.storage.shards import ShardStatus
from support.chaining.calls import Calls

EngineFactory = Callable[..., Engine]

PASS = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
TOTAL = 24


async def stopped_batch(engine_factory: EngineFactory, total: int = TOTAL, **options: object) -> Batch:
    """Return a batch in this process that was stopped by the failure of its first item."""
    calls = Calls(0)
    async with engine_factory(tasks=calls.tasks, recovery=False) as engine:
        sources = await engine.create_state_machine("sources", PASS)
        targets = await engine.create_state_machine("targets", CALL)
        for number in range(total):
            await sources.execute(number)
        found = ExecutionFilter(state_machine_id=sources.id, order="oldest_first")
        with pytest.raises(BatchStopped):
            await targets.execute_batch(found, options=BatchExecutionOptions(stop_on_error=True, **options))  # type: ignore[arg-type]
        (batch,) = await engine.list_batches()
        return batch


@pytest.fixture
def again() -> Iterator[BatchExecutionOptions]:
    """Return options that finish what was stopped."""
    return BatchExecutionOptions(concurrent_batches=4, redrive_failed=True, shard_size=2)


async def test_two_processes_that_resume_a_batch_share_it(
    engine_factory: EngineFactory, again: BatchExecutionOptions
) -> None:
    batch = await stopped_batch(engine_factory)
    one, other = Calls(), Calls()
    other.ledger = one.ledger
    absent = Calls()
    async with (
        engine_factory(tasks=one.tasks) as first,
        engine_factory(tasks=other.tasks) as second,
        engine_factory(tasks=absent.tasks),
    ):
        one.gate.clear()
        other.gate.clear()
        resuming = asyncio.gather(*(each.resume_batch(batch.id, options=again) for each in (first, second)))
        while not (one.inputs and other.inputs):  # noqa: ASYNC110 -- it waits for two engines
            await asyncio.sleep(0.01)
        one.gate.set()
        other.gate.set()
        for ended in await resuming:
            assert (ended.status, ended.item_counts) == (
                BatchStatus.SUCCEEDED,
                ItemCounts(succeeded=TOTAL, total=TOTAL),
            )
    assert sorted([*one.inputs, *other.inputs]) == list(range(TOTAL))
    assert absent.inputs == []  # a batch that is not DISTRIBUTED is run by those that resume it
    assert one.ledger[1] <= 4


async def test_what_failed_before_stops_nothing_until_it_was_redriven(engine_factory: EngineFactory) -> None:
    batch = await stopped_batch(engine_factory, 12)
    broken = Calls(*range(12))
    async with engine_factory(tasks=broken.tasks) as engine:
        tolerant = BatchExecutionOptions(concurrent_batches=4)
        assert (await engine.resume_batch(batch.id, options=tolerant)).item_counts.failed == 12
    calls = Calls()
    strict = BatchExecutionOptions(stop_on_error=True, redrive_failed=True, concurrent_batches=2, shard_size=6)
    async with engine_factory(tasks=calls.tasks) as engine:
        told: list[Exception | None] = []
        strict = attrs.evolve(strict, on_execution_complete=lambda _, _index, error: told.append(error))
        slow = asyncio.ensure_future(engine.resume_batch(batch.id, options=strict))
        calls.gate.clear()
        await asyncio.sleep(1)  # shards are counted meanwhile
        assert told == []
        calls.gate.set()
        assert (await slow).item_counts.succeeded == 12
    assert told == [None] * 12


async def test_new_failures_stop_a_resumed_batch(engine_factory: EngineFactory) -> None:
    batch = await stopped_batch(engine_factory, 12)
    calls = Calls(3)
    strict = BatchExecutionOptions(stop_on_error=True, redrive_failed=True, concurrent_batches=2, shard_size=6)
    async with engine_factory(tasks=calls.tasks) as engine:
        with pytest.raises(BatchStopped) as stopped:
            await engine.resume_batch(batch.id, options=strict)
        assert "ValueError" in str(stopped.value.__cause__)
        assert (await engine.get_batch(batch.id)).status is BatchStatus.FAILED
        calls.failing.clear()
        assert (await engine.resume_batch(batch.id)).item_counts.succeeded == 12  # with the options before
        assert (await engine.get_batch(batch.id)).options["redrive_failed"] is True


async def test_a_function_maps_the_inputs_where_it_was_given(engine_factory: EngineFactory) -> None:
    batch = await stopped_batch(engine_factory, 6)
    calls = Calls()
    options = BatchExecutionOptions(concurrent_batches=2)
    async with engine_factory(tasks=calls.tasks) as engine:
        ended = await engine.resume_batch(batch.id, options=options, input_transformer=lambda value: value + 100)
        assert ended.item_counts.succeeded == 5
    assert sorted(calls.inputs) == list(range(101, 106))


async def test_a_function_maps_the_inputs_where_a_batch_is_joined(engine_factory: EngineFactory) -> None:
    stopped, calls = Calls(), Calls()
    stopped.gate.clear()
    async with engine_factory(tasks=stopped.tasks, recovery=False) as engine:
        sources = await engine.create_state_machine("sources", PASS)
        targets = await engine.create_state_machine("targets", CALL)
        for number in range(3):
            await sources.execute(number)
        found = ExecutionFilter(state_machine_id=sources.id, order="oldest_first")
        running = asyncio.ensure_future(targets.execute_batch(found))
        await stopped.reached(1)
        (batch,) = await engine.list_batches()
        await engine.stop_batch(batch.id)
        with pytest.raises(BatchStopped):
            await running
    async with engine_factory(tasks=calls.tasks) as engine:
        joined = await engine.join_batch(batch.id, input_transformer=lambda value: value + 100)
        assert (joined.item_counts.aborted, joined.item_counts.succeeded) == (1, 2)
    assert sorted(calls.inputs) == [101, 102]


async def test_the_name_of_a_transformer_is_stored_with_a_batch_and_maps_what_is_resumed(
    engine_factory: EngineFactory,
) -> None:
    first, second = Calls(100), Calls()
    for calls in (first, second):
        calls.tasks.transformer("Hundred")(lambda value: value + 100)
    async with engine_factory(tasks=first.tasks, recovery=False) as engine:
        sources = await engine.create_state_machine("sources", PASS)
        targets = await engine.create_state_machine("targets", CALL)
        for number in range(3):
            await sources.execute(number)
        found = ExecutionFilter(state_machine_id=sources.id, order="oldest_first")
        options = BatchExecutionOptions(stop_on_error=True)
        with pytest.raises(BatchStopped):
            await targets.execute_batch(found, options=options, input_transformer="Hundred")
        (batch,) = await engine.list_batches()
    async with engine_factory(tasks=second.tasks) as engine:
        await engine.resume_batch(batch.id, options=BatchExecutionOptions())
    assert sorted(second.inputs) == [101, 102]


async def test_a_distributed_batch_is_resumed_by_all_workers(engine_factory: EngineFactory) -> None:
    batch = await stopped_batch(engine_factory, mode="DISTRIBUTED", shard_size=2, concurrent_batches=2)
    calls = Calls()
    async with engine_factory(tasks=calls.tasks), engine_factory(role="client") as client:
        again = attrs.evolve(BatchExecutionOptions.of(batch), redrive_failed=True, stop_on_error=False)
        ended = await client.resume_batch(batch.id, options=again)
        assert ended.item_counts.succeeded == TOTAL
        assert {each.status for each in await client.repository.shards(batch.id)} == {ShardStatus.DONE}
        with pytest.raises(ValueError, match=r"must be a name, .*@tasks\.transformer"):
            await client.resume_batch(batch.id, input_transformer=lambda value: value)
        assert (await client.get_batch(batch.id)).status is BatchStatus.SUCCEEDED


async def test_one_that_joined_leaves_the_rest_to_others(
    engine_factory: EngineFactory, again: BatchExecutionOptions
) -> None:
    batch = await stopped_batch(engine_factory)
    one, other = Calls(), Calls()
    async with engine_factory(tasks=other.tasks) as second:
        async with engine_factory(tasks=one.tasks) as first:
            one.gate.clear()
            resuming = asyncio.ensure_future(second.resume_batch(batch.id, options=again))
            joining = asyncio.ensure_future(first.join_batch(batch.id))
            while not one.inputs:  # noqa: ASYNC110 -- it waits for an engine
                await asyncio.sleep(0.01)
            joining.cancel()
            with pytest.raises(asyncio.CancelledError):
                await joining
            assert await first.repository.batch_status(batch.id) is BatchStatus.RUNNING
            asyncio.get_running_loop().call_later(0.05, one.gate.set)
        assert (await resuming).item_counts.succeeded == TOTAL
    assert sorted([*one.inputs, *other.inputs]) == list(range(TOTAL))
    assert len(one.inputs) < TOTAL


async def test_a_cancelled_resumption_stops_the_batch(
    engine_factory: EngineFactory, again: BatchExecutionOptions
) -> None:
    batch = await stopped_batch(engine_factory)
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine:
        resuming = asyncio.ensure_future(engine.resume_batch(batch.id, options=again))
        while not calls.inputs:  # noqa: ASYNC110 -- it waits for an engine
            await asyncio.sleep(0.01)
        resuming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await resuming
        ended = await engine.get_batch(batch.id)
        assert (ended.status, ended.item_counts.running) == (BatchStatus.ABORTED, 0)


async def test_a_batch_that_is_resumed_here_runs_beyond_the_slots(engine_factory: EngineFactory) -> None:
    batch = await stopped_batch(engine_factory, 3)
    calls = Calls()
    async with engine_factory(tasks=calls.tasks, slots=1) as engine:
        calls.gate.clear()
        machine = await engine.get_state_machine("targets")
        taking = await machine.start_bulk([100], options=BatchExecutionOptions(mode="DISTRIBUTED"))
        await calls.reached(1)
        resuming = asyncio.ensure_future(engine.resume_batch(batch.id, options=BatchExecutionOptions()))
        await calls.reached(2)
        calls.gate.set()
        assert (await resuming).item_counts.succeeded == 2
        assert (await taking.wait()).status is BatchStatus.SUCCEEDED


async def test_a_process_that_resumes_a_batch_leaves_those_alone_that_run_in_another_one(
    engine_factory: EngineFactory,
) -> None:
    batch = await stopped_batch(engine_factory, 2)
    one, other = Calls(), Calls()
    one.gate.clear()
    other.gate.clear()
    async with engine_factory(tasks=one.tasks, recovery=False) as first, engine_factory(tasks=other.tasks) as second:
        machine = await first.get_state_machine("targets")
        found = ExecutionFilter(state_machine_id="sources", order="oldest_first")
        running = asyncio.ensure_future(machine.execute_batch(found))
        await one.reached(1)
        again = BatchExecutionOptions(redrive_failed=True)
        resuming = asyncio.ensure_future(second.resume_batch(batch.id, options=again))
        await other.reached(1)
        stored = next(each for each in await second.list_batches() if each.id != batch.id)
        other.gate.set()
        await resuming
        assert list(await second.repository.shards(stored.id)) == []
        one.gate.set()
        assert [result.output for result in await running] == [0, 1]
    assert sorted(one.inputs) == sorted(other.inputs) == [0, 1]


async def test_what_failed_again_is_redriven_once_more_by_a_worker_that_takes_its_shard_over(
    engine_factory: EngineFactory,
) -> None:
    options = BatchExecutionOptions(
        mode="DISTRIBUTED", name_prefix="again", concurrent_batches=1, shard_size=5, redrive_failed=True
    )
    broken, one, other = Calls(0, 2, 3, 4), Calls(0), Calls()
    async with engine_factory(tasks=broken.tasks) as engine:
        machine = await engine.create_state_machine("targets", CALL)
        handle = await machine.start_bulk(range(5), options=options)
        assert (await handle.wait()).item_counts.failed == 4
    one.gate.clear()
    async with engine_factory(role="client") as client:
        again = asyncio.ensure_future(client.resume_batch(handle.id))
        async with engine_factory(tasks=one.tasks):
            await one.reached(1)
            one.gate.set()
            one.gate.clear()
            await one.reached(2)
            asyncio.get_running_loop().call_later(0.05, one.gate.set)
        assert one.inputs == [0, 2]
        async with engine_factory(tasks=other.tasks):
            assert (await again).item_counts.succeeded == 5
        first = (await client.list_batch_results(handle.id))[0]
        assert (await client.get_execution(first.execution_id or "")).redrive_count == 2
    assert other.inputs == [0, 3, 4], "what has succeeded since is not run again"
