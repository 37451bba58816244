"""The end of a journal: what it was given is written, or its waiters fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from itertools import repeat
from typing import Any

import pytest

from statechain import ExecutionFilter, MemoryRepository
from statechain.clock import SystemClock
from statechain.errors import RepositoryUnavailable, StatechainError
from statechain.records.executions import Claim
from statechain.storage.journal import committing
from statechain.storage.journal.journal import Journal
from statechain.storage.journal.ledger import ExecutionWrites
from statechain.storage.repository import CreateBatch
from statechain.testing.contract.samples import batch, visit
from support.faulty_repository import FaultyRepository, as_repository
from support.storage.journals import PATIENCE, each, held, running, starting, write_all


async def test_closing_lets_the_journal_finish(storage: FaultyRepository) -> None:
    journal = Journal(storage, SystemClock())
    journal.open()
    storage.gate.clear()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(journal.run())
        writes = tasks.create_task(write_all(journal, each(5)))
        await storage.asked(1)
        journal.close()
        await asyncio.sleep(0.01)
        assert not task.done()
        storage.gate.set()
    assert len(writes.result()) == 5
    assert await storage.count_executions(ExecutionFilter()) == 5


async def test_an_idle_journal_closes_at_once(storage: FaultyRepository) -> None:
    journal = Journal(storage, SystemClock())
    journal.open()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(journal.run())
        await asyncio.sleep(0)
        journal.close(0)
    assert task.done()
    assert storage.groups == []


async def test_closing_without_patience_waits_for_storage(storage: FaultyRepository) -> None:
    is_away = [True]
    storage.before = lambda _: RepositoryUnavailable("away") if is_away[0] else None
    async with running(storage) as journal, asyncio.TaskGroup() as tasks:
        written = tasks.create_task(journal.write(starting()))
        await storage.asked(1)
        journal.close()
        await storage.asked(3)
        is_away[0] = False
    assert await storage.execution(written.result().id)


async def test_patience_has_an_end(storage: FaultyRepository) -> None:
    fault = RepositoryUnavailable("away")
    storage.before = lambda _: fault
    journal = Journal(storage, SystemClock())
    journal.open()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(journal.run())
        outcomes = tasks.create_task(write_all(journal, each(3)))
        await storage.asked(1)
        journal.close(0.05)
    assert task.done()
    assert outcomes.result() == [fault] * 3


async def test_no_pause_between_two_tries_outlasts_the_deadline(
    storage: FaultyRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "backoff_delays", lambda: repeat(PATIENCE))
    fault = RepositoryUnavailable("away")
    storage.before = lambda _: fault
    async with _closing(storage) as journal, asyncio.TaskGroup() as tasks:
        outcomes = tasks.create_task(write_all(journal, each(2)))
        await storage.asked(1)
        journal.close(0.05)
    assert outcomes.result() == [fault] * 2


@pytest.mark.parametrize(("first", "second"), [(0.05, 2 * PATIENCE), (2 * PATIENCE, 0.05)])
async def test_the_earlier_of_two_deadlines_holds(storage: FaultyRepository, first: float, second: float) -> None:
    fault = RepositoryUnavailable("away")
    storage.before = lambda _: fault
    async with _closing(storage) as journal, asyncio.TaskGroup() as tasks:
        outcomes = tasks.create_task(write_all(journal, each(2)))
        await storage.asked(1)
        journal.set_deadline(first)
        journal.close(second)
    assert outcomes.result() == [fault] * 2


async def test_a_deadline_that_was_set_before_it_runs_holds(storage: FaultyRepository) -> None:
    storage.gate.clear()
    journal = Journal(as_repository(storage), SystemClock())
    journal.open()
    journal.close(0)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        outcomes = tasks.create_task(write_all(journal, each(2)))
        await asyncio.sleep(0)
        tasks.create_task(journal.run())
    assert [type(outcome) for outcome in outcomes.result()] == [RepositoryUnavailable] * 2


@pytest.mark.parametrize("patience", [0, PATIENCE])
async def test_what_storage_answers_in_time_or_a_moment_later_is_heard(
    storage: FaultyRepository, patience: float
) -> None:
    async with _closing(storage) as journal, asyncio.TaskGroup() as tasks:
        written = await held(storage, journal, tasks)
        journal.close(patience)
        for _ in range(10):
            await asyncio.sleep(0)
        storage.gate.set()
    assert await storage.execution(written.result().id) == written.result()


async def test_what_was_on_its_way_beside_the_groups_is_not_confirmed_by_a_journal_that_was_cut_off(
    storage: FaultyRepository,
) -> None:
    journal = Journal(as_repository(storage), SystemClock())
    journal.open()
    storage.gate.clear()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        run = tasks.create_task(journal.run())
        await asyncio.sleep(0)
        freezing = CreateBatch(batch=batch(), filter_=ExecutionFilter())
        freezes = tasks.create_task(_outcome(journal.write(freezing)))
        await storage.asked(1)
        run.cancel()
    assert isinstance(freezes.result(), RepositoryUnavailable)
    assert str(freezes.result()).endswith("it may or may not have been committed")


async def test_nobody_waits_for_a_journal_that_was_cut_off(storage: FaultyRepository) -> None:
    journal = Journal(storage, SystemClock())
    journal.open()
    storage.gate.clear()
    made = await MemoryRepository.commit(storage, [starting()])
    ledger = ExecutionWrites(Claim(execution=made[0], epoch=1, seq=0))  # type: ignore[arg-type]
    ledger.add(visit(made[0]))  # type: ignore[arg-type]
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        run = tasks.create_task(journal.run())
        in_flight = tasks.create_task(write_all(journal, each(2)))
        await storage.asked(1)
        pending = tasks.create_task(write_all(journal, each(2)))
        recording = tasks.create_task(_outcome(journal.record(ledger)))
        await asyncio.sleep(0.01)
        run.cancel()
    outcomes = [*in_flight.result(), *pending.result(), recording.result()]
    assert [type(outcome) for outcome in outcomes] == [RepositoryUnavailable] * 5
    with pytest.raises(StatechainError):
        await journal.write(starting())


async def test_nobody_waits_for_room_in_a_journal_that_was_cut_off(
    storage: FaultyRepository,
) -> None:
    journal = Journal(as_repository(storage), SystemClock(), capacity=2)
    journal.open()
    storage.gate.clear()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        run = tasks.create_task(journal.run())
        tasks.create_task(write_all(journal, each(1)))
        await storage.asked(1)
        pending = tasks.create_task(write_all(journal, each(4)))
        await asyncio.sleep(0.01)
        run.cancel()
    told = [type(outcome) for outcome in pending.result()]
    assert told == [RepositoryUnavailable, RepositoryUnavailable, StatechainError, StatechainError]


async def test_a_journal_that_is_not_open_takes_nothing(storage: FaultyRepository) -> None:
    journal = Journal(storage, SystemClock())
    with pytest.raises(StatechainError, match="not open"):
        await journal.write(starting())
    assert storage.groups == []


@asynccontextmanager
async def _closing(storage: FaultyRepository) -> AsyncIterator[Journal]:
    """Run a journal, which the test closes."""
    journal = Journal(as_repository(storage), SystemClock())
    journal.open()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(journal.run())
        yield journal


async def _outcome(work: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine returns or raises."""
    return (await asyncio.gather(work, return_exceptions=True))[0]
