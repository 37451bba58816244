"""Waiting for executions that run elsewhere: one waiter polls for all, for as long as its own execution runs."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from statechain import Execution, MemoryRepository
from statechain.errors import DamagedRow, ExecutionNotFound
from statechain.testing.contract.samples import advance, commit, ending, finish, start
from statechain.worker.waiting import EndWatcher
from support.faulty_repository import FaultyRepository, as_repository


async def test_waits_that_are_over_leave_nothing_behind_while_another_one_polls() -> None:
    async with MemoryRepository() as repository, asyncio.TaskGroup() as group:
        watcher = EndWatcher(repository)
        running, ended = await start(repository), await finish(repository)
        poller = group.create_task(watcher.wait(running.id))
        await asyncio.sleep(0)

        async def wait_for_many() -> int:
            await asyncio.gather(*[watcher.wait(ended.id) for _ in range(500)])
            gc.collect()
            return sum(isinstance(each, asyncio.Future) for each in gc.get_objects())

        assert await wait_for_many() + 100 > await wait_for_many()
        poller.cancel()


async def test_who_waits_for_what_does_not_exist_learns_that() -> None:
    async with MemoryRepository() as repository, asyncio.timeout(20):
        with pytest.raises(ExecutionNotFound, match="there is no execution 'missing'"):
            await EndWatcher(repository).wait("missing")


class LeavesOut(FaultyRepository):
    """Leaves an execution out of what it reads together: always if it is damaged, else until it was read alone."""

    def __init__(self, inner: Any, alone: Execution | DamagedRow) -> None:
        super().__init__(inner)
        self.alone = alone

    async def executions_with(self, ids: list[str]) -> list[Execution]:
        is_left_out = isinstance(self.alone, DamagedRow) or not self.refused["execution"]
        return [] if is_left_out else await self._inner.executions_with(ids)

    async def execution(self, execution_id: str) -> Execution:
        self.refused["execution"] += 1
        if isinstance(self.alone, DamagedRow):
            raise self.alone
        assert execution_id == self.alone.id
        return self.alone


async def test_all_who_wait_for_an_execution_whose_row_is_damaged_learn_that() -> None:
    async with MemoryRepository() as repository, asyncio.timeout(20):
        ended = await finish(repository)
        damage = DamagedRow("executions", (ended.id,), "input is missing, not text")
        watcher = EndWatcher(as_repository(LeavesOut(repository, damage)))
        outcomes = await asyncio.gather(*[watcher.wait(ended.id) for _ in range(3)], return_exceptions=True)
    assert outcomes == [damage] * 3


async def test_an_execution_that_was_inserted_between_two_reads_is_read_again() -> None:
    async with MemoryRepository() as repository, asyncio.timeout(20):
        ended = await finish(repository)
        reading = LeavesOut(repository, ended)
        assert await EndWatcher(as_repository(reading)).wait(ended.id) == ended
    assert reading.refused["execution"] == 1


async def test_a_waiter_that_is_cancelled_while_its_execution_is_looked_for_disturbs_no_other() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    class Slow(FaultyRepository):
        async def execution(self, execution_id: str) -> Execution | None:
            asked.set()
            await go_on.wait()
            return await self._inner.execution(execution_id)

    async with MemoryRepository() as repository, asyncio.timeout(20):
        running = await start(repository)
        watcher = EndWatcher(as_repository(Slow(repository)))
        polling = asyncio.ensure_future(watcher.wait(running.id))
        await asyncio.sleep(0)
        cancelled = asyncio.ensure_future(watcher.wait("missing"))
        await asked.wait()
        cancelled.cancel()
        await asyncio.wait([cancelled])
        go_on.set()
        await commit(repository, advance(running, end=ending()))
        assert (await polling).id == running.id
