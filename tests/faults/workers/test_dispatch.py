"""Dispatchers are trusted with nothing: no matter what becomes of the tickets, each source is chained once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from statechain import BatchExecutionOptions, BatchStatus, Engine, ExecutionFilter, TaskRegistry
from statechain.dispatchers.local import LocalDispatcher
from statechain.storage.shards import ShardStatus
from statechain.tickets import Outcome, Ticket, Work

EngineFactory = Callable[..., Engine]

LEASE = 0.9
ITEMS = 60
OPTIONS = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=9, shard_size=4)
PASS = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}


class Calls:
    """A handler that notes its calls and how many run at once."""

    def __init__(self) -> None:
        self.inputs: list[int] = []
        self.running = self.peak = 0
        self.tasks = TaskRegistry()
        self.tasks.register("Call")(self.call)

    async def call(self, value: int) -> int:
        self.inputs.append(value)
        self.running += 1
        self.peak = max(self.peak, self.running)
        await asyncio.sleep(0.005)
        self.running -= 1
        return value * 2


class Away(LocalDispatcher):
    """Refuses every ticket, and cannot be served."""

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        raise OSError("there is no broker")

    async def serve(self, work: Work, *, slots: int) -> None:
        raise OSError("there is no broker")


class Hanging(LocalDispatcher):
    """Never answers."""

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        await asyncio.Event().wait()


class Losing(LocalDispatcher):
    """Accepts every ticket, and delivers none."""

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        pass


class Doubling(LocalDispatcher):
    """Delivers every ticket twice at once, and once more when it is done."""

    async def serve(self, work: Work, *, slots: int) -> None:
        async def thrice(ticket: Ticket) -> Outcome:
            await asyncio.gather(work(ticket), work(ticket))
            return await work(ticket)

        await super().serve(thrice, slots=slots)


class Shuffling(LocalDispatcher):
    """Delivers the tickets that it was given so far in any order."""

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        former = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        self._waiting.difference_update(former)
        mixed = [*former, *tickets]
        random.shuffle(mixed)
        await super().dispatch(mixed)


class Delaying(LocalDispatcher):
    """Delivers every ticket after two leases."""

    async def serve(self, work: Work, *, slots: int) -> None:
        async def late(ticket: Ticket) -> Outcome:
            await asyncio.sleep(2 * LEASE)
            return await work(ticket)

        await super().serve(late, slots=8 * slots)


class Dying(LocalDispatcher):
    """Is away for good after its third ticket, with what it had."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 3

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        if self.left <= 0:
            raise OSError("the broker is gone")
        await super().dispatch(tickets)

    async def serve(self, work: Work, *, slots: int) -> None:
        async def counted(ticket: Ticket) -> Outcome:
            self.left -= 1
            if self.left < 0:
                await asyncio.Event().wait()
            return await work(ticket)

        if self.left <= 0:
            raise OSError("the broker is gone")
        await super().serve(counted, slots=slots)


class Stale(LocalDispatcher):
    """Delivers beside each ticket some that name nothing: other shards, epochs and batches."""

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        wrong = [Ticket(each.batch_id, each.shard, each.epoch + 7) for each in tickets]
        nowhere = [Ticket("nowhere", 0, 0), *(Ticket(each.batch_id, 999, 0) for each in tickets[:1])]
        await super().dispatch([*wrong, *nowhere, *tickets])


KINDS: dict[str, Callable[[], Any]] = {
    "faithful": LocalDispatcher,
    "away": Away,
    "hangs": Hanging,
    "loses": Losing,
    "doubles": Doubling,
    "shuffles": Shuffling,
    "delays": Delaying,
    "dies": Dying,
    "stale": Stale,
}


async def _sources(engine: Engine, count: int = ITEMS) -> ExecutionFilter:
    machine = await engine.create_state_machine("sources", PASS)
    for number in range(count):
        await machine.execute(number)
    return ExecutionFilter(state_machine_id=machine.id, order="oldest_first")


@pytest.mark.parametrize("kind", KINDS)
async def test_each_source_is_chained_once_whatever_becomes_of_the_tickets(
    kind: str, engine_factory: EngineFactory
) -> None:
    dispatcher, calls = KINDS[kind](), Calls()
    async with engine_factory() as preparing:
        found = await _sources(preparing)
    async with (
        engine_factory(role="client", dispatcher=dispatcher) as client,
        engine_factory(tasks=calls.tasks, dispatcher=dispatcher, slots=3, lease=LEASE),
        engine_factory(tasks=calls.tasks, dispatcher=dispatcher, slots=3, lease=LEASE),
    ):
        machine = await client.create_state_machine("target", CALL)
        handle = await machine.start_batch(found, options=OPTIONS)
        async with asyncio.timeout(60):
            batch = await handle.wait()
        assert (batch.status, batch.item_counts.succeeded) == (BatchStatus.SUCCEEDED, ITEMS)
        shards = await client.repository.shards(batch.id)
        assert {each.status for each in shards} == {ShardStatus.DONE}
    assert sorted(calls.inputs) == list(range(ITEMS))
    assert calls.peak <= OPTIONS.concurrent_batches


@pytest.mark.parametrize("kind", ["doubles", "dies"])
async def test_each_input_runs_once_whatever_becomes_of_the_tickets(kind: str, engine_factory: EngineFactory) -> None:
    dispatcher, calls = KINDS[kind](), Calls()
    async with (
        engine_factory(role="client", dispatcher=dispatcher) as client,
        engine_factory(tasks=calls.tasks, dispatcher=dispatcher, slots=3, lease=LEASE),
        engine_factory(tasks=calls.tasks, dispatcher=dispatcher, slots=3, lease=LEASE),
    ):
        machine = await client.create_state_machine("target", CALL)
        handle = await machine.start_bulk(range(ITEMS), options=OPTIONS)
        async with asyncio.timeout(60):
            results = [result async for result in handle.results()]
        assert sorted(result.output for result in results) == [2 * number for number in range(ITEMS)]
    assert sorted(calls.inputs) == list(range(ITEMS))
    assert calls.peak <= OPTIONS.concurrent_batches
