"""Starts and advances, however many → one statement for PostgreSQL.

The writes become arrays, one for each column, and the statement takes them apart again with ``unnest``. Where no part
has more than one row, as when one execution takes a step, they are given as they are: for arrays of one the server
would make a plan each time, which takes longer than to run it. The statement is put together from the parts that a
group needs and no others, because each part costs time where it finds nothing to do, and so does each array; each
combination is compiled once. What a guard lets through, it answers with the ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    String,
    Text,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from statechain.records import CallbackStatus, ExecutionStatus
from statechain_backends.sql.compiler import SQL, Compiler
from statechain_backends.sql.lease_queries import suspicion
from statechain_backends.sql.rows import end_row, link_row, to_micros, visit_row
from statechain_backends.sql.schema import callbacks, executions, links, runs, visits
from statechain_backends.sql.text_escape import storable_all
from statechain_backends.sql.transitions import callback_rows, closed_elsewhere

if TYPE_CHECKING:
    from sqlalchemy import CTE, ColumnElement, Select, Table
    from sqlalchemy.types import TypeEngine

    from statechain.storage.repository import Advance, End, StartExecution, TakeUpExecution

__all__ = ["COMPILER", "transition"]

COMPILER = Compiler(dialect())  # type: ignore[no-untyped-call]

Row: TypeAlias = tuple[object, ...]

_guard = (runs.c.execution_id, runs.c.epoch, runs.c.seq)
_end = ("status", "output", "error", "cause", "end_time", "current_state")
_start = (
    "id", "name", "state_machine_id", "state_machine_revision", "input", "start_time", "source_execution_id",
    "source_state_name",
)  # fmt: skip
_RARE = ("error", "cause", "detail")
"""Columns of visits that are null in most groups."""

# The parts in the order of the statement, each with the columns of its rows.
_PARTS: Mapping[str, Mapping[str, TypeEngine[Any]]] = {
    "started": {**{name: executions.c[name].type for name in _start}, "owner": Text(), "current_state": Text()},
    "links": {each.name: each.type for each in links.c},
    "moved": {**{each.name: each.type for each in _guard}, "grown": Integer(), "current_state": Text()},
    "ended": {**{each.name: each.type for each in _guard}, **{name: executions.c[name].type for name in _end}},
    "taken": {"execution_id": Text(), "epoch": Integer(), "claims": Integer(), "backoff": BigInteger()},
    "visits": {each.name: each.type for each in visits.c},
    "opened": {each.name: each.type for each in callbacks.c},
    "closed": {"execution_id": Text(), "id": Text()},
}
_TEXTS = frozenset(
    name
    for columns in _PARTS.values()
    for name, type_ in columns.items()
    if isinstance(type_, String) and name not in {"input", "output", "detail"}  # JSON is ASCII as it comes
)
"""Columns whose texts a database may refuse as they are given."""


def transition(
    starts: Sequence[StartExecution], advances: Sequence[Advance], taken: Sequence[TakeUpExecution]
) -> tuple[str, list[Any]]:
    """Return the statement that makes all these transitions, and its arguments; it answers the ids that it changed."""
    given = {part: rows for part, rows in _rows(starts, advances, taken).items() if rows}
    is_alone = all(len(rows) == 1 for rows in given.values())
    arguments: dict[str, object] = {}
    parts: list[tuple[str, tuple[str, ...]]] = []
    for part, rows in given.items():
        columns = dict(zip(_PARTS[part], zip(*rows, strict=True), strict=True))
        if part == "visits":
            columns = {
                name: each for name, each in columns.items() if name not in _RARE or each.count(None) < len(rows)
            }
        parts.append((part, tuple(columns)))
        for name, values in columns.items():
            storable = storable_all(values) if name in _TEXTS else values
            arguments[f"{part}_{name}"] = storable[0] if is_alone else storable
    sql = _statement(tuple(parts), is_alone=is_alone)
    arguments = {**sql.values, **arguments}
    return sql.text, [arguments[name] for name in sql.names]


# Writes to rows


def _rows(
    starts: Sequence[StartExecution], advances: Sequence[Advance], taken: Sequence[TakeUpExecution]
) -> dict[str, list[Row]]:
    """Return the rows of each part, the guarded ones in the order of their keys, so that two groups never deadlock."""
    begun = sorted(starts, key=lambda write: (write.execution.state_machine_id, write.execution.name))
    given = sorted(advances, key=lambda write: write.execution_id)
    return {
        "started": [_started_row(write) for write in begun],
        "links": [
            link_row(write.execution, source, exclusive=False) for write in begun if (source := write.execution.source)
        ],
        "moved": [_moved_row(write) for write in given if write.end is None],
        "ended": [_ended_row(write, write.end) for write in given if write.end is not None],
        "taken": [
            (write.execution_id, write.epoch, write.claims, write.backoff // write.backoff.resolution)
            for write in sorted(taken, key=lambda write: write.execution_id)
        ],
        "visits": [visit_row(seq, visit) for write in given for seq, visit in enumerate(write.visits, write.seq + 1)],
        "opened": [row for write in given if write.opened for row in callback_rows(write)],
        "closed": [(write.execution_id, each) for write in given if write.closed for each in closed_elsewhere(write)],
    }


def _started_row(write: StartExecution) -> Row:
    execution, source = write.execution, write.execution.source
    return (
        execution.id,
        execution.name,
        execution.state_machine_id,
        execution.state_machine_revision,
        execution.input_text,
        to_micros(execution.start_time),
        None if source is None else source.execution_id,
        None if source is None else source.state_name,
        write.owner,
        execution.current_state,
    )


def _moved_row(write: Advance) -> Row:
    grown = write.seq + len(write.visits)
    return write.execution_id, write.epoch, write.seq, grown, write.current_state


def _ended_row(write: Advance, end: End) -> Row:
    return write.execution_id, write.epoch, write.seq, *end_row(end), write.current_state


# Parts to a statement


@cache
def _statement(parts: tuple[tuple[str, tuple[str, ...]], ...], *, is_alone: bool) -> SQL:
    """Return the statement that does what these parts need, each with the columns that are given."""
    given = {part: (_given_one if is_alone else _given)(part, columns) for part, columns in parts}
    changed: list[Select[Any]] = []
    effects: list[CTE] = []
    if "started" in given:
        begun = _begin(given["started"])
        changed.append(select(begun.c.id))
        effects.append(_begin_runs(given["started"], begun))
        if "links" in given:
            effects.append(_insert(links, given["links"], of=begun.c.id, key="target_execution_id"))
    advanced: list[Select[Any]] = []
    if "moved" in given:
        advanced.append(select(_move(given["moved"]).c.execution_id))
    if "ended" in given:
        left = _leave(given["ended"])
        advanced.append(select(left.c.execution_id))
        effects.append(_end_executions(given["ended"], left))
    if "taken" in given:
        changed.append(select(_take_up(given["taken"]).c.execution_id))
    if advanced:
        ours = _all(advanced).cte("ours")
        changed.append(select(ours.c.execution_id))
        effects.extend(build(given[part], ours) for part, build in _FOLLOWING.items() if part in given)
    return COMPILER.known(_all(changed).add_cte(*effects))


def _all(selects: Sequence[Select[Any]]) -> Any:  # noqa: ANN401 -- a Select or a CompoundSelect
    return selects[0] if len(selects) == 1 else union_all(*selects)


def _given(part: str, given: Sequence[str]) -> CTE:
    """Return a part's arrays as a table."""
    types = {name: _PARTS[part][name] for name in given}
    arrays = [bindparam(f"{part}_{name}", type_=ARRAY(_plain(type_)), required=False) for name, type_ in types.items()]
    rows = func.unnest(*arrays).table_valued(*(column(*each) for each in types.items())).render_derived()
    return select(*rows.c).cte(f"given_{part}")


