"""One run of a shard, under one claim: its items are started, counted, and the shard is ended.

What is lost, stopped or past its tolerance is found out by counting, under the epoch of the claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import attrs

from statechain.chaining.batch import STOPPED, ended_executions, stored_item
from statechain.chaining.options import BatchExecutionOptions
from statechain.chaining.runner import BatchServices, Item, Runner, Target
from statechain.chaining.source import InputTransformer
from statechain.chaining.stored import is_exclusive
from statechain.errors import LeaseLost, StatechainError
from statechain.launcher import first_error
from statechain.records.batches import Batch, BatchStatus
from statechain.records.results import BatchStopped
from statechain.storage.retrying import retry_while_unavailable
from statechain.storage.shards import OVER, Shard, ShardPlan

if TYPE_CHECKING:
    from statechain.records.results import BatchExecutionResult

__all__ = ["ShardRun"]

COUNT_SECONDS = 0.4
"""Seconds after which a shard is counted, or its batch looked at: a failure past the tolerance, and a stop, reach all
workers within a second."""


RECOUNT_SECONDS = 2.0
"""Seconds after which a shard is counted although no item has ended here: another worker may have claimed it."""


class _NoResults:
    """Takes results that nothing here waits for, since they are in storage, and counts them."""

    is_full = False

    def __init__(self) -> None:
        self.count = 0

    async def has_room(self) -> None:
        """There always is."""

    def put(self, result: BatchExecutionResult) -> None:  # noqa: ARG002
        """Count it."""
        self.count += 1


@attrs.define(eq=False)
class ShardRun:
    """One run of one shard, under one claim."""

    _services: BatchServices
    _batch: Batch
    _plan: ShardPlan
    _shard: Shard
    _target: Target
    _transformer: InputTransformer | None
    _drains: Callable[[], bool]
    _lost: LeaseLost | None = attrs.field(default=None, init=False)
    _is_complete: bool = attrs.field(default=False, init=False)
    _results: _NoResults = attrs.field(factory=_NoResults, init=False)
    _runner: Runner | None = attrs.field(default=None, init=False)

    async def run(self) -> bool:
        """Run the items; then return True, and the shard is to be ended; or leave it to others and return False.

        Raises BatchStopped where the batch ended meanwhile, LeaseLost where the shard is another worker's.
        """
        options = attrs.evolve(BatchExecutionOptions.of(self._batch), concurrent_batches=self._plan.concurrency)
        self._runner = runner = Runner(
            self._target,
            options,
            self._services,
            self._results,
            total=self._batch.item_counts.total,
            exclusive=is_exclusive(self._batch),
            batch=self._batch,
            overlaps=True,
        )
        try:
            async with asyncio.TaskGroup() as group:
                counting = group.create_task(self._keep_counting())
                await runner.run(self._items(options))
                counting.cancel()
        except BaseExceptionGroup as errors:
            error = first_error(errors)
            if isinstance(error, BatchStopped):  # past the tolerance here: storage is to know at once
                # What stopped the batch wins over a cancellation that came meanwhile, and comes no more.
                with suppress(TimeoutError):
                    await self._services.streams.finished(self._count())
            raise error from error.__cause__
        if self._lost is not None:
            raise self._lost
        if not self._is_complete:
            # In order, so that the claim is no death of a worker.
            await retry_while_unavailable(partial(self._services.repository.release_shard, self._shard))
        return self._is_complete

    async def _items(self, options: BatchExecutionOptions) -> AsyncIterator[Item]:
        """Yield the shard's items, as long as it is this worker's and is not to be left to others."""
        shard, after = self._shard, self._shard.first - 1
        while after < shard.last:
            size = min(options.page_size, shard.last - after)
            read = partial(self._services.repository.batch_items, self._batch.id, after=after, page=size)
            page = await retry_while_unavailable(read)
            if not page:
                break
            ended = await ended_executions(self._batch.id, page, self._services) if self._was_run_before else {}
            for item in page:
                # Asked for each item: the fence refuses counts, not the starts of executions.
                if self._lost is not None or self._drains():
                    return
                yield stored_item(item, self._batch.source_state_name, self._transformer, ended.get(item.index))
            after = page[-1].index
        self._is_complete = True

    async def _keep_counting(self) -> None:
        """Count, until the batch is over; after a loss no more items are started, and those in flight are awaited."""
        loop = asyncio.get_running_loop()
        counted, due = 0, 0.0
        find_status = partial(self._services.repository.batch_status, self._batch.id)
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            # Nothing to count, or no right to: the batch's status alone says whether to stop.
            if self._lost is not None or (self._results.count == counted and loop.time() < due):
                status = await retry_while_unavailable(find_status)
            else:
                counted, due = self._results.count, loop.time() + RECOUNT_SECONDS
                try:
                    status = await self._count(is_seen=not self._was_run_before)
                except LeaseLost as lost:
                    self._lost = lost
                    continue
            if status is None or status in STOPPED:
                raise BatchStopped([])

    @property
    def _was_run_before(self) -> bool:
        """Whether items may have ended: under an earlier claim, or in a process that ran the whole batch."""
        return self._shard.epoch > 1 or not self._batch.is_distributed

    async def _count(self, *, is_seen: bool = False) -> BatchStatus:
        """Count the shard, or store what was seen of it here: that is all as long as no item was cancelled.

        What failed before and is yet to be redriven is no failure until the shard is done.
        """
        redrives = bool(self._batch.options.get("redrive_failed"))
        count = partial(
            self._services.repository.count_shard,
            self._shard,
            is_done=False,
            at=self._services.clock.now(),
            ended=self._results.count if is_seen else None,
            failed=self._runner.failures if self._runner is not None and (redrives or is_seen) else None,
        )
        return await retry_while_unavailable(count)

    async def end(self) -> None:
        """End the shard, whose items have ended."""
        at = self._services.clock.now()
        count = partial(self._services.repository.count_shard, self._shard, is_done=True, at=at)
        try:
            await retry_while_unavailable(count)
        except LeaseLost:
            if not await self._is_done():
                raise

    async def pass_on(self) -> Shard | None:
        """End the shard, whose items have ended; return another one that is claimed in its place, if there is any."""
        pass_on = partial(self._services.repository.pass_on, self._shard, at=self._services.clock.now())
        try:
            _, claimed = await retry_while_unavailable(pass_on)
        except LeaseLost:
            if not await self._is_done():
                raise
            return None
        return claimed

    async def _is_done(self) -> bool:
        """Return whether this claim ended the shard: the reply to that was lost."""
        with suppress(StatechainError):
            shards = await self._services.repository.shards(self._batch.id)
            stored = shards[self._shard.number]
            return stored.epoch == self._shard.epoch and stored.status in OVER
        return False
