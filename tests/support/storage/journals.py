"""A journal on storage that waits at a gate, fails as a test says, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs

from statechain import Execution, ExecutionStatus, MemoryRepository
from statechain.clock import SystemClock
from statechain.errors import RepositoryUnavailable
from statechain.observers import Fact, JournalFlushed
from statechain.storage.journal.journal import Journal
from statechain.storage.repository import StartExecution, StopExecution, Write
from statechain.testing.contract.samples import ending, execution
from support.faulty_repository import PATIENCE, FaultyRepository, as_repository


def gated() -> FaultyRepository:
    """Return storage in memory that remembers what it was asked, waits at a gate, and fails as a test says."""
    return FaultyRepository(MemoryRepository(), remembers=True)


@attrs.define
class RecordingObserver:
    """An observer that records what it was called with."""

    facts: list[Fact] = attrs.Factory(list)

    def observe(self, fact: Fact) -> None:
        self.facts.append(fact)

    @property
    def flushes(self) -> list[JournalFlushed]:
        return [fact for fact in self.facts if isinstance(fact, JournalFlushed)]


@attrs.define
class HeldClock:
    """The monotonic clock, which stands still until a test sets it."""

    now: float = 0.0
    readings: int = 0

    def monotonic(self) -> float:
        self.readings += 1
        return self.now

    async def read(self) -> None:
        """Return once it is read again."""
        before = self.readings
        async with asyncio.timeout(PATIENCE):
            while self.readings == before:  # noqa: ASYNC110 -- a timer reads it
                await asyncio.sleep(0)


async def turns(count: int = 10) -> None:
    """Let all that can go on go on for some turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(storage: FaultyRepository, *observers: RecordingObserver, **bounds: Any) -> AsyncIterator[Journal]:
    """Run a journal, and let it finish what it was given."""
    journal = Journal(as_repository(storage), SystemClock(), observers, **bounds)
    journal.open()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(journal.run())
        try:
            yield journal
        finally:
            storage.gate.set()
            journal.close()


def starting(made: Execution | None = None) -> StartExecution:
    return StartExecution(execution=made or execution(), owner="worker")


def stopping(execution_id: str) -> StopExecution:
    return StopExecution(execution_id=execution_id, end=ending(ExecutionStatus.ABORTED))


def each(count: int) -> list[StartExecution]:
    return [starting() for _ in range(count)]


def refuses(culprits: Sequence[Write[Any]], *, timed_out: bool) -> Callable[[Sequence[Write[Any]]], Exception | None]:
    """Return what refuses every commit with one of these writes in it."""

    def before(group: Sequence[Write[Any]]) -> Exception | None:
        if any(write in culprits for write in group):
            return RepositoryUnavailable("a row is locked", timed_out=timed_out)
        return None

    return before


async def write_all(journal: Journal, writes: Sequence[Write[Any]]) -> list[Any]:
    """Write all at once; return outcomes, and errors in the place of those that were refused."""
    return await asyncio.gather(*(journal.write(write) for write in writes), return_exceptions=True)


async def held(storage: FaultyRepository, journal: Journal, tasks: asyncio.TaskGroup) -> asyncio.Task[Execution]:
    """Keep one commit in flight at the gate."""
    storage.gate.clear()
    task = tasks.create_task(journal.write(starting()))
    await storage.asked(1)
    return task
