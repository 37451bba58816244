"""Ledgers: what an execution writes of itself, in order, one transition at a time."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import attrs
import pytest

from statechain import Execution, ExecutionStatus
from statechain.errors import LeaseLost, RepositoryError
from statechain.records.callbacks import CallbackStatus
from statechain.records.executions import Claim
from statechain.storage.journal.journal import Journal
from statechain.storage.journal.ledger import ExecutionWrites
from statechain.testing.contract.samples import callback, commit, ending, execution, start, visit
from support.faulty_repository import FaultyRepository
from support.storage.journals import PATIENCE, running, starting, stopping


async def test_visits_ride_along_with_the_next_record(storage: FaultyRepository, journal: Journal) -> None:
    made = await start(storage)
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
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


async def test_one_execution_has_one_transition_in_a_commit(storage: FaultyRepository, journal: Journal) -> None:
    made = await start(storage)
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))

    async def record(number: int) -> None:
        ledger.add(visit(made, number))
        await journal.record(ledger)

    await asyncio.gather(*(record(number) for number in range(10)))
    assert list(await storage.visits(made.id)) == [visit(made, number) for number in range(10)]
    assert storage.sizes == [1, 1]


async def test_a_write_keeps_the_state_that_it_does_not_change(storage: FaultyRepository, journal: Journal) -> None:
    made = await start(storage, current_state="Second")
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
    ledger.add(visit(made, 0))
    await journal.record(ledger)
    stored = await storage.execution(made.id)
    assert stored is not None
    assert stored.current_state == "Second"


class Heard:
    """What waits for a commit without a future, as a line of control does."""

    def __init__(self, name: str, heard: list[tuple[str, object]]) -> None:
        self.name = name
        self.heard = heard

    def resolve(self, outcome: object) -> None:
        self.heard.append((self.name, outcome))


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize("waiting", [3, 2000])  # more than may call each other
async def test_all_that_wait_for_one_transition_hear_its_outcome_once_and_in_order(
    storage: FaultyRepository, journal: Journal, waiting: int, *, is_lost: bool
) -> None:
    made = await start(storage)
    ledger = ExecutionWrites(Claim(execution=made, epoch=1 + is_lost, seq=0))
    heard: list[tuple[str, object]] = []
    ledger.add(visit(made, 0))
    journal.post(ledger)  # nothing waits for it
    names = [f"number {number}" for number in range(waiting)]
    for name in names:
        journal.post(ledger, Heard(name, heard))
    async with asyncio.timeout(PATIENCE):
        while len(heard) < waiting:  # noqa: ASYNC110 -- the journal has no event
            await asyncio.sleep(0)
    assert [name for name, _ in heard] == names
    assert [isinstance(outcome, LeaseLost) for _, outcome in heard] == [is_lost] * waiting
    assert len(storage.groups) == 2  # the start, and one commit for all


async def test_what_is_added_while_a_commit_is_in_flight_goes_with_the_next(
    storage: FaultyRepository, journal: Journal
) -> None:
    made = await start(storage)
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
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


async def test_a_lost_lease_is_heard_at_the_record(storage: FaultyRepository, journal: Journal) -> None:
    made = await start(storage)
    await commit(storage, stopping(made.id))
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
    ledger.add(visit(made))
    for _ in range(2):
        with pytest.raises(LeaseLost):
            await journal.record(ledger)
    assert list(await storage.visits(made.id)) == []


async def test_nothing_more_is_expected_of_an_execution_whose_lease_is_lost(
    storage: FaultyRepository, journal: Journal
) -> None:
    made = await start(storage)
    await commit(storage, stopping(made.id))
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
    ledger.add(visit(made))
    with pytest.raises(LeaseLost):
        await journal.record(ledger)
    assert ledger.is_lost
    assert not ledger.is_going_on


async def test_callbacks_of_a_refused_transition_are_opened_and_closed_with_the_next(
    storage: FaultyRepository, journal: Journal
) -> None:
    made = await start(storage)
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
    opened = callback(made)
    refusal = RepositoryError("no")
    is_refusing = True
    storage.before = lambda _: refusal if is_refusing else None
    ledger.add(visit(made, 0))
    ledger.open_callback(opened)
    with pytest.raises(RepositoryError):
        await journal.record(ledger)
    is_refusing = False
    await journal.record(ledger)
    assert [each.status for each in await storage.callbacks([opened.id])] == [CallbackStatus.WAITING]
    is_refusing = True
    ledger.add(visit(made, 1))
    ledger.close_callback(opened.id)
    with pytest.raises(RepositoryError):
        await journal.record(ledger)
    is_refusing = False
    await journal.record(ledger)
    assert [each.status for each in await storage.callbacks([opened.id])] in ([], [CallbackStatus.CLOSED])


async def test_a_lost_lease_of_what_was_posted_is_heard_at_the_next_record(
    storage: FaultyRepository, journal: Journal
) -> None:
    made = await start(storage)
    await commit(storage, stopping(made.id))
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
    ledger.add(visit(made))
    journal.post(ledger)
    await journal.write(starting())
    with pytest.raises(LeaseLost):
        await journal.record(ledger)


async def test_what_is_posted_is_written_though_nobody_waits(storage: FaultyRepository, journal: Journal) -> None:
    made = await start(storage)
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
    ledger.add(visit(made))
    journal.post(ledger)
    await journal.write(starting())
    assert list(await storage.visits(made.id)) == [visit(made)]


async def test_what_storage_refused_is_tried_again_with_the_next_transition(
    storage: FaultyRepository, journal: Journal
) -> None:
    made = await start(storage)
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
    refusal = iter([RepositoryError("no")])
    storage.before = lambda _: next(refusal, None)
    ledger.add(visit(made, 0))
    with pytest.raises(RepositoryError):
        await journal.record(ledger)
    ledger.add(visit(made, 1))
    await journal.record(ledger)
    assert list(await storage.visits(made.id)) == [visit(made, 0), visit(made, 1)]


def test_what_was_added_while_a_refused_transition_was_on_its_way_comes_after_it() -> None:
    made = execution()
    first, second = callback(made), attrs.evolve(callback(made), id="second")
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=4))
    assert ledger.is_going_on
    ledger.add(visit(made, 0))
    ledger.open_callback(first)
    ledger.close_callback("third")
    refused = ledger.take()
    ledger.add(visit(made, 1))
    ledger.open_callback(second)
    ledger.close_callback("fourth")
    ledger.settle(refused, RepositoryError("no"))
    assert ledger.is_going_on
    again = ledger.take()
    assert (again.seq, list(again.visits)) == (4, [visit(made, 0), visit(made, 1)])
    assert [*again.opened] == [first, second]
    assert [*again.closed] == ["third", "fourth"]
    assert not ledger.has_advanced
    ledger.settle(again, None)
    assert (ledger.seq, ledger.backlog, ledger.has_advanced) == (6, 0, True)


async def test_a_single_write_does_not_wait_for_all_that_runs(storage: FaultyRepository) -> None:
    """As many executions as fill a commit come back at once, again and again: a stop is written all the same."""
    made = [await start(storage) for _ in range(12)]
    is_stopped = False

    async def run(one: Execution, journal: Journal) -> None:
        ledger = ExecutionWrites(Claim(execution=one, epoch=1, seq=0))
        for number in count():
            if is_stopped:
                return
            ledger.add(visit(one, number))
            await journal.record(ledger)

    async with running(storage, flush_size=4) as journal, asyncio.TaskGroup() as tasks, asyncio.timeout(PATIENCE):
        for one in made[1:]:
            tasks.create_task(run(one, journal))
        await storage.asked(len(made) + 5)
        await journal.write(stopping(made[0].id))
        is_stopped = True


async def test_who_posts_and_records_at_once_is_away_but_once(storage: FaultyRepository, journal: Journal) -> None:
    made = await start(storage)
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
    for number in range(3):
        ledger.add(visit(made, 2 * number))
        journal.post(ledger)
        await storage.asked(len(storage.groups) + 1)
        ledger.add(visit(made, 2 * number + 1))
        await journal.record(ledger)
    assert ledger.is_going_on
    journal.close_execution(ledger)
    assert journal._away == 0
    assert not ledger.is_going_on
