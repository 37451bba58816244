"""A worker's shards of DISTRIBUTED batches: claimed from storage, run item by item, counted, and ended.

A worker looks for shards once a second, and at once when one of its shards ends or a batch is started here. It takes no
more than its share of a batch at a time, so that other workers find some; where it has had its share since the look
before, and the batch has room, it takes one more. What is lost, stopped or past its tolerance is found out by counting,
under the epoch of the claim.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

import attrs

from statechain.batch_records import Batch, BatchStatus
from statechain.chaining.batch import ended_executions, stored_item, watch
from statechain.chaining.options import DISTRIBUTED, BatchExecutionOptions
from statechain.chaining.runner import BatchServices, Item, Runner, Target
from statechain.chaining.stored import is_exclusive
from statechain.errors import BatchStopped, LeaseLost, StatechainError
from statechain.launcher import first_error
from statechain.logs import BATCH
from statechain.storage.retrying import retry_while_unavailable
from statechain.storage.shards import Shard, ShardPlan

if TYPE_CHECKING:
    from statechain.chaining.options import BatchExecutionResult

__all__ = ["SLOTS", "ShardWorker"]

logger = logging.getLogger(__name__)

SLOTS = 8
"""How many shards a worker runs at once unless it is reported otherwise."""

LOOK_SECONDS = 1.0
COUNT_SECONDS = 0.4
"""Seconds between two counts of a shard: a failure past the tolerance stops all workers within a second."""


class _NoResults:
    """Takes results that nothing here waits for: they are in storage."""

    async def has_room(self) -> None:
        """There always is."""

    def put(self, result: BatchExecutionResult) -> None:
        """Drop it."""


class ShardWorker:
    """Runs shards in one process.

    Arguments:
        services: What a batch needs of the engine.

        worker_id: Returns the identity under which shards are claimed.

        has_lease: Returns whether this worker's lease holds: what is claimed without one is not safe from others.

        find_target: Returns the machine that a batch runs, or None where this process cannot run it.

        slots: How many shards run at once here.

        serves_all: Whether to run shards of batches that were started elsewhere, too.
    """

    def __init__(
        self,
        services: BatchServices,
        worker_id: Callable[[], str],
        has_lease: Callable[[], bool],
        find_target: Callable[[Batch], Awaitable[Target | None]],
        *,
        slots: int = SLOTS,
        serves_all: bool = True,
    ) -> None:
        self._services = services
        self._repository = services.repository
        self._worker_id = worker_id
        self._has_lease = has_lease
        self._find_target = find_target
        self._slots = slots
        self._serves_all = serves_all
        self._running: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._started_here: set[str] = set()
        self._awaited: Counter[str] = Counter()
        self._had_share: set[str] = set()
        self._changed = asyncio.Event()
        self._is_draining = False

    # What the engine and its callers say

    def begin(self, batch_id: str) -> None:
        """Look for shards at once: a batch was started here."""
        self._started_here.add(batch_id)
        self._changed.set()

    @contextmanager
    def awaiting(self, batch_id: str) -> Iterator[None]:
        """Run a batch's shards also while the engine is being left: a caller here waits for its end."""
        self._awaited[batch_id] += 1
        try:
            yield
        finally:
            self._awaited[batch_id] -= 1
            self._changed.set()

    def drain(self) -> None:
        """Claim nothing more, and start no more items, but of batches that a caller here awaits."""
        self._is_draining = True
        self._changed.set()

    def interrupt(self) -> None:
        """Cancel what runs, and leave it to other workers."""
        self._is_draining = True
        self._awaited.clear()
        self._changed.set()
        for task in tuple(self._running.values()):
            task.cancel()

    def _drains(self, batch_id: str) -> bool:
        return self._is_draining and self._awaited[batch_id] <= 0

    # Claiming

    async def run(self) -> None:
        """Claim and run shards until drained."""
        async with asyncio.TaskGroup() as group:
            is_due = True
            while not self._is_draining or any(count > 0 for count in self._awaited.values()):
                try:
                    await self._look(group, is_due=is_due)
                except StatechainError as error:
                    logger.warning("shards could not be claimed, trying again: %s", error)
                is_due = not await self._wait_for_change()

    async def _wait_for_change(self) -> bool:
        """Return at the next change, or False when the next look is due."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    async def _look(self, group: asyncio.TaskGroup, *, is_due: bool) -> None:
        if len(self._running) >= self._slots or not self._has_lease():
            return
        for batch in await self._repository.running_batches(DISTRIBUTED):
            is_served = self._serves_all or batch.id in self._started_here
            if is_served and not self._drains(batch.id) and (target := await self._find_target(batch)) is not None:
                await self._claim(group, batch, target, is_due=is_due)

    async def _claim(self, group: asyncio.TaskGroup, batch: Batch, target: Target, *, is_due: bool) -> None:
        """Claim as many shards as are this worker's share; one more where it had that at the last due look, too."""
        plan = ShardPlan.of(batch.options, batch.item_counts.total)
        alive = sum(not lease.is_over for lease in await self._repository.workers())
        share = ceil(plan.width / max(1, alive))
        most = share + (is_due and batch.id in self._had_share)
        while True:
            held = [number for id_, number in self._running if id_ == batch.id]
            if is_due:
                (self._had_share.add if len(held) >= share else self._had_share.discard)(batch.id)
            if len(held) >= most or len(self._running) >= self._slots:
                return
            shard = await self._repository.claim_shard(
                batch.id, self._worker_id(), running=held, at=self._services.clock.now()
            )
            if shard is None:
                return
            task = group.create_task(self._run_shard(batch, plan, shard, target))
            self._running[batch.id, shard.number] = task
            task.add_done_callback(partial(self._forget, (batch.id, shard.number)))

    def _forget(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        self._changed.set()

    # Running

    async def _run_shard(self, batch: Batch, plan: ShardPlan, shard: Shard, target: Target) -> None:
        """Run a shard to its end; an error leaves it to the next claim, by this worker or another."""
        BATCH.set(batch.id)
        task = asyncio.current_task()
        if task is not None:
            self._services.running[batch.id].add(task)
        try:
            await _ShardRun(self._services, batch, plan, shard, target, partial(self._drains, batch.id)).run()
        except BatchStopped:
            logger.info("shard %s of the batch %s is stopped", shard.number, batch.name_prefix)
        except LeaseLost as lost:
            logger.info("%s", lost)
        except StatechainError as error:
            logger.warning("shard %s of the batch %s could not go on: %s", shard.number, batch.name_prefix, error)
        except Exception:
            logger.exception("shard %s of the batch %s met an internal error", shard.number, batch.name_prefix)
        finally:
            if task is not None:
                self._services.running[batch.id].discard(task)
            if not self._services.running[batch.id]:
                del self._services.running[batch.id]


@attrs.define(eq=False)
class _ShardRun:
    """One run of one shard, under one claim."""

    _services: BatchServices
    _batch: Batch
    _plan: ShardPlan
    _shard: Shard
    _target: Target
    _drains: Callable[[], bool]
    _lost: LeaseLost | None = attrs.field(default=None, init=False)
    _is_complete: bool = attrs.field(default=False, init=False)

    async def run(self) -> None:
        """Run the items; then end the shard, or leave it to others.

        Raises BatchStopped where the batch ended meanwhile, LeaseLost where the shard is another worker's.
        """
        options = attrs.evolve(
            BatchExecutionOptions.of(self._batch), concurrent_batches=self._plan.concurrency, name_prefix=None
        )
        runner = Runner(
            self._target,
            options,
            self._services,
            _NoResults(),
            total=self._batch.item_counts.total,
            exclusive=is_exclusive(self._batch),
            batch=self._batch,
        )
        try:
            async with asyncio.TaskGroup() as group:
                watching = [
                    group.create_task(watch(self._batch.id, self._services)),
                    group.create_task(self._keep_counting()),
                ]
                await runner.run(self._items(options))
                for each in watching:
                    each.cancel()
        except BaseExceptionGroup as errors:
            error = first_error(errors)
            if isinstance(error, BatchStopped):  # past the tolerance here: report storage at once
                await self._count(is_done=False)
            raise error from error.__cause__
        if self._lost is not None:
            raise self._lost
        if self._is_complete:
            await self._count(is_done=True)
        else:
            await retry_while_unavailable(partial(self._services.repository.release_shard, self._shard))

    async def _items(self, options: BatchExecutionOptions) -> AsyncIterator[Item]:
        """Yield the shard's items, as long as it is this worker's and is not to be left to others."""
        shard, after = self._shard, self._shard.first - 1
        while after < shard.last:
            size = min(options.page_size, shard.last - after)
            read = partial(self._services.repository.batch_items, self._batch.id, after=after, page=size)
            page = await retry_while_unavailable(read)
            if not page:
                break
            ended = await ended_executions(self._batch.id, page, self._services) if shard.epoch > 1 else {}
            for item in page:
                if self._lost is not None or self._drains():
                    return
                one = stored_item(item, self._batch.source_state_name, None)
                yield attrs.evolve(one, ended=ended.get(item.index))
            after = page[-1].index
        self._is_complete = True

    async def _keep_counting(self) -> None:
        """Count, until the batch is over; after a loss no more items are started, and those in flight are awaited."""
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            try:
                status = await self._count(is_done=False)
            except LeaseLost as lost:
                self._lost = lost
                return
            if status is not BatchStatus.RUNNING:
                raise BatchStopped([])

    async def _count(self, *, is_done: bool) -> BatchStatus:
        count = partial(
            self._services.repository.count_shard, self._shard, is_done=is_done, at=self._services.clock.now()
        )
        try:
            return await retry_while_unavailable(count)
        except LeaseLost:
            if is_done and await self._is_done():
                return BatchStatus.RUNNING  # the reply to the count before was lost
            raise

    async def _is_done(self) -> bool:
        with suppress(StatechainError):
            shards = await self._services.repository.shards(self._batch.id)
            stored = shards[self._shard.number]
            return stored.epoch == self._shard.epoch and stored.owner is None
        return False
