"""One write's trouble is its own: what storage refuses or does not answer holds up nothing else."""

from __future__ import annotations

import asyncio
import logging

import pytest

from statechain import ExecutionFilter
from statechain.cancellation import GRACE
from statechain.clock import SystemClock
from statechain.errors import RepositoryUnavailable
from statechain.records.executions import Claim
from statechain.storage.journal.journal import Journal
from statechain.storage.journal.ledger import ExecutionWrites
from statechain.storage.repository import CreateBatch
from statechain.testing.contract.samples import batch, ending, execution, start, visit
from support.faulty_repository import FaultyRepository
from support.storage.journals import PATIENCE, each, refuses, running, starting, stopping, turns, write_all


@pytest.mark.parametrize("timed_out", [True, False], ids=["it-says-so", "it-only-fails"])
@pytest.mark.parametrize("bad", [[0], [7], [0, 1, 2], [3, 19]])
async def test_a_write_that_is_refused_again_and_again_holds_up_no_other(
    storage: FaultyRepository, journal: Journal, bad: list[int], *, timed_out: bool
) -> None:
    writes = each(20)
    culprits = [writes[place] for place in bad]
    storage.before = refuses(culprits, timed_out=timed_out)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(journal.write(write)) for write in culprits]
        done = await write_all(journal, [write for write in writes if write not in culprits])
        assert done == [write.execution for write in writes if write not in culprits]
        assert not any(task.done() for task in waiting)
        assert await journal.write(later := starting()) == later.execution
        storage.before = lambda _: None
    assert [task.result() for task in waiting] == [write.execution for write in culprits]


async def test_a_write_that_is_alone_when_it_is_refused_holds_up_no_other(
    storage: FaultyRepository, journal: Journal
) -> None:
    culprit = starting()
    storage.before = refuses([culprit], timed_out=True)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(journal.write(culprit))
        await storage.asked(1)
        assert await journal.write(later := starting()) == later.execution
        assert not waiting.done()
        storage.before = lambda _: None
    assert waiting.result() == culprit.execution


async def test_a_batch_is_frozen_beside_all_other_writes_and_again_while_storage_is_away(
    storage: FaultyRepository, journal: Journal
) -> None:
    freezing = CreateBatch(batch=batch(), filter_=ExecutionFilter())
    away = iter([RepositoryUnavailable("away")] * 2)
    storage.before = lambda group: next(away, None) if freezing in group else None
    storage.hold(lambda write: write is freezing)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(journal.write(freezing))
        await storage.asked(1)
        assert await journal.write(later := starting()) == later.execution
        assert not waiting.done()
        storage.gate.set()
    assert waiting.result().id == freezing.batch.id
    assert [group for group in storage.groups if freezing in group] == [[freezing]] * 3


async def test_a_commit_that_is_not_answered_is_left_behind(storage: FaultyRepository) -> None:
    culprit = starting()
    storage.hold(lambda write: write is culprit)
    async with running(storage, relief=0.05) as journal, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(journal.write(culprit))
        await storage.asked(1)
        done = await write_all(journal, writes := each(20))
        assert done == [write.execution for write in writes]
        assert not waiting.done()
        storage.gate.set()
    assert waiting.result() == culprit.execution


async def test_writes_with_the_key_of_a_straggler_keep_their_order(storage: FaultyRepository, journal: Journal) -> None:
    """Two transitions of one execution are never on their way at once, nor does a stop pass what came before it."""
    made = await start(storage)
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
    ledger.add(visit(made))
    storage.before = lambda group: (
        RepositoryUnavailable("locked", timed_out=True) if any(write.key == made.id for write in group) else None
    )
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        first = tasks.create_task(journal.record(ledger))
        await storage.asked(1)
        await asyncio.sleep(0.01)
        ledger.add(visit(made, 1))
        second = tasks.create_task(journal.record(ledger, ending()))
        stop = tasks.create_task(journal.write(stopping(made.id)))
        assert await journal.write(later := starting()) == later.execution
        assert not any(task.done() for task in (first, second, stop))
        storage.before = lambda _: None
    assert list(await storage.visits(made.id)) == [visit(made), visit(made, 1)]
    assert stop.result().status == "SUCCEEDED"


