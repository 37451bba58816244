"""Two releases on one database: workers of the release before run, and start, on the next migration's schema."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from statechain import Engine, ExecutionFilter, RepositoryError, TaskRegistry
from statechain_backends.sql.schema.migrate import HEAD, VERSION_TABLE
from support.postgres import Postgres

ONE_TASK = {"StartAt": "Only", "States": {"Only": {"Type": "Task", "Resource": "work", "End": True}}}
NUMBER = HEAD.partition("_")[0]
NEXT = f"{int(NUMBER) + 1:04}"
ADDITIONS = (
    "ALTER TABLE runs ADD COLUMN of_the_next_release BIGINT",
    "ALTER TABLE executions ADD COLUMN of_the_next_release TEXT",
    "ALTER TABLE visits ADD COLUMN of_the_next_release TEXT",
    "ALTER TABLE workers ADD COLUMN of_the_next_release TEXT",
    "ALTER TABLE batches ADD COLUMN of_the_next_release TEXT",
    "ALTER TABLE batch_items ADD COLUMN of_the_next_release TEXT",
    "CREATE TABLE of_the_next_release (id BIGINT PRIMARY KEY)",
)
LEASE = timedelta(seconds=1)


def handlers(*, ends: bool = True) -> TaskRegistry:
    tasks = TaskRegistry()

    @tasks.register
    async def work(number: int) -> int:
        if not ends:
            await asyncio.sleep(3600)
        return number * 2

    return tasks


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A separate database, since its schema is changed."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'rolling.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


async def run_sql(url: str, *statements: str) -> list[Any]:
    """Run statements as another program would; return the rows of the last."""
    if url.startswith("sqlite"):
        database = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)
        with database:
            rows = [database.execute(statement) for statement in statements][-1].fetchall()
        database.close()
        return rows
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            return [await connection.fetch(statement) for statement in statements][-1]
    finally:
        await connection.close()


async def migrate(url: str, version: str) -> None:
    """Do what a migration of the next release might do, under a revision of this name."""
    await run_sql(url, *ADDITIONS, f"UPDATE {VERSION_TABLE} SET version_num = '{version}'")


async def leave(url: str, *numbers: int) -> list[str]:
    """Start executions whose handlers do not return, and leave them to others; return their ids."""
    engine = Engine(url, tasks=handlers(ends=False))
    await engine.__aenter__()
    machine = await engine.create_state_machine("machine", ONE_TASK)
    started = [await machine.start_execution(number) for number in numbers]
    await engine.__aexit__(RuntimeError, RuntimeError("the process ends"), None)
    return [each.id for each in started]


async def test_a_worker_goes_on_while_the_next_migration_runs(url: str) -> None:
    async with Engine(url, tasks=handlers()) as engine:
        machine = await engine.create_state_machine("machine", ONE_TASK)
        assert (await machine.execute(1)).output == 2
        await migrate(url, f"{NEXT}_since_{HEAD}")
        assert (await machine.execute(2)).output == 4
        ended = [result.execution for result in await machine.execute_bulk(range(20))]
        assert [each.output for each in ended if each is not None] == [2 * number for number in range(20)]


async def test_a_worker_starts_on_the_next_migration_and_takes_over_what_another_left(url: str) -> None:
    await leave(url, 0, 1, 2, 3, 4)
    await migrate(url, f"{NEXT}_since_{HEAD}")
    async with asyncio.timeout(60), Engine(url, tasks=handlers(), lease=LEASE) as engine:
        while await engine.count_executions(ExecutionFilter(status="RUNNING")):  # noqa: ASYNC110 -- storage has no event
            await asyncio.sleep(0.02)
        ended = await engine.list_executions(ExecutionFilter(order="oldest_first"))
        assert [execution.output for execution in ended] == [0, 2, 4, 6, 8]


async def test_a_migration_that_leaves_this_release_behind_is_refused(url: str) -> None:
    async with Engine(url):
        pass
    await migrate(url, f"{NEXT}_since_{NEXT}")
    with pytest.raises(RepositoryError, match="upgrade statechain"):
        await Engine(url).__aenter__()


async def test_what_a_living_worker_of_the_first_release_owns_is_its_own(postgres_url: str) -> None:
    """It renews its lease by a row without length and count: that the row changes is enough to be alive."""
    renew = (
        "INSERT INTO workers (id, lease_until) VALUES"
        " ('first release', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 1000000)"
        " ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until"
    )
    (owned,) = await leave(postgres_url, 7)
    own = f"UPDATE runs SET owner = 'first release', epoch = epoch + 1 WHERE execution_id = '{owned}'"
    await run_sql(postgres_url, own, renew)
    async with asyncio.timeout(60), Engine(postgres_url, tasks=handlers(), lease=LEASE) as engine:
        for _ in range(15):
            await run_sql(postgres_url, renew)
            await asyncio.sleep(0.2)
            assert await engine.recover() == []
            assert (await engine.get_execution(owned)).status == "RUNNING"
        while (ended := await engine.get_execution(owned)).status == "RUNNING":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert ended.output == 14
