"""The driver's own commit: one narrow row, on one connection, one after the other, as durable as the library's.

An asyncio program awaits it: asyncpg's reply, or the thread in which sqlite3 commits. An execution that runs alone
cannot take less than one for each of its durable points: its start and its steps, the last of which carries its end.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median, quantiles
from typing import Any

import asyncpg
from measuring.harness import run, storage_parser
from measuring.machines import PAYLOAD

from statechain.codec import encode

BODY = encode(PAYLOAD)
Commit = Callable[[int], Awaitable[object]]


async def times_of(commit: Commit) -> list[float]:
    """Return the seconds of each commit, after some that do not count."""
    times = []
    for number in range(options.commits + 50):
        began = time.perf_counter()
        await commit(number)
        times.append(time.perf_counter() - began)
    return times[50:]


async def on_postgres(url: str) -> list[float]:
    """Commit through asyncpg: a prepared statement, which commits by itself."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP TABLE IF EXISTS commits")
        await connection.execute("CREATE TABLE commits (id int PRIMARY KEY, body text NOT NULL)")
        insert = await connection.prepare("INSERT INTO commits VALUES ($1, $2)")
        return await times_of(lambda number: insert.fetch(number, BODY))
    finally:
        await connection.execute("DROP TABLE IF EXISTS commits")
        await connection.close()


async def on_sqlite(url: str) -> list[float]:
    """Commit through sqlite3, in another thread."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:
        connect = partial(sqlite3.connect, url.partition(":///")[2], isolation_level=None)
        connection = await loop.run_in_executor(thread, connect)

        def execute(text: str, values: tuple[object, ...] = ()) -> Awaitable[object]:
            return loop.run_in_executor(thread, connection.execute, text, values)

        try:
            await execute("PRAGMA journal_mode=WAL")
            await execute("PRAGMA synchronous=FULL")
            await execute("DROP TABLE IF EXISTS commits")
            await execute("CREATE TABLE commits (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
            return await times_of(lambda number: execute("INSERT INTO commits VALUES (?, ?)", (number, BODY)))
        finally:
            await loop.run_in_executor(thread, connection.close)


async def measure(url: str) -> list[dict[str, Any]]:
    """Measure the commits, and say how many executions a second they allow, one at a time."""
    commit = on_sqlite if url.startswith("sqlite") else on_postgres
    rounds = [await commit(url) for _ in range(options.rounds)]
    rate = median(len(times) / sum(times) for times in rounds)
    percentiles = quantiles([seconds for times in rounds for seconds in times], n=100)
    return [
        {
            "commits": options.commits,
            "commits/s": rate,
            "executions/s": rate / (options.steps + 1),
            "p50 ms": percentiles[49] * 1000,
            "p99 ms": percentiles[98] * 1000,
        }
    ]


if __name__ == "__main__":
    arguments = storage_parser(__doc__)
    arguments.add_argument("--commits", type=int, default=3000)
    arguments.add_argument("--steps", type=int, default=5)
    options = arguments.parse_args()
    run(options, measure)
