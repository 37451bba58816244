"""Shards of batches in SQL: scripts as in `writes`, and the part of a repository that runs them.

A claim and a count lock the batch's row, so that the number of shards under way and of failures is exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, cast

from sqlalchemy import and_, case, func, insert, or_, select, union_all, update

from statechain.clock import to_micros
from statechain.records.batches import Batch, BatchStatus
from statechain.records.executions import ExecutionStatus
from statechain.storage.shards import (
    MOST_CLAIMS,
    POISONED,
    Shard,
    ShardPlan,
    ShardStatus,
    cut,
    is_past_tolerance,
    shard_lost,
    tickets,
    unowned,
)
from statechain.tickets import Ticket
from statechain_backends.sql import queries
from statechain_backends.sql.compiler import Parameters, param
from statechain_backends.sql.decoding import Row, readable
from statechain_backends.sql.rows import to_batch
from statechain_backends.sql.schema.tables import batch_items, batch_shards, batches, executions, runs
from statechain_backends.sql.text_escape import unescape_text

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from statechain_backends.sql.scripts.steps import Script, Steps

__all__ = ["Shards"]

CHUNK = 500
BATCH_RUNNING = BatchStatus.RUNNING.value
PENDING, RUNNING, DONE, FAILED = (each.value for each in ShardStatus)

_BATCH = queries.batch_uncounted(param("batch"))
_LOCK_BATCH = _BATCH.with_for_update(of=batches)
_END_BATCH = (
    update(batches)
    .where(batches.c.id == param("batch"), batches.c.status == BATCH_RUNNING)
    .values(status=param("new_status"), end_time=param("at"))
)
_PARENT = select(runs.c.execution_id).where(runs.c.execution_id == param("parent"))
_all = select(*batch_shards.c).where(batch_shards.c.batch_id == param("batch"))
_SHARDS = _all.order_by(batch_shards.c.shard)
_UNDER_WAY = _SHARDS.where(batch_shards.c.status == RUNNING)
_next = _SHARDS.where(batch_shards.c.status == PENDING).limit(1).subquery()
_OPEN = union_all(_all.where(batch_shards.c.status == RUNNING), select(*_next.c))
_FIRST_PENDING = _SHARDS.where(batch_shards.c.status == PENDING).limit(param("width"))
_ANY = _SHARDS.limit(1)
_ONE = _all.where(batch_shards.c.shard == param("number"))
_this = (batch_shards.c.batch_id == param("batch"), batch_shards.c.shard == param("number"))
_CLAIM = (
    update(batch_shards)
    .where(*_this)
    .values(status=RUNNING, owner=param("worker"), epoch=param("new_epoch"), claims=param("new_claims"))
    .returning(*batch_shards.c)
)
_GIVE_UP = (
    update(batch_shards)
    .where(*_this)
    .values(status=FAILED, owner=None, ended=param("new_ended"), failed=param("new_failed"))
)
_held = (*_this, batch_shards.c.owner == param("worker"), batch_shards.c.epoch == param("of_epoch"))
_counted = {
    "ended": param("new_ended"),
    "failed": param("new_failed"),
    "claims": case((batch_shards.c.ended < param("new_ended"), 0), else_=batch_shards.c.claims),
}
_ours = batches.c.id == batch_shards.c.batch_id
_status = select(batches.c.status).where(_ours, batches.c.parent_execution_id.is_(None)).scalar_subquery()
_COUNT = update(batch_shards).where(*_held).values(_counted).returning(_status)
_END = update(batch_shards).where(*_held).values(_counted | {"status": DONE, "owner": None})
_END = _END.returning(_status)
_RELEASE = (
    update(batch_shards)
    .where(*_held)
    .values(owner=None, claims=case((batch_shards.c.claims > 0, batch_shards.c.claims - 1), else_=0))
)
_sums = (
    select(
        func.coalesce(func.sum(batch_shards.c.failed), 0).label("failures"),
        func.count().filter(batch_shards.c.status.in_([PENDING, RUNNING])).label("still_open"),
    )
    .where(batch_shards.c.batch_id == param("batch"))
    .cte("sums")
)
_SUMS = select(*_sums.c)
_BATCH_WITH_SUMS = _BATCH.add_columns(*(select(each).scalar_subquery() for each in _sums.c))

_in_shard = and_(
    batch_items.c.batch_id == param("batch"),
    batch_items.c.index >= param("first"),
    batch_items.c.index <= param("last"),
)
_not_started = and_(executions.c.status.is_(None), batch_items.c.error.is_not(None))
_has_failed = or_(
    _not_started, executions.c.status.not_in([ExecutionStatus.RUNNING.value, ExecutionStatus.SUCCEEDED.value])
)
_COUNTS = (
    select(
        func.count().filter(or_(_not_started, executions.c.status != ExecutionStatus.RUNNING.value)),
        func.count().filter(_has_failed),
    )
    .select_from(queries.items_with_executions)
    .where(_in_shard)
)
_MISSING = (
    select(batch_items.c.index)
    .select_from(queries.items_with_executions)
    .where(_in_shard, executions.c.id.is_(None), batch_items.c.error.is_(None))
)
_FAIL_ITEM = (
    update(batch_items)
    .where(batch_items.c.batch_id == param("batch"), batch_items.c.index == param("number"))
    .values(error=param("new_error"), cause=param("new_cause"))
)
_RUNNING_BATCHES = select(batches.c.id).where(batches.c.status == BATCH_RUNNING).order_by(batches.c.start_time)


def claim(batch_id: str, worker_id: str, running: Collection[int], at: datetime, ticket: Ticket | None) -> Script:
    """Claim a shard; cut the batch first, and end it where nothing of it is open."""
    of_batch = {"batch": batch_id}
    stored = yield _LOCK_BATCH, of_batch
    batch = to_batch(stored[0]) if stored else None
    if batch is None or batch.status is not BatchStatus.RUNNING:
        return None
    if (yield from _is_orphaned(batch)):
        yield from _set_end(batch, BatchStatus.ABORTED, at)
        return None
    plan = ShardPlan.of(batch.options)
    is_cut = False
    while True:
        found = [_to_shard(row) for row in (yield _OPEN, of_batch)]
        under_way = sorted((each for each in found if each.status is ShardStatus.RUNNING), key=lambda each: each.number)
        pending = [each for each in found if each.status is ShardStatus.PENDING]
        if not (is_cut or found or (yield _ANY, of_batch)):
            yield from _cut(batch, plan)
            is_cut = True
            continue
        free = unowned(under_way, worker_id, running)
        if ticket is not None:
            named = [_to_shard(row) for row in (yield _ONE, {**of_batch, "number": ticket.shard})]
            is_wide = len(under_way) < plan.width
            free = [
                each
                for each in named
                if each.epoch == ticket.epoch and (each in free or (is_wide and each.status is ShardStatus.PENDING))
            ]
        elif not free and len(under_way) < plan.width:
            free = pending
        if not free:
            if not under_way and not pending:
                yield from _end_batch(batch, at)
            return None
        shard = free[0]
        if shard.claims < MOST_CLAIMS:
            break
        yield from _give_up(shard)
    new = {"worker": worker_id, "new_epoch": shard.epoch + 1, "new_claims": shard.claims + 1}
    ((*row,),) = yield _CLAIM, {**_key(shard), **new}
    return _to_shard(row)


def _cut(batch: Batch, plan: ShardPlan) -> Steps:
    shards = list(cut(batch.id, batch.item_counts.total, plan))
    for begin in range(0, len(shards), CHUNK):
        rows = [_named_row(each) for each in shards[begin : begin + CHUNK]]
        yield insert(batch_shards).values(rows), None


def _give_up(shard: Shard) -> Steps:
    """End a shard as FAILED, and fail those of its items that were not started."""
    items = {"batch": shard.batch_id, "first": shard.first, "last": shard.last}
    missing = yield _MISSING, items
    cause = f"{shard.claims} workers died with shard {shard.number} of the batch before any item of it had ended"
    for (index,) in missing:
        yield _FAIL_ITEM, {"batch": shard.batch_id, "number": index, "new_error": POISONED, "new_cause": cause}
    ((ended, failed),) = yield _COUNTS, items
    yield _GIVE_UP, {**_key(shard), "new_ended": ended, "new_failed": failed}


def end_if_over(batch_id: str, at: datetime) -> Script:
    """End a batch that is past its tolerance, or has no open shard, or outlives its parent; return its status."""
    of_batch = {"batch": batch_id}
    stored = yield _LOCK_BATCH, of_batch
    if not stored:
        return BatchStatus.ABORTED
    batch = to_batch(stored[0])
    if batch.status is not BatchStatus.RUNNING:
        return batch.status
    if (yield from _is_orphaned(batch)):
        return (yield from _set_end(batch, BatchStatus.ABORTED, at))
    ((failures, still_open),) = yield _SUMS, of_batch
    if still_open and not is_past_tolerance(batch.options, int(failures), batch.item_counts.total):
        return BatchStatus.RUNNING
    return (yield from _end_batch(batch, at))


def _end_batch(batch: Batch, at: datetime) -> Script:
    """End a batch that is past its tolerance, or has no open shard."""
    ((failures, _),) = yield _SUMS, {"batch": batch.id}
    is_past = is_past_tolerance(batch.options, int(failures), batch.item_counts.total)
    return (yield from _set_end(batch, BatchStatus.FAILED if is_past else BatchStatus.SUCCEEDED, at))


def _set_end(batch: Batch, status: BatchStatus, at: datetime) -> Script:
    yield _END_BATCH, {"batch": batch.id, "new_status": status.value, "at": to_micros(at)}
    return status


def _is_orphaned(batch: Batch) -> Script:
    """Return whether a batch is the Map Run of an execution that does not run."""
    if batch.parent_execution_id is None:
        return False
    return not (yield _PARENT, {"parent": batch.parent_execution_id})


def release(shard: Shard) -> Steps:
    """Leave a claimed shard to others."""
    yield _RELEASE, {**_key(shard), "worker": shard.owner, "of_epoch": shard.epoch}


def _key(shard: Shard) -> dict[str, object]:
    return {"batch": shard.batch_id, "number": shard.number}


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
        found: list[Batch] = []
        for (id_,) in await self._fetch(_RUNNING_BATCHES, {}):
            found += readable(await self._fetch(_BATCH, {"batch": unescape_text(id_)}), to_batch)
        return [
            each for each in found if mode in {None, each.options.get("mode")} and each.status is BatchStatus.RUNNING
        ]

    async def claim_shard(
        self, batch_id: str, worker_id: str, *, running: Collection[int], at: datetime, ticket: Ticket | None = None
    ) -> Shard | None:
        """Claim a shard of a batch."""
        return cast("Shard | None", await self._perform(claim(batch_id, worker_id, running, at, ticket)))

    async def open_tickets(self, batch_id: str, worker_id: str, *, running: Collection[int]) -> Sequence[Ticket]:
        """Return a ticket for each shard that can be claimed now."""
        of_batch = {"batch": batch_id}
        for batch in readable(await self._fetch(_BATCH, of_batch), to_batch):
            if batch.status is not BatchStatus.RUNNING:
                return []
            total = batch.item_counts.total
            plan = ShardPlan.of(batch.options)
            if not await self._fetch(_ANY, of_batch):
                return tickets(islice(cut(batch_id, total, plan), plan.width))
            under_way = [_to_shard(row) for row in await self._fetch(_UNDER_WAY, of_batch)]
            pending = [_to_shard(row) for row in await self._fetch(_FIRST_PENDING, {**of_batch, "width": plan.width})]
            room = max(0, plan.width - len(under_way))
            return tickets([*unowned(under_way, worker_id, running), *pending[:room]])
        return []

    async def count_shard(
        self, shard: Shard, *, is_done: bool, at: datetime, ended: int | None = None, failed: int | None = None
    ) -> BatchStatus:
        """Count how many items of a claimed shard have ended."""
        if ended is None or failed is None:
            items = {"batch": shard.batch_id, "first": shard.first, "last": shard.last}
            ((counted, failures),) = await self._fetch(_COUNTS, items)
            ended, failed = counted if ended is None else ended, failures if failed is None else failed
        held = {**_key(shard), "worker": shard.owner, "of_epoch": shard.epoch}
        rows = await self._change(_END if is_done else _COUNT, {**held, "new_ended": ended, "new_failed": failed})
        for (status,) in rows:
            if not is_done and not failed and status is not None:
                return BatchStatus(status)
            return await self._end_if_over(shard, at)
        raise shard_lost(shard)

    async def _end_if_over(self, shard: Shard, at: datetime) -> BatchStatus:
        """End a shard's batch that is past its tolerance, or has no open shard, or outlives its parent.

        Return the batch's status.

        No lock of the batch is held: the sums are read after the commit, so that of several counts at the same time the
        one that is committed last sees all of them, and ends the batch.
        """
        for row in await self._fetch(_BATCH_WITH_SUMS, {"batch": shard.batch_id}):
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
        return parent is not None and not await self._fetch(_PARENT, {"parent": parent})

    async def release_shard(self, shard: Shard) -> None:
        """Leave a claimed shard to other workers."""
        await self._perform(release(shard))

    async def shards(self, batch_id: str) -> Sequence[Shard]:
        """Return the shards of a batch."""
        return [_to_shard(row) for row in await self._fetch(_SHARDS, {"batch": batch_id})]
