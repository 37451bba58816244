"""A password and a payload show up nowhere but where they belong; what is acknowledged is on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from faulty import Fault, FaultyRepository, as_repository
from proxy import Cut, Proxy

from statechain import (
    Engine,
    ExecutionFailed,
    ExecutionFilter,
    PostgresRepository,
    RepositoryError,
    SQLiteRepository,
    StatechainError,
    TaskRegistry,
    open_repository,
)

CANARY = "canary-3f9a"
PASSWORD = "pass-canary-3f9a"
ONE_TASK = {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "Work", "End": True}}}


@pytest.fixture
def overheard(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Texts that anybody may read: what is added here, and every record that was logged, from INFO on."""
    caplog.set_level(logging.INFO)
    texts: list[str] = []
    yield texts
    texts += [record.getMessage() + (record.exc_text or "") for record in caplog.records]
    assert texts
    assert not [text for text in texts if CANARY in text or PASSWORD in text]


def with_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"statechain:{PASSWORD}@{parts.hostname}:{parts.port}"))


def told(fault: BaseException) -> str:
    """Return an exception as a log shows it, those behind it included: their reprs are all that a log shows of them."""
    return "".join(traceback.format_exception(fault, chain=False)) + repr(fault)


async def test_payloads_and_passwords_are_told_nobody(
    overheard: list[str], postgres_url: str
) -> None:
    url = with_password(postgres_url)

    async def work(value: Any) -> Any:
        if value["fails"]:
            raise ValueError("it went wrong")
        return value

    tasks = TaskRegistry()
    tasks.add("Work", work)
    async with open_repository(url) as inner:
        faulty = FaultyRepository(inner, dict.fromkeys(range(3, 30, 3), Fault.BEFORE))
        async with Engine(as_repository(faulty), tasks=tasks) as engine:
            machine = await engine.create_state_machine("canaries", ONE_TASK)
            good = await machine.execute({"secret": CANARY, "fails": False})
            with pytest.raises(ExecutionFailed) as failed:
                await machine.execute({"secret": CANARY, "fails": True})
            handle = await machine.start_execution({"secret": CANARY, "fails": False}, name="twice")
            await handle.wait()
            with pytest.raises(StatechainError) as taken:
                await machine.execute({"secret": f"other {CANARY}", "fails": False}, name="twice")
            with pytest.raises(StatechainError) as refused:
                await machine.execute({"secret": CANARY, "not": {1, 2}, "fails": False})  # type: ignore[dict-item]
            visits = await inner.visits(good.id)
            overheard += map(repr, [engine, machine, good, good.source, handle, inner, machine._revision, visits])
            overheard += map(told, [failed.value, taken.value, refused.value])
            stored = await inner.execution(good.id)
            assert stored is not None
            assert stored.output == {"secret": CANARY, "fails": False}


async def test_a_driver_that_fails_tells_no_password(overheard: list[str], postgres_url: str) -> None:
    async with Proxy(postgres_url, dict.fromkeys(range(1, 200), Cut.BEFORE)) as proxy:
        with pytest.raises(RepositoryError) as fault:
            async with open_repository(with_password(proxy.url)):
                pass
    overheard += [told(fault.value), told(fault.value.__cause__ or fault.value)]
    for scheme, rest in (("postgresql", "[::1/x"), ("postgresql", "h/x?no=1"), ("nosuch", "h"), ("sqlite", "h/x")):
        with pytest.raises(ValueError) as refused:  # noqa: PT011 -- each says something else
            open_repository(f"{scheme}://u:{PASSWORD}@{rest}")
        overheard.append(told(refused.value))


async def test_what_storage_refuses_does_not_quote_it(overheard: list[str], durable_url: str) -> None:
    """A statement that fails names its place and its SQLSTATE, not its parameters."""
    async with Engine(durable_url) as engine:
        await rename_column(durable_url, "name", "nom")
        try:
            with pytest.raises(RepositoryError) as fault:
                await engine.count_executions(ExecutionFilter(name=CANARY))
        finally:
            await rename_column(durable_url, "nom", "name")
        overheard.append(told(fault.value))


async def rename_column(url: str, name: str, other: str) -> None:
    statement = f"ALTER TABLE executions RENAME COLUMN {name} TO {other}"
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.execute(statement)
    else:
        session = await asyncpg.connect(url)
        await session.execute(statement)
        await session.close()


async def test_sqlite_acknowledges_what_is_on_the_disk(sqlite_url: str) -> None:
    """A write-ahead log that is flushed with every commit: less is only to be had by asking for it."""
    async with SQLiteRepository(sqlite_url) as repository:
        found = await repository._writer.run(pragmas)
    assert found == ("wal", 2)
    async with SQLiteRepository(f"{sqlite_url}?synchronous=normal") as repository:
        assert await repository._writer.run(pragmas) == ("wal", 1)


def pragmas(connection: sqlite3.Connection) -> tuple[str, int]:
    (mode,), (level,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous"))
    return mode, level


async def test_postgresql_acknowledges_what_is_on_the_disk(postgres_url: str) -> None:
    """No session lowers what the server promises for its commits."""
    async with PostgresRepository(postgres_url) as repository:
        pool = repository._opened()
        assert await pool.fetchval("SHOW synchronous_commit") == "on"
        assert await pool.fetchval("SELECT source FROM pg_settings WHERE name = 'synchronous_commit'") == "default"


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
            await asyncio.sleep(0)
