"""What an engine that is left, or dies, leaves to others: at once, and with the deaths that no progress has cleared."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from statechain import Engine, Limits, MemoryRepository, TaskRegistry
from statechain.storage.leases import SuspectGroup
from statechain.testing.contract.samples import bury
from support.deaths import suspected
from support.engine_harness import machine, task
from support.faulty_repository import FaultyRepository, as_repository


class _Struck(Exception):
    pass


@pytest.mark.parametrize("has_advanced", [False, True])
async def test_what_is_handed_over_keeps_its_deaths_unless_it_made_progress(
    *, has_advanced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    begun, tasks = asyncio.Event(), TaskRegistry()

    async def wait(_value: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    tasks.add("wait", wait)
    tasks.add("work", str)
    states = {"Work": task("work", Next="Wait")} if has_advanced else {}
    limits = Limits(suspect_backoff_seconds=0.01, suspect_backoff_longest_seconds=0.02)
    async with MemoryRepository() as repository:
        await suspected(repository, machine(**states, Wait=task("wait")), deaths=2)
        async with asyncio.timeout(20), Engine(repository, tasks=tasks, limits=limits):
            await begun.wait()
        assert sum(group.count for group in await repository.suspect_groups()) == (0 if has_advanced else 1)
        suspects = None if has_advanced else range(2, 3)
        await repository.renew_lease("next", timedelta(hours=1))
        (again,) = await repository.claim("next", page=1, suspects=suspects)
        assert again.claims == (0 if has_advanced else 2)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


# The last one is tried alone, by a worker that has not lived for as long as its backoff.
@pytest.mark.parametrize(("deaths", "later"), [(0, 1), (1, 2), (3, 4), (4, 4)])
async def test_what_is_taken_up_has_one_death_more_once_its_worker_dies(deaths: int, later: int) -> None:
    begun, tasks = asyncio.Event(), TaskRegistry()

    async def wait(_value: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    tasks.add("wait", wait)
    limits = Limits(suspect_backoff_seconds=3600.0, suspect_backoff_longest_seconds=36_000.0)
    async with MemoryRepository() as repository:
        await suspected(repository, machine(Wait=task("wait")), deaths=deaths)
        faulty = FaultyRepository(repository)
        with suppress(_Struck):
            async with asyncio.timeout(20), Engine(as_repository(faulty), tasks=tasks, limits=limits) as engine:
                await begun.wait()
                faulty.crash()
                raise _Struck
        await bury(repository, engine.worker.id)
        (group,) = await repository.suspect_groups()
        backoff = timedelta(hours=2 ** (later - 1))
        assert group == SuspectGroup(deaths=later, count=1, due=group.due)
        assert backoff - timedelta(minutes=1) < group.due <= backoff


async def test_what_is_redriven_has_no_death_once_its_worker_dies() -> None:
    begun, tasks = asyncio.Event(), TaskRegistry()
    outcomes = iter([ValueError()])

    async def fail_and_then_wait(_value: Any) -> None:
        for error in outcomes:
            raise error
        begun.set()
        await asyncio.Event().wait()

    tasks.add("wait", fail_and_then_wait)
    async with MemoryRepository() as repository:
        faulty = FaultyRepository(repository)
        with suppress(_Struck):
            async with asyncio.timeout(20), Engine(as_repository(faulty), tasks=tasks) as engine:
                created = await engine.create_state_machine("waits", machine(Wait=task("wait")))
                failed = await (await created.start_execution(1)).wait()
                await engine.redrive_execution(failed.id)
                await begun.wait()
                faulty.crash()
                raise _Struck
        await bury(repository, engine.worker.id)
        assert await repository.suspect_groups() == []
