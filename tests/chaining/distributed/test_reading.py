"""What the follower of a DISTRIBUTED batch reads: items that may have begun or ended since it looked, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from statechain import (
    BatchExecutionOptions,
    BatchStopped,
    Engine,
    ExecutionFailed,
    ExecutionFilter,
    MemoryRepository,
    StatechainError,
)
from statechain.chaining import following
from statechain.chaining.shards import run as shard_run
from statechain.records.batches import BatchStatus
from statechain.reports import BatchResult
from statechain.storage.repository import EndBatch, FailBatchItem
from statechain.storage.shards import Shard
from support.chaining.calls import Calls, failing_at_once

CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
ECHO = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}


class Storage(MemoryRepository):
    """Notes the pages of items that are read, and counts the looks at shards."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[tuple[int, int]] = []
        self.looks = 0

    async def batch_results(
        self, batch_id: str, *, after: int = -1, page: int | None = None, **named: Any
    ) -> Sequence[BatchResult]:
        self.pages.append((after, page or 0))
        return await super().batch_results(batch_id, after=after, page=page, **named)

    async def shards(self, batch_id: str) -> Sequence[Shard]:
        self.looks += 1
        return await super().shards(batch_id)

    async def looked(self, times: int) -> None:
        """Return after the shards were looked at this many more times."""
        until = self.looks + times
        while self.looks < until:  # noqa: ASYNC110 -- a number has no event
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def polls_often(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_POLL", "NEXT_POLL", "LONGEST_POLL"):
        monkeypatch.setattr(following, name, 0.01)
    monkeypatch.setattr(shard_run, "COUNT_SECONDS", 0.01)


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    async with Storage() as repository:
        yield repository


def shared(**options: Any) -> BatchExecutionOptions:
    return BatchExecutionOptions(**{"mode": "DISTRIBUTED", "concurrent_batches": 1, **options})


async def test_no_items_are_read_while_none_has_ended(storage: Storage) -> None:
    calls = Calls()
    calls.gate.clear()
    async with Engine(storage, role="client") as client:
        machine = await client.create_state_machine("target", CALL)
        handle = await machine.start_bulk(range(2), options=shared(shard_size=1))
        results = handle.results()
        first = asyncio.ensure_future(anext(results))
        await storage.looked(3)
        assert storage.pages == [], "no worker runs a shard"
        async with Engine(storage, tasks=calls.tasks):
            await calls.reached(1)
            await storage.looked(3)
            assert storage.pages == [], "what runs has not ended"
            calls.gate.set()
            assert [(await first).output, *[each.output async for each in results]] == [0, 1]


async def test_no_more_items_are_read_than_may_have_begun(storage: Storage) -> None:
    calls = Calls()
    calls.gate.clear()
    async with Engine(storage, tasks=calls.tasks) as engine:
        machine = await engine.create_state_machine("target", CALL)
        handle = await machine.start_bulk(range(50), options=shared(shard_size=50))
        results = handle.results()
        for index in range(2):
            await calls.reached(index + 1)
            calls.gate.set()  # the one that waits goes on alone
            calls.gate.clear()
            assert (await anext(results)).index == index
        # What has ended, what runs, and what may have left its place and not ended yet; but not what was read.
        assert sorted(set(storage.pages)) == [(-1, 3), (0, 3)]
        calls.gate.set()
        assert [each.index async for each in results] == list(range(2, 50))


async def test_an_item_is_shown_as_it_begins_while_others_of_its_shard_run(storage: Storage) -> None:
    calls, begun = Calls(), asyncio.Queue[int]()
    calls.gate.clear()
    may_begin = asyncio.Event()

    @calls.tasks.transformer("second later")
    async def second_later(value: int) -> int:
        if value == 1:
            await may_begin.wait()
        return value

    async with Engine(storage, tasks=calls.tasks) as engine:
        source = await engine.create_state_machine("source", ECHO)
        for number in range(2):
            await source.execute(number)
        machine = await engine.create_state_machine("target", CALL)
        options = shared(
            concurrent_batches=2,
            shard_concurrency=2,
            shard_size=2,
            on_execution_start=lambda _, index: begun.put_nowait(index),
        )
        found = ExecutionFilter(state_machine_id=source.id, order="oldest_first")
        running = asyncio.ensure_future(machine.execute_batch(found, options=options, input_transformer="second later"))
        assert await begun.get() == 0
        may_begin.set()
        assert await begun.get() == 1
        await storage.looked(2)
        storage.pages.clear()
        await storage.looked(3)
        assert storage.pages == [], "all have begun, and none has ended"
        calls.gate.set()
        assert [result.output for result in await running] == [0, 1]


async def test_a_batch_that_failed_fails_from_the_first_failure_also_of_a_kind_that_is_not_known(
    storage: Storage,
) -> None:
    """Such as one of a later release, without a cause."""
    async with Engine(storage, role="client") as client:
        machine = await client.create_state_machine("target", CALL)
        handle = await machine.start_bulk(range(3), options=shared(shard_size=3))
        assert await storage.claim_shard(handle.id, "another", running=(), at=client.clock.now())
        await storage.commit(
            [
                FailBatchItem(batch_id=handle.id, index=0, error="LaterError", cause=None),
                FailBatchItem(batch_id=handle.id, index=1, error="InvalidPayload", cause="too large"),
                EndBatch(batch_id=handle.id, status=BatchStatus.FAILED, end_time=client.clock.now()),
            ]
        )
        results = handle.results()
        errors = [(await anext(results)).error for _ in range(2)]
        assert [(type(error).__name__, str(error)) for error in errors] == [
            (StatechainError.__name__, "LaterError"),
            ("InvalidPayload", "too large"),
        ]
        with pytest.raises(BatchStopped) as stopped:
            await anext(results)
        assert stopped.value.__cause__ is errors[0]


async def test_a_failure_that_could_be_redriven_is_shown_once_its_shard_is_over(storage: Storage) -> None:
    calls = Calls()
    calls.gate.clear()
    async with Engine(storage, tasks=failing_at_once(calls, 0)) as engine:
        machine = await engine.create_state_machine("target", CALL)
        handle = await machine.start_bulk(range(2), options=shared(shard_size=1, redrive_failed=True))
        results = handle.results()
        first = await anext(results)
        assert (first.index, type(first.error)) == (0, ExecutionFailed)
        assert await storage.batch_status(handle.id) is BatchStatus.RUNNING
        calls.gate.set()
        assert [each.output async for each in results] == [1]
