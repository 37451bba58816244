"""The loop that takes over what dead workers left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from statechain import Engine, Limits, MemoryRepository, TaskRegistry
from statechain.errors import RepositoryUnavailable
from statechain.records.executions import Claim
from statechain.worker.recovery import pause_after
from support.deaths import suspected
from support.engine_harness import machine, task
from support.faulty_repository import FaultyRepository, as_repository


def test_looks_that_fail_are_further_and_further_apart_up_to_a_period_of_the_lease() -> None:
    assert [pause_after(failures, 10.0) for failures in range(1, 9)] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert pause_after(10_000, 10.0) == 10.0
    assert pause_after(1, 0.1) == 0.1


class LosesAClaimOfSuspects(FaultyRepository):
    """Claims suspects the first time without a reply."""

    async def claim(self, worker_id: str, **named: Any) -> Sequence[Claim]:
        claims = await self._inner.claim(worker_id, **named)
        if named.get("suspects") and not self.refused["claim"]:
            self.refused["claim"] += len(claims)
            raise RepositoryUnavailable("the reply was lost")
        return claims


async def test_suspects_whose_claim_got_no_reply_are_taken_up_all_the_same() -> None:
    tasks = TaskRegistry()
    tasks.add("work", str)
    limits = Limits(suspect_backoff_seconds=0.01, suspect_backoff_longest_seconds=0.02)
    async with MemoryRepository() as repository:
        id_ = await suspected(repository, machine(Work=task("work")), deaths=1)
        losing = LosesAClaimOfSuspects(repository)
        # A long lease: between two looks nothing but the doubt has storage asked for what this worker does not run.
        async with Engine(as_repository(losing), tasks=tasks, limits=limits, lease=600) as engine:
            handle = await engine.get_handle(id_)
            async with asyncio.timeout(20):
                assert (await handle.wait()).status == "SUCCEEDED"
        assert losing.refused["claim"] == 1
