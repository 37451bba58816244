"""The check of a storage: rows that lead to nothing, runs that do not fit, rows that cannot be read.

It runs beside live workers. Each repair is one statement that states again what is wrong, or that compares what was
seen, so that a row that was changed meanwhile is left alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import and_, delete, exists, func, null, or_, select, tuple_, update

from statechain.records.executions import TERMINAL, ExecutionStatus
from statechain.storage.findings import Finding
from statechain_backends.sql.damage import TABLES, damage_of, replacements
from statechain_backends.sql.functions import now
from statechain_backends.sql.schema.tables import batch_items, batches, callbacks, executions, links, runs, visits
from statechain_backends.sql.scripts.writes import LOST_EPOCHS
from statechain_backends.sql.text_escape import unescape_text

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Executable, Select, Table

    from statechain_backends.sql.compiler import Parameters
    from statechain_backends.sql.decoding import Row
    from statechain_backends.sql.scripts.steps import Script

__all__ = ["Checks"]

PAGE = 50
RUNNING = ExecutionStatus.RUNNING.value
ENDED = sorted(status.value for status in TERMINAL)


def _failed(cause: str) -> Mapping[str, object]:
    """Return the values of an execution that ends FAILED; no worker can hold the epoch."""
    return {
        "status": ExecutionStatus.FAILED.value,
        "error": "States.Runtime",
        "cause": cause,
        "output": null(),
        "end_time": func.coalesce(executions.c.end_time, now()),
        "epoch": executions.c.epoch + LOST_EPOCHS,
    }


@attrs.frozen(eq=False)
class _Rule:
    """A condition under which a row is damaged, and the values that repair it; None: it is deleted."""

    table: Table
    condition: ColumnElement[bool]
    problem: str
    repair: str
    values: Mapping[str, object] | None = None
    seen: tuple[ColumnElement[Any], ...] = ()

    @property
    def key(self) -> list[ColumnElement[Any]]:
        return list(self.table.primary_key.columns)

    def find(self, after: tuple[object, ...] | None) -> Select[Any]:
        """Return the keys of damaged rows behind a key, each with what is compared in a repair."""
        query = select(*self.key, *self.seen).where(self.condition)
        if after is not None:
            query = query.where(tuple_(*self.key) > tuple_(*after))
        return query.order_by(*self.key).limit(PAGE)

    def fix(self, row: Sequence[object]) -> Executable:
        """Return the statement that repairs a row where it is still as it was found."""
        columns = (*self.key, *self.seen)
        same = (column.is_not_distinct_from(value) for column, value in zip(columns, row, strict=True))
        where = and_(*same, self.condition)
        if self.values is None:
            return delete(self.table).where(where).returning(*self.key)
        return update(self.table).where(where).values(self.values).returning(*self.key)


def _has_execution(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return exists().where(executions.c.id == column).correlate_except(executions)


_of_run = executions.c.id == runs.c.execution_id
_has_ended = exists().where(_of_run, executions.c.status.in_(ENDED)).correlate(runs)
_has_run = exists().where(_of_run).correlate(executions)
_rows = select(func.count()).where(visits.c.execution_id == runs.c.execution_id).correlate(runs).scalar_subquery()
_last = (
    select(func.coalesce(func.max(visits.c.seq), 0))
    .where(visits.c.execution_id == runs.c.execution_id)
    .correlate(runs)
    .scalar_subquery()
)
_DELETED = "it is deleted"
_DROPPED = "it is deleted, and its execution ends FAILED"
# In this order: a run that does not fit is deleted first, and its execution, now without one, ends FAILED below.
_RULES = (
    _Rule(runs, ~_has_execution(runs.c.execution_id), "it is the run of no execution", _DELETED),
    _Rule(runs, _has_ended, "its execution has ended", _DELETED),
    _Rule(
        runs,
        or_(runs.c.seq != _rows, runs.c.seq != _last),
        "visits are missing, or there are more than it counts",
        _DROPPED,
        # A step of a live worker since the look moves `seq`: then nothing is repaired.
        seen=(runs.c.epoch, runs.c.seq),
    ),
    _Rule(
        executions,
        and_(executions.c.status == RUNNING, ~_has_run),
        "it is RUNNING, and has no run that a worker could claim",
        "it ends FAILED",
        _failed(
            "The execution was RUNNING and had no row in runs, or one that did not fit its visits: no worker could run "
            "it. `statechain doctor` ended it; it can be redriven."
        ),
    ),
    _Rule(
        executions,
        and_(executions.c.status.in_(ENDED), executions.c.end_time.is_(None)),
        "it has ended, and has no end time",
        "its end time is now",
        {"end_time": now()},
    ),
    _Rule(
        executions,
        and_(executions.c.status == RUNNING, executions.c.end_time.is_not(None)),
        "it is RUNNING, and has an end time",
        "its end time is removed",
        {"end_time": null()},
    ),
    _Rule(visits, ~_has_execution(visits.c.execution_id), "it is the visit of no execution", _DELETED),
    _Rule(callbacks, ~_has_execution(callbacks.c.execution_id), "it is the callback of no execution", _DELETED),
    _Rule(
        links,
        or_(~_has_execution(links.c.source_execution_id), ~_has_execution(links.c.target_execution_id)),
        "its source or its target does not exist",
        _DELETED,
    ),
    _Rule(
        batch_items,
        # Also of a batch that is being stored just now: its last write finds that items are missing.
        ~exists().where(batches.c.id == batch_items.c.batch_id).correlate(batch_items),
        "it is the item of no batch",
        _DELETED,
    ),
)
_GAPS = (
    select(visits.c.execution_id)
    .join(executions, executions.c.id == visits.c.execution_id)
    .where(executions.c.status != RUNNING)
    .group_by(visits.c.execution_id)
    .having(func.count() != func.max(visits.c.seq))
    .order_by(visits.c.execution_id)
)


class Checks(ABC):
    """The part of a repository that checks and repairs what is stored."""

    @abstractmethod
    async def _fetch(self, statement: Executable, parameters: Parameters = None) -> Sequence[Row]:
        """Return the rows of a statement, read from what was committed."""

    @abstractmethod
    async def _perform(self, script: Script) -> object:
        """Run a script in a separate transaction."""

    async def check(self, *, repair: bool = False) -> AsyncIterator[Finding]:
        """Yield each row that cannot be read or leads to nothing, as `statechain doctor` does; live workers may go on.

        Arguments:
            repair: Whether to repair each of them before it is yielded. Some cannot be repaired.
        """
        for table in TABLES:
            async for finding in self._unreadable(table, repair=repair):
                yield finding
        for rule in _RULES:
            async for finding in self._matching(rule, repair=repair):
                yield finding
        for (execution_id,) in await self._fetch(_GAPS):
            problem, what = "the numbers of its rows have gaps", "they are numbered anew"
            fix = partial(_renumber, unescape_text(execution_id))
            yield await self._finding(visits, (execution_id,), problem, what, fix, repair=repair)

    async def _matching(self, rule: _Rule, *, repair: bool) -> AsyncIterator[Finding]:
        after = None
        while rows := [tuple(row) for row in await self._fetch(rule.find(after))]:
            for row in rows:
                key = row[: len(rule.key)]
                fix = partial(_once, rule.fix(_plain(row)))
                yield await self._finding(rule.table, key, rule.problem, rule.repair, fix, repair=repair)
            after = _plain(rows[-1][: len(rule.key)])
            if len(rows) < PAGE:
                return

    async def _unreadable(self, table: Table, *, repair: bool) -> AsyncIterator[Finding]:
        key = list(table.primary_key.columns)
        places = [list(table.columns).index(column) for column in key]
        after: tuple[object, ...] | None = None
        while True:
            query = select(*table.columns).order_by(*key).limit(PAGE)
            if after is not None:
                query = query.where(tuple_(*key) > tuple_(*after))
            rows = [tuple(row) for row in await self._fetch(query)]
            for row in rows:
                damaged = damage_of(table, row)
                if damaged:
                    named = tuple(row[place] for place in places)
                    yield await self._mend(table, named, row, damaged, repair=repair)
            if len(rows) < PAGE:
                return
            after = _plain([rows[-1][place] for place in places])

    async def _mend(
        self, table: Table, key: tuple[object, ...], row: Sequence[object], damaged: Mapping[str, str], *, repair: bool
    ) -> Finding:
        new = replacements(table, row, [*damaged])
        problem = "; ".join(damaged.values())
        if new is None:
            return Finding(table=table.name, key=_plain(key), problem=problem, repair=None)
        cause = f"the row {', '.join(map(repr, _plain(key)))} of {table.name} could not be read: {problem}"
        if table is runs:
            same = (column == value for column, value in zip(table.primary_key.columns, _plain(key), strict=True))
            drop = partial(_once, delete(runs).where(*same).returning(runs.c.execution_id))
            return await self._finding(table, key, problem, _DROPPED, drop, repair=repair)
        what = f"{', '.join(new)} {'is' if len(new) == 1 else 'are'} replaced"
        if table in {executions, visits, callbacks}:
            what += "; its execution, where it is RUNNING, ends FAILED"
        fix = partial(_replace, table, _plain(key), _plain(row), new, cause)
        return await self._finding(table, key, problem, what, fix, repair=repair)

    async def _finding(
        self, table: Table, key: tuple[object, ...], problem: str, what: str, fix: Callable[[], Script], *, repair: bool
    ) -> Finding:
        is_repaired = bool(await self._perform(fix())) if repair else False
        return Finding(table=table.name, key=_plain(key), problem=problem, repair=what, is_repaired=is_repaired)


def _plain(row: Sequence[object]) -> tuple[object, ...]:
    """Return the values of a row as they were given: as an argument of a statement, each text is escaped again."""
    return tuple(unescape_text(value) if isinstance(value, str) else value for value in row)


# Repairs, as scripts; each returns whether it took effect


def _once(statement: Executable) -> Script:
    rows = yield statement, None
    return bool(rows)


def _replace(
    table: Table, key: tuple[object, ...], row: Sequence[object], new: Mapping[str, object], cause: str
) -> Script:
    """Replace damaged values; an execution that needs them and is RUNNING ends FAILED first."""
    values = dict(zip(table.columns.keys(), row, strict=True))
    new = dict(new)
    if table in {executions, visits, callbacks}:
        has_ended = yield from _end(values["id" if table is executions else "execution_id"], cause)
        if table is executions and has_ended:
            # `_end` has set these already.
            new = {name: value for name, value in new.items() if name not in _failed("")}
            if not new:
                return True
    same = (column == value for column, value in zip(table.primary_key.columns, key, strict=True))
    unchanged = [table.columns[name].is_not_distinct_from(values[name]) for name in new]
    if table is executions and "status" in new:
        new.update(_failed(cause))
    rows = yield update(table).where(*same, *unchanged).values(new).returning(*table.primary_key.columns), None
    return bool(rows)


def _end(execution_id: object, cause: str) -> Script:
    """End an execution as FAILED where it has a run; return whether it had one."""
    gone = yield delete(runs).where(runs.c.execution_id == execution_id).returning(runs.c.execution_id), None
    if gone:
        ended = _failed(f"{cause}. `statechain doctor` ended the execution; it can be redriven.")
        yield update(executions).where(executions.c.id == execution_id).values(ended), None
    return bool(gone)


def _renumber(execution_id: str) -> Script:
    """Number the visit rows of an ended execution from 1 without gaps."""
    locked = select(executions.c.id).where(executions.c.id == execution_id, executions.c.status != RUNNING)
    if not (yield locked.with_for_update(), None):
        return False
    rows = yield select(visits.c.seq).where(visits.c.execution_id == execution_id).order_by(visits.c.seq), None
    places = [(seq, place) for place, (seq,) in enumerate(rows, 1)]
    # The key stays unique in between: the rows that move up go from the last to the first, those that move down follow
    # from the first to the last, so that each finds its number free.
    up = [(seq, place) for seq, place in reversed(places) if seq < place]
    down = [(seq, place) for seq, place in places if seq > place]
    for seq, place in [*up, *down]:
        moved = update(visits).where(visits.c.execution_id == execution_id, visits.c.seq == seq)
        yield moved.values(seq=place), None
    return True
