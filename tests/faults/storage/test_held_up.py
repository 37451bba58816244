"""Locked rows, time limits of the server and huge batches hold up no execution but their own."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, StateMachine, TaskRegistry
from support.postgres import Postgres
from support.summary import Figures

pytestmark = pytest.mark.timeout(900)

PATIENCE = 60.0
"""Seconds after which a test is taken to hang; nothing here takes a tenth of them."""

NEIGHBOURS = 50
GATED = {"StartAt": "Wait", "States": {"Wait": {"Type": "Task", "Resource": "wait", "End": True}}}
PASS = {"StartAt": "Begin", "States": {"Begin": {"Type": "Pass", "End": True}}}


class Gate:
    """Handlers that wait until the gate is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = 0
        self.tasks = TaskRegistry()
        self.tasks.add("wait", self.wait)

    async def wait(self, value: object) -> object:
        self.waiting += 1
        await self.opened.wait()
        return value

    async def hold(self, machine: StateMachine, count: int) -> list[Any]:
        """Start executions; return them once all of them are in their handler."""
        started = [await machine.start_execution(number) for number in range(count)]
        while self.waiting < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return started


@asynccontextmanager
async def another_session(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("options", ["", "?command_timeout=2", "?lock_timeout=0&command_timeout=2"])
async def test_a_row_that_another_session_has_locked_holds_up_its_own_execution_alone(
    postgres_url: str, caplog: pytest.LogCaptureFixture, options: str
) -> None:
    gate = Gate()
    async with (
        asyncio.timeout(PATIENCE),
        another_session(postgres_url) as other,
        Engine(postgres_url + options, tasks=gate.tasks) as engine,
    ):
        machine = await engine.create_state_machine("gated", GATED)
        locked, *others = await gate.hold(machine, NEIGHBOURS + 1)
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT 1 FROM runs WHERE execution_id = $1 FOR UPDATE", locked.id)
        with caplog.at_level(logging.WARNING, logger="statechain"):
            gate.opened.set()
            assert [(await each.wait()).output for each in others] == [*range(1, NEIGHBOURS + 1)]
            assert (await machine.execute(7)).output == 7
            assert (await engine.get_execution(locked.id)).status == "RUNNING"
            while not any(locked.id in message for message in caplog.messages):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await transaction.rollback()
            assert (await locked.wait()).output == 0
    about = [message for message in caplog.messages if f"Advance of execution {locked.id}" in message]
    assert "is not committed: PostgreSQL: " in about[0]
    assert "is settled after" in about[-1]


async def test_a_server_whose_statements_may_take_but_little_freezes_a_batch_all_the_same(
    postgres_server: Postgres, postgres_url: str
) -> None:
    """And what takes too long beside it is tried again without holding up its neighbours."""
    database = urlsplit(postgres_url).path[1:]
    sources = await seed(postgres_url, 30_000)
    postgres_server.execute(f"ALTER DATABASE \"{database}\" SET statement_timeout = '60ms'")
    try:
        async with asyncio.timeout(PATIENCE), Engine(postgres_url) as engine:
            target = await engine.create_state_machine("target", PASS)
            options = BatchExecutionOptions(name_prefix="chain")
            async with target.stream_batch(ExecutionFilter(state_machine_id=sources), options=options) as results:
                neighbours = [await target.execute(number) for number in range(10)]
                assert [each.output for each in neighbours] == [*range(10)]
                await anext(results)
    finally:
        postgres_server.execute(f'ALTER DATABASE "{database}" RESET statement_timeout')


async def test_other_writes_go_on_while_a_batch_freezes_its_sources(
    durable_url: str, figures: Figures, *, full: bool
) -> None:
    sources = 1_000_000 if full else 20_000
    machine = await seed(durable_url, sources)
    async with asyncio.timeout(600), Engine(durable_url) as engine:
        target = await engine.create_state_machine("target", PASS)
        usual, _ = await longest(target, lambda passed: passed >= 3.0)
        options = BatchExecutionOptions(name_prefix="chain", concurrent_batches=1)
        stream = target.stream_batch(ExecutionFilter(state_machine_id=machine), options=options)
        began = time.monotonic()
        async with stream:
            first = asyncio.ensure_future(anext(stream))
            meanwhile, steps = await longest(target, lambda _: first.done())
            seconds = round(time.monotonic() - began, 1)
        (batch,) = await engine.list_batches()
        assert batch.item_counts.total == sources
    figures(sources=sources, seconds=seconds, executions_meanwhile=steps, longest=meanwhile, longest_before=usual)
    assert steps > 2


async def longest(machine: StateMachine, is_over: Callable[[float], bool]) -> tuple[str, int]:
    """Run one execution after the other; return how long the longest took, and how many there were."""
    began, longest, count = time.monotonic(), 0.0, 0
    while not is_over(time.monotonic() - began):
        asked = time.monotonic()
        await machine.execute(count)
        longest, count = max(longest, time.monotonic() - asked), count + 1
    return f"{longest * 1000:.0f} ms", count


async def seed(url: str, count: int) -> str:
    """Write ended executions of a machine, faster than they could be run; return the machine's id."""
    async with Engine(url) as engine:
        machine = (await engine.create_state_machine("sources", PASS)).id
    row = f"{{id}}, {{id}}, '{machine}', 1, 'SUCCEEDED', 'null', 'null', {{number}}, {{number}}, 'Begin', 0, 1"
    into = (
        "INSERT INTO executions (id, name, state_machine_id, state_machine_revision, status, input, output, start_time,"
        " end_time, current_state, redrive_count, epoch) SELECT "
    )
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
            numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            values = row.format(id="'s' || substr('0000000' || i, -7)", number="i")
            file.execute(numbers + into + values + " FROM n", (count,))
        return machine
    connection = await asyncpg.connect(url)
    try:
        values = row.format(id="'s' || lpad(i::text, 7, '0')", number="i")
        await connection.execute(f"{into}{values} FROM generate_series(1, {int(count)}) i")
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return machine
