"""Ledgers: what an execution writes of itself, in order, one transition at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from gated import Storage, starting, stopping

from statechain import ExecutionStatus
from statechain.errors import LeaseLost, RepositoryError
from statechain.records import Claim
from statechain.storage.journal import Journal, Ledger
from statechain.testing.contract_samples import callback, commit, ending, start, visit


async def test_visits_ride_along_with_the_next_record(storage: Storage, journal: Journal) -> None:
    made = await start(storage)
    ledger = Ledger(Claim(execution=made, epoch=1, seq=0))
    for number in range(3):
        ledger.add(visit(made, number))
    ledger.open_callback(callback(made))
    ledger.current_state = "Fourth"
    assert ledger.backlog == 3
    await journal.record(ledger)
    assert (ledger.backlog, ledger.seq, len(storage.groups)) == (0, 3, 2)
    assert list(await storage.visits(made.id)) == [visit(made, number) for number in range(3)]
    assert list(await storage.callbacks([callback(made).id])) == [callback(made)]
    ledger.add(visit(made, 3))
    await journal.record(ledger, ending())
    ended = await storage.execution(made.id)
    assert ended is not None
    assert (ended.status, ended.current_state) == (ExecutionStatus.SUCCEEDED, "Fourth")
    assert ledger.seq == 4


async def test_one_execution_has_one_transition_in_a_commit(storage: Storage, journal: Journal) -> None:
    made = await start(storage)
    ledger = Ledger(Claim(execution=made, epoch=1, seq=0))

    async def record(number: int) -> None:
        ledger.add(visit(made, number))
        await journal.record(ledger)

    await asyncio.gather(*(record(number) for number in range(10)))
    assert list(await storage.visits(made.id)) == [visit(made, number) for number in range(10)]
    assert storage.sizes == [1, 1]


async def test_what_is_added_while_a_commit_is_in_flight_goes_with_the_next(storage: Storage, journal: Journal) -> None:
    made = await start(storage)
    ledger = Ledger(Claim(execution=made, epoch=1, seq=0))
    ledger.add(visit(made, 0))
    storage.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(journal.record(ledger))
        await storage.asked(2)
        ledger.add(visit(made, 1))
        second = tasks.create_task(journal.record(ledger))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not second.done()
        storage.gate.set()
    transitions: list[Any] = [write for group in storage.groups[1:] for write in group]
    assert [write.seq for write in transitions] == [0, 1]
    assert len(await storage.visits(made.id)) == 2


async def test_a_lost_lease_is_heard_at_the_record(storage: Storage, journal: Journal) -> None:
    made = await start(storage)
    await commit(storage, stopping(made.id))
    ledger = Ledger(Claim(execution=made, epoch=1, seq=0))
    ledger.add(visit(made))
    for _ in range(2):
        with pytest.raises(LeaseLost):
            await journal.record(ledger)
    assert list(await storage.visits(made.id)) == []


async def test_a_lost_lease_of_what_was_posted_is_heard_at_the_next_record(storage: Storage, journal: Journal) -> None:
    made = await start(storage)
    await commit(storage, stopping(made.id))
    ledger = Ledger(Claim(execution=made, epoch=1, seq=0))
    ledger.add(visit(made))
    journal.post(ledger)
    await journal.write(starting())
    with pytest.raises(LeaseLost):
        await journal.record(ledger)


async def test_what_is_posted_is_written_though_nobody_waits(storage: Storage, journal: Journal) -> None:
    made = await start(storage)
    ledger = Ledger(Claim(execution=made, epoch=1, seq=0))
    ledger.add(visit(made))
    journal.post(ledger)
    await journal.write(starting())
    assert list(await storage.visits(made.id)) == [visit(made)]


async def test_what_storage_refused_is_tried_again_with_the_next_transition(storage: Storage, journal: Journal) -> None:
    made = await start(storage)
    ledger = Ledger(Claim(execution=made, epoch=1, seq=0))
    refusal = iter([RepositoryError("no")])
    storage.before = lambda _: next(refusal, None)
    ledger.add(visit(made, 0))
    with pytest.raises(RepositoryError):
        await journal.record(ledger)
    ledger.add(visit(made, 1))
    await journal.record(ledger)
    assert list(await storage.visits(made.id)) == [visit(made, 0), visit(made, 1)]
