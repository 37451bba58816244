"""A journal on storage that waits at a gate, fails as a test says, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs

from statechain import Execution, ExecutionStatus, MemoryRepository
from statechain.clock import SystemClock
from statechain.observers import Fact, JournalFlushed
from statechain.storage.journal import Journal
from statechain.storage.repository import StartExecution, StopExecution, Write
from statechain.testing.contract.samples import ending, execution

PATIENCE = 60.0


class GatedRepository(MemoryRepository):
    """A repository that remembers what it was asked, waits at a gate, and fails as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[list[Write[Any]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.before: Callable[[Sequence[Write[Any]]], Exception | None] = lambda _: None
        self.after: Callable[[Sequence[Write[Any]]], Exception | None] = lambda _: None

    @property
    def sizes(self) -> list[int]:
        return [len(group) for group in self.groups]

    async def commit(self, writes: Sequence[Write[object]]) -> Sequence[object]:
        self.groups.append(list(writes))
        await self.gate.wait()
        if fault := self.before(writes):
            raise fault
        outcomes = await super().commit(writes)
        if fault := self.after(writes):
            raise fault
        return outcomes

    async def asked(self, times: int) -> None:
        """Return once so many commits were asked for."""
        async with asyncio.timeout(PATIENCE):
            while len(self.groups) < times:  # noqa: ASYNC110 -- a turn of the loop is all that is awaited
                await asyncio.sleep(0)


@attrs.define
class RecordingObserver:
    """An observer that remembers what it was told."""

    facts: list[Fact] = attrs.Factory(list)

    def observe(self, fact: Fact) -> None:
        self.facts.append(fact)

    @property
    def flushes(self) -> list[JournalFlushed]:
        return [fact for fact in self.facts if isinstance(fact, JournalFlushed)]


@asynccontextmanager
async def running(storage: GatedRepository, *observers: RecordingObserver) -> AsyncIterator[Journal]:
    """Run a journal, and let it finish what it was given."""
    journal = Journal(storage, SystemClock(), observers)
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


async def write_all(journal: Journal, writes: Sequence[Write[Any]]) -> list[Any]:
    """Write all at once; return outcomes, and errors in the place of those that were refused."""
    return await asyncio.gather(*(journal.write(write) for write in writes), return_exceptions=True)


async def held(storage: GatedRepository, journal: Journal, tasks: asyncio.TaskGroup) -> asyncio.Task[Execution]:
    """Keep one commit in flight at the gate."""
    storage.gate.clear()
    task = tasks.create_task(journal.write(starting()))
    await storage.asked(1)
    return task