def _given_one(part: str, given: Sequence[str]) -> CTE:
    """Return the one row of a part as a table."""
    types = {name: _plain(_PARTS[part][name]) for name in given}
    values = [bindparam(f"{part}_{name}", type_=type_, required=False) for name, type_ in types.items()]
    return select(*(value.label(name) for value, name in zip(values, given, strict=True))).cte(f"given_{part}")


def _plain(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    return Text() if isinstance(type_, String) else type_


def _begin(given: CTE) -> CTE:
    new = {name: given.c[name] for name in _start}
    fixed = {"status": literal(ExecutionStatus.RUNNING.value), "redrive_count": literal(0), "epoch": literal(1)}
    rows = insert_or(executions).from_select([*new, *fixed], select(*new.values(), *fixed.values()))
    return rows.on_conflict_do_nothing().returning(executions.c.id).cte("begun")


def _begin_runs(given: CTE, begun: CTE) -> CTE:
    new = {"execution_id": given.c.id, "owner": given.c.owner, "current_state": given.c.current_state}
    fixed = {"epoch": literal(1), "seq": literal(0), "claims": literal(0)}
    rows = select(*new.values(), *fixed.values()).where(given.c.id.in_(select(begun.c.id)))
    return insert(runs).from_select([*new, *fixed], rows).cte("new_runs")


def _insert(table: Table, given: CTE, *, of: ColumnElement[Any], key: str = "execution_id") -> CTE:
    rows = select(*given.c).where(given.c[key].in_(select(of)))
    return insert(table).from_select(list(given.c.keys()), rows).cte(f"new_{table.name}")


def _guarded(given: CTE) -> list[ColumnElement[bool]]:
    return [each == given.c[each.name] for each in _guard]


def _move(given: CTE) -> CTE:
    new = {"seq": given.c.grown, "claims": 0, "current_state": given.c.current_state}
    return update(runs).where(*_guarded(given)).values(new).returning(runs.c.execution_id).cte("moved")


def _take_up(given: CTE) -> CTE:
    new = {"claims": given.c.claims, "backoff": given.c.backoff, "suspect_since": suspicion(given.c.claims)}
    ours = runs.c.execution_id == given.c.execution_id, runs.c.epoch == given.c.epoch
    return update(runs).where(*ours).values(new).returning(runs.c.execution_id).cte("taken_up")


def _leave(given: CTE) -> CTE:
    return delete(runs).where(*_guarded(given)).returning(runs.c.execution_id).cte("left_runs")


def _end_executions(given: CTE, left: CTE) -> CTE:
    ours = executions.c.id == given.c.execution_id, given.c.execution_id == left.c.execution_id
    new = {name: given.c[name] for name in (*_end, "epoch")}
    return update(executions).where(*ours).values(new).cte("ended")


def _write_visits(given: CTE, ours: CTE) -> CTE:
    return _insert(visits, given, of=ours.c.execution_id)


def _open_callbacks(given: CTE, ours: CTE) -> CTE:
    rows = select(*given.c).where(given.c.execution_id.in_(select(ours.c.execution_id)))
    new = insert_or(callbacks).from_select(list(given.c.keys()), rows)
    return new.on_conflict_do_nothing(index_elements=[callbacks.c.id]).cte("opened")  # a token twice is a fault


def _close_callbacks(given: CTE, ours: CTE) -> CTE:
    waiting = callbacks.c.status == CallbackStatus.WAITING.value
    closed = update(callbacks).where(callbacks.c.id == given.c.id, given.c.execution_id == ours.c.execution_id, waiting)
    return closed.values(status=CallbackStatus.CLOSED.value).cte("closed")


_FOLLOWING: Mapping[str, Callable[[CTE, CTE], CTE]] = {
    "visits": _write_visits,
    "opened": _open_callbacks,
    "closed": _close_callbacks,
}
