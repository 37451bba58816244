"""A worker process for the harness of poison: ``python suspect.py URL '{"seconds": …}'``.

It runs what is there until every execution has ended, and exits with 0 then. The handler ``honest`` takes its time;
``deadly`` ends the process.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import timedelta
from typing import Any

from statechain import Engine, ExecutionFilter, TaskRegistry
from statechain.limits import Limits

__all__ = ["DEATH", "MACHINES", "READY"]

DEATH = 13
"""What the process exits with when its handler ends it."""

READY = "ready\n"
"""What it writes once its engine is open."""

MACHINES: dict[str, Any] = {
    name: {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": name, "End": True}}}
    for name in ("honest", "deadly")
}


async def main(url: str, *, honest: float, deadly: float, lease: float, limits: dict[str, Any]) -> None:
    tasks = TaskRegistry()

    async def work(value: object) -> object:
        await asyncio.sleep(honest)
        return value

    async def die(_value: object) -> None:
        await asyncio.sleep(deadly)
        os._exit(DEATH)

    tasks.add("honest", work)
    tasks.add("deadly", die)
    async with Engine(url, tasks=tasks, lease=timedelta(seconds=lease), limits=Limits(**limits)) as engine:
        sys.stdout.write(READY)
        sys.stdout.flush()
        while await engine.count_executions(ExecutionFilter(status="RUNNING")):  # noqa: ASYNC110 -- storage has no event
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], **json.loads(sys.argv[2])))
