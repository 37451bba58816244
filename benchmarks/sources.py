"""Finished executions in any number, for what reads them: made by the database, in one statement.

The same statement serves SQLite and PostgreSQL. One execution in ten has FAILED, a millisecond apart from the next.
"""

import asyncio
import sqlite3
from typing import Any

import asyncpg
from machines import PAYLOAD

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
EPOCH = 1_767_225_600_000_000  # the first of January 2026, in microseconds


async def load(url: str, machine: StateMachine, count: int, *, failed: bool = False) -> None:
    """Make so many finished executions of a machine, one in ten FAILED where that is asked for."""
    if url.startswith("memory"):
        await _run(machine, count)
        return
    statement = LOAD.format(
        count=count, machine=machine.id, payload=encode(PAYLOAD), epoch=EPOCH, failed="1 = 1" if failed else "1 = 0"
    )
    await (asyncio.to_thread(_on_sqlite, url, statement) if url.startswith("sqlite") else _on_postgres(url, statement))


async def _on_postgres(url: str, statement: str) -> None:
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
        await connection.execute("VACUUM ANALYZE executions")  # as the server would by itself, soon
    finally:
        await connection.close()


def _on_sqlite(url: str, statement: str) -> None:
    connection = sqlite3.connect(url.partition(":///")[2].partition("?")[0])
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute(statement)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def _run(machine: StateMachine, count: int) -> None:
    options = BatchExecutionOptions(concurrent_batches=100)
    async with machine.stream_bulk((PAYLOAD for _ in range(count)), options=options) as results:
        async for _ in results:
            pass
