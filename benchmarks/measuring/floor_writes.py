"""The rows of durable executions, and how a driver commits a group of them: one statement, or one transaction.

The columns are the library's own. Narrow rows are the least that makes an execution; wide ones have every column that
the engine writes, each change is guarded by epoch and seq, its visits depend on it, and the reply says how many changes
took effect. Nothing is retried, and no reply is looked at: it is what the drivers can do. PostgreSQL is given each
column as one text, as that is the least work for asyncpg.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import asyncpg

from measuring.machines import PAYLOAD
from statechain.codec import encode

BODY = encode(PAYLOAD)
EXECUTION = (
    "id, name, state_machine_id, state_machine_revision, status, input, start_time, redrive_count, epoch",
    "text, text, text, int, text, text, bigint, int, int",
)
WIDE_EXECUTION = (f"{EXECUTION[0]}, source_execution_id, source_state_name", f"{EXECUTION[1]}, text, text")
RUN = ("execution_id, owner, epoch, seq, claims, current_state", "text, text, int, int, int, text")
VISIT = (
    "execution_id, seq, frame, number, state, type, entered, exited, entered_event, exited_event, output, next",
    "text, int, text, int, text, text, bigint, bigint, int, int, text, text",
)
MOVE = ("execution_id, at, state", "text, int, text")
END = ("execution_id, output, end_time", "text, text, bigint")
WIDE_END = (
    "execution_id, at, state, status, output, error, cause, end_time, of_epoch",
    "text, int, text, text, text, text, text, bigint, int",
)
SPECS = {
    "executions": EXECUTION,
    "wide_executions": WIDE_EXECUTION,
    "runs": RUN,
    "moves": MOVE,
    "wide_moves": MOVE,
    "ends": END,
    "wide_ends": WIDE_END,
    "visits": VISIT,
    "wide_visits": VISIT,
}

Row = tuple[object, ...]
Group = dict[str, list[Row]]
Flush = Callable[[Group], Awaitable[None]]


def start(execution: str, body: str, *, is_wide: bool) -> Group:
    """Return the rows of a start."""
    now = time.time_ns() // 1000
    row = (execution, execution, "machine", 1, "RUNNING", body, now, 0, 1)
    runs = [(execution, "worker", 1, 0, 0, "Step0")]
    return {"wide_executions": [(*row, None, None)], "runs": runs} if is_wide else {"executions": [row], "runs": runs}


def step(execution: str, place: int, body: str, *, is_last: bool, is_wide: bool) -> Group:
    """Return the rows of a step, and of the end with the last."""
    now = time.time_ns() // 1000
    state, event, wide = f"Step{place}", 2 + 5 * place, "wide_" if is_wide else ""
    visit = (execution, place + 1, "", place, state, "Task", now, now, event, event + 4, body, f"Step{place + 1}")
    if not is_last:
        return {f"{wide}visits": [visit], f"{wide}moves": [(execution, place, f"Step{place + 1}")]}
    end = (execution, place, state, "SUCCEEDED", body, None, None, now, 1) if is_wide else (execution, body, now)
    return {f"{wide}visits": [visit], f"{wide}ends": [end]}


# PostgreSQL

_MOVE = (
    "UPDATE runs SET seq = at + 1, claims = 0, current_state = state FROM given_{0} AS given "
    "WHERE runs.execution_id = given.execution_id AND epoch = 1 AND seq = at"
)
_LEAVE = "DELETE FROM runs USING given_{0} AS given WHERE runs.execution_id = given.execution_id"
_INSERT = "INSERT INTO {1} ({2}) SELECT {2} FROM given_{0}"
CHANGES = {
    "executions": {"executions": _INSERT},
    "wide_executions": {"started": f"{_INSERT} ON CONFLICT DO NOTHING RETURNING id AS execution_id"},
    "runs": {"runs": _INSERT},
    "visits": {"visits": _INSERT},
    "wide_visits": {"visits": f"{_INSERT} WHERE execution_id IN (SELECT execution_id FROM changed)"},
    "moves": {"moved": _MOVE},
    "wide_moves": {"moved": f"{_MOVE} RETURNING runs.execution_id"},
    "ends": {
        "left_runs": _LEAVE,
        "ended": "UPDATE executions SET status = 'SUCCEEDED', output = given.output, end_time = given.end_time "
        "FROM given_{0} AS given WHERE executions.id = given.execution_id",
    },
    "wide_ends": {
        "left_runs": f"{_LEAVE} AND epoch = of_epoch AND seq = at RETURNING runs.execution_id",
        "ended": "UPDATE executions SET status = given.status, output = given.output, error = given.error, "
        "cause = given.cause, end_time = given.end_time, current_state = state, epoch = of_epoch "
        "FROM given_{0} AS given, left_runs WHERE id = given.execution_id AND id = left_runs.execution_id",
    },
}


def _given(table: str, first: int, *, is_one: bool) -> str:
    """Return what makes a table of its columns: each one value, or one text that is split."""
    names, kinds = SPECS[table]
    places = [(f"${first + place}", kind) for place, kind in enumerate(kinds.split(", "))]
    if is_one:
        return f"given_{table}({names}) AS (VALUES ({', '.join(f'{place}::{kind}' for place, kind in places)}))"
    split = {"text": "string_to_array({0}::text, E'\\x1f', E'\\x1e')"}
    number = "string_to_array({0}::text, ',', '')::{1}[]"
    arrays = ", ".join(split.get(kind, number).format(place, kind) for place, kind in places)
    return f"given_{table}({names}) AS (SELECT * FROM unnest({arrays}))"


def statement(tables: Sequence[tuple[str, bool]]) -> str:
    """Return one statement that writes exactly these kinds of rows, some of them one row."""
    parts, first, changed = [], 1, []
    for table, is_one in tables:
        if table == "wide_visits":
            parts.append(f"changed AS ({' UNION ALL '.join(changed)})")
        parts.append(_given(table, first, is_one=is_one))
        first += SPECS[table][1].count(",") + 1
        for name, text in CHANGES[table].items():
            parts.append(f"{name} AS ({text.format(table, table.removeprefix('wide_'), SPECS[table][0])})")
            if "RETURNING" in text:
                changed.append(f"SELECT * FROM {name}")
    done = " UNION ALL ".join(changed) or "SELECT 1"
    return f"WITH {', '.join(parts)} SELECT count(*) FROM ({done}) AS done"


def arguments(table: str, rows: Sequence[Row]) -> list[object]:
    """Return a table's rows as the arguments of its part."""
    if len(rows) == 1:
        return [*rows[0]]
    found: list[object] = []
    for kind, column in zip(SPECS[table][1].split(", "), zip(*rows, strict=True), strict=True):
        if kind == "text":
            found.append("\x1f".join(["\x1e" if value is None else str(value) for value in column]))
        else:
            found.append(",".join(map(str, column)))
    return found


