"""How workers share the shards of one batch: no more than a share each at first, no claim without need, no doubles."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from statechain import (
    Batch,
    BatchExecutionOptions,
    BatchHandle,
    BatchStatus,
    Engine,
    ExecutionFilter,
    MemoryRepository,
    RepositoryUnavailable,
    TaskRegistry,
)
from statechain.chaining.shards import run as shard_run
from statechain.chaining.shards import trials as shard_trials
from statechain.chaining.shards import worker as shards
from statechain.dispatchers.local import LocalDispatcher
from statechain.errors import LeaseLost
from statechain.logs import BATCH
from statechain.observers import Fact, ShardEnded, ShardStarted
from statechain.storage.repository import EndBatch
from statechain.storage.shards import ShardStatus
from support.chaining.calls import Calls

CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
LONG = timedelta(hours=1)
AT = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=4, shard_concurrency=1, shard_size=2)


class Storage(MemoryRepository):
    """Counts looks, claims lost and ends that claim the next shard, and may lose the reply to the next end of one."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.passed_on = 0
        self.loses_reply = False
        self.has_refused = asyncio.Event()

    async def running_batches(self, mode: str | None = None) -> Any:
        self.looks += 1
        return await super().running_batches(mode)

    async def looked(self, times: int) -> None:
        """Return after this many more looks for shards."""
        until = self.looks + times
        while self.looks < until:  # noqa: ASYNC110 -- a number has no event
            await asyncio.sleep(0.005)

    async def count_shard(self, *arguments: Any, is_done: bool, **named: Any) -> Any:
        try:
            status = await super().count_shard(*arguments, is_done=is_done, **named)
        except LeaseLost:
            self.has_refused.set()
            raise
        self._lose_reply(is_done)
        return status

    async def pass_on(self, *arguments: Any, **named: Any) -> Any:
        self.passed_on += 1
        passed = await super().pass_on(*arguments, **named)
        self._lose_reply(True)
        return passed

    def _lose_reply(self, is_done: bool) -> None:
        if is_done and self.loses_reply:
            self.loses_reply = False
            raise RepositoryUnavailable("the reply was lost")


class Facts:
    """An observer of shards."""

    def __init__(self) -> None:
        self.claims: list[tuple[int, int]] = []
        self.outcomes: list[tuple[int, str]] = []
        self.batches: set[str] = set()
        self.seconds = 0.0

    def observe(self, fact: Fact) -> None:
        if isinstance(fact, ShardStarted):
            self.claims.append((fact.shard, fact.claims))
            self.batches.add(fact.batch_id)
        elif isinstance(fact, ShardEnded):
            self.outcomes.append((fact.shard, fact.outcome))
            self.batches.add(fact.batch_id)
            self.seconds += fact.seconds


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LOOK_SECONDS", 0.01)


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    async with Storage() as repository:
        yield repository


async def start(engine: Engine, count: int = 8, options: BatchExecutionOptions = OPTIONS) -> BatchHandle:
    machine = await engine.create_state_machine("target", CALL)
    return await machine.start_bulk(range(count), options=options)


async def held(storage: Storage, batch_id: str) -> list[int]:
    """Return the shards that are under way."""
    return [each.number for each in await storage.shards(batch_id) if each.status is ShardStatus.RUNNING]


async def owned(storage: Storage, batch_id: str) -> list[int]:
    """Return the shards that a worker has."""
    return [each.number for each in await storage.shards(batch_id) if each.owner is not None]


async def test_each_shard_is_claimed_once_where_nothing_goes_wrong(storage: Storage) -> None:
    calls, facts = Calls(), Facts()
    began = time.monotonic()
    async with Engine(storage, tasks=calls.tasks, observers=[facts]) as engine:
        batch: Batch = await (await start(engine, 12)).wait()
    assert batch.status is BatchStatus.SUCCEEDED
    assert batch.end_time is not None
    assert facts.batches == {batch.id}
    assert 0 < facts.seconds < 6 * (time.monotonic() - began)
    assert sorted(facts.claims) == [(number, 1) for number in range(6)]
    assert sorted(facts.outcomes) == [(number, "DONE") for number in range(6)]


