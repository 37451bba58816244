"""Runs one large execution, and writes its peak of memory: ``python recovered.py KIND WAY URL COUNT SIZE``.

KIND is ``loop`` (COUNT visits, each of which puts out SIZE bytes) or ``map`` (COUNT iterations, each with an output of
SIZE bytes). WAY is ``straight`` (to its end), ``begin`` (the process ends itself before the last step) or ``recover``.
"""

from __future__ import annotations

import asyncio
import os
import sys

from statechain import Engine, ExecutionFilter, Limits, TaskRegistry
from support.faults.workers.memory import peak

__all__ = ["DEATH"]

DEATH = 13
AGAIN = {"Variable": "$.n", "NumericGreaterThan": 0, "Next": "Fill"}
LOOP = {
    "StartAt": "Fill",
    "States": {
        "Fill": {"Type": "Task", "Resource": "Fill", "Next": "Again"},
        "Again": {"Type": "Choice", "Choices": [AGAIN], "Default": "Last"},
        "Last": {"Type": "Task", "Resource": "Last", "End": True},
    },
}
FILL = {"StartAt": "Fill", "States": {"Fill": {"Type": "Task", "Resource": "Fill", "End": True}}}
MAP = {
    "StartAt": "Each",
    "States": {
        "Each": {"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": FILL, "Next": "Count"},
        "Count": {"Type": "Pass", "Parameters": {"n.$": "States.ArrayLength($)"}, "Next": "Last"},
        "Last": {"Type": "Task", "Resource": "Last", "End": True},
    },
}


async def main(kind: str, way: str, url: str, count: int, size: int) -> None:
    tasks = TaskRegistry()

    async def fill(value: dict[str, int]) -> object:
        if way == "begin" and kind == "map" and value["n"] == 1:
            await asyncio.sleep(2)  # until all others are durable
            os._exit(DEATH)
        return {"n": value["n"] - 1, "data": chr(97 + value["n"] % 26) * size}

    async def last(_value: object) -> None:
        if way == "begin":
            os._exit(DEATH)

    tasks.add("Fill", fill)
    tasks.add("Last", last)
    async with Engine(url, tasks=tasks, lease=2, limits=Limits(payload_bytes=2**30)) as engine:
        machine = await engine.create_state_machine("large", {"loop": LOOP, "map": MAP}[kind])
        if way == "recover":
            async for execution in engine.iterate_executions(ExecutionFilter(state_machine_id=machine.id)):
                ended = await (await engine.get_handle(execution.id)).wait()
        else:
            items = [{"n": number} for number in range(count, 0, -1)]
            ended = await machine.execute({"n": count, "items": items if kind == "map" else []})
        assert ended.status == "SUCCEEDED", ended.cause


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
    sys.stdout.write(str(peak()))
