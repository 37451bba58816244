"""Tickets that other engines deliver: `Engine.run_ticket`, and deaths that they report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from statechain import Batch, BatchExecutionOptions, BatchStatus, Engine, ExecutionFilter, StatechainError, TaskRegistry
from statechain.dispatchers.local import LocalDispatcher
from statechain.storage.shards import ShardStatus
from statechain.tickets import Outcome, Ticket
from support.chaining.calls import Calls
from support.chaining.dispatchers import RecordingDispatcher

EngineFactory = Callable[..., Engine]

PASS = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
LONG = timedelta(hours=1)
OPTIONS = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=4, shard_size=2)


async def double(value: int) -> int:
    return 2 * value


def handlers() -> TaskRegistry:
    tasks = TaskRegistry()
    tasks.register("Call")(double)
    return tasks


async def start(engine: Engine, count: int = 4) -> str:
    """Start a batch on an engine without the handlers; return its id."""
    sources = await engine.create_state_machine("sources", PASS)
    for number in range(count):
        await sources.execute(number)
    machine = await engine.create_state_machine("target", CALL)
    found = ExecutionFilter(state_machine_id=sources.id, order="oldest_first")
    return (await machine.start_batch(found, options=OPTIONS)).id


def test_a_ticket_is_json() -> None:
    ticket = Ticket("batch", 3, 1)
    assert Ticket.from_json(ticket.to_json()) == ticket
    assert ticket.key == "batch:3:1"
    with pytest.raises(ValueError, match="a ticket has"):
        Ticket.from_json({"batch_id": "batch", "shard": "3"})


async def test_tickets_name_the_shards_that_are_open(engine_factory: EngineFactory) -> None:
    dispatcher = RecordingDispatcher()
    async with engine_factory(dispatcher=dispatcher, recovery=False) as starting:
        id_ = await start(starting)
        assert dispatcher.sent[:2] == [Ticket(id_, 0, 0), Ticket(id_, 1, 0)]


async def test_an_engine_runs_the_shards_that_tickets_name(engine_factory: EngineFactory) -> None:
    dispatcher = LocalDispatcher()
    async with engine_factory(dispatcher=dispatcher) as starting:
        id_ = await start(starting)
        assert await dispatcher.depth() == 2, "one ticket for each shard that may be under way"
        async with engine_factory(tasks=handlers(), recovery=False) as worker:
            assert await worker.run_ticket(Ticket(id_, 1, 0)) is Outcome.DONE
            first, second = await starting.repository.shards(id_)
            assert (first.status, second.status) == (ShardStatus.PENDING, ShardStatus.DONE)
            for void in (
                Ticket(id_, 1, 0),
                Ticket(id_, 1, 1),
                Ticket(id_, 0, 5),
                Ticket(id_, 2, 0),
                Ticket(id_, 9, 0),
                Ticket("no", 0, 0),
            ):
                assert await worker.run_ticket(void) is Outcome.DONE
            assert (await starting.get_batch(id_)).status is BatchStatus.RUNNING
            assert await worker.run_ticket(Ticket(id_, 0, 0)) is Outcome.DONE
        batch = await starting.get_batch(id_)
        assert (batch.status, batch.item_counts.succeeded) == (BatchStatus.SUCCEEDED, 4)


async def test_a_worker_without_the_handlers_is_busy(engine_factory: EngineFactory) -> None:
    async with (
        engine_factory() as starting,
        engine_factory(tasks=TaskRegistry(), recovery=False) as worker,
        engine_factory(role="client") as submitting,
    ):
        ticket = Ticket(await start(starting), 0, 0)
        assert await worker.run_ticket(ticket) is Outcome.BUSY
        with pytest.raises(StatechainError, match="role='worker'"):
            await submitting.run_ticket(ticket)


async def test_a_worker_without_a_free_slot_is_busy(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    async with (
        engine_factory() as starting,
        engine_factory(tasks=calls.tasks, recovery=False, slots=1) as worker,
    ):
        id_ = await start(starting)
        running = asyncio.create_task(worker.run_ticket(Ticket(id_, 0, 0)))
        await calls.reached(1)
        assert await worker.run_ticket(Ticket(id_, 1, 0)) is Outcome.BUSY
        assert await worker.run_ticket(Ticket(id_, 0, 0)) is Outcome.BUSY
        calls.gate.set()
        assert await running is Outcome.DONE
        assert await worker.run_ticket(Ticket(id_, 0, 0)) is Outcome.DONE


async def test_a_reported_death_ends_a_lease(engine_factory: EngineFactory) -> None:
    async with engine_factory() as engine:
        id_ = await start(engine)
        at = engine.clock.now()
        await engine.repository.renew_lease("gone", LONG)
        shard = await engine.repository.claim_shard(id_, "gone", running=(), at=at)
        assert shard is not None
        await engine.report_death("gone")
        await engine.report_death("unknown")
        found = (await engine.repository.shards(id_))[shard.number]
        assert (found.owner, found.claims) == (None, 1)


async def ended(engine: Engine, batch_id: str) -> Batch:
    """Return a batch once it is over."""
    while (batch := await engine.get_batch(batch_id)).status is BatchStatus.RUNNING:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return batch


async def test_a_batch_is_run_by_what_its_dispatcher_delivers(engine_factory: EngineFactory) -> None:
    """The sweep of so long a lease would come in twenty minutes."""
    async with engine_factory(tasks=handlers(), dispatcher=LocalDispatcher(), lease=LONG) as engine:
        batch = await ended(engine, await start(engine, 8))
        assert (batch.status, batch.item_counts.succeeded) == (BatchStatus.SUCCEEDED, 8)
        assert batch.end_time is not None


async def test_shards_whose_tickets_are_not_delivered_are_claimed_by_the_sweep(engine_factory: EngineFactory) -> None:
    dispatcher = RecordingDispatcher()
    async with engine_factory(tasks=handlers(), dispatcher=dispatcher, lease=timedelta(seconds=0.9)) as engine:
        id_ = await start(engine)
        assert (await ended(engine, id_)).item_counts.succeeded == 4
        shards = await engine.repository.shards(id_)
    assert [(each.status, each.epoch) for each in shards] == [(ShardStatus.DONE, 1)] * 2
    assert Ticket(id_, 0, 0) in dispatcher.sent


async def test_a_worker_that_is_being_left_is_busy(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory() as starting:
        id_ = await start(starting)
        worker = engine_factory(tasks=calls.tasks, recovery=False)
        await worker.__aenter__()
        running = asyncio.create_task(worker.run_ticket(Ticket(id_, 0, 0)))
        await calls.reached(1)
        leaving = asyncio.create_task(worker.__aexit__(None, None, None))
        await asyncio.sleep(0)
        assert await worker.run_ticket(Ticket(id_, 1, 0)) is Outcome.BUSY
        calls.gate.set()
        await leaving
        assert await running is Outcome.DONE
        assert [each.epoch for each in await starting.repository.shards(id_)] == [1, 0]
