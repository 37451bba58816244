"""A claim under limits reads a few entries of an index, however many executions wait: the databases say so."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from statechain import PostgresRepository
from statechain_backends.postgres import writes
from statechain_backends.sql.leases.queries import wanted
from statechain_backends.sql.queues import queries
from statechain_backends.sqlite import writes as sqlite_writes
from support.postgres import Postgres

WAITING, OWNED, KEYS, FREE = 20_000, 50, 5, 2_000
IN_QUEUE = {"queue": "machine", "key": "key-1", "rank": 0, "after": "queued-0000501", "most": 20}
QUESTIONS = {
    "lock": (queries.lock_open(), {}),
    "owned": (queries.OWNED, {"queue": "machine"}),
    "heads": (queries.heads(wanted(None, ())), {"queue": "machine"}),
    "following": (queries.following(wanted(None, ())), IN_QUEUE),
}
RUN = "execution_id, owner, epoch, seq, claims, queue, key, rank"


def rows() -> Iterator[tuple[object, ...]]:
    """Return runs that wait in a queue, that are owned, and that are in none."""
    for number in range(WAITING):
        yield f"queued-{number:07}", None, 0, 0, 0, "machine", f"key-{number % KEYS}", 0
    for number in range(OWNED):
        yield f"owned-{number:07}", "worker", 1, 0, 0, "machine", f"key-{number % KEYS}", 0
    for number in range(FREE):
        yield f"free-{number:07}", None, 0, 0, 0, None, None, None


@pytest.mark.parametrize("name", QUESTIONS)
def test_sqlite_reads_an_index_of_what_waits(tmp_path: Path, sqlite_template: Path, name: str) -> None:
    file = tmp_path / "statechain.db"
    file.write_bytes(sqlite_template.read_bytes())
    connection = sqlite3.connect(file)
    try:
        connection.executemany(f"INSERT INTO runs ({RUN}) VALUES ({', '.join('?' * 8)})", rows())
        connection.execute("INSERT INTO queues (state_machine_id, max_concurrency) VALUES ('machine', 99)")
        text, arguments = sqlite_writes.COMPILER.render(*QUESTIONS[name])
        plan = [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {text}", arguments)]
        assert [step for step in plan if "runs" in step and "INDEX runs_" in step], plan
        assert not [step for step in plan if step.startswith("SCAN runs")], plan
        assert connection.execute(text, arguments).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("name", QUESTIONS)
async def test_postgresql_reads_a_few_entries_of_what_waits(postgres_server: Postgres, name: str) -> None:
    database = postgres_server.create_database()
    url = postgres_server.url(database)
    async with PostgresRepository(url):
        pass
    connection = await asyncpg.connect(url)
    try:
        await connection.copy_records_to_table("runs", records=rows(), columns=RUN.split(", "))
        await connection.execute("INSERT INTO queues (state_machine_id, max_concurrency) VALUES ('machine', 99)")
        await connection.execute("VACUUM ANALYZE")
        text, arguments = writes.COMPILER.render(*QUESTIONS[name])
        explained = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON, ANALYZE) {text}", *arguments))
        read = [step for step in nodes(explained[0]["Plan"]) if step.get("Relation Name") == "runs"]
        assert read, explained
        assert not [step for step in read if step["Node Type"] == "Seq Scan"], read
        assert sum(step["Actual Rows"] * step["Actual Loops"] for step in read) <= 4 * OWNED, read
    finally:
        await connection.close()
        postgres_server.drop_database(database)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
