"""DISTRIBUTED batches: their sources, their target, and the handler that it calls."""

from __future__ import annotations

import asyncio

from statechain import (
    BatchExecutionOptions,
    Engine,
    ExecutionFilter,
    StateMachine,
    TaskRegistry,
)

__all__ = ["SHARED", "Calls", "sources", "target"]

PASS = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
SHARED = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=4, shard_size=3)


class Calls:
    """A handler that counts its calls, may be held back, and fails for some inputs."""

    def __init__(self, *failing: int) -> None:
        self.inputs: list[int] = []
        self.failing = failing
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = self.peak = 0
        self.released: set[int] = set()
        self.tasks = TaskRegistry()
        self.tasks.register("Call")(self.call)

    async def call(self, value: int) -> int:
        self.inputs.append(value)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            while not (self.gate.is_set() or value in self.released):  # noqa: ASYNC110 -- it waits for either
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.001)
            if value in self.failing:
                raise ValueError(value)
            return value * 2
        finally:
            self.running -= 1


async def sources(engine: Engine, count: int = 12) -> ExecutionFilter:
    """Store some executions whose outputs are numbers; return the filter that finds them, oldest first."""
    machine = await engine.create_state_machine("sources", PASS)
    for number in range(count):
        await machine.execute(number)
    return ExecutionFilter(state_machine_id=machine.id, order="oldest_first")


async def target(engine: Engine) -> StateMachine:
    return await engine.create_state_machine("target", CALL)
