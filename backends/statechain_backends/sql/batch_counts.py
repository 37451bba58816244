"""How many items of a batch are where: by their executions, and by what its shards counted.

Of a batch in shards, items are looked at in those alone that may have changed since they were counted. An execution
that has SUCCEEDED stays so, and a shard that was never claimed has begun no item; all others may change at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import Select, and_, case, func, literal_column, or_, select

from statechain.records.batches import NAME_TAKEN, Batch, ItemCounts
from statechain_backends.sql.compiler import param
from statechain_backends.sql.schema.tables import batch_items, batch_shards, batches, executions
from statechain_backends.sql.text_escape import unescape_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Executable

    from statechain_backends.sql.compiler import Parameters
    from statechain_backends.sql.decoding import Row

__all__ = ["counted", "items_with_executions"]

MOST_RANGES = 50
MOST_ITEMS = 25_000
"""Where more of a batch may have changed, all of it is counted by one statement."""

_owner = batches.alias("owner")
_has_name_of_item = and_(
    executions.c.state_machine_id == _owner.c.state_machine_id,
    executions.c.name == batch_items.c.name,
    batch_items.c.error.is_distinct_from(literal_column(f"'{NAME_TAKEN}'")),
)
items_with_executions = batch_items.join(_owner, _owner.c.id == batch_items.c.batch_id).outerjoin(
    executions, _has_name_of_item
)


_has_error = batch_items.c.error.is_not(None)


def _range() -> Select[Any]:
    """Return how many of a range of a batch's items have which status, and an error.

    Each execution is looked up: for a join PostgreSQL may read all of them, since it takes a range for a large part.
    """
    found = select(executions.c.status).where(_has_name_of_item).correlate(batch_items, _owner).scalar_subquery()
    status, has_error = found.label("found"), _has_error.label("has_error")
    return (
        select(status, has_error, func.count())
        .select_from(batch_items.join(_owner, _owner.c.id == batch_items.c.batch_id))
        .where(
            batch_items.c.batch_id == param("batch"),
            batch_items.c.index >= param("first"),
            batch_items.c.index <= param("last"),
        )
        .group_by(status, has_error)
    )


_RANGE = _range()


def _whole(ids: Sequence[str]) -> Select[Any]:
    """Return how many of some batches' items have which status, and an error."""
    key = (batch_items.c.batch_id, executions.c.status, _has_error)
    return (
        select(*key, func.count())
        .select_from(items_with_executions)
        .where(batch_items.c.batch_id.in_(ids))
        .group_by(*key)
    )


_size = batch_shards.c.last - batch_shards.c.first + 1
_has_succeeded = and_(batch_shards.c.status == "DONE", batch_shards.c.failed == 0, batch_shards.c.ended == _size)
_is_untouched = and_(batch_shards.c.status == "PENDING", batch_shards.c.epoch == 0)
_is_settled = or_(_has_succeeded, _is_untouched)


def _settled(ids: Sequence[str]) -> Select[Any]:
    """Return how many items are in shards that were never claimed, that have succeeded, and in others, by batch."""
    kinds = (_is_untouched, _has_succeeded, ~_is_settled)
    return (
        select(batch_shards.c.batch_id, *(func.sum(case((kind, _size), else_=0)) for kind in kinds))
        .where(batch_shards.c.batch_id.in_(ids))
        .group_by(batch_shards.c.batch_id)
    )


def _changing(ids: Sequence[str]) -> Select[Any]:
    """Return the ranges of items that may have changed since their shards were counted, in order."""
    return (
        select(batch_shards.c.batch_id, batch_shards.c.first, batch_shards.c.last)
        .where(batch_shards.c.batch_id.in_(ids), ~_is_settled)
        .order_by(batch_shards.c.batch_id, batch_shards.c.shard)
    )


async def counted(
    found: Sequence[Batch], fetch: Callable[[Executable, Parameters], Awaitable[Sequence[Row]]]
) -> list[Batch]:
    """Return batches with their items counted by the status of the executions that have the items' names."""
    if not found:
        return []
    counts: dict[str, ItemCounts] = {}
    for id_, untouched, succeeded, others in await fetch(_settled([each.id for each in found]), None):
        if others <= MOST_ITEMS:
            counts[unescape_text(id_)] = ItemCounts(pending=untouched, succeeded=succeeded)
    ranges = await fetch(_changing(list(counts)), None) if counts else ()
    for id_, of_batch in groupby(ranges, key=lambda row: next(iter(row))):
        batch_id = unescape_text(id_)
        merged = _merged([(first, last) for _, first, last in of_batch])
        if len(merged) > MOST_RANGES:
            del counts[batch_id]
            continue
        for first, last in merged:
            for row in await fetch(_RANGE, {"batch": batch_id, "first": first, "last": last}):
                counts[batch_id] = _add(counts[batch_id], *row)
    if rest := [each.id for each in found if each.id not in counts]:
        for id_, *row in await fetch(_whole(rest), None):
            batch_id = unescape_text(id_)
            counts[batch_id] = _add(counts.get(batch_id, ItemCounts()), *row)
    return [
        attrs.evolve(each, item_counts=attrs.evolve(counts.get(each.id, ItemCounts()), total=each.item_counts.total))
        for each in found
    ]


def _merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in which those that follow each other are one."""
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        follows = bool(merged) and merged[-1][1] + 1 == first
        merged.append((merged.pop()[0] if follows else first, last))
    return merged


def _add(counts: ItemCounts, status: str | None, has_error: object, count: int) -> ItemCounts:
    """Return counts and some items more: what has no execution has failed where it has an error, else it is pending."""
    kind = ("failed" if has_error else "pending") if status is None else status.lower()
    return attrs.evolve(counts, **{kind: getattr(counts, kind) + count})
