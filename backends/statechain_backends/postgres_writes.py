"""Starts and advances, however many → one statement for PostgreSQL.

The writes become arrays, one for each column, and the statement takes them apart again with ``unnest``. It is put
together from the parts that a group needs and no others, because each part costs time where it finds nothing to do;
each combination is compiled once. What a guard lets through, it answers with the ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import (
    ARRAY,
    Integer,
    String,
    Text,
    bindparam,
    column,
    delete,
    func,
    insert,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from statechain.records import CallbackStatus
from statechain_backends.compiled import SQL, Compiler
from statechain_backends.rows import end_row, execution_row, link_row, run_row, visit_row
from statechain_backends.schema import callbacks, executions, links, runs, visits
from statechain_backends.texts import storable
from statechain_backends.transitions import callback_rows, closed_elsewhere

if TYPE_CHECKING:
    from sqlalchemy import CTE, ColumnElement, Select, Table, TableValuedAlias
    from sqlalchemy.types import TypeEngine

    from statechain.storage.repository import Advance, End, StartExecution

__all__ = ["COMPILER", "transition"]

COMPILER = Compiler(dialect())  # type: ignore[no-untyped-call]

Row: TypeAlias = tuple[object, ...]

_guard = (runs.c.execution_id, runs.c.epoch, runs.c.seq)
_end = ("id", "status", "output", "error", "cause", "end_time", "current_state", "epoch")

# The parts in the order of the statement, each with the columns of its rows.
_PARTS: Mapping[str, Mapping[str, TypeEngine[Any]]] = {
    "executions": {each.name: each.type for each in executions.c},
    "runs": {each.name: each.type for each in runs.c},
    "links": {each.name: each.type for each in links.c},
    "moved": {**{each.name: each.type for each in _guard}, "grown": Integer(), "current_state": Text()},
    "left": {each.name: each.type for each in _guard},
    "ended": {name: executions.c[name].type for name in _end},
    "visits": {each.name: each.type for each in visits.c},
    "opened": {each.name: each.type for each in callbacks.c},
    "closed": {"execution_id": Text(), "id": Text()},
}


def transition(starts: Iterable[StartExecution], advances: Iterable[Advance]) -> tuple[str, list[Any]]:
    """Return the statement that makes all these transitions, and its arguments; it answers the ids that it changed."""
    rows = {part: given for part, given in _rows(starts, advances).items() if given}
    sql = _statement(frozenset(rows))
    columns = {
        f"{part}_{name}": [storable(value) for value in values]
        for part, given in rows.items()
        for name, values in zip(_PARTS[part], zip(*given, strict=True), strict=True)
    }
    return sql.text, sql.arguments(columns)


# Writes to rows


def _rows(starts: Iterable[StartExecution], advances: Iterable[Advance]) -> dict[str, list[Row]]:
    """Return the rows of each part, the guarded ones in the order of their keys, so that two groups never deadlock."""
    begun = sorted(starts, key=lambda write: (write.execution.state_machine_id, write.execution.name))
    given = sorted(advances, key=lambda write: write.execution_id)
    return {
        "executions": [execution_row(write.execution) for write in begun],
        "runs": [run_row(write.execution, write.owner) for write in begun],
        "links": [
            link_row(write.execution, source, exclusive=False) for write in begun if (source := write.execution.source)
        ],
        "moved": [_moved_row(write) for write in given if write.end is None],
        "left": [(write.execution_id, write.epoch, write.seq) for write in given if write.end is not None],
        "ended": [_ended_row(write, write.end) for write in given if write.end is not None],
        "visits": [visit_row(seq, visit) for write in given for seq, visit in enumerate(write.visits, write.seq + 1)],
        "opened": [row for write in given for row in callback_rows(write)],
        "closed": [(write.execution_id, each) for write in given for each in closed_elsewhere(write)],
    }


def _moved_row(write: Advance) -> Row:
    grown = write.seq + len(write.visits)
    return write.execution_id, write.epoch, write.seq, grown, write.current_state


def _ended_row(write: Advance, end: End) -> Row:
    return write.execution_id, *end_row(end), write.current_state, write.epoch


# Parts to a statement


@cache
def _statement(parts: frozenset[str]) -> SQL:
    """Return the statement that does what these parts need."""
    changed: list[Select[Any]] = []
    effects: list[CTE] = []
    if "executions" in parts:
        begun = _begin()
        changed.append(select(begun.c.id))
        effects.append(_insert(runs, "runs", of=begun.c.id))
        if "links" in parts:
            effects.append(_insert(links, "links", of=begun.c.id, key="target_execution_id"))
    advanced: list[Select[Any]] = []
    if "moved" in parts:
        advanced.append(select(_move().c.execution_id))
    if "left" in parts:
        left = _leave()
        advanced.append(select(left.c.execution_id))
        effects.append(_end_executions(left))
    if advanced:
        ours = _all(advanced).cte("ours")
        changed.append(select(ours.c.execution_id))
        effects.extend(build(ours) for part, build in _FOLLOWING.items() if part in parts)
    return COMPILER.known(_all(changed).add_cte(*effects))


def _all(selects: Sequence[Select[Any]]) -> Any:  # noqa: ANN401 -- a Select or a CompoundSelect
    return selects[0] if len(selects) == 1 else union_all(*selects)


def _given(part: str) -> TableValuedAlias:
    """Return a part's arrays as a table."""
    columns = _PARTS[part].items()
    arrays = [bindparam(f"{part}_{name}", type_=ARRAY(_plain(type_)), required=False) for name, type_ in columns]
    names = [column(name, type_) for name, type_ in columns]
    return func.unnest(*arrays).table_valued(*names, name=f"given_{part}").render_derived()


