"""Shards of batches in SQL: scripts as in `writes`, and the part of a repository that runs them.

What is to be claimed is looked for without locks, and then taken by a statement that checks it again. Only a claim of
what was not begun locks the batch's row, so that the number of shards under way is exact; and so does a batch's end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, cast

from sqlalchemy import insert

from statechain.clock import to_micros
from statechain.records.batches import Batch, BatchStatus, ItemCounts
from statechain.storage.shards import (
    MOST_CLAIMS,
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
from statechain_backends.sql.compiler import Parameters
from statechain_backends.sql.decoding import Row, readable
from statechain_backends.sql.records import to_batch
from statechain_backends.sql.schema.tables import batch_shards
from statechain_backends.sql.scripts import shard_statements as statements
from statechain_backends.sql.text_escape import unescape_text

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from statechain_backends.sql.scripts.steps import Script, Steps

__all__ = ["Shards"]

CHUNK = 500


def claim_pending(batch_id: str, worker_id: str, width: int, ticket: Ticket | None) -> Script:
    """Claim the lowest shard that is PENDING, or the one that a ticket names; None where there is no room for it."""
    of_batch = {"batch": batch_id}
    if not (yield statements.LOCK_RUNNING, of_batch):
        return None
    new = {**of_batch, "worker": worker_id, "width": width}
    if ticket is None:
        rows = yield statements.CLAIM_LOWEST, new
    else:
        rows = yield statements.CLAIM_NAMED, {**new, "number": ticket.shard, "of_epoch": ticket.epoch}
    return _to_shard(rows[0]) if rows else None


def cut_batch(batch: Batch, *, was_begun: bool = False) -> Script:
    """Cut a RUNNING batch, unless it was cut."""
    of_batch = {"batch": batch.id}
    if not (yield statements.LOCK_RUNNING, of_batch) or (yield statements.ANY, of_batch):
        return None
    shards = list(shards_of(batch, was_begun=was_begun))
    for begin in range(0, len(shards), CHUNK):
        rows = [_named_row(each) for each in shards[begin : begin + CHUNK]]
        yield insert(batch_shards).values(rows), None
    return None


def give_up(shard: Shard, worker_id: str) -> Script:
    """End a shard as FAILED, and fail those of its items that were not started."""
    if (yield statements.GIVE_UP, {**_key(shard), "of_epoch": shard.epoch, "worker": worker_id}):
        yield statements.FAIL_MISSING, {**_range(shard), "new_cause": poisoned(shard)}
        (counted,) = yield statements.COUNTS, _range(shard)
        yield statements.SET_COUNTS, {**_key(shard), **_progress(_to_counts(counted))}
    return None


def end_and_claim(shard: Shard, counts: ItemCounts) -> Script:
    """End a claimed shard, and claim the lowest that is PENDING in its place; return whether it ended, and that one."""
    rows = yield statements.END, {**_key(shard), **_holder(shard), **_end(shard, counts)}
    if not rows:
        return False, None
    claimed = yield statements.CLAIM_IN_PLACE, {"batch": shard.batch_id, "worker": shard.owner}
    return True, _to_shard(claimed[0]) if claimed else None


def end_if_over(batch_id: str, at: datetime) -> Script:
    """End a batch that is past its tolerance, or has no open shard, or outlives its parent; return its status."""
    of_batch = {"batch": batch_id}
    stored = yield statements.LOCK_BATCH, of_batch
    if not stored:
        return BatchStatus.ABORTED
    batch = to_batch(stored[0])
    if batch.status is not BatchStatus.RUNNING:
        return batch.status
    if (yield from _is_orphaned(batch)):
        return (yield from _set_end(batch, BatchStatus.ABORTED, at))
    # Again under the lock: the batch may have been resumed since the look that led here.
    ((failures, still_open),) = yield statements.SUMS, of_batch
    if still_open and not is_past_tolerance(batch.options, int(failures), batch.item_counts.total):
        return BatchStatus.RUNNING
    return (yield from _end_batch(batch, at))


def _end_batch(batch: Batch, at: datetime) -> Script:
    """End a batch that is past its tolerance, or has no open shard."""
    ((failures, _),) = yield statements.SUMS, {"batch": batch.id}
    is_past = is_past_tolerance(batch.options, int(failures), batch.item_counts.total)
    return (yield from _set_end(batch, BatchStatus.FAILED if is_past else BatchStatus.SUCCEEDED, at))


def _set_end(batch: Batch, status: BatchStatus, at: datetime) -> Script:
    yield statements.END_BATCH, {"batch": batch.id, "new_status": status.value, "at": to_micros(at)}
    return status


def _is_orphaned(batch: Batch) -> Script:
    """Return whether a batch is the Map Run of an execution that does not run."""
    if batch.parent_execution_id is None:
        return False
    return not (yield statements.PARENT, {"parent": batch.parent_execution_id})


def release(shard: Shard) -> Steps:
    """Leave a claimed shard to others."""
    yield statements.RELEASE, {**_key(shard), **_holder(shard)}


def _key(shard: Shard) -> dict[str, object]:
    return {"batch": shard.batch_id, "number": shard.number}


def _holder(shard: Shard) -> dict[str, object]:
    return {"worker": shard.owner, "of_epoch": shard.epoch}


def _range(shard: Shard) -> dict[str, object]:
    return {"batch": shard.batch_id, "first": shard.first, "last": shard.last}


def _end(shard: Shard, counts: ItemCounts) -> dict[str, object]:
    """Return what is stored of the items of a shard that is over: how they ended, where all of them have."""
    is_whole = number_ended(counts) == shard.size
    kinds = {f"items_{kind}": getattr(counts, kind) if is_whole else None for kind in statements.ITEM_COUNTS}
    return _progress(counts) | kinds


def _progress(counts: ItemCounts) -> dict[str, object]:
    """Return what is stored of the items of a shard that is under way."""
    return {"new_ended": number_ended(counts), "new_failed": number_failed(counts)}


def _to_counts(row: Row) -> ItemCounts:
    """Return the counts of a shard's items."""
    succeeded, failed, timed_out, aborted, running = row
    return ItemCounts(succeeded=succeeded, failed=failed, timed_out=timed_out, aborted=aborted, running=running)


