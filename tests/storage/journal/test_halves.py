"""How many share a commit: a half where all executions wait, all where one runs, and never more than the bound."""

from __future__ import annotations

import asyncio

from statechain import Execution
from statechain.records.executions import Claim
from statechain.storage.journal.journal import SPLIT_SIZE, Journal
from statechain.storage.journal.ledger import ExecutionWrites
from statechain.storage.repository import Advance
from statechain.testing.contract.samples import ending, start, visit
from support.faulty_repository import FaultyRepository
from support.storage.journals import HeldClock, RecordingObserver, each, held, running, turns, write_all


async def beginning(storage: FaultyRepository) -> tuple[Execution, ExecutionWrites]:
    """Start an execution; return it, and what it has yet to write: a visit."""
    made = await start(storage)
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
    ledger.add(visit(made))
    return made, ledger


async def sizes_of(storage: FaultyRepository, journal: Journal, writes: int = 40) -> list[int]:
    """Return the sizes of the commits that this many writes are made in, which all come at once."""
    await turns()
    before = len(storage.groups)
    await write_all(journal, each(writes))
    return storage.sizes[before:]


async def test_few_that_wait_are_not_halved(storage: FaultyRepository, journal: Journal) -> None:
    assert await sizes_of(storage, journal, SPLIT_SIZE - 1) == [SPLIT_SIZE - 1]
    assert await sizes_of(storage, journal, SPLIT_SIZE) == [SPLIT_SIZE // 2] * 2


async def test_while_an_execution_runs_all_that_wait_share_a_commit(
    storage: FaultyRepository, journal: Journal
) -> None:
    (_, first), (_, second) = await beginning(storage), await beginning(storage)
    await asyncio.gather(journal.record(first), journal.record(second))
    assert await sizes_of(storage, journal) == [40]
    journal.close_execution(first)
    assert await sizes_of(storage, journal) == [40]
    journal.close_execution(second)
    assert await sizes_of(storage, journal) == [20, 20]


async def test_an_execution_that_has_ended_does_not_run(storage: FaultyRepository, journal: Journal) -> None:
    _, ledger = await beginning(storage)
    await journal.record(ledger, ending())
    assert await sizes_of(storage, journal) == [20, 20]


async def test_an_execution_whose_next_write_waits_already_is_counted_once(
    storage: FaultyRepository, journal: Journal
) -> None:
    made, ledger = await beginning(storage)
    async with asyncio.TaskGroup() as tasks:
        storage.gate.clear()
        tasks.create_task(journal.record(ledger))
        await storage.asked(2)
        ledger.add(visit(made, 1))
        tasks.create_task(journal.record(ledger))
        await turns()
        storage.gate.set()
    assert await sizes_of(storage, journal) == [40]
    journal.close_execution(ledger)
    assert await sizes_of(storage, journal) == [20, 20]


async def test_half_of_a_commit_is_for_what_is_written_but_once(storage: FaultyRepository) -> None:
    ledgers = [(await beginning(storage))[1] for _ in range(6)]
    started = len(storage.groups)
    async with running(storage, flush_size=4) as journal, asyncio.TaskGroup() as tasks:
        await held(storage, journal, tasks)
        await storage.asked(started + 1)
        for ledger in ledgers:
            tasks.create_task(journal.record(ledger))
        tasks.create_task(write_all(journal, each(6)))
        await turns()
        storage.gate.set()
    groups = storage.groups[started + 1 :]
    assert [sum(isinstance(write, Advance) for write in group) for group in groups] == [2, 2, 2]
    assert [len(group) for group in groups] == [4, 4, 4]


async def test_observers_hear_how_long_a_commit_took_and_what_waits_for_the_next(
    storage: FaultyRepository, clock: HeldClock
) -> None:
    ear, clock.now = RecordingObserver(), 10
    _, ledger = await beginning(storage)
    async with running(storage, ear) as journal, asyncio.TaskGroup() as tasks:
        storage.gate.clear()
        tasks.create_task(write_all(journal, each(1)))
        await storage.asked(2)
        tasks.create_task(write_all(journal, each(2)))
        tasks.create_task(journal.record(ledger))
        await turns()
        clock.now = 12.5
        storage.gate.set()
    assert [(flush.writes, flush.seconds, flush.pending) for flush in ear.flushes] == [(1, 2.5, 3), (3, 0, 0)]
