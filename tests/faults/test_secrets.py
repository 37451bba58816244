"""Canaries: a password and a payload show up nowhere but where they belong."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from statechain import (
    Engine,
    ExecutionFailed,
    ExecutionFilter,
    RepositoryError,
    StatechainError,
    TaskRegistry,
    open_repository,
)
from support.faults.one_task import ONE_TASK
from support.faults.tcp_proxy import Cut, Proxy
from support.faulty_repository import Fault, FaultyRepository, as_repository

CANARY = "canary-3f9a"
PASSWORD = "pass-canary-3f9a"


@pytest.fixture
def overheard(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What is not secret: what is added here, and every record that was logged, from INFO on."""
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


async def test_payloads_and_passwords_are_told_nobody(overheard: list[str], postgres_url: str) -> None:
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
