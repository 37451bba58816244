"""Storage that holds less than it acknowledged: rows set back by hand, as a failover or a restored backup leaves them.

A worker goes on from what storage holds, on every backend; nothing stays RUNNING that no worker runs.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from statechain import Engine, ExecutionFilter, MemoryRepository, Repository, TaskContext, TaskRegistry, open_repository
from statechain.worker.lease import boot_time

LEASE = timedelta(hours=1)  # nothing here waits for a look
COUNT = 5
TWO_TASKS = {
    "StartAt": "One",
    "States": {
        "One": {"Type": "Task", "Resource": "One", "Next": "Two"},
        "Two": {"Type": "Task", "Resource": "Two", "End": True},
    },
}


class Handlers:
    """Handlers whose second step waits."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.may_end = asyncio.Event()
        self.tasks = TaskRegistry()
        self.tasks.add("One", self.one)
        self.tasks.add("Two", self.two)

    async def one(self, value: object, context: TaskContext) -> object:
        self.calls[f"One {context.execution_id}"] += 1
        return value

    async def two(self, value: object, context: TaskContext) -> object:
        self.calls[f"Two {context.execution_id}"] += 1
        await self.may_end.wait()
        return value

    async def begun(self, count: int) -> None:
        async with asyncio.timeout(30):
            while sum(key.startswith("Two") for key in self.calls) < count:  # noqa: ASYNC110 -- a Counter has no event
                await asyncio.sleep(0.01)


class Storage:
    """A storage whose rows a test sets back."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.memory = MemoryRepository() if url == "memory://" else None
        self.kept: dict[str, Any] = {}

    @property
    def of_engine(self) -> Any:
        return self.memory or self.url

    async def lose_visits(self) -> None:
        """Forget every visit of what runs, as if none had been replicated."""
        if self.memory is not None:
            for execution_id in self.memory._runs:
                self.memory._visits[execution_id].clear()
        else:
            await self._execute("DELETE FROM visits")
            await self._execute("UPDATE runs SET seq = 0, current_state = 'One'")

    async def revive(self, execution_id: str, owner: str) -> None:
        """Take an execution's end back, as if it had not been replicated."""
        if self.memory is not None:
            raise NotImplementedError("the SQL storages show it")
        await self._execute(
            "UPDATE executions SET status = 'RUNNING', end_time = NULL, output = NULL WHERE id = ?", execution_id
        )
        await self._execute("DELETE FROM visits")
        await self._execute(
            "INSERT INTO runs (execution_id, owner, epoch, seq, claims, current_state) VALUES (?, ?, 1, 0, 0, 'One')",
            execution_id,
            owner,
        )

    async def lose_leases(self) -> None:
        """Forget every worker, as if none had registered before the failover."""
        if self.memory is not None:
            self.memory._leases.clear()
        else:
            await self._execute("DELETE FROM workers")

    async def _execute(self, statement: str, *values: str) -> None:
        if self.url.startswith("sqlite"):
            connection = sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=30)
            with connection:
                connection.execute(statement, values)
            connection.close()
            return
        for place in range(1, len(values) + 1):
            statement = statement.replace("?", f"${place}", 1)
        connected = await asyncpg.connect(self.url)
        await connected.execute(statement, *values)
        await connected.close()


class Observer:
    """An engine beside the one that works, whose lease is counted by a clock that a test moves."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.lease = engine._supervisor._lease
        self.passed = 0.0
        self.lease.clock = lambda: boot_time() + self.passed

    async def looks_after(self, leases: float) -> list[str]:
        """Let a part of a lease pass, in which the observer's own is renewed, and return what it takes over then."""
        self.passed += leases * LEASE.total_seconds()
        self.lease.renewed(self.lease.clock())
        return sorted(await self.engine.recover())


@asynccontextmanager
async def worker_without_a_lease(storage: Storage) -> AsyncIterator[tuple[Engine, Observer, list[str]]]:
    """Yield an engine that runs executions and whose lease is lost, an observer, and the executions' ids.

    Neither claims by itself: a regular claim could come between the observer's release and its claim.
    """
    handlers = Handlers()
    async with (
        Engine(storage.of_engine, tasks=handlers.tasks, lease=LEASE, recovery=False) as one,
        Engine(storage.of_engine, tasks=handlers.tasks, lease=LEASE, recovery=False) as two,
    ):
        machine = await one.create_state_machine("m", TWO_TASKS)
        handles = [await machine.start_execution(number) for number in range(COUNT)]
        await handlers.begun(COUNT)
        await storage.lose_leases()
        yield one, Observer(two), sorted(handle.id for handle in handles)
        handlers.may_end.set()
        async with asyncio.timeout(60):
            assert [await handle.result() for handle in handles] == list(range(COUNT))


@pytest.fixture
def storage(repository_url: str) -> Storage:
    return Storage(repository_url)


