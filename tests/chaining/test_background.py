"""Batches of one process that it starts, or resumes, in the background or as a client that runs no shards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from statechain import (
    BatchExecutionOptions,
    BatchStatus,
    BatchStopped,
    Engine,
    ExecutionFailed,
    ItemCounts,
    StateMachine,
)
from support.chaining.calls import Calls
from support.chaining.sources import CALL, sources

EngineFactory = Callable[..., Engine]


async def target(engine: Engine) -> StateMachine:
    return await engine.create_state_machine("target", CALL)


async def test_a_batch_that_is_started_is_finished_before_the_engine_is_left(engine_factory: EngineFactory) -> None:
    calls = Calls(1)
    calls.tasks.transformer("hundredfold")(lambda value: value * 100)
    async with engine_factory(tasks=calls.tasks) as engine:
        found, ids = await sources(engine, 3)
        machine = await target(engine)
        options = BatchExecutionOptions(name_prefix="nightly", concurrent_batches=2)
        stored = await engine.start_batch(machine, found, "Echo", options=options, input_transformer="hundredfold")
        assert (stored.status, stored.item_counts.total) == (BatchStatus.RUNNING, 3)
        assert (stored.state_machine_id, stored.source_state_name) == (machine.id, "Echo")
        assert (stored.name_prefix, stored.options["concurrent_batches"]) == ("nightly", 2)
        assert stored.options["input_transformer"] == "hundredfold"
        assert stored.filter == found.described()
        assert None not in stored.options.values(), "what is None is not stored"
    async with engine_factory(role="client") as client:
        ended = await client.get_batch(stored.id)
        assert (ended.status, ended.item_counts) == (BatchStatus.SUCCEEDED, ItemCounts(succeeded=3, total=3))
        listed = await client.list_batch_results(stored.id)
        assert [each.name for each in listed] == [f"nightly-{id_}" for id_ in ids]
    assert sorted(calls.inputs) == [0, 100, 200]


async def test_two_batches_of_one_prefix_that_are_started_at_once_are_two(engine_factory: EngineFactory) -> None:
    calls = Calls()
    async with engine_factory(tasks=calls.tasks) as engine:
        found, _ = await sources(engine, 3)
        machine = await target(engine)
        options = BatchExecutionOptions(name_prefix="nightly")
        one, other = [await engine.start_batch(machine, found, options=options) for _ in range(2)]
        assert one.id != other.id
    assert sorted(calls.inputs) == [0, 1, 2], "they have their executions in common"


async def stopped_batch(engine_factory: EngineFactory, **options: int) -> str:
    """Return the id of a batch of four sources that the failure of the second one stopped."""
    calls = Calls(1)
    async with engine_factory(tasks=calls.tasks) as engine:
        found, _ = await sources(engine, 4)
        with pytest.raises(BatchStopped):
            await (await target(engine)).execute_batch(
                found, options=BatchExecutionOptions(stop_on_error=True, page_size=2, **options)
            )
        (batch,) = await engine.list_batches()
    return batch.id


async def test_a_client_resumes_a_batch_and_workers_run_its_executions(engine_factory: EngineFactory) -> None:
    batch_id = await stopped_batch(engine_factory)
    calls = Calls()
    began: list[int] = []
    options = BatchExecutionOptions(
        concurrent_batches=2, redrive_failed=True, on_execution_start=lambda _, index: began.append(index)
    )
    async with engine_factory(tasks=calls.tasks), engine_factory(role="client") as client:
        resumed = await client.resume_batch(batch_id, options=options, input_transformer=lambda value: value + 10)
        assert (resumed.status, resumed.item_counts) == (BatchStatus.SUCCEEDED, ItemCounts(succeeded=4, total=4))
        assert resumed.end_time is not None
    assert began == [0, 1, 2, 3]
    assert sorted(calls.inputs) == [1, 12, 13], "a redriven execution keeps its input"


async def test_a_batch_that_a_client_resumes_is_running_meanwhile(engine_factory: EngineFactory) -> None:
    batch_id = await stopped_batch(engine_factory)
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks), engine_factory(role="client") as client:
        await client.continue_batch(batch_id, options=BatchExecutionOptions(redrive_failed=True))
        await calls.reached(1)
        running = await client.get_batch(batch_id)
        assert (running.status, running.end_time) == (BatchStatus.RUNNING, None)
        calls.gate.set()
    async with engine_factory(role="client") as client:
        assert (await client.get_batch(batch_id)).status is BatchStatus.SUCCEEDED


async def test_what_had_failed_is_returned_as_it_ended_also_after_its_source_was_deleted(
    engine_factory: EngineFactory,
) -> None:
    batch_id = await stopped_batch(engine_factory)
    errors: dict[int, type[Exception]] = {}
    options = BatchExecutionOptions(
        on_execution_complete=lambda _, index, error: errors.__setitem__(index, type(error)),
    )
    calls = Calls()
    async with engine_factory(tasks=calls.tasks), engine_factory(role="client") as client:
        failed = (await client.list_batch_results(batch_id))[1]
        await client.delete_execution(failed.source_execution_id or "")
        await client.resume_batch(batch_id, options=options)
    assert errors == {0: type(None), 1: ExecutionFailed, 2: type(None), 3: type(None)}
    assert sorted(calls.inputs) == [2, 3]


async def test_a_client_without_handlers_knows_no_transformer_by_name(engine_factory: EngineFactory) -> None:
    batch_id = await stopped_batch(engine_factory)
    async with engine_factory(role="client") as client:
        with pytest.raises(ValueError, match=r"no input_transformer is registered under the name 'hundredfold'"):
            await client.resume_batch(batch_id, input_transformer="hundredfold")
        assert (await client.get_batch(batch_id)).status is BatchStatus.FAILED


async def test_options_that_a_client_gives_are_stored_for_later_resumptions(engine_factory: EngineFactory) -> None:
    batch_id = await stopped_batch(engine_factory)
    calls = Calls()
    async with engine_factory(tasks=calls.tasks), engine_factory(role="client") as client:
        await client.resume_batch(batch_id, options=BatchExecutionOptions(concurrent_batches=3))
        stored = (await client.get_batch(batch_id)).options
        assert (stored["concurrent_batches"], stored["stop_on_error"]) == (3, False)
        await client.continue_batch(batch_id, options=BatchExecutionOptions(redrive_failed=True))
    async with engine_factory(role="client") as client:
        assert (await client.get_batch(batch_id)).options["redrive_failed"] is True


async def test_a_client_that_continues_a_batch_of_which_nothing_is_missing_ends_it_as_it_was(
    engine_factory: EngineFactory,
) -> None:
    calls = Calls()
    async with engine_factory(tasks=calls.tasks) as engine:
        found, _ = await sources(engine, 3)
        await (await target(engine)).execute_batch(found)
        (before,) = await engine.list_batches()
        async with engine_factory(role="client") as client:
            await client.continue_batch(before.id)
        after = await engine.get_batch(before.id)
    assert (after.status, after.item_counts) == (BatchStatus.SUCCEEDED, before.item_counts)
    assert after.end_time is not None
    assert sorted(calls.inputs) == [0, 1, 2], "what has ended is not run again"


async def test_a_batch_that_a_client_resumes_goes_on_while_a_worker_takes_part(engine_factory: EngineFactory) -> None:
    batch_id = await stopped_batch(engine_factory)
    async with engine_factory(tasks=Calls(2).tasks) as engine:  # once to its end in shards, with a failure
        options = BatchExecutionOptions(redrive_failed=True, shard_size=1)
        assert (await engine.resume_batch(batch_id, options=options)).item_counts.failed == 1
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as worker, engine_factory(role="client") as client:
        resuming = asyncio.ensure_future(client.resume_batch(batch_id))
        await calls.reached(1)
        joining = asyncio.ensure_future(worker.join_batch(batch_id))
        shards = client.repository.shards
        while not joining.done() and all(each.owner is None for each in await shards(batch_id)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert await client.repository.batch_status(batch_id) is BatchStatus.RUNNING
        calls.gate.set()
        assert (await resuming).item_counts == ItemCounts(succeeded=4, total=4)
        assert (await joining).status is BatchStatus.SUCCEEDED
    assert calls.inputs == [2]


async def test_a_client_that_resumes_what_workers_run_in_shards_leaves_them_their_options(
    engine_factory: EngineFactory,
) -> None:
    calls = Calls()
    options = BatchExecutionOptions(mode="DISTRIBUTED", shard_size=1, concurrent_batches=1)
    async with engine_factory(role="client") as client, engine_factory(tasks=calls.tasks, recovery=False):
        handle = await (await target(client)).start_bulk(range(3), options=options)
        stored = (await client.get_batch(handle.id)).options
        resuming = asyncio.ensure_future(client.resume_batch(handle.id, options=BatchExecutionOptions()))
        async with engine_factory(tasks=calls.tasks):
            ended = await resuming
        assert (ended.options, ended.item_counts) == (stored, ItemCounts(succeeded=3, total=3))
