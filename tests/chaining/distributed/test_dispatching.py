"""A worker with a dispatcher: what it sends, what it claims by itself, and what it does where the dispatcher fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from statechain import Batch, BatchExecutionOptions, BatchHandle, BatchStatus, Engine, MemoryRepository
from statechain.chaining.shards import worker as shards
from statechain.dispatchers.local import LocalDispatcher
from statechain.storage.shards import ShardStatus
from statechain.tickets import Outcome, Ticket, Work
from support.chaining.calls import Calls
from support.chaining.dispatchers import RecordingDispatcher

CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
LONG = timedelta(hours=1)
"""A lease after which the next sweep comes in twenty minutes."""


class Storage(MemoryRepository):
    """Counts looks for shards, at which others have their turn, as with storage that is not in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    async def running_batches(self, mode: str | None = None) -> Sequence[Batch]:
        self.looks += 1
        await asyncio.sleep(0)
        return await super().running_batches(mode)


class FailingDispatcher(LocalDispatcher):
    """Fails some times before it serves."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures
        self.slots: list[int] = []

    async def serve(self, work: Work, *, slots: int) -> None:
        self.slots.append(slots)
        if len(self.slots) <= self.failures:
            raise ConnectionError
        await super().serve(work, slots=slots)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(shards, "SERVE_AGAIN_SECONDS", (0.001, 0.001))


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    async with Storage() as repository:
        yield repository


async def start(engine: Engine, count: int = 4, **options: Any) -> BatchHandle:
    machine = await engine.create_state_machine("target", CALL)
    chosen = BatchExecutionOptions(
        **{"mode": "DISTRIBUTED", "concurrent_batches": 4, "shard_concurrency": 1, "shard_size": 2, **options}
    )
    return await machine.start_bulk(range(count), options=chosen)


async def turns() -> None:
    """Give looks their time, were there any."""
    for _ in range(10):
        await asyncio.sleep(0.01)


async def test_a_ticket_is_sent_once_and_its_shard_is_left_to_the_dispatcher(storage: Storage) -> None:
    calls, dispatcher = Calls(), RecordingDispatcher()
    async with Engine(storage, tasks=calls.tasks, dispatcher=dispatcher, lease=LONG) as engine:
        handle = await start(engine)
        await turns()
        assert dispatcher.sent == [Ticket(handle.id, 0, 0), Ticket(handle.id, 1, 0)]
        assert calls.inputs == []
        assert storage.looks <= 2, "between sweeps storage is not asked"


async def test_a_sweep_sends_the_tickets_of_batches_that_were_started_elsewhere(storage: Storage) -> None:
    calls, dispatcher = Calls(), RecordingDispatcher()
    async with Engine(storage, role="client") as client:
        handle = await start(client)
        async with Engine(storage, tasks=calls.tasks, dispatcher=dispatcher, lease=LONG):
            while not dispatcher.sent:  # noqa: ASYNC110 -- a list has no event
                await asyncio.sleep(0.005)
            assert dispatcher.sent == [Ticket(handle.id, 0, 0), Ticket(handle.id, 1, 0)]
        assert calls.inputs == []


async def test_a_worker_without_a_free_slot_sends_tickets_but_none_of_what_runs_here(storage: Storage) -> None:
    calls, dispatcher = Calls(), RecordingDispatcher()
    calls.gate.clear()
    async with Engine(storage, tasks=calls.tasks, dispatcher=dispatcher, lease=LONG, slots=1) as engine:
        handle = await start(engine)
        running = asyncio.ensure_future(engine.run_ticket(Ticket(handle.id, 0, 0)))
        await calls.reached(1)
        async with Engine(storage, role="client") as client:
            other = await start(client)
        last = await start(engine)  # which makes the worker look
        while Ticket(other.id, 1, 0) not in dispatcher.sent:  # noqa: ASYNC110 -- a list has no event
            await asyncio.sleep(0.005)
        calls.gate.set()
        assert await running is Outcome.DONE
        expected = [Ticket(each.id, number, 0).key for each in (handle, other, last) for number in (0, 1)]
        assert sorted(each.key for each in dispatcher.sent) == sorted(expected)


async def test_the_end_of_a_shard_claims_none_that_has_a_ticket(storage: Storage) -> None:
    calls, dispatcher = Calls(), RecordingDispatcher()
    async with Engine(storage, tasks=calls.tasks, dispatcher=dispatcher, lease=LONG) as engine:
        handle = await start(engine)
        assert await engine.run_ticket(Ticket(handle.id, 0, 0)) is Outcome.DONE
        await turns()
        statuses = [each.status for each in await storage.shards(handle.id)]
        assert statuses == [ShardStatus.DONE, ShardStatus.PENDING]
    assert calls.inputs == [0, 1]


async def test_a_batch_without_items_ends_where_there_is_a_dispatcher(storage: Storage) -> None:
    async with Engine(storage, tasks=Calls().tasks, dispatcher=RecordingDispatcher(), lease=LONG) as engine:
        ended = await (await start(engine, 0)).wait()
    assert ended.status is BatchStatus.SUCCEEDED
    assert ended.end_time is not None


async def test_an_engine_that_is_left_claims_what_it_is_to_finish_without_tickets(storage: Storage) -> None:
    calls = Calls()
    async with Engine(storage, tasks=calls.tasks, dispatcher=RecordingDispatcher(), lease=LONG) as engine:
        handle = await start(engine, 6)
        await engine.continue_batch(handle.id)
    assert await storage.batch_status(handle.id) is BatchStatus.SUCCEEDED
    assert sorted(calls.inputs) == list(range(6))


async def test_a_dispatcher_that_fails_is_served_again(storage: Storage) -> None:
    calls, dispatcher = Calls(), FailingDispatcher(2)
    async with Engine(storage, tasks=calls.tasks, dispatcher=dispatcher, lease=LONG, slots=3) as engine:
        handle = await start(engine, 8)
        assert (await handle.wait()).item_counts.succeeded == 8
    assert dispatcher.slots == [3, 3, 3]


async def test_of_two_tickets_at_once_a_worker_takes_as_many_as_it_has_slots(storage: Storage) -> None:
    calls = Calls()
    async with Engine(storage, role="client") as client:
        handle = await start(client)
        async with Engine(storage, tasks=calls.tasks, recovery=False, slots=1) as engine:
            tickets = [Ticket(handle.id, 0, 0), Ticket(handle.id, 1, 0)]
            outcomes = await asyncio.gather(*(engine.run_ticket(each) for each in tickets))
    assert outcomes == [Outcome.DONE, Outcome.BUSY]
    assert calls.inputs == [0, 1]


@pytest.mark.parametrize("number", [0, 1])
async def test_a_ticket_whose_batch_has_no_width_left_is_to_be_delivered_again(storage: Storage, number: int) -> None:
    calls = Calls()
    calls.gate.clear()
    async with (
        Engine(storage, role="client") as client,
        Engine(storage, tasks=calls.tasks, recovery=False) as one,
        Engine(storage, tasks=calls.tasks, recovery=False) as other,
    ):
        handle = await start(client, concurrent_batches=1)
        running = asyncio.ensure_future(one.run_ticket(Ticket(handle.id, 1 - number, 0)))
        await calls.reached(1)
        assert await other.run_ticket(Ticket(handle.id, number, 0)) is Outcome.BUSY
        calls.gate.set()
        assert await running is Outcome.DONE
        assert await other.run_ticket(Ticket(handle.id, number, 0)) is Outcome.DONE
    assert sorted(calls.inputs) == [0, 1, 2, 3]