async def test_a_worker_has_its_share_first_and_later_what_others_leave(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARE_SECONDS", 3600.0)
    calls = Calls()
    calls.gate.clear()
    await storage.renew_lease("another", LONG)
    async with Engine(storage, tasks=calls.tasks) as engine:
        handle = await start(engine)
        await calls.reached(2)
        await storage.looked(5)
        assert await held(storage, handle.id) == [0, 1], "two workers, four shards at once"
        monkeypatch.setattr(shards, "SHARE_SECONDS", 0.001)
        await calls.reached(4)
        assert await held(storage, handle.id) == [0, 1, 2, 3]
        calls.gate.set()
        assert (await handle.wait()).status is BatchStatus.SUCCEEDED


async def test_a_worker_that_has_its_share_claims_nothing_where_nothing_is_left(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARE_SECONDS", 0.0)
    calls = Calls()
    calls.gate.clear()
    await storage.renew_lease("another", LONG)
    async with Engine(storage, tasks=calls.tasks) as engine:
        handle = await start(engine, 4)
        await calls.reached(2)
        await storage.looked(5)
        calls.gate.set()
        assert (await handle.wait()).status is BatchStatus.SUCCEEDED


async def test_a_worker_runs_no_more_shards_at_once_than_it_has_slots(storage: Storage) -> None:
    calls = Calls()
    async with Engine(storage, tasks=calls.tasks, slots=3) as engine:
        assert (await (await start(engine, 12)).wait()).status is BatchStatus.SUCCEEDED
    assert calls.ledger[1] == 3


async def test_how_far_a_shard_has_come_is_counted_while_it_runs(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_run, "COUNT_SECONDS", 0.01)
    calls, tasks = Calls(1), TaskRegistry()

    @tasks.register("Call")
    async def call(value: int) -> int:
        if value == 3:
            calls.gate.clear()
        return await calls.call(value)

    async with Engine(storage, tasks=tasks) as engine:
        handle = await start(engine, 4, BatchExecutionOptions(mode="DISTRIBUTED", shard_size=4))
        while (totals := await engine.get_batch_totals(handle.id)).ended < 3:  # noqa: ASYNC110 -- storage is asked
            await asyncio.sleep(0.005)
        assert (totals.ended, totals.failed) == (3, 1)
        calls.gate.set()
        assert (await handle.wait()).item_counts.succeeded == 3


async def test_of_a_shard_that_another_worker_claimed_nothing_more_is_started(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_run, "COUNT_SECONDS", 0.01)
    monkeypatch.setattr(shard_run, "RECOUNT_SECONDS", 0.0)
    calls, facts = Calls(), Facts()
    calls.gate.clear()
    await storage.renew_lease("another", LONG)
    async with Engine(storage, tasks=calls.tasks, observers=[facts]) as engine:
        handle = await start(engine, 3, BatchExecutionOptions(mode="DISTRIBUTED", shard_size=3))
        await calls.reached(1)
        await storage.release_shard((await storage.shards(handle.id))[0])
        claimed = await storage.claim_shard(handle.id, "another", running=(), at=engine.clock.now())
        assert claimed is not None
        await storage.has_refused.wait()
        await asyncio.sleep(0)
        calls.gate.set()
        while not facts.outcomes:  # noqa: ASYNC110 -- a list has no event
            await asyncio.sleep(0.005)
        assert facts.outcomes == [(0, "LEFT")]
        assert calls.inputs == [0]
        (shard,) = await storage.shards(handle.id)
        assert (shard.owner, shard.epoch) == ("another", claimed.epoch)


@pytest.mark.parametrize("tolerance", [{"stop_on_error": True}, {"tolerated_failure_percentage": 20.0}])
async def test_one_failure_too_many_ends_the_batch_under_the_same_claim(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, tolerance: dict[str, Any]
) -> None:
    monkeypatch.setattr(shard_run, "COUNT_SECONDS", 3600.0)
    calls, facts = Calls(0), Facts()
    options = BatchExecutionOptions(mode="DISTRIBUTED", shard_size=3, **tolerance)
    async with Engine(storage, tasks=calls.tasks, observers=[facts]) as engine:
        batch = await (await start(engine, 3, options)).wait()
    assert (batch.status, batch.item_counts.failed, batch.item_counts.pending) == (BatchStatus.FAILED, 1, 2)
    assert (facts.claims, facts.outcomes) == ([(0, 1)], [(0, "LEFT")])
    assert calls.inputs == [0]


async def test_a_shard_that_is_left_in_order_counts_as_no_death(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    calls, facts = Calls(), Facts()
    calls.gate.clear()
    async with Engine(storage, tasks=calls.tasks, observers=[facts]) as engine:
        handle = await start(engine, 2)
        await calls.reached(1)
        asyncio.get_running_loop().call_later(0.02, calls.gate.set)
    (shard,) = await storage.shards(handle.id)
    assert (shard.owner, shard.claims) == (None, 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert facts.outcomes == [(0, "LEFT")]
    assert calls.inputs == [0]


async def test_a_shard_that_was_claimed_elsewhere_is_not_done_here(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_run, "COUNT_SECONDS", 3600.0)
    calls, facts = Calls(), Facts()
    calls.gate.clear()
    await storage.renew_lease("another", LONG)
    async with Engine(storage, tasks=calls.tasks, observers=[facts]) as engine:
        handle = await start(engine, 1)
        await calls.reached(1)
        await storage.release_shard((await storage.shards(handle.id))[0])
        await storage.claim_shard(handle.id, "another", running=(), at=engine.clock.now())
        calls.gate.set()
        while not facts.outcomes:  # noqa: ASYNC110 -- a list has no event
            await asyncio.sleep(0.005)
        assert facts.outcomes == [(0, "LEFT")]
        assert await storage.batch_status(handle.id) is BatchStatus.RUNNING


@pytest.mark.parametrize("is_dispatched", [False, True])
async def test_a_shard_whose_end_was_written_is_done_although_the_reply_was_lost(
    storage: Storage, *, is_dispatched: bool
) -> None:
    calls, facts = Calls(), Facts()
    storage.loses_reply = True
    dispatcher = LocalDispatcher() if is_dispatched else None
    async with Engine(storage, tasks=calls.tasks, observers=[facts], dispatcher=dispatcher, lease=LONG) as engine:
        handle = await start(engine, 2)
        assert (await handle.wait()).status is BatchStatus.SUCCEEDED
    assert not storage.loses_reply
    assert facts.outcomes == [(0, "DONE")]
    assert calls.inputs == [0, 1]


async def test_a_batch_without_items_ends_with_its_first_claim(storage: Storage) -> None:
    async with Engine(storage, tasks=Calls().tasks) as engine:
        batch = await (await start(engine, 0)).wait()
    assert batch.status is BatchStatus.SUCCEEDED
    assert batch.end_time is not None


async def test_the_end_of_a_shard_claims_the_next_and_storage_is_not_asked_for_batches(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "LOOK_SECONDS", 3600.0)
    calls, facts = Calls(), Facts()
    options = BatchExecutionOptions(mode="DISTRIBUTED", shard_size=1)
    async with Engine(storage, tasks=calls.tasks, observers=[facts]) as engine:
        handle = await start(engine, 4, options)
        assert (await handle.wait()).status is BatchStatus.SUCCEEDED
    assert storage.passed_on == 4
    assert facts.claims == [(number, 1) for number in range(4)]
    assert storage.looks <= 3, "as the engine opens, as the batch is started, as it is left"


async def test_a_worker_without_a_lease_claims_nothing(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls()
    async with Engine(storage, tasks=calls.tasks) as engine:
        monkeypatch.setattr(engine.shards, "_has_lease", lambda: False)
        handle = await start(engine, 2)
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert calls.inputs == []
        monkeypatch.undo()
        assert (await handle.wait()).status is BatchStatus.SUCCEEDED


async def test_shards_with_two_deaths_are_tried_one_at_a_time_by_workers_that_have_lived(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_trials, "BACKOFF_SECONDS", 3600.0)
    calls = Calls()
    calls.gate.clear()
    async with Engine(storage, role="client") as client:
        handle = await start(client, 4)
        for _ in range(2):
            for _ in range(2):
                assert await storage.claim_shard(handle.id, "dying", running=await held(storage, handle.id), at=AT)
            await storage.release_dead(await storage.strays())
        assert [each.claims for each in await storage.shards(handle.id)] == [2, 2]
        async with Engine(storage, tasks=calls.tasks):
            await storage.looked(3)
            assert await owned(storage, handle.id) == []
            monkeypatch.setattr(shard_trials, "BACKOFF_SECONDS", 0.0)
            await calls.reached(1)
            await storage.looked(5)
            assert await owned(storage, handle.id) == [0]
            calls.gate.set()
            assert (await handle.wait()).status is BatchStatus.SUCCEEDED


async def test_a_shard_of_a_batch_that_ended_elsewhere_is_left_in_order(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_run, "COUNT_SECONDS", 0.01)
    calls, facts = Calls(), Facts()
    calls.gate.clear()
    async with Engine(storage, tasks=calls.tasks, observers=[facts]) as engine:
        handle = await start(engine, 2)
        await calls.reached(1)
        await storage.commit([EndBatch(batch_id=handle.id, status=BatchStatus.ABORTED, end_time=engine.clock.now())])
        while not facts.outcomes:  # noqa: ASYNC110 -- a list has no event
            await asyncio.sleep(0.005)
        (shard,) = await storage.shards(handle.id)
        assert (shard.owner, shard.claims, facts.outcomes) == (None, 0, [(0, "LEFT")])


async def test_what_is_unchained_is_chained_once_also_where_another_batch_did_it_meanwhile(storage: Storage) -> None:
    calls = Calls()
    echo = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
    async with Engine(storage, tasks=calls.tasks, recovery=False) as first, Engine(storage, role="client") as client:
        machine = await first.create_state_machine("target", CALL)
        source = await first.create_state_machine("source", echo)
        await source.execute(1)
        left = ExecutionFilter(state_machine_id=source.id, unchained_to=machine)
        options = BatchExecutionOptions(mode="DISTRIBUTED")
        handle = await (await client.get_state_machine("target")).start_batch(left, options=options)
        await machine.execute_batch(ExecutionFilter(state_machine_id=source.id))
        async with Engine(storage, tasks=calls.tasks):
            assert (await handle.wait()).item_counts.succeeded == 1
    assert calls.inputs == [1]


async def test_what_is_logged_of_a_shard_is_about_its_batch(storage: Storage) -> None:
    seen, tasks = set(), TaskRegistry()

    @tasks.register("Call")
    async def call(_value: int) -> None:
        seen.add(BATCH.get())

    async with Engine(storage, tasks=tasks) as engine:
        ids = set()
        for _ in range(2):
            handle = await start(engine, 3)
            await handle.wait()
            ids.add(handle.id)
    assert seen == ids
