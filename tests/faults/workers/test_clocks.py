"""Clocks that step: the database's by an hour, forward and back, or not at all; the worker's own wall clock.

Nothing ends FAILED, nothing runs twice, and what a dead worker left goes on within a lease and a period of real time.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from statechain import Engine, ExecutionStatus, SQLiteRepository, TaskContext, TaskRegistry, open_repository
from statechain.clock import SystemClock
from statechain.storage.repository import ReleaseExecution, StartExecution
from statechain.testing.contract.samples import execution
from statechain_backends.sqlite import repository as sqlite
from support.faults.one_task import ONE_TASK

if TYPE_CHECKING:
    from support.postgres import Postgres

HOUR = 3600.0
LEASE = timedelta(seconds=1.5)  # so long that a busy machine renews it in time
FOREVER = timedelta(hours=8)

STEPPED = """
CREATE SCHEMA stepped;
CREATE TABLE stepped.clock (by_seconds float8, stands_at timestamptz);
INSERT INTO stepped.clock VALUES (0, NULL);
CREATE FUNCTION stepped.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
  SELECT coalesce(stands_at, pg_catalog.clock_timestamp()) + make_interval(secs => by_seconds) FROM stepped.clock
$$;
"""


class DatabaseClock:
    """The clock of one database, which a test sets."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.by_seconds = 0.0
        self.stands_at: float | None = None

    async def step(self, seconds: float) -> None:
        self.by_seconds += seconds
        if self.url.startswith("postgresql"):
            await self._execute("UPDATE stepped.clock SET by_seconds = $1", self.by_seconds)

    async def stop(self) -> None:
        self.stands_at = time.time()
        if self.url.startswith("postgresql"):
            await self._execute("UPDATE stepped.clock SET stands_at = $1", datetime.now(UTC))

    async def _execute(self, statement: str, value: object) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement, value)
        finally:
            await connection.close()

    def julianday(self, _when: str) -> float:
        """Replace SQLite's function of that name."""
        now = time.time() if self.stands_at is None else self.stands_at
        return (now + self.by_seconds) / 86400 + 2440587.5


@pytest.fixture(params=["sqlite", "postgresql"])
def database_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabaseClock]:
    if request.param == "sqlite":
        yield _sqlite_clock(request.getfixturevalue("sqlite_url"), monkeypatch)
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    template = request.getfixturevalue("postgres_database")
    server.empty(template)  # other tests use it, too
    name = server.create_database(template=template)
    server.execute(STEPPED, name)
    server.execute(f'ALTER DATABASE "{name}" SET search_path = stepped, pg_catalog, public')
    yield DatabaseClock(server.url(name))
    server.drop_database(name)


def _sqlite_clock(url: str, monkeypatch: pytest.MonkeyPatch) -> DatabaseClock:
    clock = DatabaseClock(url)
    connect = sqlite.SQLiteRepository._connect  # of the writer; what reads beside it asks for no time

    def connect_stepped(repository: SQLiteRepository) -> sqlite3.Connection:
        connection = connect(repository)
        connection.create_function("julianday", 1, clock.julianday)
        return connection

    monkeypatch.setattr(sqlite.SQLiteRepository, "_connect", connect_stepped)
    return clock


