"""How many items of a batch are where: by their executions, and by what its shards counted.

Of a batch in shards, items are looked at in those alone that are under way, or that have items which had failed when
they were counted and were redriven since. A shard that is over keeps how its items had ended, until its next claim; one
that was never claimed has begun no item.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import Select, and_, case, exists, func, literal_column, or_, select

from statechain.records.batches import NAME_TAKEN, Batch, ItemCounts
from statechain.storage.shards import CLOCK_SKEW
from statechain_backends.sql.compiler import param
from statechain_backends.sql.schema.tables import batch_items, batch_shards, batches, executions
from statechain_backends.sql.sized import MOST_IDS, Ids, Sized, asking
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

_SKEW = CLOCK_SKEW // timedelta(microseconds=1)
_ENDED = ("succeeded", "failed", "timed_out", "aborted")

_owner = batches.alias("owner")
# An item whose name another execution holds (NAME_TAKEN) does not represent that one.
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
    """Return how many of a range of a batch's items have which status, and an error."""
    # Looked up one by one: for a join PostgreSQL may read all executions, since it takes a range for a large part.
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


def _whole(ids: Ids) -> Select[Any]:
    """Return how many of some batches' items have which status, and an error."""
    key = (batch_items.c.batch_id, executions.c.status, _has_error)
    return (
        select(*key, func.count())
        .select_from(items_with_executions)
        .where(batch_items.c.batch_id.in_(ids))
        .group_by(*key)
    )


_size = batch_shards.c.last - batch_shards.c.first + 1
_kinds = [batch_shards.c[f"items_{kind}"] for kind in _ENDED]
_is_untouched = and_(batch_shards.c.status == "PENDING", batch_shards.c.epoch == 0)
_is_counted = batch_shards.c.items_succeeded.is_not(None)  # a claim sets it to null
_is_settled = or_(_is_untouched, _is_counted)
_has_failures = batch_shards.c.items_succeeded < _size


def _settled(ids: Ids) -> Select[Any]:
    """Return how many items are in shards that were never claimed, have ended in which way, and are in others."""
    ended = (func.sum(func.coalesce(kind, 0)) for kind in _kinds)
    untouched, others = (func.sum(case((of, _size), else_=0)) for of in (_is_untouched, ~_is_settled))
    return (
        select(batch_shards.c.batch_id, others, untouched, *ended)
        .where(batch_shards.c.batch_id.in_(ids))
        .group_by(batch_shards.c.batch_id)
    )


def _changing(ids: Ids) -> Select[Any]:
    """Return the ranges of items of shards that are under way."""
    shards = (batch_shards.c.batch_id, batch_shards.c.first, batch_shards.c.last)
    return select(*shards).where(batch_shards.c.batch_id.in_(ids), ~_is_settled)


_was_redriven = and_(
    executions.c.state_machine_id == _owner.c.state_machine_id,
    literal_column("executions.redrive_count > 0"),  # written as in the index
    or_(executions.c.end_time.is_(None), executions.c.end_time >= _owner.c.start_time - _SKEW),
)


def _with_redriven(ids: Ids) -> Select[Any]:
    """Return those of some batches whose machines have executions that were redriven, and may be since they began."""
    return select(_owner.c.id).where(_owner.c.id.in_(ids), exists().where(_was_redriven))


def _redriven(ids: Ids) -> Select[Any]:
    """Return the shards that are over and have items that failed, but were redriven, as their ranges and counts."""
    of_shard = and_(
        batch_shards.c.batch_id == batch_items.c.batch_id,
        batch_shards.c.first <= batch_items.c.index,
        batch_shards.c.last >= batch_items.c.index,
    )
    return (
        select(batch_shards.c.batch_id, batch_shards.c.first, batch_shards.c.last, *_kinds)
        .distinct()
        .select_from(
            executions.join(_owner, _was_redriven)
            .join(batch_items, and_(batch_items.c.batch_id == _owner.c.id, batch_items.c.name == executions.c.name))
            .join(batch_shards, of_shard)
        )
        .where(_owner.c.id.in_(ids), _is_counted, _has_failures)
    )


_WHOLE, _SETTLED, _CHANGING = Sized(_whole), Sized(_settled), Sized(_changing)
_WITH_REDRIVEN, _REDRIVEN = Sized(_with_redriven), Sized(_redriven)