def _named_row(shard: Shard) -> dict[str, object]:
    """Return the row of `schema.batch_shards`, by its columns."""
    return {
        "batch_id": shard.batch_id,
        "shard": shard.number,
        "first": shard.first,
        "last": shard.last,
        "status": shard.status.value,
        "owner": shard.owner,
        "epoch": shard.epoch,
        "claims": shard.claims,
        "ended": shard.ended,
        "failed": shard.failed,
    }


def _to_shard(row: Row) -> Shard:
    """Return a shard from a row of its table."""
    batch_id, shard, first, last, status, owner, epoch, claims, ended, failed = row
    return Shard(
        batch_id=unescape_text(batch_id),
        number=shard,
        first=first,
        last=last,
        status=ShardStatus(status),
        owner=None if owner is None else unescape_text(owner),
        epoch=epoch,
        claims=claims,
        ended=ended,
        failed=failed,
    )


def _alone(statement: Executable, parameters: Parameters) -> Script:
    return (yield statement, parameters)


class Shards(ABC):
    """The shards of a repository."""

    @abstractmethod
    async def _perform(self, script: Script) -> object:
        """Run a script in a transaction; return what it returns."""

    async def _change(self, statement: Executable, parameters: Parameters) -> Sequence[Row]:
        """Commit one statement; return its rows."""
        return cast("Sequence[Row]", await self._perform(_alone(statement, parameters)))

    @abstractmethod
    async def _fetch(self, statement: Executable, parameters: Parameters = None) -> Sequence[Row]:
        """Return the rows of a statement that only reads."""

    async def running_batches(self, mode: str | None = None) -> Sequence[Batch]:
        """Return the RUNNING batches, or those of them that have a mode."""
        found = readable(await self._fetch(statements.RUNNING_BATCHES, {}), to_batch)
        return [each for each in found if mode in {None, each.options.get("mode")}]

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
        of_batch = {"batch": batch_id}
        while True:  # until there is nothing to claim: another worker may claim first what is found
            stored = readable(await self._fetch(statements.BATCH, of_batch), to_batch)
            if not stored or stored[0].status is not BatchStatus.RUNNING:
                return None
            (batch,) = stored
            if await self._is_orphaned(batch):
                await self._perform(end_if_over(batch_id, at))
                return None
            shards = await self._open_shards(batch_id, 1, ticket)
            if not shards and batch.item_counts.total:
                if not await self._fetch(statements.ANY, of_batch):
                    await self._perform(cut_batch(batch))
                    continue
                shards = await self._open_shards(batch_id, 1, ticket)  # another worker may have cut it in between
            plan = ShardPlan.of(batch.options)
            free = claimable(shards, plan.width, worker_id, running, ticket=ticket, most_deaths=most_deaths)
            if not free:
                if not shards:
                    await self._perform(end_if_over(batch_id, at))
                return None
            if free[0].status is ShardStatus.PENDING:
                claimed = await self._perform(claim_pending(batch_id, worker_id, plan.width, ticket))
            else:
                claimed = await self._take_over(free[0], plan, worker_id)
            if claimed is not None:
                return cast("Shard", claimed)

    async def _open_shards(self, batch_id: str, room: int, ticket: Ticket | None = None) -> list[Shard]:
        """Return a batch's shards that are under way, the first that are PENDING, and the one that a ticket names."""
        rows = list(await self._fetch(statements.OPEN, {"batch": batch_id, "room": room}))
        found = {each.number: each for each in map(_to_shard, rows)}
        if ticket is not None and ticket.shard not in found:
            for row in await self._fetch(statements.NAMED, {"batch": batch_id, "number": ticket.shard}):
                found[ticket.shard] = _to_shard(row)
        return list(found.values())

    async def _take_over(self, shard: Shard, plan: ShardPlan, worker_id: str) -> Shard | None:
        """Claim what was begun and has no owner, or give it up; None where it is given up, or another worker's now."""
        ended, claims = shard.ended, 1
        if shard.claims:
            counts = await self._count(shard)
            ended = number_ended(counts)
            if not has_advanced(shard, plan, ended, counts.running):
                claims = shard.claims + 1
        if claims > MOST_CLAIMS:
            await self._perform(give_up(shard, worker_id))
            return None
        new = {"worker": worker_id, "of_epoch": shard.epoch, "new_claims": claims, "new_ended": ended}
        rows = await self._change(statements.TAKE_OVER, {**_key(shard), **new})
        return _to_shard(rows[0]) if rows else None

    async def open_tickets(self, batch_id: str, worker_id: str, *, running: Collection[int]) -> Sequence[Ticket]:
        """Return a ticket for each shard that can be claimed now."""
        of_batch = {"batch": batch_id}
        for batch in readable(await self._fetch(statements.BATCH, of_batch), to_batch):
            if batch.status is not BatchStatus.RUNNING:
                return []
            plan = ShardPlan.of(batch.options)
            shards = await self._open_shards(batch_id, plan.width)
            if not shards and not await self._fetch(statements.ANY, of_batch):
                return tickets(islice(shards_of(batch), plan.width))
            return tickets(claimable(shards, plan.width, worker_id, running))
        return []

    async def count_shard(
        self, shard: Shard, *, is_done: bool, at: datetime, ended: int | None = None, failed: int | None = None
    ) -> BatchStatus:
        """Count how many items of a claimed shard have ended."""
        counts = await self._count(shard) if is_done or ended is None or failed is None else ItemCounts()
        new = (
            _end(shard, counts) if is_done else {"new_ended": number_ended(counts), "new_failed": number_failed(counts)}
        )
        given = {"new_ended": ended, "new_failed": failed}
        new |= {name: count for name, count in given.items() if count is not None}
        statement = statements.END if is_done else statements.COUNT
        for (status,) in await self._change(statement, {**_key(shard), **_holder(shard), **new}):
            # Nothing failed, nothing is over: this count ends no batch, and no sums need be read.
            if not is_done and not new["new_failed"] and status is not None:
                return BatchStatus(status)
            return await self._end_if_over(shard, at)
        raise shard_lost(shard)

    async def pass_on(self, shard: Shard, *, at: datetime) -> tuple[BatchStatus, Shard | None]:
        """End a claimed shard, and claim another one in its place."""
        ending = end_and_claim(shard, await self._count(shard))
        has_ended, claimed = cast("tuple[bool, Shard | None]", await self._perform(ending))
        if not has_ended:
            raise shard_lost(shard)
        status = await self._end_if_over(shard, at)
        return status, claimed if status is BatchStatus.RUNNING else None

    async def _count(self, shard: Shard) -> ItemCounts:
        """Count the items of a shard by what they are now."""
        (row,) = await self._fetch(statements.COUNTS, _range(shard))
        return _to_counts(row)

    async def _end_if_over(self, shard: Shard, at: datetime) -> BatchStatus:
        """End a shard's batch that is past its tolerance, or has no open shard, or outlives its parent.

        Return the batch's status.
        """
        # No lock of the batch is held: the sums are read after the commit, so that of several counts at the same time
        # the one that is committed last sees all of them, and ends the batch.
        for row in await self._fetch(statements.BATCH_WITH_SUMS, {"batch": shard.batch_id}):
            *stored, failures, still_open = row
            for batch in readable([stored], to_batch):
                is_past = is_past_tolerance(batch.options, int(failures), batch.item_counts.total)
                is_over = is_past or not still_open or await self._is_orphaned(batch)
                if batch.status is BatchStatus.RUNNING and is_over:
                    return cast("BatchStatus", await self._perform(end_if_over(shard.batch_id, at)))
                return batch.status
        raise shard_lost(shard)

    async def _is_orphaned(self, batch: Batch) -> bool:
        parent = batch.parent_execution_id
        return parent is not None and not await self._fetch(statements.PARENT, {"parent": parent})

    async def release_shard(self, shard: Shard) -> None:
        """Leave a claimed shard to other workers."""
        await self._perform(release(shard))

    async def shards(self, batch_id: str) -> Sequence[Shard]:
        """Return the shards of a batch."""
        return [_to_shard(row) for row in await self._fetch(statements.SHARDS, {"batch": batch_id})]
