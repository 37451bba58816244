"""Starts and advances, however many → one statement for PostgreSQL.

The writes become rows, and each column of the rows one text, which the server splits again: asyncpg encodes an array
element by element, in several times the time. Where no part has more than one row, as when one execution takes a step,
they are given as they are: for columns of one the server would make a plan each time, which takes longer than to run
it. A part that has a column that cannot be joined, since a string has a separator in it, is given as arrays.

The statement is put together from the parts that a group needs and no others, because each part costs time where it
finds nothing to do, and so does each column; each combination is compiled once. It answers null where every write took
effect, which is nearly always so; else the ids of the executions where one did.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    String,
    Text,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from statechain.clock import MICROSECOND, to_micros
from statechain.records.callbacks import CallbackStatus
from statechain.records.executions import ExecutionStatus
from statechain_backends.sql.compiler import SQL, Compiler
from statechain_backends.sql.leases.queries import suspicion
from statechain_backends.sql.queues.queries import is_limited
from statechain_backends.sql.rows import end_row, link_row, visit_row
from statechain_backends.sql.schema.tables import callbacks, executions, links, queues, runs, visits
from statechain_backends.sql.scripts.transitions import callback_rows, callbacks_to_close
from statechain_backends.sql.text_escape import escape_text, escape_texts, is_storable, unescape_text

if TYPE_CHECKING:
    from sqlalchemy import CTE, ColumnElement, Select, Table
    from sqlalchemy.types import TypeEngine

    from statechain.storage.repository import Advance, StartExecution, TakeUpExecution

__all__ = ["COMPILER", "changed_ids", "transition"]

COMPILER = Compiler(dialect())  # type: ignore[no-untyped-call]

Row: TypeAlias = tuple[object, ...]

Form: TypeAlias = Literal["row", "texts", "arrays"]
"""How a part is given: the values of its one row, or its columns, each as a string or as an array."""

_guard = (runs.c.execution_id, runs.c.epoch, runs.c.seq)
_end = ("status", "output", "error", "cause", "end_time", "current_state")
_start = (
    "id", "name", "state_machine_id", "state_machine_revision", "input", "start_time", "source_execution_id",
    "source_state_name", "key", "priority",
)  # fmt: skip
_RARE = {"started": ("key", "priority"), "visits": ("error", "cause", "detail")}
"""Columns that are null in most groups."""

# The parts in the order of the statement, each with the columns of its rows.
_PARTS: Mapping[str, Mapping[str, TypeEngine[Any]]] = {
    "started": {"owner": Text(), "current_state": Text(), **{name: executions.c[name].type for name in _start}},
    "links": {each.name: each.type for each in links.c},
    "moved": {**{each.name: each.type for each in _guard}, "grown": Integer(), "current_state": Text()},
    "ended": {**{each.name: each.type for each in _guard}, **{name: executions.c[name].type for name in _end}},
    "taken": {"execution_id": Text(), "epoch": Integer(), "claims": Integer(), "backoff": BigInteger()},
    "visits": {each.name: each.type for each in visits.c},
    "opened": {each.name: each.type for each in callbacks.c},
    "closed": {"execution_id": Text(), "id": Text()},
}
_TEXTS = frozenset(name for columns in _PARTS.values() for name, type_ in columns.items() if isinstance(type_, String))
"""Columns of texts; all others are of whole numbers."""
_JSON = frozenset({"input", "output", "detail"})
"""Columns of payloads: JSON texts are ASCII as they come, and are read as they are."""
_ANSWERED = frozenset({"started", "moved", "ended", "taken"})
"""Parts whose rows may be refused: one write each."""

_OFTEN_EMPTY = frozenset({"frame"})
"""Columns that are never null: an empty text alone, which is split into no values, is null there and means itself."""

SEPARATOR = "\x1f"
NULL = "\x1e"


def transition(
    starts: Iterable[StartExecution], advances: Iterable[Advance], taken: Iterable[TakeUpExecution]
) -> tuple[str, list[Any]]:
    """Return the statement that makes all these transitions, and its arguments.

    It answers one value: null where all of them took effect, else the ids of the executions of those that did, as JSON
    (`changed_ids`).
    """
    arguments: dict[str, object] = {}
    parts: list[tuple[str, Form, tuple[str, ...]]] = []
    expected = 0
    given = {part: rows for part, rows in _rows(starts, advances, taken).items() if rows}
    is_alone = all(len(rows) == 1 for rows in given.values())
    for part, rows in given.items():
        if part in _ANSWERED:
            expected += len(rows)
        columns = dict(zip(_PARTS[part], zip(*rows, strict=True), strict=True))
        for name in _RARE.get(part, ()):
            if columns[name].count(None) == len(rows):
                del columns[name]
        form, values = _arguments(columns, is_alone=is_alone)
        arguments.update(zip([f"{part}_{name}" for name in columns], values, strict=True))
        parts.append((part, form, tuple(columns)))
    sql = _statement(tuple(parts))
    arguments = {**sql.values, **arguments, "expected": expected}
    return sql.text, [arguments[name] for name in sql.names]


def changed_ids(answer: str) -> set[str]:
    """Return the ids of the executions that a transition changed, from what its statement answered."""
    return {unescape_text(id_) for id_ in json.loads(answer)}


# Writes to rows

_by_name = attrgetter("execution.state_machine_id", "execution.name")
_by_execution = attrgetter("execution_id")


def _rows(
    starts: Iterable[StartExecution], advances: Iterable[Advance], taken: Iterable[TakeUpExecution]
) -> dict[str, list[Row]]:
    """Return the rows of each part."""
    rows: dict[str, list[Row]] = {part: [] for part in _PARTS}
    # In the order of keys, in which rows are locked: two groups at once never deadlock.
    for start in sorted(starts, key=_by_name):
        rows["started"].append(_started_row(start))
        if start.execution.source is not None:
            rows["links"].append(link_row(start.execution, start.execution.source, exclusive=False))
    moved, ended, visited = rows["moved"], rows["ended"], rows["visits"]
    for write in sorted(advances, key=_by_execution):
        seq = write.seq
        for visit in write.visits:
            seq += 1
            visited.append(visit_row(seq, visit))
        if write.end is None:
            moved.append((write.execution_id, write.epoch, write.seq, seq, write.current_state))
        else:
            ended.append((write.execution_id, write.epoch, write.seq, *end_row(write.end), write.current_state))
        if write.opened:
            rows["opened"].extend(callback_rows(write))
        if write.closed:
            rows["closed"].extend((write.execution_id, each) for each in callbacks_to_close(write))
    for each in sorted(taken, key=_by_execution):
        rows["taken"].append((each.execution_id, each.epoch, each.claims, each.backoff // MICROSECOND))
    return rows


def _started_row(write: StartExecution) -> Row:
    execution, source = write.execution, write.execution.source
    return (
        write.owner,
        execution.current_state,
        execution.id,
        execution.name,
        execution.state_machine_id,
        execution.state_machine_revision,
        execution.input_text,
        to_micros(execution.start_time),
        None if source is None else source.execution_id,
        None if source is None else source.state_name,
        execution.key,
        execution.priority or None,
    )


# Rows to arguments


def _arguments(columns: Mapping[str, Sequence[Any]], *, is_alone: bool) -> tuple[Form, list[object]]:
    """Return in which form columns are given, and an argument for each."""
    if is_alone:
        return "row", [value if name in _JSON else escape_text(value) for name, (value,) in columns.items()]
    joined = [_joined(name, values) for name, values in columns.items()]
    if None in joined:
        return "arrays", [_storable_column(name, values) for name, values in columns.items()]
    return "texts", [*joined]


def _joined(name: str, values: Sequence[Any]) -> str | None:
    """Return a column as one text; None where it could not be split into the same values."""
    nulls = values.count(None)
    if name not in _TEXTS:
        numbers = ["NULL" if value is None else str(value) for value in values] if nulls else map(str, values)
        # The text of an array of numbers, which needs no escapes.
        return "{" + ",".join(numbers) + "}"
    texts = [NULL if value is None else value for value in values] if nulls else values
    text = SEPARATOR.join(texts)
    if not (name in _JSON or is_storable(text)):
        text = SEPARATOR.join(map(escape_text, texts))
    if not text and name not in _OFTEN_EMPTY:
        return None
    # A separator or the mark of nulls in a value: the server would split it into other values.
    is_exact = text.count(SEPARATOR) == len(values) - 1 and text.count(NULL) == nulls
    return text if is_exact else None


def _storable_column(name: str, values: Sequence[Any]) -> Sequence[object]:
    return escape_texts(values) if name in _TEXTS and name not in _JSON else values


# Parts to a statement


@cache
def _statement(parts: tuple[tuple[str, Form, tuple[str, ...]], ...]) -> SQL:
    """Return the statement that does what these parts need, each with the columns that are given, in their form."""
    given = {part: (_given_row if form == "row" else _given_rows)(part, form, columns) for part, form, columns in parts}
    changed: list[Select[Any]] = []
    effects: list[CTE] = []
    if "started" in given:
        # All parts see the tables as they were before: what follows is tied to the rows that a part returned.
        starting = _with_limits(given["started"])
        begun = _begin(starting)
        changed.append(select(begun.c.id))
        effects.append(_begin_runs(starting, begun))
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
    done = _all(changed).cte("done")
    # JSON: for an array the driver would ask the server about its type, on each connection.
    missed = func.coalesce(cast(func.json_agg(done.c[0]), Text), literal_column("'[]'"))
    answer = case((func.count() == bindparam("expected", type_=Integer(), required=False), null()), else_=missed)
    return COMPILER.known(select(answer).select_from(done).add_cte(*effects))


def _all(selects: Sequence[Select[Any]]) -> Any:  # noqa: ANN401 -- a Select or a CompoundSelect
    return selects[0] if len(selects) == 1 else union_all(*selects)


def _given_rows(part: str, form: Form, given: Sequence[str]) -> CTE:
    """Return a part's columns, which are given as texts or as arrays, as a table."""
    split = _split if form == "texts" else _array
    # In the SELECT list, side by side: in FROM, the server would first keep each column as a separate table.
    arrays = {name: split(f"{part}_{name}", _plain(_PARTS[part][name])) for name in given}
    rows = select(*(func.unnest(array).label(name) for name, array in arrays.items())).subquery()
    filled = [
        func.coalesce(each, literal_column("''")).label(each.name) if each.name in _OFTEN_EMPTY else each
        for each in rows.c
    ]
    return select(*filled).cte(f"given_{part}")


