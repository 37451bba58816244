"""Distributed Maps whose items are executions: a definition, the handler of its items, and what is stored of them."""

from __future__ import annotations

import asyncio
from typing import Any

from statechain import Engine, Execution, ExecutionFilter, Limits, StateMachine, TaskRegistry
from statechain.records.batches import Batch

__all__ = ["RUNNING", "Items", "begun", "created", "distributed", "events", "map_run_of", "refusing", "settled"]

JSON = Any
RUNNING = ExecutionFilter(status="RUNNING")


class Items:
    """The handler of the items: it counts its calls, may hold them back, and fails for some."""

    def __init__(self, *failing: int) -> None:
        self.inputs: list[JSON] = []
        self.failing = list(failing)
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = self.peak = 0
        self.tasks = TaskRegistry()
        self.tasks.add("Item", self.item)

    async def item(self, value: JSON) -> JSON:
        self.inputs.append(value)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            if value in self.failing:
                raise ValueError(value)
            return value * 2 if isinstance(value, int) else value
        finally:
            self.running -= 1

    async def reached(self, count: int) -> None:
        """Return once this many calls were made."""
        while len(self.inputs) < count:  # noqa: ASYNC110 -- a list has no event
            await asyncio.sleep(0.01)


def distributed(type_: str = "STANDARD", processor: JSON = None, /, **fields: JSON) -> dict[str, JSON]:
    """Return a definition of one distributed Map, whose items by default call the handler."""
    call = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Item", "End": True}}}
    config = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": type_}}
    state = {"Type": "Map", "ItemProcessor": {**config, **(processor or call)}, "End": True, **fields}
    return {"StartAt": "Each", "States": {"Each": state}}


def refusing(**fields: JSON) -> tuple[dict[str, JSON], JSON, Limits]:
    """Return a definition, an input and limits by which the first of two items is refused, and tolerated."""
    definition = distributed(
        "STANDARD",
        {"StartAt": "Same", "States": {"Same": {"Type": "Pass", "End": True}}},
        ToleratedFailureCount=1,
        ItemSelector={"n.$": "$$.Map.Item.Value", "text.$": "States.Format('{}{}', $$.Map.Item.Value, $.text)"},
        ItemsPath="$.all",
        **fields,
    )
    return definition, {"all": ["x" * 1_500, "y"], "text": "z" * 1_000}, Limits(payload_bytes=3_000)


async def created(engine: Engine, definition: JSON = None) -> StateMachine:
    return await engine.create_state_machine("orders", definition or distributed())


async def map_run_of(engine: Engine, execution: Execution) -> Batch:
    """Return the one Map Run of an execution."""
    (found,) = await engine.list_batches(parent_execution_id=execution.id)
    return found


async def begun(engine: Engine, parent_id: str) -> Batch:
    """Return the Map Run of an execution once it is stored."""
    while not (found := await engine.list_batches(parent_execution_id=parent_id)):  # noqa: ASYNC110 -- storage is asked
        await asyncio.sleep(0.01)
    return found[0]


async def settled(engine: Engine) -> None:
    """Return once nothing runs any more."""
    while await engine.count_executions(RUNNING):  # noqa: ASYNC110 -- storage is asked
        await asyncio.sleep(0.02)


async def events(engine: Engine, execution: Execution) -> list[str]:
    """Return the types of an execution's events between its start and its end."""
    return [event["type"] for event in await engine.get_execution_history(execution.id)][1:-1]
