"""What an engine that is left hands over: at once, and with the deaths that no progress has cleared."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from statechain import Engine, Limits, MemoryRepository, TaskRegistry
from statechain.storage.repository import TakeUpExecution
from statechain.testing.contract.samples import bury
from support.engine_harness import machine, task


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
        async with Engine(repository, role="client") as client:
            created = await client.create_state_machine("suspected", machine(**states, Wait=task("wait")))
            suspect = await created.start_execution(1)
        await repository.renew_lease("doomed", timedelta(hours=1))
        (claim,) = await repository.claim("doomed", page=1)
        await repository.commit(
            [TakeUpExecution(execution_id=suspect.id, epoch=claim.epoch, claims=2, backoff=timedelta(0))]
        )
        await bury(repository, "doomed")
        async with asyncio.timeout(20), Engine(repository, tasks=tasks, limits=limits):
            await begun.wait()
        assert sum(group.count for group in await repository.suspect_groups()) == (0 if has_advanced else 1)
        suspects = None if has_advanced else range(2, 3)
        await repository.renew_lease("next", timedelta(hours=1))
        (again,) = await repository.claim("next", page=1, suspects=suspects)
        assert again.claims == (0 if has_advanced else 2)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
