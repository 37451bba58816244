"""Shards of batches in a memory repository: the reference of that part of the contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

import attrs

from statechain.records.batches import DISTRIBUTED, Batch, BatchStatus, ItemCounts
from statechain.records.executions import ExecutionStatus
from statechain.reports import Backlog
from statechain.storage.shards import (
    CLOCK_SKEW,
    MOST_CLAIMS,
    OPEN,
    POISONED,
    Shard,
    ShardPlan,
    ShardStatus,
    claimable,
    has_advanced,
    is_past_tolerance,
    number_ended,
    number_failed,
    poisoned,
    shard_lost,
    shards_of,
    tickets,
)
from statechain.tickets import Ticket
from statechain_backends.memory.reads import Item
from statechain_backends.memory.reports import MemoryReports

__all__ = ["MemoryShards"]


class MemoryShards(MemoryReports):
    """The shards of a `Repository`."""

    def __init__(self) -> None:
        super().__init__()
        self._shards: dict[str, list[Shard]] = {}
        self._ended: dict[tuple[str, int], ItemCounts] = {}

    async def running_batches(self, mode: str | None = None) -> Sequence[Batch]:
        """Return the RUNNING batches, or those of them that have a mode."""
        running = [each for each in self._batches.values() if each.status is BatchStatus.RUNNING]
        return [self._uncounted(each) for each in running if mode in {None, each.options.get("mode")}]

    async def claim_shard(
        self,
        batch_id: str,
        worker_id: str,
        *,
        running: Collection[int],
        at: datetime,
        ticket: Ticket | None = None,
        most_deaths: int = MOST_CLAIMS,
    ) -> Shard | None:
        """Claim a shard of a batch."""
        batch = self._batches.get(batch_id)
        if batch is None or batch.status is not BatchStatus.RUNNING:
            return None
        if self._is_orphaned(batch):
            self._batches[batch_id] = attrs.evolve(batch, status=BatchStatus.ABORTED, end_time=at)
            return None
        plan = ShardPlan.of(batch.options)
        self._cut(batch)
        while free := claimable(
            self._shards[batch_id], plan.width, worker_id, running, ticket=ticket, most_deaths=most_deaths
        ):
            shard = free[0]
            counts = self._counts(shard) if shard.claims else ItemCounts()
            ended = number_ended(counts) if shard.claims else shard.ended
            has_died = bool(shard.claims) and not has_advanced(shard, plan, ended, counts.running)
            # Given up, and looked again: another shard may be free.
            if has_died and shard.claims >= MOST_CLAIMS:
                self._give_up(shard)
                continue
            claims = shard.claims + 1 if has_died else 1
            return self._claim_shard(attrs.evolve(shard, ended=ended), worker_id, claims)
        self._end_if_over(batch, at)
        return None

    def _cut(self, batch: Batch, *, was_begun: bool = False) -> None:
        """Cut a batch, unless it was cut."""
        if batch.id not in self._shards:
            self._shards[batch.id] = list(shards_of(self._uncounted(batch), was_begun=was_begun))

    def _settled(self, batch: Batch) -> Iterator[tuple[range, ItemCounts]]:
        """Yield the items that need not be looked at: of shards that were never claimed, or are over.

        But not of a shard with an item that had failed and was redriven since the batch began.
        """
        for shard in self._shards.get(batch.id, ()):
            counts = self._ended.get((batch.id, shard.number))
            if shard.status is ShardStatus.PENDING and shard.epoch == 0:
                counts = ItemCounts(pending=shard.size)
            elif counts is None or (number_failed(counts) and self._has_redriven(batch, shard)):
                continue
            yield range(shard.first, shard.last + 1), counts

    def _has_redriven(self, batch: Batch, shard: Shard) -> bool:
        """Return whether an execution of a shard's items was redriven, and may be since the batch began."""
        items = self._items[batch.id][shard.first : shard.last + 1]
        ids = [self._names.get((batch.state_machine_id, item.name)) for item in items]
        found = [self._executions[id_] for id_ in ids if id_ is not None]
        since = batch.start_time - CLOCK_SKEW
        return any(each.redrive_count and (each.end_time is None or each.end_time >= since) for each in found)

    def _claim_shard(self, shard: Shard, worker_id: str | None, claims: int) -> Shard:
        status, epoch = ShardStatus.RUNNING, shard.epoch + 1
        # A shard that is claimed again may redrive items: how they had ended is no longer true.
        self._ended.pop((shard.batch_id, shard.number), None)
        return self._put(attrs.evolve(shard, status=status, owner=worker_id, epoch=epoch, claims=claims))

    async def pass_on(self, shard: Shard, *, at: datetime) -> tuple[BatchStatus, Shard | None]:
        """End a claimed shard, and claim another one in its place."""
        status = await self.count_shard(shard, is_done=True, at=at)
        pending = [each for each in self._shards[shard.batch_id] if each.status is ShardStatus.PENDING]
        if status is not BatchStatus.RUNNING or not pending:
            return status, None
        # In the place of the one that ended: as many shards are under way as before, so that `width` is not asked.
        return status, self._claim_shard(pending[0], shard.owner, 1)

    async def open_tickets(self, batch_id: str, worker_id: str, *, running: Collection[int]) -> Sequence[Ticket]:
        """Return a ticket for each shard that can be claimed now."""
        batch = self._batches.get(batch_id)
        if batch is None or batch.status is not BatchStatus.RUNNING:
            return []
        plan = ShardPlan.of(batch.options)
        shards = self._shards.get(batch_id) or list(shards_of(self._uncounted(batch)))
        return tickets(claimable(shards, plan.width, worker_id, running))

    def _put(self, shard: Shard) -> Shard:
        self._shards[shard.batch_id][shard.number] = shard
        return shard

    def _give_up(self, shard: Shard) -> None:
        cause = poisoned(shard)
        for item, status in self._in_shard(shard):
            if status is None and item.error is None:
                item.error, item.cause = POISONED, cause
        counts = self._counts(shard)
        ended, failed = number_ended(counts), number_failed(counts)
        self._put(attrs.evolve(shard, status=ShardStatus.FAILED, owner=None, ended=ended, failed=failed))

    def _in_shard(self, shard: Shard) -> Iterator[tuple[Item, ExecutionStatus | None]]:
        """Yield the items of a shard with the statuses of their executions."""
        batch = self._batches[shard.batch_id]
        for item in self._items[shard.batch_id][shard.first : shard.last + 1]:
            holder = self._represented(batch, item)
            yield item, None if holder is None else self._executions[holder].status

    def _counts(self, shard: Shard) -> ItemCounts:
        """Count the items of a shard by what they are now."""
        return ItemCounts(**Counter(self._kind(item, status) for item, status in self._in_shard(shard)))

    def _end_if_over(self, batch: Batch, at: datetime) -> BatchStatus:
        """End a batch that is past its tolerance, has no open shard, or outlives its parent; return its status."""
        shards = self._shards[batch.id]
        is_past = is_past_tolerance(batch.options, sum(each.failed for each in shards), len(self._items[batch.id]))
        is_orphaned = self._is_orphaned(batch)
        is_over = is_orphaned or is_past or not any(each.status in OPEN for each in shards)
        if batch.status is BatchStatus.RUNNING and is_over:
            status = BatchStatus.FAILED if is_past else BatchStatus.SUCCEEDED
            status = BatchStatus.ABORTED if is_orphaned else status
            batch = self._batches[batch.id] = attrs.evolve(batch, status=status, end_time=at)
        return batch.status

    def _is_orphaned(self, batch: Batch) -> bool:
        """Return whether a batch is the Map Run of an execution that does not run."""
        return batch.parent_execution_id is not None and batch.parent_execution_id not in self._runs

    def _is_held(self, shard: Shard) -> bool:
        current = self._shards[shard.batch_id][shard.number]
        return (current.owner, current.epoch) == (shard.owner, shard.epoch)

    async def count_shard(
        self, shard: Shard, *, is_done: bool, at: datetime, ended: int | None = None, failed: int | None = None
    ) -> BatchStatus:
        """Count how many items of a claimed shard have ended."""
        if not self._is_held(shard):
            raise shard_lost(shard)
        current = self._shards[shard.batch_id][shard.number]
        counts = self._counts(shard)
        ended = number_ended(counts) if ended is None else ended
        failed = number_failed(counts) if failed is None else failed
        if is_done and number_ended(counts) == shard.size:
            self._ended[shard.batch_id, shard.number] = counts
        # Progress: earlier deaths are not held against it.
        claims = 0 if ended > current.ended else current.claims
        current = attrs.evolve(current, ended=ended, failed=failed, claims=claims)
        self._put(attrs.evolve(current, status=ShardStatus.DONE, owner=None) if is_done else current)
        return self._end_if_over(self._batches[shard.batch_id], at)

    async def release_shard(self, shard: Shard) -> None:
        """Leave a claimed shard to other workers."""
        if self._is_held(shard):
            current = self._shards[shard.batch_id][shard.number]
            self._put(attrs.evolve(current, owner=None, claims=max(0, current.claims - 1)))

    async def shards(self, batch_id: str) -> Sequence[Shard]:
        """Return the shards of a batch."""
        return list(self._shards.get(batch_id, ()))

    def _reopen_shards(self, batch_id: str) -> None:
        for each in self._shards.get(batch_id, ()):
            self._put(
                # The fence: a worker that still runs the shard has lost it.
                Shard(batch_id=batch_id, number=each.number, first=each.first, last=each.last, epoch=each.epoch + 1)
            )

    async def backlog(self) -> Backlog:
        """Return what waits for a worker."""
        batches = [each.id for each in await self.running_batches(DISTRIBUTED)]
        shards = [shard for id_ in batches for shard in self._shards.get(id_, ()) if shard.status in OPEN]
        owned = sum(shard.owner is not None for shard in shards)
        uncut = sum(not self._shards.get(id_) for id_ in batches)
        unowned = await self.count_unowned()
        return Backlog(executions=unowned, shards=len(shards) - owned + uncut, running_shards=owned)

    def _release_shards(self, workers: Collection[str], *, in_order: bool) -> None:
        """Release what workers own."""
        for shard in [each for shards in self._shards.values() for each in shards if each.owner in workers]:
            # A worker that left in order did not die: its claim does not count.
            self._put(attrs.evolve(shard, owner=None, claims=max(0, shard.claims - in_order)))
