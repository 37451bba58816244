"""A batch in shards as its caller follows it: from storage, each item once as it begins, and once as it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection
from functools import partial
from typing import TYPE_CHECKING

import attrs

from statechain.chaining.runner import ITEM_ERRORS, BatchServices, failure_of
from statechain.errors import BatchNotFound, StatechainError
from statechain.records.batches import BatchStatus
from statechain.records.executions import ExecutionStatus
from statechain.records.results import BatchExecutionResult, BatchStopped
from statechain.storage.retrying import backoff_delays, polling_delays, retry_while_unavailable
from statechain.storage.shards import OVER, Shard, ShardPlan, ShardStatus

if TYPE_CHECKING:
    from statechain.records.executions import Execution
    from statechain.reports import BatchResult
    from statechain.storage.repository import Repository

__all__ = ["Begun", "Follower", "batch_status"]

FIRST_POLL, NEXT_POLL, LONGEST_POLL = 0.05, 0.25, 1.0
"""Seconds until storage is asked for news first, again after something new, and at most."""

SETTLE_SECONDS = 2.0
"""How long executions that run when their batch was stopped have to be aborted by their workers."""

FAILURES = frozenset({ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT})

ERRORS = {error.__name__: error for error in ITEM_ERRORS}


@attrs.frozen
class Begun:
    """An item whose execution has begun."""

    source_execution_id: str | None
    index: int


@attrs.define
class _Seen:
    """What was yielded of a shard: the items that had begun and ended, and the count of those that had ended.

    All items before ``open_from`` have ended.
    """

    open_from: int
    begun: set[int] = attrs.field(factory=set)
    ended: set[int] = attrs.field(factory=set)
    count: int = 0

    def add_ended(self, index: int) -> None:
        """Note that an item has ended."""
        self.ended.add(index)
        while self.open_from in self.ended:
            self.ended.remove(self.open_from)
            self.begun.discard(self.open_from)
            self.open_from += 1


class Follower:
    """Follows one batch; of each shard that is under way it remembers which items it has yielded.

    Arguments:
        batch_id: The batch.

        services: What a batch needs of the engine.

        notes_begun: Whether to yield a `Begun` for each item before its result; else only results are yielded.

        redrives: Whether the batch redrives what had failed before: then a failure is one only when its shard is over.
    """

    def __init__(self, batch_id: str, services: BatchServices, *, notes_begun: bool, redrives: bool) -> None:
        self._batch_id = batch_id
        self._repository = services.repository
        self._notes_begun = notes_begun
        self._redrives = redrives
        self._seen: dict[int, _Seen] = {}
        self._over: set[int] = set()
        self._first_error: Exception | None = None
        self._settle_until: float | None = None
        self._polls = polling_delays()

    async def follow(self) -> AsyncGenerator[Begun | BatchExecutionResult]:
        """Yield what happens to the items until the batch is over; what had begun when it was stopped is among it.

        Raises BatchStopped where it ended FAILED (from the first failure) or ABORTED; BatchNotFound after its deletion.
        """
        pauses = backoff_delays(FIRST_POLL, LONGEST_POLL)
        in_flight = await self._most_in_flight()
        while True:
            status = await batch_status(self._batch_id, self._repository)  # first: the shards are not older than it
            if status is None:
                raise BatchNotFound(f"there is no batch {self._batch_id!r}")
            is_over = status is not BatchStatus.RUNNING
            for shard in await retry_while_unavailable(partial(self._repository.shards, self._batch_id)):
                if shard.number not in self._over and self._has_news(shard, is_over=is_over):
                    for event in await self._news(shard, in_flight, is_over=is_over):
                        pauses = backoff_delays(NEXT_POLL, LONGEST_POLL)
                        yield event
            if is_over and not self._seen:
                if status is not BatchStatus.SUCCEEDED:
                    raise BatchStopped([]) from (self._first_error if status is BatchStatus.FAILED else None)
                return
            await self._pause(next(pauses))

    async def _pause(self, seconds: float) -> None:
        """Sleep that long, or until the batch is over: only then are all results there."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, next(self._polls)))
            if await batch_status(self._batch_id, self._repository) is not BatchStatus.RUNNING:
                return

    async def wait(self) -> None:
        """Return once the batch has SUCCEEDED, and read no results; raises what `follow` raises."""
        while (status := await batch_status(self._batch_id, self._repository)) is BatchStatus.RUNNING:  # noqa: ASYNC110
            await asyncio.sleep(next(self._polls))
        if status is None:
            raise BatchNotFound(f"there is no batch {self._batch_id!r}")
        if status is not BatchStatus.SUCCEEDED:
            end = time.monotonic() + SETTLE_SECONDS
            while time.monotonic() < end and await self._some({ExecutionStatus.RUNNING}):  # noqa: ASYNC110
                await asyncio.sleep(FIRST_POLL)
            failed = await self._some(FAILURES) if status is BatchStatus.FAILED else []
            raise BatchStopped([]) from next((each.error for each in (await self._results(failed)).values()), None)

    async def _some(self, status: Collection[ExecutionStatus]) -> list[BatchResult]:
        """Return the first item whose execution has one of some statuses."""
        read = partial(self._repository.batch_results, self._batch_id, status=status, page=1)
        return list(await retry_while_unavailable(read))

    def _has_news(self, shard: Shard, *, is_over: bool) -> bool:
        if is_over or shard.status in OVER:
            return True
        if shard.status is not ShardStatus.RUNNING:
            return False
        seen = self._seen.setdefault(shard.number, _Seen(shard.first))
        # Storage counts ends only: what may have begun has to be looked at.
        waits_for_begin = self._notes_begun and seen.open_from + len(seen.begun) <= shard.last
        return waits_for_begin or shard.ended > seen.count

    async def _news(self, shard: Shard, in_flight: int, *, is_over: bool) -> list[Begun | BatchExecutionResult]:
        """Return what is new of a shard."""
        seen = self._seen.setdefault(shard.number, _Seen(shard.first))
        seen.count = shard.ended
        is_last = shard.status in OVER
        items = await self._open_items(shard, seen, None if is_over or is_last else shard.ended + in_flight)
        # No worker ends the shard any more: it is over once its executions are, or have had their time.
        if is_over and not is_last:
            is_last = not self._is_settling(items)
        ended = [item for item in items if _has_ended(item) and (is_last or self._is_final(item, shard))]
        if is_last:
            ended = [item for item in items if item.execution_id is not None or item.error is not None]
            del self._seen[shard.number]
            self._over.add(shard.number)
        results = await self._results(ended)
        events: list[Begun | BatchExecutionResult] = []
        for item in items:
            result = results.get(item.index)
            if self._notes_begun and item.index not in seen.begun and (item.execution_id is not None or result):
                events.append(Begun(item.source_execution_id, item.index))
                seen.begun.add(item.index)
            if result is not None:
                events.append(result)
                seen.add_ended(item.index)
                self._first_error = self._first_error or result.error
        return events

    async def _most_in_flight(self) -> int:
        """Return how many items of a shard run at once, or have left their places and not ended yet."""
        batch = await retry_while_unavailable(partial(self._repository.batch, self._batch_id))
        if batch is None:
            raise BatchNotFound(f"there is no batch {self._batch_id!r}")
        return 2 * ShardPlan.of(batch.options).concurrency

    async def _open_items(self, shard: Shard, seen: _Seen, begun: int | None) -> list[BatchResult]:
        """Return those items of a shard that had not ended when it was read before, as far as items have begun.

        Items begin in the order of their indexes. None for ``begun`` reads to the end of the shard.
        """
        last = shard.last if begun is None else min(shard.last, shard.first + begun - 1)
        size = last - seen.open_from + 1
        if size < 1:
            return []
        read = partial(self._repository.batch_results, self._batch_id, after=seen.open_from - 1, page=size)
        return [item for item in await retry_while_unavailable(read) if item.index not in seen.ended]

    def _is_settling(self, items: list[BatchResult]) -> bool:
        """Return whether executions of a batch that is over still run, and may soon be aborted."""
        now = time.monotonic()
        if self._settle_until is None:
            self._settle_until = now + SETTLE_SECONDS
        return now < self._settle_until and any(item.status is ExecutionStatus.RUNNING for item in items)

    def _is_final(self, item: BatchResult, shard: Shard) -> bool:
        """Return whether an end stays: what failed before may be started or redriven again while the shard runs."""
        if item.status is None:
            # Under the first claim an error is of this run; a later claim tries such an item again.
            return shard.epoch == 1
        return item.status is ExecutionStatus.SUCCEEDED or not self._redrives

    async def _results(self, items: list[BatchResult]) -> dict[int, BatchExecutionResult]:
        ids = [item.execution_id for item in items if item.execution_id is not None]
        found = await retry_while_unavailable(partial(self._repository.executions_with, ids)) if ids else ()
        executions = {each.id: each for each in found}
        results = (_result(item, executions.get(item.execution_id or "")) for item in items)
        return {result.index: result for result in results if result is not None}


async def batch_status(batch_id: str, repository: Repository) -> BatchStatus | None:
    """Return a batch's status."""
    return await retry_while_unavailable(partial(repository.batch_status, batch_id))


def _has_ended(item: BatchResult) -> bool:
    return item.error is not None if item.status is None else item.status.is_terminal


def _result(item: BatchResult, execution: Execution | None) -> BatchExecutionResult | None:
    if execution is None and item.error is None:
        return None
    if execution is not None:
        error: Exception | None = failure_of(execution)
    else:
        error = ERRORS.get(item.error or "", StatechainError)(item.cause or item.error or "")
    return BatchExecutionResult(
        source_execution_id=item.source_execution_id, index=item.index, execution=execution, error=error
    )