def _plain(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    return Text() if isinstance(type_, String) else type_


def _begin() -> CTE:
    given = _given("executions")
    rows = insert_or(executions).from_select(list(_PARTS["executions"]), select(*given.c))
    return rows.on_conflict_do_nothing().returning(executions.c.id).cte("begun")


def _insert(table: Table, part: str, *, of: ColumnElement[Any], key: str = "execution_id") -> CTE:
    given = _given(part)
    rows = select(*given.c).where(given.c[key].in_(select(of)))
    return insert(table).from_select(list(_PARTS[part]), rows).cte(f"new_{part}")


def _guarded(part: str) -> tuple[TableValuedAlias, list[ColumnElement[bool]]]:
    given = _given(part)
    return given, [each == given.c[each.name] for each in _guard]


def _move() -> CTE:
    given, guard = _guarded("moved")
    new = {"seq": given.c.grown, "claims": 0, "current_state": given.c.current_state}
    return update(runs).where(*guard).values(new).returning(runs.c.execution_id).cte("moved")


def _leave() -> CTE:
    _given_rows, guard = _guarded("left")
    return delete(runs).where(*guard).returning(runs.c.execution_id).cte("left_runs")


def _end_executions(left: CTE) -> CTE:
    given = _given("ended")
    new = {name: given.c[name] for name in _end if name != "id"}
    ended = update(executions).where(executions.c.id == given.c.id, given.c.id == left.c.execution_id).values(new)
    return ended.cte("ended")


def _write_visits(ours: CTE) -> CTE:
    return _insert(visits, "visits", of=ours.c.execution_id)


def _open_callbacks(ours: CTE) -> CTE:
    given = _given("opened")
    rows = select(*given.c).where(given.c.execution_id.in_(select(ours.c.execution_id)))
    new = insert_or(callbacks).from_select(list(_PARTS["opened"]), rows)
    return new.on_conflict_do_nothing(index_elements=[callbacks.c.id]).cte("opened")  # a token twice is a fault


def _close_callbacks(ours: CTE) -> CTE:
    given = _given("closed")
    waiting = callbacks.c.status == CallbackStatus.WAITING.value
    closed = update(callbacks).where(
        callbacks.c.id == given.c.id, given.c.execution_id == ours.c.execution_id, waiting
    )
    return closed.values(status=CallbackStatus.CLOSED.value).cte("closed")


_FOLLOWING: Mapping[str, Callable[[CTE], CTE]] = {
    "visits": _write_visits,
    "opened": _open_callbacks,
    "closed": _close_callbacks,
}
