"""What a worker cannot run on it leaves to others at once; without progress that counts as a death."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from statechain import Engine, Limits, MemoryRepository, RepositoryError, TaskRegistry
from statechain.storage.leases import SuspectGroup
from statechain.storage.repository import Advance, ReleaseExecution
from support.deaths import suspected
from support.engine_harness import machine, task
from support.faulty_repository import FaultyRepository, as_repository

LIMITS = Limits(suspect_backoff_seconds=3600.0, suspect_backoff_longest_seconds=36_000.0)
DEATHS = 2


def is_end(write: Any) -> bool:
    return isinstance(write, Advance) and write.end is not None


@pytest.mark.parametrize("has_advanced", [False, True])
@pytest.mark.parametrize("reason", ["a handler has no memory", "storage refuses the end"])
async def test_what_cannot_go_on_is_released_and_has_one_death_more_unless_it_made_progress(
    reason: str, *, has_advanced: bool
) -> None:
    tasks = TaskRegistry()
    tasks.add("work", str)

    async def fail(_value: Any) -> None:
        if reason == "a handler has no memory":
            raise MemoryError

    tasks.add("fail", fail)
    states = {"Work": task("work", Next="Fail")} if has_advanced else {}
    async with MemoryRepository() as inner:
        id_ = await suspected(inner, machine(**states, Fail=task("fail")), deaths=DEATHS)
        faulty = FaultyRepository(inner, remembers=True)
        faulty.before = lambda writes: RepositoryError("refused") if any(map(is_end, writes)) else None
        released: list[ReleaseExecution] = []
        async with asyncio.timeout(20), Engine(as_repository(faulty), tasks=tasks, limits=LIMITS):
            while not released:
                await asyncio.sleep(0)
                released = [each for group in faulty.groups for each in group if isinstance(each, ReleaseExecution)]
        deaths = 1 if has_advanced else DEATHS + 1
        (release,) = released
        assert (release.execution_id, release.claims) == (id_, deaths)
        (group,) = await inner.suspect_groups()
        assert group == SuspectGroup(deaths=deaths, count=1, due=group.due)
        backoff = timedelta(hours=2 ** (deaths - 1))
        assert backoff - timedelta(minutes=1) < group.due <= backoff
