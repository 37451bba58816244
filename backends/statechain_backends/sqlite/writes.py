"""A commit group → one transaction on the writer's connection, in its thread.

Each start or advance has a guarded change that decides whether it takes effect, and rows that follow from it. The
changes of a group run many at once: where as many rows changed as were asked for, which is nearly always, each one
hit. Else the transaction is taken back, and in another they run one by one, for then SQLite says of each. A savepoint
for that would have SQLite copy each page that a group changes. Rarer writes come after them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar, cast

from sqlalchemy import Executable, delete, insert, literal, update
from sqlalchemy.dialects import sqlite

from statechain.errors import DamagedRow
from statechain.records.callbacks import CallbackStatus
from statechain.storage.queues import MachineLimited
from statechain.storage.repository import Advance, StartExecution, Write
from statechain_backends.sql.compiler import Compiler, Parameters, param, row_params
from statechain_backends.sql.decoding import Row, outcome
from statechain_backends.sql.queues.queries import IS_LIMITED
from statechain_backends.sql.records import to_execution
from statechain_backends.sql.rows import end_row, execution_row, link_row, run_row, visit_row
from statechain_backends.sql.schema.tables import callbacks, executions, links, runs, visits
from statechain_backends.sql.scripts.steps import Script
from statechain_backends.sql.scripts.transitions import (
    callback_rows,
    callbacks_to_close,
    current_positions,
    last_written,
    may_be_committed,
    outcome_after_guard_miss,
)
from statechain_backends.sql.scripts.writes import SCRIPTS
from statechain_backends.sql.statements import ADD_RUN, END_EXECUTION, EXECUTION_BY_NAME
from statechain_backends.sql.text_escape import escape_rows

__all__ = ["commit", "fetch", "perform"]

T = TypeVar("T")

Work: TypeAlias = Mapping[Executable, Iterator[tuple[object, ...]]]
"""Statements in the order in which they are to run, each with its rows."""

ROWS_AT_ONCE = 128
"""How many rows are made at once: the garbage collector would look at all those of a large commit."""

COMPILER = Compiler(sqlite.dialect())

# Statements that run with many rows at a time; a row has their parameters in the order in which they are rendered.

_guard = (runs.c.execution_id == param("id_"), runs.c.epoch == param("of_epoch"), runs.c.seq == param("at_seq"))
# Written out, as all constants here: a row of `executemany` has the values of parameters alone.
_none = literal(0, literal_execute=True)
_MOVE = update(runs).where(*_guard).values(seq=param("new_seq"), claims=_none, current_state=param("new_state"))
_LEAVE = delete(runs).where(*_guard)
_ADD_EXECUTION = sqlite.insert(executions).values(row_params(executions)).on_conflict_do_nothing()
_ADD_LINK = insert(links).values(row_params(links))
_ADD_VISIT = insert(visits).values(row_params(visits))
_ADD_CALLBACK = (
    sqlite.insert(callbacks)
    .values(row_params(callbacks))
    .on_conflict_do_nothing(index_elements=[callbacks.c.id])  # a token that there is already is an error
)
_CLOSE = (
    update(callbacks)
    .where(callbacks.c.id == param("id_"))
    .where(callbacks.c.status == literal(CallbackStatus.WAITING.value, literal_execute=True))
    .values(status=literal(CallbackStatus.CLOSED.value, literal_execute=True))
)


class _MissedError(Exception):
    """Not every change of a group took effect."""


def commit(connection: sqlite3.Connection, writes: Sequence[Write[object]]) -> list[object]:
    """Commit writes in one transaction; return an outcome for each."""
    try:
        return _transact(connection, lambda: _apply(connection, writes, at_once=True))
    except _MissedError:
        return _transact(connection, lambda: _apply(connection, writes, at_once=False))


def perform(connection: sqlite3.Connection, script: Script) -> Any:  # noqa: ANN401 -- what the script returns
    """Run a script in a separate transaction."""
    return _transact(connection, lambda: _run(connection, script))


def fetch(connection: sqlite3.Connection, statement: Executable, parameters: Parameters) -> Sequence[Row]:
    """Return the rows of a statement."""
    text, arguments = COMPILER.render(statement, parameters)
    return connection.execute(text, arguments).fetchall()


def _transact(connection: sqlite3.Connection, act: Callable[[], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")  # to read first and then write fails at once where another one writes
    try:
        result = act()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _run(connection: sqlite3.Connection, script: Script) -> object:
    try:
        question = next(script)
        while True:
            question = script.send(fetch(connection, *question))
    except StopIteration as done:
        return done.value
    except DamagedRow as damage:  # of this write alone; the others of the group take effect
        return damage


def _apply(connection: sqlite3.Connection, writes: Sequence[Write[object]], *, at_once: bool) -> list[object]:
    # No two writes of a commit have one key, so that their order does not matter.
    moves = {place: write for place, write in enumerate(writes) if _is_move(write)}
    missed = _move(connection, moves, _queues(connection, [*moves.values()]), at_once=at_once) if moves else ()
    outcomes: list[object] = []
    for place, write in enumerate(writes):
        if place not in moves:
            outcomes.append(_run(connection, SCRIPTS[type(write)](write)))
        elif place in missed:
            outcomes.append(_refusal(connection, write))
        else:
            outcomes.append(write.execution if isinstance(write, StartExecution) else None)
    return outcomes


def _queues(connection: sqlite3.Connection, writes: Sequence[Write[object]]) -> Mapping[str, bool]:
    """Return whether there are limits now, of each machine with a queue of which executions start."""
    machines = {write.execution.state_machine_id for write in writes if isinstance(write, StartExecution)}
    found = ((each, fetch(connection, IS_LIMITED, {"machine": each})) for each in machines)
    return {machine: bool(is_limited) for machine, rows in found for (is_limited,) in rows}


def _move(
    connection: sqlite3.Connection, moves: Mapping[int, Write[object]], queues: Mapping[str, bool], *, at_once: bool
) -> set[int]:
    """Make starts and advances; return the places of those that were refused, or are left to be claimed.

    Raises:
        _MissedError: Made all at once, some of them were refused.
    """
    missed = {place for place, write in moves.items() if _is_left_to_claims(write, queues)}
    tried = {place: write for place, write in moves.items() if place not in missed}
    if not at_once:
        missed |= {place for place, write in tried.items() if not _execute(connection, _changes([write]))}
    elif not _execute(connection, _changes([*tried.values()])):
        raise _MissedError
    _execute(connection, _dependent_rows([write for place, write in tried.items() if place not in missed], queues))
    return missed


def _is_left_to_claims(write: Write[object], queues: Mapping[str, bool]) -> bool:
    return (
        isinstance(write, StartExecution)
        and write.owner is not None
        and queues.get(write.execution.state_machine_id, False)
    )


def _execute(connection: sqlite3.Connection, work: Work) -> bool:
    """Run each statement with all its rows; say whether each row changed something."""
    is_complete = True
    for statement, rows in work.items():
        while some := [*islice(rows, ROWS_AT_ONCE)]:
            # The sum over the rows: a guard that missed, or a name that was taken, changes none.
            count = connection.executemany(COMPILER.known(statement).text, escape_rows(some)).rowcount
            is_complete = is_complete and count == len(some)
    return is_complete


def _refusal(connection: sqlite3.Connection, write: Write[object]) -> object:
    """Return the outcome of a start or an advance that changed nothing."""
    if isinstance(write, StartExecution):
        name = {"machine": write.execution.state_machine_id, "name": write.execution.name}
        holders = fetch(connection, EXECUTION_BY_NAME, name)
        return outcome(to_execution, holders[0]) if holders else MachineLimited(write.execution.state_machine_id)
    advance = cast("Advance", write)
    rows = fetch(connection, current_positions([advance.execution_id]), None)
    row = rows[0] if rows else None
    last = fetch(connection, last_written(advance), None) if may_be_committed(advance, row) else []
    return outcome_after_guard_miss(advance, row, last[0] if last else None)


def _is_move(write: Write[object]) -> bool:
    if isinstance(write, StartExecution):
        # An exclusive start asks before it writes: it is a script.
        return not (write.exclusive and write.execution.source)
    return isinstance(write, Advance)


def _changes(writes: Sequence[Write[object]]) -> Work:
    """Return what decides whether starts and advances take effect."""
    advances = [write for write in writes if isinstance(write, Advance)]
    return {
        _ADD_EXECUTION: (execution_row(write.execution) for write in writes if isinstance(write, StartExecution)),
        _MOVE: (
            (write.seq + len(write.visits), write.current_state, write.execution_id, write.epoch, write.seq)
            for write in advances
            if write.end is None
        ),
        _LEAVE: ((write.execution_id, write.epoch, write.seq) for write in advances if write.end is not None),
    }


def _dependent_rows(writes: Sequence[Write[object]], queues: Mapping[str, bool]) -> Work:
    """Return what follows from starts and advances that take effect."""
    starts = [write for write in writes if isinstance(write, StartExecution)]
    advances = [write for write in writes if isinstance(write, Advance)]
    return {
        ADD_RUN: (
            run_row(write.execution, write.owner, is_queued=write.execution.state_machine_id in queues)
            for write in starts
        ),
        _ADD_LINK: (
            link_row(write.execution, source, exclusive=False) for write in starts if (source := write.execution.source)
        ),
        _ADD_VISIT: (
            visit_row(seq, visit) for write in advances for seq, visit in enumerate(write.visits, write.seq + 1)
        ),
        END_EXECUTION: (
            (*end_row(end), write.current_state, write.epoch, write.execution_id)
            for write in advances
            if (end := write.end)
        ),
        _ADD_CALLBACK: (row for write in advances if write.opened for row in callback_rows(write)),
        _CLOSE: ((each,) for write in advances if write.closed for each in callbacks_to_close(write)),
    }
