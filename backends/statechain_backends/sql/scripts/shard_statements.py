"""What scripts of shards ask: a claim, a count and an end of a shard, and the counts of its items."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import ColumnElement, and_, case, exists, func, literal, null, or_, select, union_all, update

from statechain.records.batches import BatchStatus
from statechain.records.executions import ExecutionStatus
from statechain.storage.shards import POISONED, ShardStatus
from statechain_backends.sql import queries
from statechain_backends.sql.batch_counts import items_with_executions
from statechain_backends.sql.compiler import param
from statechain_backends.sql.schema.tables import batch_items, batch_shards, batches, executions, runs

__all__ = [
    "ANY",
    "BATCH",
    "BATCH_WITH_SUMS",
    "CLAIM_IN_PLACE",
    "CLAIM_LOWEST",
    "CLAIM_NAMED",
    "COUNT",
    "COUNTS",
    "END",
    "END_BATCH",
    "FAIL_MISSING",
    "GIVE_UP",
    "ITEM_COUNTS",
    "LOCK_BATCH",
    "LOCK_RUNNING",
    "NAMED",
    "OPEN",
    "PARENT",
    "RELEASE",
    "RUNNING_BATCHES",
    "SET_COUNTS",
    "SHARDS",
    "SUMS",
    "TAKE_OVER",
]

BATCH_RUNNING = BatchStatus.RUNNING.value
PENDING, RUNNING, DONE, FAILED = (each.value for each in ShardStatus)


def _is(status: str, shards: Any = batch_shards) -> ColumnElement[bool]:  # noqa: ANN401 -- a table or an alias of one
    """Return whether a shard has a status; written out, since what is bound matches no partial index."""
    return cast("ColumnElement[bool]", shards.c.status == literal(status, literal_execute=True))


BATCH = queries.batch_uncounted(param("batch"))
LOCK_BATCH = BATCH.with_for_update(of=batches)
# FOR NO KEY UPDATE waits for itself: claims of PENDING shards take turns, so that the number under way is exact.
LOCK_RUNNING = (
    select(batches.c.id)
    .where(batches.c.id == param("batch"), batches.c.status == BATCH_RUNNING)
    .with_for_update(key_share=True)
)
END_BATCH = (
    update(batches)
    .where(batches.c.id == param("batch"), batches.c.status == BATCH_RUNNING)
    .values(status=param("new_status"), end_time=param("at"))
)
PARENT = select(runs.c.execution_id).where(runs.c.execution_id == param("parent"))

# What there is to claim

ITEM_COUNTS = ("succeeded", "failed", "timed_out", "aborted")
"""The kinds of ended items, in the order of `COUNTS`."""

_columns = [each for each in batch_shards.c if not each.name.startswith("items_")]
_all = select(*_columns).where(batch_shards.c.batch_id == param("batch"))
SHARDS = _all.order_by(batch_shards.c.shard)
_first_pending = SHARDS.where(_is(PENDING)).limit(param("room"))
_pending = _first_pending.subquery()
OPEN = union_all(_all.where(_is(RUNNING)), select(*_pending.c))
ANY = SHARDS.limit(1)
NAMED = _all.where(batch_shards.c.shard == param("number"), _is(PENDING))

# Claims

_this = (batch_shards.c.batch_id == param("batch"), batch_shards.c.shard == param("number"))
_at_epoch = (*_this, batch_shards.c.epoch == param("of_epoch"))
_uncounted = {f"items_{kind}": null() for kind in ITEM_COUNTS}
_claimed = {"status": RUNNING, "owner": param("worker"), "epoch": batch_shards.c.epoch + 1, **_uncounted}
_claimed_first = _claimed | {"claims": 1}
_batch_runs = exists().where(batches.c.id == param("batch"), batches.c.status == BATCH_RUNNING)
_is_unowned = or_(batch_shards.c.owner.is_(None), batch_shards.c.owner == param("worker"))
TAKE_OVER = (
    update(batch_shards)
    .where(*_at_epoch, _is(RUNNING), _is_unowned, _batch_runs)
    .values(_claimed | {"claims": param("new_claims"), "ended": param("new_ended")})
    .returning(*_columns)
)
_others = batch_shards.alias("others")
_under_way = select(func.count()).where(_others.c.batch_id == param("batch"), _is(RUNNING, _others)).scalar_subquery()
_has_room = _under_way < param("width")
_lowest = (
    select(_others.c.shard)
    .where(_others.c.batch_id == param("batch"), _is(PENDING, _others))
    .order_by(_others.c.shard)
    .limit(1)
)
CLAIM_LOWEST = (
    update(batch_shards)
    .where(
        batch_shards.c.batch_id == param("batch"),
        batch_shards.c.shard == _lowest.scalar_subquery(),
        _is(PENDING),
        _has_room,
    )
    .values(_claimed_first)
    .returning(*_columns)
)
CLAIM_NAMED = (
    update(batch_shards).where(*_at_epoch, _is(PENDING), _has_room).values(_claimed_first).returning(*_columns)
)
CLAIM_IN_PLACE = (
    update(batch_shards)
    .where(
        batch_shards.c.batch_id == param("batch"),
        batch_shards.c.shard == _lowest.with_for_update(skip_locked=True).scalar_subquery(),
        _is(PENDING),
        _batch_runs,
    )
    .values(_claimed_first)
    .returning(*_columns)
)
GIVE_UP = (
    update(batch_shards)
    .where(*_at_epoch, _is(RUNNING), _is_unowned)
    .values(status=FAILED, owner=None)
    .returning(batch_shards.c.shard)
)
SET_COUNTS = update(batch_shards).where(*_this).values(ended=param("new_ended"), failed=param("new_failed"))

# Counts and ends

_held = (*_at_epoch, batch_shards.c.owner == param("worker"))
_counted = {
    "ended": param("new_ended"),
    "failed": param("new_failed"),
    "claims": case((batch_shards.c.ended < param("new_ended"), 0), else_=batch_shards.c.claims),
}
_ours = batches.c.id == batch_shards.c.batch_id
# Null for a Map Run: `count_shard` has to look at the parent, too.
_status = select(batches.c.status).where(_ours, batches.c.parent_execution_id.is_(None)).scalar_subquery()
COUNT = update(batch_shards).where(*_held).values(_counted).returning(_status)
_ended = {f"items_{kind}": param(f"items_{kind}") for kind in ITEM_COUNTS}
END = update(batch_shards).where(*_held).values(_counted | _ended | {"status": DONE, "owner": None})
END = END.returning(_status)
RELEASE = (
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
SUMS = select(*_sums.c)
BATCH_WITH_SUMS = BATCH.add_columns(*(select(each).scalar_subquery() for each in _sums.c))

_in_shard = and_(
    batch_items.c.batch_id == param("batch"),
    batch_items.c.index >= param("first"),
    batch_items.c.index <= param("last"),
)
_not_started = and_(executions.c.status.is_(None), batch_items.c.error.is_not(None))


def _number(status: ExecutionStatus, *others: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(or_(executions.c.status == status.value, *others))


COUNTS = (
    select(
        _number(ExecutionStatus.SUCCEEDED),
        _number(ExecutionStatus.FAILED, _not_started),
        _number(ExecutionStatus.TIMED_OUT),
        _number(ExecutionStatus.ABORTED),
        _number(ExecutionStatus.RUNNING),
    )
    .select_from(items_with_executions)
    .where(_in_shard)
)
_machine = select(batches.c.state_machine_id).where(batches.c.id == param("batch")).scalar_subquery()
FAIL_MISSING = (
    update(batch_items)
    .where(
        _in_shard,
        batch_items.c.error.is_(None),
        ~exists().where(executions.c.state_machine_id == _machine, executions.c.name == batch_items.c.name),
    )
    .values(error=POISONED, cause=param("new_cause"))
)
RUNNING_BATCHES = queries.all_batches_running()
