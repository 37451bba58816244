"""One storage, one virtual time, and engines that can be struck down as a killed process would be."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

from statechain import Engine, Execution, ExecutionHandle, StatechainError, TaskRegistry, open_repository
from statechain.clock import Clock
from statechain.testing.clock import VirtualClock
from support.faulty_repository import FaultyRepository, as_repository

__all__ = ["EngineFactory", "EngineHarness", "engine_harness", "machine", "output", "task", "types"]

EngineFactory: TypeAlias = Callable[..., Engine]
"""(**options) → another engine on the same storage."""

JSON = Any


def machine(**states: dict[str, JSON]) -> dict[str, JSON]:
    """Return a definition that begins at the first state; a state that leads nowhere ends."""
    ending = {
        name: state if "Next" in state or state["Type"] in {"Fail", "Succeed", "Choice"} else {**state, "End": True}
        for name, state in states.items()
    }
    return {"StartAt": next(iter(states)), "States": ending}


def task(resource: str, **more: JSON) -> dict[str, JSON]:
    """Return a Task state."""
    return {"Type": "Task", "Resource": resource, **more}


def types(history: list[dict[str, Any]]) -> list[str]:
    """Return the types of events."""
    return [event["type"] for event in history]


def output(execution: Execution) -> Any:
    """Return an output whose shape the test knows."""
    return execution.output


class EngineHarness:
    """Where a test plays: ``tasks`` and ``clock`` are shared by all engines; ``calls`` counts what handlers did."""

    def __init__(self, repository: Any) -> None:
        self.repository = repository
        self.clock: Clock = VirtualClock()
        self.tasks = TaskRegistry()
        self.calls: Counter[str] = Counter()
        self.crashes = 0
        self._engine: Engine | None = None
        self._storage = FaultyRepository(repository)

    @property
    def engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    async def open(self, **options: Any) -> Engine:
        """Open an engine on the storage; it takes over what an engine before it left."""
        self._storage = FaultyRepository(self.repository)
        self._engine = Engine(as_repository(self._storage), tasks=self.tasks, clock=self.clock, **options)
        await self._engine.__aenter__()
        return self._engine

    def crash_at_commit(self, commits: int, *, keeps_last: bool) -> None:
        """Have the engine die at one of its next commits."""
        self._storage.crash_at_commit(commits, keeps_last=keeps_last)

    def hold(self, which: Callable[[Any], bool]) -> tuple[asyncio.Event, asyncio.Event]:
        """Have commits wait that hold such a write; return the events of the first that waits, and of their release."""
        self._storage.hold(which)
        return self._storage.held, self._storage.gate

    @property
    def is_struck(self) -> bool:
        return self._storage.is_dead

    async def crash(self) -> None:
        """Strike the engine down: nothing of what it has not written is kept, and its lease is over."""
        self._storage.crash()
        self.crashes += 1
        await self.close()
        await self.repository.release(self.engine.worker.id)

    async def close(self) -> None:
        """End the engine, interrupting what runs."""
        with contextlib.suppress(StatechainError):
            await self.engine.__aexit__(RuntimeError, RuntimeError("struck"), None)

    async def reopen(self, **options: Any) -> Engine:
        """Crash, and open another engine."""
        await self.crash()
        return await self.open(**options)

    async def start(self, definition: dict[str, JSON], value: JSON = None, **options: Any) -> ExecutionHandle:
        """Start an execution of a definition."""
        created = await self.engine.create_state_machine("played", definition, **options)
        return await created.start_execution(value)

    async def run(self, definition: dict[str, JSON], value: JSON = None, **options: Any) -> Execution:
        """Run an execution to its end."""
        return await (await self.start(definition, value, **options)).wait()

    async def reached(self, name: str, times: int = 1) -> None:
        """Return once a handler has counted this many calls under a name."""
        async with asyncio.timeout(60):
            while self.calls[name] < times:  # noqa: ASYNC110 -- a Counter has no event
                await asyncio.sleep(0.001)

    async def written(self, execution: Execution | ExecutionHandle, rows: int) -> None:
        """Return once this many rows of an execution's visits are durable."""
        async with asyncio.timeout(60):
            while len(await self.repository.visits(execution.id)) < rows:  # noqa: ASYNC110 -- storage has no event
                await asyncio.sleep(0.001)

    async def ended(self, execution_id: str) -> Execution:
        """Wait for the end of an execution that this engine runs."""
        return await (await self.engine.get_handle(execution_id)).wait()

    async def history(self, execution: Execution | ExecutionHandle) -> list[dict[str, Any]]:
        """Return an execution's history."""
        return await self.engine.get_execution_history(execution.id)


@contextlib.asynccontextmanager
async def engine_harness(url: str) -> AsyncIterator[EngineHarness]:
    """Open a harness with its first engine; close the last engine."""
    async with open_repository(url) as repository:
        harness = EngineHarness(repository)
        await harness.open()
        try:
            yield harness
        finally:
            await harness.close()
