"""A batch, whose sources may be many, is committed beside the groups: nothing but its own writes waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from statechain.errors import RepositoryUnavailable
from statechain.records.batches import BatchStatus
from statechain.records.filters import ExecutionFilter
from statechain.storage.journal.journal import MOST_LEFT_BEHIND
from statechain.storage.journal.stragglers import AT_ONCE
from statechain.storage.repository import CreateBatch, EndBatch, Write
from statechain.testing.contract.samples import batch, moment
from support.faulty_repository import FaultyRepository
from support.storage.journals import HeldClock, RecordingObserver, running, starting


def creating() -> CreateBatch:
    return CreateBatch(batch=batch(), filter_=ExecutionFilter(limit=0))


def is_batch(write: Write[object]) -> bool:
    return isinstance(write, CreateBatch)


async def test_only_the_end_of_a_batch_waits_until_it_is_there(storage: FaultyRepository) -> None:
    write = creating()
    storage.hold(is_batch)
    observer = RecordingObserver()
    async with running(storage, observer) as journal, asyncio.TaskGroup() as tasks:
        created = tasks.create_task(journal.write(write))
        await storage.asked(1)
        end = EndBatch(batch_id=write.batch.id, status=BatchStatus.ABORTED, end_time=moment(9))
        ended = tasks.create_task(journal.write(end))
        assert await journal.write(later := starting()) == later.execution
        assert not created.done()
        assert not ended.done()
        storage.gate.set()
    assert created.result() == write.batch
    assert ended.result().status == "ABORTED"
    assert storage.groups == [[write], [later], [end]]
    assert [flush.writes for flush in observer.flushes] == [1, 1, 1]


async def test_batches_take_no_place_of_a_commit_that_may_be_left_behind(
    storage: FaultyRepository, clock: HeldClock
) -> None:
    batches, culprit = [creating() for _ in range(MOST_LEFT_BEHIND)], starting()
    storage.hold(lambda write: is_batch(write) or write is culprit)
    async with running(storage, relief=0.01) as journal, asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(journal.write(write)) for write in [*batches, culprit]]
        await storage.asked(len(waiting))
        clock.now += 1
        assert await journal.write(later := starting()) == later.execution
        assert not any(task.done() for task in waiting)
        storage.gate.set()
    assert [task.result() for task in waiting] == [*(write.batch for write in batches), culprit.execution]


async def test_a_batch_that_is_tried_again_takes_no_turn_of_a_straggler(storage: FaultyRepository) -> None:
    batches, straggler = [creating() for _ in range(AT_ONCE)], starting()
    culprits: list[Write[object]] = [*batches, straggler]

    def refuse_once(group: Sequence[Write[object]]) -> RepositoryUnavailable | None:
        refused = [write for write in group if write in culprits]
        for write in refused:
            culprits.remove(write)
        return RepositoryUnavailable("a row is locked", timed_out=True) if refused else None

    storage.before = refuse_once
    async with running(storage) as journal, asyncio.TaskGroup() as tasks:
        created = [tasks.create_task(journal.write(write)) for write in batches]
        await storage.asked(len(batches))
        storage.hold(is_batch)
        await storage.asked(2 * len(batches))
        assert await journal.write(straggler) == straggler.execution
        assert not any(task.done() for task in created)
        storage.gate.set()
    assert [task.result() for task in created] == [write.batch for write in batches]
