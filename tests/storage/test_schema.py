"""The schema: migrations and tables agree, an older library leaves it alone."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from statechain import PostgresRepository, Repository, RepositoryError, SQLiteRepository, open_repository
from statechain_backends.sql.schema.migrate import HEAD, REVISIONS, VERSION_TABLE, alembic_config
from statechain_backends.sql.schema.tables import metadata
from support.postgres import Postgres

OPEN = """
import asyncio, sys
from statechain import open_repository

async def main():
    async with open_repository(sys.argv[1]) as repository:
        assert await repository.state_machines() == []

asyncio.run(main())
"""


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
    return list(compare_metadata(context, metadata))


def test_the_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == HEAD


def test_every_migration_is_known_by_its_revision() -> None:
    scripts = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    assert tuple(script.revision for script in scripts)[::-1] == REVISIONS


async def test_migrations_make_the_tables_on_sqlite(tmp_path: Path) -> None:
    async with SQLiteRepository(f"sqlite:///{tmp_path}/shop.db"):
        pass
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    with engine.connect() as connection:
        assert differences(connection) == []
    engine.dispose()


async def test_migrations_make_the_tables_on_postgresql(postgres_server: Postgres) -> None:
    name = postgres_server.create_database()  # the session's database may have the tables of a dispatcher, too
    try:
        async with PostgresRepository(postgres_server.url(name)):
            pass
        engine = create_async_engine(postgres_server.url(name).replace("postgresql://", "postgresql+asyncpg://"))
        async with engine.connect() as connection:
            found = await connection.run_sync(differences)
        await engine.dispose()
    finally:
        postgres_server.drop_database(name)
    assert found == []


OLD_ROWS = (
    """
    INSERT INTO executions
      (id, name, state_machine_id, state_machine_revision, status, input, start_time, redrive_count, epoch)
    VALUES ('old', 'old', 'machine', 1, 'RUNNING', '{}', 0, 0, 1)
    """,
    "INSERT INTO runs (execution_id, owner, epoch, seq, claims, current_state) VALUES ('old', 'dead', 1, 0, 3, 'A')",
    "INSERT INTO workers (id, lease_until) VALUES ('dead', 1)",
)
"""What the release before writes, in its words."""


def make_first_version(connection: Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")


async def check_old_rows(repository: Repository) -> None:
    (lease,) = await repository.workers()
    assert (lease.worker_id, lease.length, lease.is_over) == ("dead", None, True)
    assert list(await repository.release_dead([lease])) == ["dead"]
    (claim,) = await repository.claim("new", page=9, suspects=range(3, 4))
    assert (claim.execution.id, claim.epoch, claim.claims) == ("old", 2, 3)


def test_what_the_release_before_stored_on_sqlite_is_kept(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    with engine.begin() as connection:
        make_first_version(connection)
        for statement in OLD_ROWS:
            connection.exec_driver_sql(statement)
    engine.dispose()

    async def check() -> None:
        async with SQLiteRepository(f"sqlite:///{tmp_path}/shop.db") as repository:
            await check_old_rows(repository)

    asyncio.run(check())


async def test_what_the_release_before_stored_on_postgresql_is_kept(postgres_server: Postgres) -> None:
    name = postgres_server.create_database()
    url = postgres_server.url(name)
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        await connection.run_sync(make_first_version)
        for statement in OLD_ROWS:
            await connection.exec_driver_sql(statement)
    await engine.dispose()
    async with PostgresRepository(url) as repository:
        await check_old_rows(repository)
    postgres_server.drop_database(name)


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def durable_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


async def test_the_release_before_goes_on_writing_beside_this_one(durable_url: str) -> None:
    """Its statements name their columns, and the new ones may stay empty."""
    async with open_repository(durable_url) as repository:
        if durable_url.startswith("sqlite"):
            with closing(sqlite3.connect(durable_url.removeprefix("sqlite:///"))) as old, old:
                for statement in OLD_ROWS:
                    old.execute(statement)
        else:
            connection = await asyncpg.connect(durable_url)
            for statement in OLD_ROWS:
                await connection.execute(statement)
            await connection.close()
        await check_old_rows(repository)


async def test_a_newer_sqlite_schema_is_left_alone(sqlite_url: str) -> None:
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(RepositoryError, match="upgrade statechain"):
        await open_repository(sqlite_url).__aenter__()


@pytest.mark.parametrize("version", ["", "0004_of_another", "0001_initial"])
async def test_a_version_that_no_release_made_is_named(sqlite_url: str, version: str) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = ?", [version])
    with pytest.raises(RepositoryError, match=f"schema has the version '{version}', which no release"):
        await open_repository(sqlite_url).__aenter__()


async def test_a_newer_postgresql_schema_is_left_alone(postgres_server: Postgres) -> None:
    url = postgres_server.url(postgres_server.create_database())
    async with PostgresRepository(url):
        connection = await asyncpg.connect(url)
        await connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
        await connection.close()
    with pytest.raises(RepositoryError, match="upgrade statechain"):
        await open_repository(url).__aenter__()


@pytest.mark.parametrize(
    ("fixture", "heavy"),
    [
        ("sqlite_url", {"alembic", "asyncpg"}),  # SQLAlchemy's async engine cannot be had without its ORM
        ("postgres_url", {"alembic", "aiosqlite", "sqlalchemy.orm", "sqlalchemy.ext.asyncio"}),
    ],
)
def test_opening_a_current_schema_loads_nothing_that_upgrades_it(
    fixture: str, heavy: set[str], request: pytest.FixtureRequest
) -> None:
    program = f"{OPEN}sys.exit(', '.join({heavy} & sys.modules.keys()) or 0)"
    command = [sys.executable, "-c", program, request.getfixturevalue(fixture)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
