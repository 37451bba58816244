"""The handler of chained executions: it notes its calls, can be held back, and fails for some inputs."""

from __future__ import annotations

import asyncio

from statechain import TaskRegistry

__all__ = ["Calls", "failing_at_once"]


class Calls:
    """A handler that notes its calls, fails for some inputs, and counts in a ledger that engines may share."""

    def __init__(self, *failing: int, ledger: list[int] | None = None) -> None:
        self.inputs: list[int] = []
        self.failing = set(failing)
        self.ledger = [0, 0] if ledger is None else ledger
        self.gate = asyncio.Event()
        self.gate.set()
        self.tasks = TaskRegistry()
        self.tasks.register("Call")(self.call)

    async def call(self, value: int) -> int:
        self.inputs.append(value)
        self.ledger[0] += 1
        self.ledger[1] = max(self.ledger)
        try:
            await self.gate.wait()
            await asyncio.sleep(0.005)
        finally:
            self.ledger[0] -= 1
        if value in self.failing:
            raise ValueError(value)
        return value

    async def reached(self, count: int) -> None:
        """Wait until the handler was called that often."""
        while len(self.inputs) < count:  # noqa: ASYNC110 -- another engine calls it
            await asyncio.sleep(0.01)


def failing_at_once(calls: Calls, failing: int) -> TaskRegistry:
    """Return the handler, which fails for one input at once, also while all others are held back."""
    tasks = TaskRegistry()

    @tasks.register("Call")
    async def call(value: int) -> int:
        if value == failing:
            raise ValueError(value)
        return await calls.call(value)

    return tasks
