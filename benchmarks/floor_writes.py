"""The rows of durable executions, and how a driver commits a group of them: one statement, or one transaction.

The columns are the library's own. Nothing is checked, retried or told: it is what the drivers can do.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import asyncpg
from machines import PAYLOAD

from statechain.codec import encode

BODY = encode(PAYLOAD)
EXECUTION = (
    "id, name, state_machine_id, state_machine_revision, status, input, start_time, redrive_count, epoch",
    "text, text, text, int, text, text, bigint, int, int",
)
RUN = ("execution_id, owner, epoch, seq, claims, current_state", "text, text, int, int, int, text")
VISIT = (
    "execution_id, seq, frame, number, state, type, entered, exited, entered_event, exited_event, output, next",
    "text, int, text, int, text, text, bigint, bigint, int, int, text, text",
)
MOVE = ("execution_id, at, state", "text, int, text")
END = ("execution_id, output, end_time", "text, text, bigint")

Row = tuple[object, ...]
Group = dict[str, list[Row]]
Flush = Callable[[Group], Awaitable[None]]


def start(execution: str, body: str) -> Group:
    """Return the rows of a start."""
    now = time.time_ns() // 1000
    return {
        "executions": [(execution, execution, "machine", 1, "RUNNING", body, now, 0, 1)],
        "runs": [(execution, "worker", 1, 0, 0, "Step0")],
    }


def step(execution: str, place: int, body: str, *, is_last: bool) -> Group:
    """Return the rows of a step, and of the end with the last."""
    now = time.time_ns() // 1000
    state, event = f"Step{place}", 2 + 5 * place
    visit = (execution, place + 1, "", place, state, "Task", now, now, event, event + 4, body, f"Step{place + 1}")
    if is_last:
        return {"visits": [visit], "ends": [(execution, body, now)]}
    return {"visits": [visit], "moves": [(execution, place, f"Step{place + 1}")]}


# PostgreSQL


def _unnest(spec: tuple[str, str], first: int) -> str:
    arrays = ", ".join(f"${first + place}::{kind}[]" for place, kind in enumerate(spec[1].split(", ")))
    return f"unnest({arrays}) AS given({spec[0]})"


def statement(tables: Sequence[str]) -> str:
    """Return one statement that writes exactly these kinds of rows."""
    parts, first = [], 1
    for table in tables:
        spec = {"executions": EXECUTION, "runs": RUN, "visits": VISIT, "moves": MOVE, "ends": END}[table]
        given = _unnest(spec, first)
        first += spec[1].count(",") + 1
        if table == "moves":
            part = f"UPDATE runs SET seq = at + 1, claims = 0, current_state = state FROM {given} "
            parts.append(part + "WHERE runs.execution_id = given.execution_id AND epoch = 1 AND seq = at")
        elif table == "ends":
            part = "UPDATE executions SET status = 'SUCCEEDED', output = given.output, end_time = given.end_time "
            parts.append(f"DELETE FROM runs USING {given} WHERE runs.execution_id = given.execution_id")
            given = _unnest(spec, first - 3)
            parts.append(f"{part} FROM {given} WHERE executions.id = given.execution_id")
        else:
            parts.append(f"INSERT INTO {table} ({spec[0]}) SELECT * FROM {given}")
    named = ", ".join(f"part{place} AS ({part})" for place, part in enumerate(parts[:-1]))
    return f"WITH {named} {parts[-1]}" if named else parts[-1]


async def on_postgres(url: str, measure: Callable[[Flush], Awaitable[float]]) -> float:
    """Measure through one asyncpg connection, one statement a group."""
    connection = await asyncpg.connect(url)
    known: dict[tuple[str, ...], str] = {}

    async def flush(group: Group) -> None:
        tables = tuple(sorted(group))
        text = known.setdefault(tables, statement(tables))
        arrays = [list(column) for table in tables for column in zip(*group[table], strict=True)]
        await connection.execute(text, *arrays)

    try:
        return await measure(flush)
    finally:
        await connection.close()


# SQLite


def _insert(table: str, spec: tuple[str, str]) -> str:
    return f"INSERT INTO {table} ({spec[0]}) VALUES ({', '.join('?' * (spec[0].count(',') + 1))})"


SQLITE = {
    "executions": [_insert("executions", EXECUTION)],
    "runs": [_insert("runs", RUN)],
    "visits": [_insert("visits", VISIT)],
    "moves": ["UPDATE runs SET seq = ?2 + 1, claims = 0, current_state = ?3 WHERE execution_id = ?1 AND seq = ?2"],
    "ends": [
        "DELETE FROM runs WHERE execution_id = ?1 AND ?2 IS NOT ?3",
        "UPDATE executions SET status = 'SUCCEEDED', output = ?2, end_time = ?3 WHERE id = ?1",
    ],
}


async def on_sqlite(url: str, measure: Callable[[Flush], Awaitable[float]]) -> float:
    """Measure through one connection in one thread, one transaction a group, as durable as the library's."""
    with ThreadPoolExecutor(1) as thread:
        loop = asyncio.get_running_loop()
        connect = partial(sqlite3.connect, url.partition(":///")[2], isolation_level=None)
        connection = await loop.run_in_executor(thread, connect)

        def write(group: Group) -> None:
            connection.execute("BEGIN IMMEDIATE")
            for table, rows in group.items():
                for text in SQLITE[table]:
                    connection.executemany(text, rows)
            connection.execute("COMMIT")

        await loop.run_in_executor(thread, connection.execute, "PRAGMA journal_mode=WAL")
        await loop.run_in_executor(thread, connection.execute, "PRAGMA synchronous=FULL")
        try:
            return await measure(lambda group: loop.run_in_executor(thread, write, group))
        finally:
            await loop.run_in_executor(thread, connection.close)
