"""Waiting for executions that run elsewhere: one waiter polls for all, for as long as its own execution runs."""

from __future__ import annotations

import asyncio
import gc

from statechain import MemoryRepository
from statechain.testing.contract.samples import finish, start
from statechain.worker.waiting import EndWatcher


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
