"""No page of a filter reads a table from end to end, or sorts it: the databases say so themselves, of 100,000 rows."""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import attrs
import pytest
import pytest_asyncio

from statechain import ExecutionFilter, ExecutionStatus, PostgresRepository
from statechain.records.filters import Chained, Cursor
from statechain_backends.postgres import writes
from statechain_backends.sql import filters, reports
from statechain_backends.sql.leases import queries as lease_queries
from statechain_backends.sql.queues.queries import QUEUES
from statechain_backends.sqlite import writes as sqlite_writes
from support.postgres import Postgres

COUNT = 100_000
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
STATUSES = list(ExecutionStatus)[1:]

COLUMNS = (
    "id, name, state_machine_id, state_machine_revision, status, input, start_time, end_time, current_state, "
    "redrive_count, epoch"
)

RUN_COLUMNS = "execution_id, owner, epoch, seq, claims, current_state"

FILTERS = {
    "all": ExecutionFilter(),
    "machine": ExecutionFilter(state_machine_id="machine-3"),
    "status": ExecutionFilter(status="FAILED"),
    "statuses": ExecutionFilter(status=["FAILED", "RUNNING", "ABORTED"]),
    "machine and status": ExecutionFilter(state_machine_id="machine-3", status="SUCCEEDED"),
    "machine and statuses": ExecutionFilter(state_machine_id="machine-3", status=["SUCCEEDED", "RUNNING"]),
    "name": ExecutionFilter(name="7"),
    "machine and name": ExecutionFilter(state_machine_id="machine-3", name="7"),
    "state": ExecutionFilter(current_state="State5"),
    "state and status": ExecutionFilter(current_state="State5", status=["FAILED", "RUNNING"]),
    "state and machine": ExecutionFilter(current_state="State5", state_machine_id="machine-3"),
    "time": ExecutionFilter(start_after=BEGIN + timedelta(seconds=10), start_before=BEGIN + timedelta(seconds=60_000)),
    "machine and time": ExecutionFilter(state_machine_id="machine-3", start_after=BEGIN + timedelta(seconds=90_000)),
    "status and time": ExecutionFilter(status="FAILED", start_before=BEGIN + timedelta(seconds=500)),
    "unchained": ExecutionFilter(state_machine_id="machine-3", status="SUCCEEDED", unchained_to=Chained("machine-9")),
}

