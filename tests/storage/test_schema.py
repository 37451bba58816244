"""The schema: migrations and tables agree, any number of processes may create it, an older library leaves it alone."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from postgres import Postgres
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from statechain import PostgresRepository, RepositoryError, SQLiteRepository, open_repository
from statechain_backends.sql.migrate import HEAD, VERSION_TABLE, alembic_config
from statechain_backends.sql.schema import metadata

OPEN = """
import asyncio, sys
from statechain import open_repository

async def main():
    async with open_repository(sys.argv[1]) as repository:
        assert await repository.state_machines() == []

sys.stdin.readline()
asyncio.run(main())
"""


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
    return list(compare_metadata(context, metadata))


def test_the_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == HEAD


async def test_migrations_make_the_tables_on_sqlite(tmp_path: Path) -> None:
    async with SQLiteRepository(f"sqlite:///{tmp_path}/shop.db"):
        pass
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    with engine.connect() as connection:
        assert differences(connection) == []
    engine.dispose()


async def test_migrations_make_the_tables_on_postgresql(postgres_url: str) -> None:
    async with PostgresRepository(postgres_url):
        pass
    engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


def open_in_processes(url: str, count: int = 8) -> list[str]:
    """Open a storage in so many processes at once; return what those that failed had to say."""
    processes = [
        subprocess.Popen([sys.executable, "-c", OPEN, url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    spoken = [process.communicate(timeout=100)[1] for process in processes]
    return [text for process, text in zip(processes, spoken, strict=True) if process.returncode]


def test_eight_processes_create_a_sqlite_schema_at_once(tmp_path: Path) -> None:
    assert open_in_processes(f"sqlite:///{tmp_path}/shop.db") == []
    connection = sqlite3.connect(tmp_path / "shop.db")
    assert connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall() == [(HEAD,)]
    connection.close()


def test_eight_processes_create_a_postgresql_schema_at_once(postgres_server: Postgres) -> None:
    name = postgres_server.create_database()
    assert open_in_processes(postgres_server.url(name)) == []
    postgres_server.drop_database(name)


async def test_a_newer_sqlite_schema_is_left_alone(sqlite_url: str) -> None:
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(RepositoryError, match="upgrade statechain"):
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
    outcome = subprocess.run(command, input="\n", capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