def _array(name: str, type_: TypeEngine[Any]) -> ColumnElement[Any]:
    return bindparam(name, type_=ARRAY(type_), required=False)


def _split(name: str, type_: TypeEngine[Any]) -> ColumnElement[Any]:
    """Return the array of what `_joined` joined."""
    text = bindparam(name, type_=Text(), required=False)
    if isinstance(type_, String):
        return func.string_to_array(text, literal_column("E'\\x1f'"), literal_column("E'\\x1e'"))
    return cast(text, ARRAY(type_))


def _given_row(part: str, _form: Form, given: Sequence[str]) -> CTE:
    """Return the one row of a part as a table."""
    types = {name: _plain(_PARTS[part][name]) for name in given}
    values = [bindparam(f"{part}_{name}", type_=type_, required=False) for name, type_ in types.items()]
    return select(*(value.label(name) for value, name in zip(values, given, strict=True))).cte(f"given_{part}")


def _plain(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    return Text() if isinstance(type_, String) else type_


def _with_limits(given: CTE) -> CTE:
    """Return what is started, with whether its machine has limits: null where it has no queue."""
    # A scalar subquery: a join may change the order of the rows, in which they are locked.
    limits = select(is_limited()).where(queues.c.state_machine_id == given.c.state_machine_id)
    return select(*given.c, limits.scalar_subquery().label("is_limited")).cte("starting")


def _begin(starting: CTE) -> CTE:
    """Start executions, but not with an owner where their machine has limits: they are claimed."""
    new = {name: starting.c[name] for name in _start if name in starting.c}
    fixed = {"status": literal(ExecutionStatus.RUNNING.value), "redrive_count": literal(0), "epoch": literal(1)}
    rows = select(*new.values(), *fixed.values()).where(
        or_(starting.c.owner.is_(None), starting.c.is_limited.is_not(true()))
    )
    begun = insert_or(executions).from_select([*new, *fixed], rows)
    return begun.on_conflict_do_nothing().returning(executions.c.id).cte("begun")


def _begin_runs(starting: CTE, begun: CTE) -> CTE:
    new = {"execution_id": starting.c.id, "owner": starting.c.owner, "current_state": starting.c.current_state}
    fixed = {"epoch": case((starting.c.owner.is_(None), 0), else_=1), "seq": literal(0), "claims": literal(0)}
    is_queued = starting.c.is_limited.is_not(null())
    key, priority = starting.c.get("key", null()), starting.c.get("priority", null())
    place = {
        "queue": case((is_queued, starting.c.state_machine_id)),
        "key": case((is_queued, func.coalesce(cast(key, Text), ""))),
        "rank": case((is_queued, -func.coalesce(cast(priority, Integer), 0))),
    }
    rows = select(*new.values(), *fixed.values(), *place.values()).where(starting.c.id.in_(select(begun.c.id)))
    return insert(runs).from_select([*new, *fixed, *place], rows).cte("new_runs")


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
    return new.on_conflict_do_nothing(index_elements=[callbacks.c.id]).cte("opened")  # a token twice is an error


def _close_callbacks(given: CTE, ours: CTE) -> CTE:
    waiting = callbacks.c.status == CallbackStatus.WAITING.value
    closed = update(callbacks).where(callbacks.c.id == given.c.id, given.c.execution_id == ours.c.execution_id, waiting)
    return closed.values(status=CallbackStatus.CLOSED.value).cte("closed")


_FOLLOWING: Mapping[str, Callable[[CTE, CTE], CTE]] = {
    "visits": _write_visits,
    "opened": _open_callbacks,
    "closed": _close_callbacks,
}