class Handlers:
    """Handlers that wait until they may end, and count their calls."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.may_end = asyncio.Event()
        self.tasks = TaskRegistry()
        self.tasks.add("Work", self.work)

    async def work(self, value: object, context: TaskContext) -> object:
        self.calls[context.execution_id] += 1
        await self.may_end.wait()
        return value

    async def begun(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.calls) < count:  # noqa: ASYNC110 -- a Counter has no event
                await asyncio.sleep(0.01)


STEPS = pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["forward", "back"])


@STEPS
async def test_a_step_leaves_what_runs_alone(database_clock: DatabaseClock, seconds: float) -> None:
    """Two workers look, at once and over some leases; whichever runs an execution goes on with it."""
    handlers = Handlers()
    async with (
        Engine(database_clock.url, tasks=handlers.tasks, lease=LEASE) as one,
        Engine(database_clock.url, tasks=handlers.tasks, lease=LEASE) as two,
    ):
        machine = await one.create_state_machine("m", ONE_TASK)
        handles = [await machine.start_execution(number) for number in range(20)]
        await handlers.begun(20)
        await database_clock.step(seconds)
        until = time.monotonic() + 2 * LEASE.total_seconds()
        while time.monotonic() < until:
            assert [*await one.recover(), *await two.recover()] == []
            await asyncio.sleep(0.05)
        async with Engine(database_clock.url, tasks=handlers.tasks, lease=LEASE) as fresh:
            assert await fresh.recover() == []
        handlers.may_end.set()
        assert [await handle.result() for handle in handles] == list(range(20))
    assert set(handlers.calls.values()) == {1}


@STEPS
async def test_a_step_hides_no_dead_worker(database_clock: DatabaseClock, seconds: float) -> None:
    handlers = Handlers()
    handlers.may_end.set()
    async with Engine(database_clock.url, tasks=handlers.tasks, lease=LEASE) as engine:
        machine = await engine.create_state_machine("m", ONE_TASK)
        async with open_repository(database_clock.url) as doomed:
            await doomed.renew_lease("doomed", LEASE)
            died = time.monotonic()
            made = execution(state_machine_id=machine.id, current_state="Work")
            await doomed.commit([StartExecution(execution=made, owner="doomed")])
            await database_clock.step(seconds)
            async with asyncio.timeout(30):
                ended = await (await engine.get_handle(made.id)).wait()
            assert ended.status is ExecutionStatus.SUCCEEDED
            assert time.monotonic() - died >= LEASE.total_seconds(), "it might have lived"
    assert handlers.calls == {made.id: 1}


async def test_a_clock_that_stands_still_takes_no_worker_for_dead(database_clock: DatabaseClock) -> None:
    handlers = Handlers()
    await database_clock.stop()
    async with (
        Engine(database_clock.url, tasks=handlers.tasks, lease=LEASE) as one,
        Engine(database_clock.url, tasks=handlers.tasks, lease=LEASE),
    ):
        handle = await (await one.create_state_machine("m", ONE_TASK)).start_execution(1)
        await asyncio.sleep(2 * LEASE.total_seconds())
        handlers.may_end.set()
        assert await handle.result() == 1
    assert handlers.calls == {handle.id: 1}


@pytest.fixture
async def suspect(database_clock: DatabaseClock) -> AsyncIterator[Callable[[timedelta], Any]]:
    """What stores a suspect, to be left alone for a while."""
    async with open_repository(database_clock.url) as repository:
        await repository.renew_lease("worker", FOREVER)

        async def store(backoff: timedelta) -> Any:
            made = execution()
            await repository.commit([StartExecution(execution=made, owner="worker")])
            await repository.commit([ReleaseExecution(execution_id=made.id, epoch=1, claims=9, backoff=backoff)])
            return repository

        yield store


async def test_a_step_forward_neither_releases_a_suspect_nor_makes_it_older(
    database_clock: DatabaseClock, suspect: Callable[[timedelta], Any]
) -> None:
    repository = await suspect(timedelta(hours=1))
    await database_clock.step(2 * HOUR)
    await repository.renew_lease("worker", FOREVER)
    assert await repository.claim("worker", page=9, suspects=range(1, 99)) == []
    (found,) = await repository.suspects(page=9)
    assert found.suspected < timedelta(minutes=5)
    assert found.due > timedelta(minutes=50)


async def test_a_step_back_keeps_no_suspect_waiting(
    database_clock: DatabaseClock, suspect: Callable[[timedelta], Any]
) -> None:
    repository = await suspect(timedelta(seconds=0.1))
    await database_clock.step(-HOUR)
    async with asyncio.timeout(30):
        while not await repository.claim("worker", page=9, suspects=range(1, 99)):
            await repository.renew_lease("worker", FOREVER)
            await asyncio.sleep(0.02)


class SteppedClock(SystemClock):
    """A wall clock that can be set."""

    def __init__(self) -> None:
        self.by = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.by


@STEPS
async def test_the_wall_clock_of_a_worker_ends_nothing(repository_url: str, seconds: float) -> None:
    """What runs keeps the time that its TimeoutSeconds gave it, and the lease is counted by another clock."""
    handlers, clock = Handlers(), SteppedClock()
    definition = {
        "TimeoutSeconds": 600,
        **ONE_TASK,
        "States": {"Work": {**ONE_TASK["States"]["Work"], "TimeoutSeconds": 300, "HeartbeatSeconds": 200}},  # type: ignore[index]
    }
    async with Engine(repository_url, tasks=handlers.tasks, clock=clock, lease=LEASE) as engine:
        handle = await (await engine.create_state_machine("m", definition)).start_execution(1)
        await handlers.begun(1)
        await asyncio.sleep(0.05)  # where tasks begin at once, a handler begins before the watch over its heartbeats
        clock.by = timedelta(seconds=seconds)
        await asyncio.sleep(LEASE.total_seconds())
        assert engine._supervisor._lease.holds
        assert await engine.recover() == []
        handlers.may_end.set()
        assert await handle.result() == 1
    assert handlers.calls == {handle.id: 1}