class _Counting:
    """Counts the items of some batches: those in shards that are over from their counts, and the others by looks."""

    def __init__(self, fetch: Callable[[Executable, Parameters], Awaitable[Sequence[Row]]]) -> None:
        self._fetch = fetch
        self.counts: dict[str, ItemCounts] = {}
        self._ranges: dict[str, list[tuple[int, int]]] = {}

    async def count(self, ids: Sequence[str]) -> None:
        """Count batches; afterwards ``counts`` has those that have items."""
        await self._add_settled(ids)
        # Before the ranges: it takes shards out of the sums that are then looked at as ranges.
        await self._leave_out_redriven()
        for batch_id, ranges in self._ranges.items():
            await self._add_ranges(batch_id, _merged(sorted(ranges)))
        # Batches without shards, and those of which too much changes.
        if rest := [id_ for id_ in ids if id_ not in self.counts]:
            for id_, *row in await self._ask(_WHOLE, rest):
                self._add(unescape_text(id_), row)

    async def _ask(self, statements: Sized, ids: Collection[str]) -> Sequence[Row]:
        """Return what a statement answers for some ids, which are at least one."""
        every = list(ids)
        rows: list[Row] = []
        for start in range(0, len(every), MOST_IDS):
            rows += await self._fetch(*asking(statements, every[start : start + MOST_IDS]))
        return rows

    async def _add_settled(self, ids: Sequence[str]) -> None:
        """Add up what was counted, and note the ranges that are under way, of batches where these are not too many."""
        for id_, others, *sums in await self._ask(_SETTLED, ids):
            if others <= MOST_ITEMS:
                batch_id = unescape_text(id_)
                self.counts[batch_id] = ItemCounts(**dict(zip(("pending", *_ENDED), sums, strict=True)))
                self._ranges[batch_id] = []
        if self.counts:
            for id_, first, last in await self._ask(_CHANGING, self.counts):
                self._ranges[unescape_text(id_)].append((first, last))

    async def _leave_out_redriven(self) -> None:
        """Have shards looked at that were counted, where items of them had failed and were redriven since."""
        failed = [id_ for id_, counts in self.counts.items() if counts.failed or counts.timed_out or counts.aborted]
        ids = [unescape_text(id_) for (id_,) in await self._ask(_WITH_REDRIVEN, failed)] if failed else []
        for id_, first, last, *stored in await self._ask(_REDRIVEN, ids) if ids else ():
            batch_id = unescape_text(id_)
            self._ranges[batch_id].append((first, last))
            before = self.counts[batch_id]
            less = {kind: getattr(before, kind) - count for kind, count in zip(_ENDED, stored, strict=True)}
            self.counts[batch_id] = attrs.evolve(before, **less)

    async def _add_ranges(self, batch_id: str, ranges: Sequence[tuple[int, int]]) -> None:
        """Add the items of ranges, unless these are too many."""
        if len(ranges) > MOST_RANGES:
            del self.counts[batch_id]
            return
        for first, last in ranges:
            for row in await self._fetch(_RANGE, {"batch": batch_id, "first": first, "last": last}):
                self._add(batch_id, row)

    def _add(self, batch_id: str, row: Row) -> None:
        """Add items: what has no execution has failed where it has an error, else it is pending."""
        status, has_error, count = row
        kind = ("failed" if has_error else "pending") if status is None else status.lower()
        counts = self.counts.get(batch_id, ItemCounts())
        self.counts[batch_id] = attrs.evolve(counts, **{kind: getattr(counts, kind) + count})


async def counted(
    found: Sequence[Batch], fetch: Callable[[Executable, Parameters], Awaitable[Sequence[Row]]]
) -> list[Batch]:
    """Return batches with their items counted by the status of the executions that have the items' names."""
    if not found:
        return []
    counting = _Counting(fetch)
    await counting.count([each.id for each in found])
    counts = {each.id: counting.counts.get(each.id, ItemCounts()) for each in found}
    return [
        attrs.evolve(each, item_counts=attrs.evolve(counts[each.id], total=each.item_counts.total)) for each in found
    ]


def _merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in which those that follow each other are one."""
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        follows = bool(merged) and merged[-1][1] + 1 == first
        merged.append((merged.pop()[0] if follows else first, last))
    return merged
