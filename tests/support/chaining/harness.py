"""Two machines, one to chain from the other, whose handler does what a test sets and records what it did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from statechain import (
    BatchExecutionOptions,
    BatchExecutionResult,
    Engine,
    Execution,
    ExecutionFilter,
    ExecutionStatus,
    Repository,
    StateMachine,
    TaskRegistry,
)

__all__ = ["ChainingHarness", "Work", "chaining_harness", "numbers", "statuses"]

SOURCES = {
    "StartAt": "Prepare",
    "States": {
        "Prepare": {"Type": "Pass", "Parameters": {"n.$": "$.n", "step": "prepared"}, "Next": "Finish"},
        "Finish": {"Type": "Pass", "Parameters": {"n.$": "$.n", "step": "finished"}, "End": True},
    },
}
TARGETS = {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "Work", "End": True}}}


class Work:
    """The handler of the target machine.

    Attributes:
        does: What it awaits for an input; its answer is the output. Fails for the numbers in ``fails``.

        begun: The numbers it was called with, in order.

        running: How many calls are at work now, and ``peak``: how many there were at most.
    """

    def __init__(self) -> None:
        self.does: Callable[[dict[str, Any]], Awaitable[Any]] = self.answer
        self.fails: set[int] = set()
        self.begun: list[int] = []
        self.running = 0
        self.peak = 0

    async def __call__(self, value: dict[str, Any]) -> Any:
        self.begun.append(value["n"])
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            return await self.does(value)
        finally:
            self.running -= 1

    async def answer(self, value: dict[str, Any]) -> Any:
        """Give others their turn, then answer or fail."""
        await asyncio.sleep(0)
        if value["n"] in self.fails:
            raise ValueError(f"{value['n']} is refused")
        return {"done": value["n"]}

    async def hang(self, _value: dict[str, Any]) -> None:
        """Never answer."""
        await asyncio.Event().wait()


class ChainingHarness:
    """An engine with the two machines."""

    def __init__(self, engine: Engine, sources: StateMachine, targets: StateMachine, work: Work) -> None:
        self.engine = engine
        self.sources = sources
        self.targets = targets
        self.work = work

    async def finish(self, *numbers: int) -> list[Execution]:
        """Run sources with these numbers to their end, one after the other."""
        return [await self.sources.execute({"n": number}, name=f"source-{number}") for number in numbers]

    def select(self, **fields: Any) -> ExecutionFilter:
        """Return the filter that means the sources that succeeded, oldest first."""
        given = {"state_machine_id": self.sources.id, "status": "SUCCEEDED", "order": "oldest_first", **fields}
        return ExecutionFilter(**given)

    async def batch(self, **options: Any) -> list[BatchExecutionResult]:
        """Chain the targets from all sources."""
        return await self.targets.execute_batch(self.select(), options=BatchExecutionOptions(**options))

    async def made(self, *status: ExecutionStatus) -> list[Execution]:
        """Return the target executions that are stored, oldest first; of these statuses, or of any."""
        return await self.engine.list_executions(
            ExecutionFilter(state_machine_id=self.targets.id, status=status or None, order="oldest_first")
        )


@asynccontextmanager
async def chaining_harness(
    repository: str | Repository, *, work: Work | None = None, **options: Any
) -> AsyncIterator[ChainingHarness]:
    """Open an engine on a storage, and make the two machines."""
    tasks = TaskRegistry()
    tasks.add("Work", work := work or Work())
    async with Engine(repository, tasks=tasks, **options) as engine:
        sources = await engine.create_state_machine("sources", SOURCES)
        yield ChainingHarness(engine, sources, await engine.create_state_machine("targets", TARGETS), work)


def numbers(results: Sequence[BatchExecutionResult]) -> list[int]:
    """Return the number of each result's source, by the input of its execution."""
    return [result.execution.input["n"] for result in results]  # type: ignore[union-attr, index, call-overload, misc]


def statuses(results: Sequence[BatchExecutionResult]) -> list[str | None]:
    """Return how the execution of each result ended."""
    return [None if result.execution is None else str(result.execution.status) for result in results]