ORDERS = ("newest_first", "oldest_first")
CURSORS = (None, Cursor(BEGIN + timedelta(seconds=COUNT // 2), f"execution-{COUNT // 2:07}"))

PAGES = {"executions": filters.executions_page, "keys": filters.execution_keys_page}

pytestmark = pytest.mark.slow  # a table that is large enough for the planner to choose an index

cases = pytest.mark.parametrize(
    ("of", "name", "order", "after"),
    list(itertools.product(PAGES, FILTERS, ORDERS, CURSORS)),
    ids=lambda each: "after" if isinstance(each, Cursor) else str(each),
)


def statement(of: str, name: str, order: str, after: Cursor | None, **options: bool) -> Any:
    return PAGES[of](attrs.evolve(FILTERS[name], order=order), after, 50, **options)


DURATIONS = {"machine": "machine-3", "begin": 0, "end": 1 << 62, "most": 50}


def rows() -> Iterator[tuple[object, ...]]:
    """Return executions of ten machines, one in a hundred of them running."""
    dice = random.Random(42)
    micros = int(BEGIN.timestamp()) * 1_000_000
    for number in range(COUNT):
        status = "RUNNING" if number % 100 == 0 else dice.choices(STATUSES, [90, 6, 2, 2])[0].value
        start = micros + number * 1_000_000
        ended = status != "RUNNING"
        yield (
            f"execution-{number:07}", f"order-{number}", f"machine-{number % 10}", 1, status, "{}", start,
            start + 500_000 if ended else None, f"State{dice.randrange(9)}" if ended else None, 0, 1,
        )  # fmt: skip


@pytest.fixture(scope="module")
def sqlite_database(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[sqlite3.Connection]:
    file = tmp_path_factory.mktemp("explain") / "statechain.db"
    file.write_bytes(sqlite_template.read_bytes())
    connection = sqlite3.connect(file)
    connection.executemany(f"INSERT INTO executions ({COLUMNS}) VALUES ({', '.join('?' * 11)})", rows())
    connection.execute(
        f"INSERT INTO runs ({RUN_COLUMNS}) "
        "SELECT id, 'worker', 1, 0, 0, 'State' || (rowid % 9) FROM executions WHERE status = 'RUNNING'"
    )
    connection.commit()
    yield connection
    connection.close()


@cases
def test_sqlite_pages_by_an_index(
    sqlite_database: sqlite3.Connection, of: str, name: str, order: str, after: Cursor | None
) -> None:
    text, arguments = sqlite_writes.COMPILER.render(statement(of, name, order, after))
    plan = [step for *_, step in sqlite_database.execute(f"EXPLAIN QUERY PLAN {text}", arguments)]
    assert not [step for step in plan if step.startswith("SCAN executions") and "USING" not in step], plan
    sorted_by_hand = [step for step in plan if "TEMP B-TREE" in step]
    if "state" not in name:  # those that run in a state are read from the few that run, and sorted
        assert sorted_by_hand == [], plan
    page = sqlite_database.execute(text, arguments).fetchall()
    assert len(page) <= 50
    assert page or after is not None


@pytest.mark.parametrize("query", [lease_queries.claimed(["execution-0000100"]), lease_queries.suspects(50)])
def test_sqlite_reads_what_is_claimed_by_its_ids(sqlite_database: sqlite3.Connection, query: Any) -> None:
    """Found by the index of statuses it would cost the more, the more runs elsewhere."""
    text, arguments = sqlite_writes.COMPILER.render(query)
    plan = [step for *_, step in sqlite_database.execute(f"EXPLAIN QUERY PLAN {text}", arguments)]
    (read,) = [step for step in plan if " executions " in step]
    assert "(id=?)" in read, plan


def test_sqlite_reads_the_newest_durations_of_a_machine_by_an_index(sqlite_database: sqlite3.Connection) -> None:
    text, arguments = sqlite_writes.COMPILER.render(reports.durations(of_machine=True), DURATIONS)
    plan = [step for *_, step in sqlite_database.execute(f"EXPLAIN QUERY PLAN {text}", arguments)]
    assert not [step for step in plan if step.startswith("SCAN") or "TEMP B-TREE" in step], plan
    assert len(sqlite_database.execute(text, arguments).fetchall()) == 50


@pytest.mark.parametrize("state", [None, "State5"])
def test_sqlite_pages_tasks_that_wait_by_the_time_since_when(
    sqlite_database: sqlite3.Connection, state: str | None
) -> None:
    """Found by the executions that run, all of them would be read and sorted for each page."""
    query = reports.waiting_tasks(None, None, state, None)
    for since in (None, BEGIN):
        text, arguments = sqlite_writes.COMPILER.render(reports.waiting_tasks_page(query, since, None, 50))
        plan = [step for *_, step in sqlite_database.execute(f"EXPLAIN QUERY PLAN {text}", arguments)]
        assert [step for step in plan if "callbacks_by_since" in step], plan
        assert not [step for step in plan if "TEMP B-TREE" in step], plan


def test_sqlite_counts_what_waits_in_a_queue_within_its_index(sqlite_database: sqlite3.Connection) -> None:
    text, arguments = sqlite_writes.COMPILER.render(QUEUES)
    plan = [step for *_, step in sqlite_database.execute(f"EXPLAIN QUERY PLAN {text}", arguments)]
    assert [step for step in plan if "COVERING INDEX runs_queued" in step], plan


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres_connection(postgres_server: Postgres) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    url = postgres_server.url(postgres_server.create_database())
    async with PostgresRepository(url):
        pass
    connection = await asyncpg.connect(url)
    await connection.copy_records_to_table("executions", records=rows(), columns=COLUMNS.split(", "))
    await connection.execute(
        f"INSERT INTO runs ({RUN_COLUMNS}) SELECT id, 'worker', 1, 0, 0, 'State' || (start_time % 9) FROM executions "
        "WHERE status = 'RUNNING'"
    )
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@cases
@pytest.mark.asyncio(loop_scope="module")
async def test_postgresql_pages_by_an_index(
    postgres_connection: asyncpg.Connection[asyncpg.Record], of: str, name: str, order: str, after: Cursor | None
) -> None:
    text, arguments = writes.COMPILER.render(statement(of, name, order, after, limits_branches=True))
    explained = json.loads(await postgres_connection.fetchval(f"EXPLAIN (FORMAT JSON, ANALYZE) {text}", *arguments))
    steps = list(nodes(explained[0]["Plan"]))
    scanned = [step for step in steps if step["Node Type"] == "Seq Scan" and step["Relation Name"] == "executions"]
    assert scanned == []
    sorts = [step for step in steps if "Sort" in step["Node Type"]]
    assert not [step for step in sorts if step["Actual Rows"] * step["Actual Loops"] > COUNT / 100], sorts
    if name in {"machine", "machine and statuses"}:  # all that is wanted is in the order of the index
        read = [step for step in steps if step.get("Relation Name") == "executions"]
        assert sum(step["Actual Rows"] * step["Actual Loops"] for step in read) <= 50 * len(STATUSES) + 50, read


@pytest.mark.asyncio(loop_scope="module")
async def test_postgresql_reads_the_newest_durations_of_a_machine_by_an_index(
    postgres_connection: asyncpg.Connection[asyncpg.Record],
) -> None:
    text, arguments = writes.COMPILER.render(reports.durations(of_machine=True, limits_branches=True), DURATIONS)
    explained = json.loads(await postgres_connection.fetchval(f"EXPLAIN (FORMAT JSON, ANALYZE) {text}", *arguments))
    steps = list(nodes(explained[0]["Plan"]))
    assert [step for step in steps if step["Node Type"] == "Seq Scan"] == []
    sorts = [step for step in steps if "Sort" in step["Node Type"]]
    assert not [step for step in sorts if step["Actual Rows"] * step["Actual Loops"] > COUNT / 100], sorts
    assert steps[0]["Actual Rows"] == 50
