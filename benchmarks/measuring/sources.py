"""Executions in any number, for what reads them: made by the database, in one statement.

The same statements serve SQLite and PostgreSQL. Finished executions are a millisecond apart, and one in ten of them may
have FAILED; running ones have the owner that they are given.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

import asyncpg

from measuring.machines import PAYLOAD
from statechain import BatchExecutionOptions, StateMachine
from statechain.codec import encode

LOAD = """
INSERT INTO executions (id, name, state_machine_id, state_machine_revision, status, input, output, error,
                        start_time, end_time, current_state, redrive_count, epoch)
WITH RECURSIVE numbers(number) AS (
    SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < {count} - 1
)
SELECT '{machine}-' || CAST(1000000000 + number AS TEXT), 'source-' || CAST(number AS TEXT), '{machine}', 1,
       CASE WHEN {failed} AND number % 10 = 9 THEN 'FAILED' ELSE 'SUCCEEDED' END,
       '{payload}',
       CASE WHEN {failed} AND number % 10 = 9 THEN NULL ELSE '{payload}' END,
       CASE WHEN {failed} AND number % 10 = 9 THEN 'Out.OfStock' END,
       {epoch} + 1000 * number, {epoch} + 1000 * number + 500 + number % 997, 'Step0', 0, 1
FROM numbers
"""
RUNNING = [
    """
INSERT INTO executions (id, name, state_machine_id, state_machine_revision, status, input, start_time, redrive_count,
                        epoch)
WITH RECURSIVE numbers(number) AS (
    SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < {count} - 1
)
SELECT '{label}-' || CAST(1000000000 + number AS TEXT), '{label}-' || CAST(number AS TEXT), '{machine}', 1, 'RUNNING',
       '{payload}', {epoch} + 1000 * number, 0, 1
FROM numbers
""",
    """
INSERT INTO runs (execution_id, owner, epoch, seq, claims, queue, key, rank)
SELECT id, {owner}, 1, 0, 0, {queue}, CASE WHEN {queue} IS NOT NULL THEN 'key-' || (start_time / 1000 % 100) END, 0
FROM executions WHERE id LIKE '{label}-%' AND status = 'RUNNING'
""",
]
EPOCH = 1_767_225_600_000_000  # the first of January 2026, in microseconds


async def load(url: str, machine: StateMachine, count: int, *, failed: bool = False) -> None:
    """Make finished executions of a machine, one in ten FAILED where that is asked for."""
    if url.startswith("memory"):
        await _run(machine, count)
        return
    statement = LOAD.format(
        count=count, machine=machine.id, payload=encode(PAYLOAD), epoch=EPOCH, failed="1 = 1" if failed else "1 = 0"
    )
    await execute(url, statement)


async def load_running(
    url: str, machine: StateMachine, count: int, label: str, owner: str | None, *, is_limited: bool = False
) -> None:
    """Make RUNNING executions, with ids that begin with a label, of one owner or without any.

    Those of a machine with limits have a hundred keys.
    """
    owned = "NULL" if owner is None else f"'{owner}'"
    queue = f"'{machine.id}'" if is_limited else "NULL"
    told = {"count": count, "machine": machine.id, "payload": encode(PAYLOAD), "epoch": EPOCH, "label": label}
    await execute(url, *(statement.format(**told, owner=owned, queue=queue) for statement in RUNNING))


async def execute(url: str, *statements: str) -> None:
    """Run statements on a database, and leave it as it would soon be by itself: analyzed, its log written back."""
    await (
        asyncio.to_thread(_on_sqlite, url, statements) if url.startswith("sqlite") else _on_postgres(url, statements)
    )


async def _on_postgres(url: str, statements: Sequence[str]) -> None:
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url.partition("?")[0])
    try:
        for statement in statements:
            await connection.execute(statement)
        for table in ("executions", "batch_items", "batches", "visits", "runs", "callbacks"):
            await connection.execute(f"VACUUM ANALYZE {table}")
    finally:
        await connection.close()


def _on_sqlite(url: str, statements: Sequence[str]) -> None:
    connection = sqlite3.connect(url.partition(":///")[2].partition("?")[0])
    connection.execute("PRAGMA synchronous=OFF")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def _run(machine: StateMachine, count: int) -> None:
    options = BatchExecutionOptions(concurrent_batches=100)
    async with machine.stream_bulk((PAYLOAD for _ in range(count)), options=options) as results:
        async for _ in results:
            pass