async def on_postgres(url: str, measure: Callable[[Flush], Awaitable[float]]) -> float:
    """Measure through one asyncpg connection, one statement a group."""
    connection = await asyncpg.connect(url)
    known: dict[tuple[tuple[str, bool], ...], str] = {}

    async def flush(group: Group) -> None:
        tables = tuple((table, len(group[table]) == 1) for table in SPECS if table in group)
        text = known.get(tables) or known.setdefault(tables, statement(tables))
        await connection.fetchval(text, *[each for table, _ in tables for each in arguments(table, group[table])])

    try:
        return await measure(flush)
    finally:
        await connection.close()


# SQLite


def _insert(table: str, spec: tuple[str, str]) -> str:
    return f"INSERT INTO {table} ({spec[0]}) VALUES ({', '.join('?' * (spec[0].count(',') + 1))})"


_MOVE_ONE = (
    "UPDATE runs SET seq = ?2 + 1, claims = 0, current_state = ?3 WHERE execution_id = ?1 AND epoch = 1 AND seq = ?2"
)
_END = (
    "UPDATE executions SET status = ?4, output = ?5, error = ?6, cause = ?7, end_time = ?8, current_state = ?3, "
    "epoch = ?9 WHERE id = ?1 AND ?2 >= 0"
)
SQLITE = {
    "executions": [_insert("executions", EXECUTION)],
    "wide_executions": [f"{_insert('executions', WIDE_EXECUTION)} ON CONFLICT DO NOTHING"],
    "runs": [_insert("runs", RUN)],
    "visits": [_insert("visits", VISIT)],
    "wide_visits": [_insert("visits", VISIT)],
    "wide_moves": [_MOVE_ONE],
    "wide_ends": [
        "DELETE FROM runs WHERE execution_id = ?1 AND epoch = ?9 AND seq = ?2 AND ?3 || ?4 || ?5 || ?6 || ?7 IS NOT ?8",
        _END,
    ],
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
            for table, texts in SQLITE.items():
                for text in texts if table in group else ():
                    connection.executemany(text, group[table])
            connection.execute("COMMIT")

        await loop.run_in_executor(thread, connection.execute, "PRAGMA journal_mode=WAL")
        await loop.run_in_executor(thread, connection.execute, "PRAGMA synchronous=FULL")
        try:
            return await measure(lambda group: loop.run_in_executor(thread, write, group))
        finally:
            await loop.run_in_executor(thread, connection.close)