async def test_what_waited_for_its_key_goes_before_what_came_later(storage: FaultyRepository, journal: Journal) -> None:
    culprit, second, third = (starting(execution(name="order")) for _ in range(3))
    storage.before = refuses([culprit], timed_out=True)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        first = tasks.create_task(journal.write(culprit))
        await storage.asked(1)
        tasks.create_task(journal.write(second))
        await turns()
        blocking = starting()
        storage.hold(lambda write: write is blocking)
        tasks.create_task(journal.write(blocking))
        await storage.held.wait()
        tasks.create_task(journal.write(third))
        storage.before = lambda _: None
        await first
        storage.gate.set()
    assert storage.groups[-4:] == [[blocking], [culprit], [second], [third]]


async def test_an_outage_is_no_trouble_of_single_writes(storage: FaultyRepository, journal: Journal) -> None:
    """What is away for all is tried again as a group: not a commit for each write."""
    writes = each(500)
    storage.before = lambda _: RepositoryUnavailable("away")
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        done = tasks.create_task(write_all(journal, writes))
        await storage.asked(12)
        assert len(storage.groups) < 40
        storage.before = lambda _: None
    assert done.result() == [write.execution for write in writes]
    assert len(storage.groups) < 50


async def test_a_group_in_which_all_are_refused_makes_room_for_others(storage: FaultyRepository) -> None:
    culprits = each(4)
    storage.before = refuses(culprits, timed_out=True)
    async with asyncio.timeout(PATIENCE), running(storage, separation=0.1) as journal, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(write_all(journal, culprits))
        await storage.asked(1)
        assert await journal.write(later := starting()) == later.execution
        storage.before = lambda _: None
    assert waiting.result() == [write.execution for write in culprits]


async def test_the_log_names_what_is_held_up_and_when_it_is_over(
    storage: FaultyRepository, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    culprit = starting(execution(input_text='"a secret"'))
    storage.before = refuses([culprit], timed_out=True)
    with caplog.at_level(logging.WARNING, logger="statechain"):
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(journal.write(culprit))
            while not caplog.messages:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            storage.before = lambda _: None
        assert waiting.done()
    begun, over = caplog.messages
    assert begun.startswith(f"StartExecution of execution {culprit.execution.id} is not committed: a row is locked")
    assert over.startswith(f"StartExecution of execution {culprit.execution.id} is settled after")
    assert "secret" not in caplog.text


async def test_the_log_says_when_storage_takes_no_writes_and_when_it_does_again(
    storage: FaultyRepository, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    away = iter([RepositoryUnavailable("the server is starting up")] * 2)
    storage.before = lambda _: next(away, None)
    with caplog.at_level(logging.WARNING, logger="statechain"):
        await write_all(journal, each(3))
    begun, over = caplog.messages
    assert begun == "storage takes no writes, and 3 of them wait until it does: the server is starting up"
    assert over.startswith("storage takes writes again after")


async def test_a_cancelled_caller_is_let_through_after_a_grace_and_its_write_is_made(
    storage: FaultyRepository, journal: Journal
) -> None:
    storage.gate.clear()
    write, loop = starting(), asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(journal.write_for_caller(write), 0.05)
    assert GRACE <= loop.time() - began < PATIENCE
    storage.gate.set()
    await journal.write(starting())
    assert await storage.execution(write.execution.id) == write.execution


async def test_a_cancelled_caller_whose_commit_is_soon_over_is_cancelled_then(
    storage: FaultyRepository, journal: Journal
) -> None:
    write = starting()
    storage.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        caller = tasks.create_task(journal.write_for_caller(write))
        await storage.asked(1)
        caller.cancel()
        await asyncio.sleep(0.01)
        assert not caller.done()
        storage.gate.set()
        await asyncio.wait([caller], timeout=GRACE / 2)
        assert caller.cancelled()
    assert await storage.execution(write.execution.id) == write.execution


async def test_a_journal_that_is_out_of_time_waits_for_no_answer(storage: FaultyRepository) -> None:
    storage.gate.clear()
    journal = Journal(storage, SystemClock())
    journal.open()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        run = tasks.create_task(journal.run())
        outcomes = tasks.create_task(write_all(journal, each(3)))
        await storage.asked(1)
        journal.close(0.05)
        await run
    assert [type(outcome) for outcome in outcomes.result()] == [RepositoryUnavailable] * 3


async def test_a_journal_that_is_out_of_time_gives_up_its_stragglers(storage: FaultyRepository) -> None:
    culprit = starting()
    storage.before = refuses([culprit], timed_out=True)
    journal = Journal(storage, SystemClock())
    journal.open()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(journal.run())
        waiting = tasks.create_task(write_all(journal, [culprit]))
        await storage.asked(2)
        journal.close(0.05)
    assert [type(outcome) for outcome in waiting.result()] == [RepositoryUnavailable]
    assert str(waiting.result()[0]) == "a row is locked"
