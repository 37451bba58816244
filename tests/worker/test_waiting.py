"""Waiting for executions that run elsewhere: one waiter polls for all, for as long as its own execution runs."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import attrs
import pytest

from statechain import Execution, MemoryRepository, Repository
from statechain.errors import DamagedRow, ExecutionNotFound
from statechain.testing.contract.samples import advance, commit, ending, finish, start
from statechain.worker.waiting import EndWatcher
from support.faulty_repository import FaultyRepository, as_repository
from support.virtual_loop import run_virtually


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


class CountsReads(FaultyRepository):
    """Keeps when it was asked for the ends of executions, all of which run."""

    def __init__(self, inner: Repository, running: Execution) -> None:
        super().__init__(inner)
        self.running = running
        self.moments: list[float] = []

    async def executions_with(self, ids: list[str]) -> list[Execution]:
        self.moments.append(round(asyncio.get_running_loop().time(), 3))
        return [attrs.evolve(self.running, id=each) for each in ids]

    async def epochs(self, ids: list[str]) -> dict[str, int]:
        self.moments.append(round(asyncio.get_running_loop().time(), 3))
        return dict.fromkeys(ids, 1)


@pytest.mark.parametrize(
    ("waiters", "polls"),
    [
        (1, [0, 0.02, 0.06, 0.14, 0.3, 0.62, 1.12, 1.62]),
        (50, [0, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.14, 1.64]),
        (51, [0, 0.02, 0.22, 0.42, 0.62, 0.82, 1.14, 1.64]),
        (501, [0, 0.02, 0.02, 0.42, 0.42, 0.82, 0.82, 1.22, 1.22, 1.62, 1.62]),
    ],
)
def test_polls_are_further_and_further_apart_and_never_closer_than_their_queries_allow(
    waiters: int, polls: list[float]
) -> None:
    """The first poll is that of the first waiter alone; more than 500 executions take two queries each time."""

    async def poll() -> list[float]:
        async with MemoryRepository() as repository:
            counting = CountsReads(repository, await start(repository))
            watcher = EndWatcher(as_repository(counting))
            waiting = [asyncio.ensure_future(watcher.wait(f"execution-{number}")) for number in range(waiters)]
            await asyncio.sleep(2)
            for each in waiting:
                each.cancel()
            await asyncio.wait(waiting)
            return counting.moments

    assert run_virtually(poll()) == polls


def test_a_new_waiter_has_the_next_poll_brought_forward() -> None:
    async def poll() -> list[float]:
        async with MemoryRepository() as repository:
            counting = CountsReads(repository, await start(repository))
            watcher = EndWatcher(as_repository(counting))
            waiting = [asyncio.ensure_future(watcher.wait("former"))]
            await asyncio.sleep(1.2)
            waiting.append(asyncio.ensure_future(watcher.wait("new")))
            await asyncio.sleep(0.1)
            for each in waiting:
                each.cancel()
            await asyncio.wait(waiting)
            return counting.moments

    assert run_virtually(poll()) == [0, 0.02, 0.06, 0.14, 0.3, 0.62, 1.12, 1.2, 1.22, 1.26]