async def test_steps_that_storage_lost_are_run_again(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    """The write after them finds storage behind, and the same worker claims what it owns and runs no more, at once."""
    handlers = Handlers()
    async with Engine(storage.of_engine, tasks=handlers.tasks, lease=LEASE) as engine:
        machine = await engine.create_state_machine("m", TWO_TASKS)
        handles = [await machine.start_execution(number) for number in range(COUNT)]
        await handlers.begun(COUNT)
        await storage.lose_visits()
        handlers.may_end.set()
        async with asyncio.timeout(30):
            assert [await handle.result() for handle in handles] == list(range(COUNT))
        assert await engine.count_executions(ExecutionFilter(status="RUNNING")) == 0
        for handle in handles:
            assert len(await engine.repository.visits(handle.id)) == 2
    assert Counter(handlers.calls.values()) == {2: 2 * COUNT}
    assert sum("(BEHIND)" in record.getMessage() for record in caplog.records) == COUNT
    assert all(record.levelno == logging.WARNING for record in caplog.records if "(BEHIND)" in record.getMessage())


async def test_after_a_new_connection_what_rests_finds_out_at_once(storage: Storage) -> None:
    """It does not wait for the end of its handler, which may be hours away."""
    handlers = Handlers()
    lease = timedelta(seconds=1.5)
    async with Engine(storage.of_engine, tasks=handlers.tasks, lease=lease) as engine:
        handle = await (await engine.create_state_machine("m", TWO_TASKS)).start_execution(1)
        await handlers.begun(1)
        await storage.lose_visits()
        engine._supervisor._lease.doubts += 1  # as a renewal over a new connection does
        async with asyncio.timeout(30):
            while handlers.calls[f"Two {handle.id}"] < 2:  # noqa: ASYNC110 -- a Counter has no event
                await asyncio.sleep(0.01)
        handlers.may_end.set()
        assert await handle.result() == 1


async def test_an_end_that_storage_lost_is_run_to_again(storage: Storage) -> None:
    """It has no writer any more: what storage lists as this worker's, and does not run, is asked for."""
    if storage.memory is not None:
        pytest.skip("a memory repository loses nothing by itself")
    handlers = Handlers()
    handlers.may_end.set()
    async with Engine(storage.url, tasks=handlers.tasks, lease=timedelta(seconds=1.5)) as engine:
        machine = await engine.create_state_machine("m", TWO_TASKS)
        ended = await machine.execute(1)
        await storage.revive(ended.id, engine.worker.id)
        engine._supervisor._lease.doubts += 1
        async with asyncio.timeout(30):
            assert (await (await engine.get_handle(ended.id)).wait()).output == 1
    assert set(handlers.calls.values()) == {2}


async def test_an_engine_without_recovery_gives_up_what_it_does_not_run(storage: Storage) -> None:
    handlers = Handlers()
    lease = timedelta(seconds=1.5)
    async with Engine(storage.of_engine, tasks=handlers.tasks, lease=lease, recovery=False) as engine:
        handle = await (await engine.create_state_machine("m", TWO_TASKS)).start_execution(1)
        await handlers.begun(1)
        await storage.lose_visits()
        handlers.may_end.set()
        async with Engine(storage.of_engine, tasks=handlers.tasks, lease=lease), asyncio.timeout(30):
            assert await handle.result() == 1


@asynccontextmanager
async def _other(storage: Storage) -> AsyncIterator[Repository]:
    """Open the storage a second time."""
    if storage.memory is not None:
        yield storage.memory
    else:
        async with open_repository(storage.url) as repository:
            yield repository


async def test_what_is_lost_to_another_worker_is_logged_as_that(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = Handlers()
    caplog.set_level(logging.INFO)
    async with Engine(storage.of_engine, tasks=handlers.tasks, lease=LEASE) as engine:
        machine = await engine.create_state_machine("m", TWO_TASKS)
        taken, stopped = await machine.start_execution(1), await machine.start_execution(2)
        await handlers.begun(2)
        async with _other(storage) as other:
            await other.release(engine.worker.id)
            assert len(await other.claim("other", page=1)) == 1
            await engine._supervisor.recovery.drop_lost()
            async with Engine(other, recovery=False) as operator:
                await operator.stop_execution(stopped.id)
            await engine._supervisor.recovery.drop_lost()
        handlers.may_end.set()
    assert f"execution {taken.id} is lost to this worker (ANOTHERS)" in caplog.text
    assert f"execution {stopped.id} is lost to this worker (ENDED)" in caplog.text


async def test_a_worker_without_a_lease_is_dead_only_once_that_was_seen_for_a_lease(storage: Storage) -> None:
    async with worker_without_a_lease(storage) as (_, observer, ids):
        for leases in (0.0, 0.6, 0.3):
            assert await observer.looks_after(leases) == []
        assert await observer.looks_after(0.2) == ids


async def test_a_live_worker_whose_lease_a_failover_lost_keeps_what_it_runs_once_it_renews(storage: Storage) -> None:
    async with worker_without_a_lease(storage) as (worker, observer, _):
        for leases in (0.0, 0.6):
            assert await observer.looks_after(leases) == []
        assert not await worker._supervisor._repository.renew_lease(worker.worker.id, LEASE)
        for leases in (0.6, 0.3):
            assert await observer.looks_after(leases) == []


async def test_an_observer_that_was_cut_off_watches_for_a_whole_lease_anew(storage: Storage) -> None:
    async with worker_without_a_lease(storage) as (_, observer, ids):
        assert await observer.looks_after(0.0) == []
        observer.lease.doubts += 1
        for leases in (0.6, 0.6):
            assert await observer.looks_after(leases) == []
        assert await observer.looks_after(0.6) == ids
