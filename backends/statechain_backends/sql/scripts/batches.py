"""Batches in SQL: scripts as in `writes` that store a batch with its items, change it, and end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert

from statechain.clock import to_micros
from statechain.codec import encode
from statechain.errors import BatchNotFound
from statechain.records.batches import BatchStatus
from statechain.storage.repository import (
    AddBatchItems,
    CreateBatch,
    DropBatchItems,
    EndBatch,
    FailBatchItem,
    JoinBatchItem,
    ResumeBatch,
    items_missing,
)
from statechain.storage.shards import ShardStatus, is_begun_elsewhere
from statechain_backends.sql import filters, queries
from statechain_backends.sql.compiler import named_row, param, row_params
from statechain_backends.sql.decoding import readable
from statechain_backends.sql.records import to_batch
from statechain_backends.sql.rows import batch_item_row, batch_row
from statechain_backends.sql.schema.tables import batch_items, batch_shards, batches, state_machines
from statechain_backends.sql.scripts.shards import cut_batch

if TYPE_CHECKING:
    from sqlalchemy import Insert

    from statechain.records.batches import Batch
    from statechain_backends.sql.scripts.steps import Script, Steps

__all__ = ["BATCH_SCRIPTS", "add_frozen_batch", "running_twin", "stored_batch"]

_ADD_BATCH = insert(batches).values(row_params(batches)).on_conflict_do_nothing().returning(batches.c.id)
_BATCH = queries.batch_uncounted(param("id"))
_DROP_ITEMS = delete(batch_items).where(
    batch_items.c.batch_id == param("of_batch"), batch_items.c.index >= param("from_index")
)
_FAIL_ITEM = (
    update(batch_items)
    .where(batch_items.c.batch_id == param("of_batch"), batch_items.c.index == param("at_index"))
    .values(error=param("new_error"), cause=param("new_cause"))
)
_RUNNING = BatchStatus.RUNNING.value
_JOIN_ITEM = (
    update(batch_items)
    .where(batch_items.c.batch_id == param("of_batch"), batch_items.c.index == param("at_index"))
    .values(name=param("new_name"))
)
_END_BATCH = (
    update(batches)
    .where(batches.c.id == param("id_"), batches.c.status == _RUNNING)
    .values(status=param("new_status"), end_time=param("new_end_time"))
)
_RUN_AGAIN = update(batches).where(batches.c.id == param("id_")).values(status=_RUNNING, end_time=None)


def stored_batch(batch_id: str) -> Script:
    """Return a batch, all of its items as pending, or None."""
    rows = yield _BATCH, {"id": batch_id}
    return to_batch(rows[0]) if rows else None


_LOCK_MACHINE = (
    select(state_machines.c.id)
    .where(state_machines.c.id == param("machine"), state_machines.c.revision == param("revision"))
    .with_for_update(key_share=True)
)
_RUNNING_NAMED = queries.batches_running(param("machine"), param("prefix"))


def running_twin(batch: Batch) -> Script:
    """Return a RUNNING batch that does the same, or None: then none is added before the transaction is over."""
    machine = {"machine": batch.state_machine_id}
    # The second of two looks at once waits here for the first one's commit, and then sees its batch. (On SQLite all
    # writes wait anyway.)
    yield _LOCK_MACHINE, {**machine, "revision": batch.state_machine_revision}
    rows = yield _RUNNING_NAMED, {**machine, "prefix": batch.name_prefix}
    return next((each for each in readable(rows, to_batch) if each.does_the_same(batch)), None)


_COUNT_FIRST = select(func.count()).where(batch_items.c.batch_id == param("id"), batch_items.c.index < param("end"))


def add_frozen_batch(batch: Batch, count: int, *, joins: bool = False) -> Script:
    """Add a batch whose items, that many, are there already; or with ``joins`` drop them for one that does the same.

    Return None, and add nothing, where any of the items is missing.
    """
    if joins and (twin := (yield from running_twin(batch))) is not None:
        yield _DROP_ITEMS, {"of_batch": batch.id, "from_index": 0}
        return twin
    # In the same transaction as the batch: until it is there, `statechain doctor` may delete items of no batch.
    ((stored,),) = yield _COUNT_FIRST, {"id": batch.id, "end": count}
    if stored != count:
        return None
    # What an earlier attempt, which found more sources, has left behind.
    yield _DROP_ITEMS, {"of_batch": batch.id, "from_index": count}
    yield _ADD_BATCH, named_row(batches, batch_row(batch))
    return (yield from stored_batch(batch.id))


_DROP_ORPHANS = delete(batch_items).where(
    batch_items.c.batch_id == param("of_batch"),
    batch_items.c.index >= param("first"),
    batch_items.c.index <= param("last"),
    ~exists().where(batches.c.id == param("of_batch")),
)
PORTIONS = (64, 8, 1)
"""How many items one statement adds: each number is a statement, which is compiled once."""


def _add_items(write: AddBatchItems) -> Steps:
    rows = [batch_item_row(write.batch_id, item) for item in write.items]
    place = 0
    for size in PORTIONS:
        while len(rows) - place >= size:
            portion = rows[place : place + size]
            named = [named_row(batch_items, row) for row in portion]
            yield _adding(size), {f"{name}_{n}": value for n, row in enumerate(named) for name, value in row.items()}
            place += size


@cache
def _adding(count: int) -> Insert:
    """Return the statement that adds this many items, but for those that are there already."""
    names = batch_items.columns.keys()
    rows = [{name: param(f"{name}_{n}") for name in names} for n in range(count)]
    return insert(batch_items).values(rows).on_conflict_do_nothing()


def _drop_items(write: DropBatchItems) -> Steps:
    yield _DROP_ORPHANS, {"of_batch": write.batch_id, "first": write.first, "last": write.last}


def _create_batch(write: CreateBatch) -> Script:
    if write.joins and (twin := (yield from running_twin(write.batch))) is not None:
        return twin
    if write.filter_ is None:
        return (yield from _complete_batch(write))
    rows = yield _ADD_BATCH, named_row(batches, batch_row(write.batch))
    if rows:
        yield filters.freeze(write.batch, write.filter_), None
    ((*stored,),) = yield _BATCH, {"id": write.batch.id}
    return to_batch(stored)


def _complete_batch(write: CreateBatch) -> Script:
    """Add a batch whose items were added before, unless some are missing."""
    if (stored := (yield from stored_batch(write.batch.id))) is not None:
        return stored
    added = yield from add_frozen_batch(write.batch, write.item_count)
    return items_missing(write) if added is None else added


def _fail_item(write: FailBatchItem) -> Steps:
    yield (
        _FAIL_ITEM,
        {
            "of_batch": write.batch_id,
            "at_index": write.index,
            "new_error": write.error,
            "new_cause": write.cause,
        },
    )


def _join_item(write: JoinBatchItem) -> Script:
    yield _JOIN_ITEM, {"of_batch": write.batch_id, "at_index": write.index, "new_name": write.name}
    return None


def _end_batch(write: EndBatch) -> Script:
    status = write.status.value
    yield _END_BATCH, {"id_": write.batch_id, "new_status": status, "new_end_time": to_micros(write.end_time)}
    rows = yield _BATCH, {"id": write.batch_id}
    return to_batch(rows[0]) if rows else BatchNotFound(f"there is no batch {write.batch_id!r}")


_LOCK = select(batches.c.status).where(batches.c.id == param("id_")).with_for_update()
_SET_OPTIONS = update(batches).where(batches.c.id == param("id_")).values(options=param("new_options"))
_REOPEN = (
    update(batch_shards)
    .where(batch_shards.c.batch_id == param("id_"))
    .values(status=ShardStatus.PENDING.value, owner=None, epoch=batch_shards.c.epoch + 1, claims=0, ended=0, failed=0)
)


def _resume_batch(write: ResumeBatch) -> Script:
    of_batch = {"id_": write.batch_id}
    # The batch before its shards, as claims lock them.
    rows = yield _LOCK, of_batch
    if not rows:
        return BatchNotFound(f"there is no batch {write.batch_id!r}")
    ((status,),) = rows
    before = cast("Batch", (yield from stored_batch(write.batch_id)))
    if write.options is not None:
        yield _SET_OPTIONS, {**of_batch, "new_options": encode(dict(write.options))}
    if status != _RUNNING:
        # The epochs are raised: a worker that still runs a shard of before has lost it.
        yield _REOPEN, of_batch
        yield _RUN_AGAIN, of_batch
    batch = cast("Batch", (yield from stored_batch(write.batch_id)))
    if is_begun_elsewhere(before, batch):
        yield from cut_batch(batch, was_begun=True)
    return batch


BATCH_SCRIPTS: Mapping[type, Callable[[Any], Script]] = {
    AddBatchItems: _add_items,
    CreateBatch: _create_batch,
    DropBatchItems: _drop_items,
    EndBatch: _end_batch,
    FailBatchItem: _fail_item,
    JoinBatchItem: _join_item,
    ResumeBatch: _resume_batch,
}
"""What each kind of write of a batch asks."""
