"""A commit group → one transaction on the writer's connection, in its thread.

Guarded changes run one by one, for SQLite tells of each whether it hit; rows that follow from them are collected and
inserted many at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Executable, delete, insert, update
from sqlalchemy.dialects import sqlite

from statechain.records import CallbackStatus, Execution
from statechain.storage.repository import Advance, StartExecution, Write
from statechain_backends import queries
from statechain_backends.compiled import SQL, Compiler, Parameters, given, given_row
from statechain_backends.rows import Row, end_row, execution_row, link_row, run_row, to_execution, visit_row
from statechain_backends.schema import callbacks, executions, links, runs, visits
from statechain_backends.scripts import SCRIPTS, Script
from statechain_backends.texts import storable
from statechain_backends.transitions import callback_rows, closed_elsewhere, outcome_of_missed, standing

__all__ = ["commit", "fetch", "perform"]

T = TypeVar("T")

COMPILER = Compiler(sqlite.dialect())


_guard = (runs.c.execution_id == given("id_"), runs.c.epoch == given("of_epoch"), runs.c.seq == given("at_seq"))
_MOVE = update(runs).where(*_guard).values(seq=given("new_seq"), claims=0, current_state=given("new_state"))
_LEAVE = delete(runs).where(*_guard)
ENDED = ("status", "output", "error", "cause", "end_time")
_END = (
    update(executions)
    .where(executions.c.id == given("id_"))
    .values({name: given(name) for name in (*ENDED, "current_state", "epoch")})
)
_ADD_EXECUTION = sqlite.insert(executions).values(given_row(executions)).on_conflict_do_nothing()
_ADD_RUN = insert(runs).values(given_row(runs))
_ADD_LINK = insert(links).values(given_row(links))
_ADD_VISIT = insert(visits).values(given_row(visits))
_ADD_CALLBACK = (
    sqlite.insert(callbacks)
    .values(given_row(callbacks))
    .on_conflict_do_nothing(index_elements=[callbacks.c.id])  # a token that there is already is a fault
)
_CLOSE = (
    update(callbacks)
    .where(callbacks.c.id == given("id_"))
    .where(callbacks.c.status == CallbackStatus.WAITING.value)
    .values(status=CallbackStatus.CLOSED.value)
)
_HOLDER = queries.execution_by_name(given("machine"), given("name"))


def commit(connection: sqlite3.Connection, writes: Sequence[Write[object]]) -> list[object]:
    """Commit writes in one transaction; return an outcome for each."""
    return _transact(connection, lambda: _Group(connection).apply(writes))


def perform(connection: sqlite3.Connection, script: Script) -> Any:  # noqa: ANN401 -- what the script returns
    """Run a script in a transaction of its own."""
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


class _Group:
    """The writes of one commit, on their way."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows: dict[SQL, list[Sequence[object]]] = {}

    def apply(self, writes: Iterable[Write[object]]) -> list[object]:
        outcomes = [self._apply(write) for write in writes]
        self._flush()
        return outcomes

    def _apply(self, write: Write[object]) -> object:
        if isinstance(write, Advance):
            return self._advance(write)
        if isinstance(write, StartExecution) and not (write.exclusive and write.execution.source):
            return self._start(write)
        self._flush()
        return _run(self._connection, SCRIPTS[type(write)](write))

    def _flush(self) -> None:
        for sql, rows in self._rows.items():
            self._connection.executemany(sql.text, rows)
        self._rows.clear()

    def _later(self, statement: Executable, *rows: Sequence[object]) -> None:
        collected = self._rows.setdefault(COMPILER.known(statement), [])
        collected.extend([storable(value) for value in row] for row in rows)

    def _change(self, statement: Executable, parameters: Mapping[str, object]) -> bool:
        sql = COMPILER.known(statement)
        return self._connection.execute(sql.text, sql.arguments(parameters)).rowcount > 0

    def _start(self, write: StartExecution) -> Execution:
        execution = write.execution
        row = dict(zip(executions.columns.keys(), execution_row(execution), strict=True))
        if not self._change(_ADD_EXECUTION, row):
            self._flush()
            name = {"machine": execution.state_machine_id, "name": execution.name}
            return to_execution(fetch(self._connection, _HOLDER, name)[0])
        self._later(_ADD_RUN, run_row(execution, write.owner))
        if execution.source is not None:
            self._later(_ADD_LINK, link_row(execution, execution.source, exclusive=False))
        return execution

    def _advance(self, write: Advance) -> object:
        guard = {"id_": write.execution_id, "of_epoch": write.epoch, "at_seq": write.seq}
        if write.end is None:
            moved = {"new_seq": write.seq + len(write.visits), "new_state": write.current_state}
            is_ours = self._change(_MOVE, {**guard, **moved})
        else:
            is_ours = self._change(_LEAVE, guard)
        if not is_ours:
            self._flush()
            rows = fetch(self._connection, standing([write.execution_id]), None)
            return outcome_of_missed(write, rows[0] if rows else None)
        if write.visits:
            self._later(_ADD_VISIT, *(visit_row(seq, visit) for seq, visit in enumerate(write.visits, write.seq + 1)))
        if write.end is not None:
            place = {"current_state": write.current_state, "epoch": write.epoch}
            ended = dict(zip(ENDED, end_row(write.end), strict=True))
            self._change(_END, {"id_": write.execution_id, **place, **ended})
        if write.opened:
            self._later(_ADD_CALLBACK, *callback_rows(write))
        if write.closed:
            close = COMPILER.known(_CLOSE)
            self._later(_CLOSE, *(close.arguments({"id_": each}) for each in closed_elsewhere(write)))
        return None
