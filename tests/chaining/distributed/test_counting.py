"""What a worker stores of a shard that runs: what it has seen itself, or what storage counts; and when it asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from statechain import BatchExecutionOptions, BatchHandle, BatchStatus, Engine, MemoryRepository
from statechain.chaining.shards import run as shard_run
from statechain.storage.repository import EndBatch
from support.chaining.calls import Calls

CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}


class Storage(MemoryRepository):
    """Notes how shards are counted, and how often only a status is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[tuple[int | None, int | None]] = []
        self.refused = asyncio.Event()
        self.statuses = 0

    async def count_shard(
        self, *arguments: Any, is_done: bool, ended: int | None = None, failed: int | None = None, **named: Any
    ) -> BatchStatus:
        if not is_done:
            self.counted.append((ended, failed))
        try:
            return await super().count_shard(*arguments, is_done=is_done, ended=ended, failed=failed, **named)
        except Exception:
            self.refused.set()
            raise

    async def batch_status(self, batch_id: str) -> BatchStatus | None:
        self.statuses += 1
        return await super().batch_status(batch_id)

    async def asked(self, times: int) -> None:
        """Return after a status was asked for this many more times."""
        until = self.statuses + times
        while self.statuses < until:  # noqa: ASYNC110 -- a number has no event
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def counts_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_run, "COUNT_SECONDS", 0.01)
    monkeypatch.setattr(shard_run, "RECOUNT_SECONDS", 3600.0)


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    async with Storage() as repository:
        yield repository


async def start(engine: Engine, count: int, **options: Any) -> BatchHandle:
    machine = await engine.create_state_machine("target", CALL)
    chosen = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=1, shard_size=count, **options)
    return await machine.start_bulk(range(count), options=chosen)


@pytest.mark.parametrize(
    ("is_claimed_again", "redrive_failed", "counted"),
    [(False, False, (2, 1)), (False, True, (2, 1)), (True, False, (None, None)), (True, True, (None, 1))],
)
async def test_what_was_seen_under_the_first_claim_is_stored_and_later_storage_counts(
    storage: Storage, *, is_claimed_again: bool, redrive_failed: bool, counted: tuple[int | None, int | None]
) -> None:
    """Under a later claim only the failures that may be redriven are those that were seen."""
    calls = Calls(1)
    calls.gate.clear()
    async with Engine(storage, role="client") as client:
        handle = await start(client, 3, redrive_failed=redrive_failed)
        if is_claimed_again:
            shard = await storage.claim_shard(handle.id, "gone", running=(), at=client.clock.now())
            assert shard is not None
            await storage.release_shard(shard)
        async with Engine(storage, tasks=calls.tasks) as engine:
            for begun in (1, 2):
                await calls.reached(begun)
                calls.gate.set()
                calls.gate.clear()
            await calls.reached(3)
            while ((await engine.get_batch_totals(handle.id)).ended or 0) < 2:  # noqa: ASYNC110 -- storage has no event
                await asyncio.sleep(0.005)
            assert storage.counted[-1] == counted
            calls.gate.set()
            assert (await handle.wait()).item_counts.succeeded == 2


async def test_where_no_item_has_ended_only_the_status_of_the_batch_is_asked_for(storage: Storage) -> None:
    calls = Calls()
    calls.gate.clear()
    async with Engine(storage, tasks=calls.tasks) as engine:
        await start(engine, 1)
        await calls.reached(1)
        await storage.asked(5)
        assert storage.counted == [(0, 0)]
        calls.gate.set()


async def test_what_runs_of_a_lost_shard_is_cancelled_once_its_batch_is_stopped(storage: Storage) -> None:
    calls = Calls()
    calls.gate.clear()
    await storage.renew_lease("another", timedelta(hours=1))
    async with Engine(storage, tasks=calls.tasks) as engine:
        handle = await start(engine, 1)
        await calls.reached(1)
        await storage.release_shard((await storage.shards(handle.id))[0])
        await storage.claim_shard(handle.id, "another", running=(), at=engine.clock.now())
        await storage.refused.wait()
        await storage.commit([EndBatch(batch_id=handle.id, status=BatchStatus.ABORTED, end_time=engine.clock.now())])
        while (await engine.get_batch(handle.id)).item_counts.running:  # noqa: ASYNC110 -- storage has no event
            await asyncio.sleep(0.005)
    assert calls.ledger[0] == 0
