"""What is acknowledged is durable: on the disk, and visible to every connection, before anything follows from it."""

from __future__ import annotations

import sqlite3
from contextlib import AsyncExitStack
from typing import Any

import pytest

from statechain import Engine, PostgresRepository, RepositoryError, SQLiteRepository, TaskRegistry, open_repository
from statechain_backends.sqlite.repository import READERS

STEPS = 5
CHAIN: dict[str, Any] = {
    "StartAt": "Step0",
    "States": {
        f"Step{step}": {
            "Type": "Task",
            "Resource": "Work",
            **({"Next": f"Step{step + 1}"} if step < STEPS - 1 else {"End": True}),
        }
        for step in range(STEPS)
    },
}


async def test_a_step_begins_when_the_last_one_is_durable(durable_url: str) -> None:
    """Each handler finds all that came before it through another connection."""
    found: list[tuple[str, list[str]]] = []

    async def work(value: Any, context: Any) -> Any:
        visits = await other.visits(context.execution_id)
        found.append((context.state_name, [visit.state for visit in visits]))
        return value

    tasks = TaskRegistry()
    tasks.add("Work", work)
    async with Engine(durable_url, tasks=tasks) as engine, open_repository(durable_url) as other:
        machine = await engine.create_state_machine("chain", CHAIN)
        ended = await machine.execute()
        assert await other.execution(ended.id) == ended
    names = [f"Step{step}" for step in range(STEPS)]
    assert found == [(name, names[:step]) for step, name in enumerate(names)]


async def test_sqlite_acknowledges_what_is_on_the_disk(sqlite_url: str) -> None:
    """A write-ahead log that is flushed with every commit: less is only to be had by asking for it."""
    async with SQLiteRepository(sqlite_url) as repository:
        found = await repository._writer.run(pragmas)
    assert found == ("wal", 2)
    async with SQLiteRepository(f"{sqlite_url}?synchronous=normal") as repository:
        assert await repository._writer.run(pragmas) == ("wal", 1)


async def test_sqlite_writes_through_no_other_connection(sqlite_url: str) -> None:
    """What reads beside the writer cannot commit anything, so that no connection commits with less."""
    async with SQLiteRepository(sqlite_url) as repository, AsyncExitStack() as stack:
        assert repository._readers is not None
        readers = [await stack.enter_async_context(repository._readers.lend()) for _ in range(READERS)]
        for reader in readers:
            with pytest.raises(RepositoryError, match="SQLITE_READONLY"):
                await reader.fetch("DELETE FROM runs")


async def test_sqlite_writes_through_a_new_connection_as_durably(sqlite_url: str) -> None:
    """A writer that was closed and opened again is set up as the first one was."""
    repository = SQLiteRepository(sqlite_url)
    for _ in range(2):
        async with repository:
            assert await repository._writer.run(pragmas) == ("wal", 2)


def pragmas(connection: sqlite3.Connection) -> tuple[str, int]:
    (mode,), (level,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous"))
    return mode, level


async def test_postgresql_acknowledges_what_is_on_the_disk(postgres_url: str) -> None:
    """No session lowers what the server promises for its commits."""
    async with PostgresRepository(postgres_url) as repository, repository._connections.lend() as connection:
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
        source = await connection.fetchval("SELECT source FROM pg_settings WHERE name = 'synchronous_commit'")
        assert source == "default"


async def test_what_was_acknowledged_is_seen_by_everybody_at_once(durable_url: str) -> None:
    """Nothing is acknowledged before its commit: another connection sees it then, without waiting."""
    async with Engine(durable_url) as engine, open_repository(durable_url) as other:
        machine = await engine.create_state_machine("seen", {"StartAt": "A", "States": {"A": {"Type": "Succeed"}}})
        for _ in range(20):
            handle = await machine.start_execution()
            assert await other.execution(handle.id) is not None
            await handle.wait()
            found = await other.execution(handle.id)
            assert found is not None
            assert found.status == "SUCCEEDED"
