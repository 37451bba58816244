"""A worker process whose handler kills it: ``python poisoned.py URL``.

It starts the execution, unless it is there already, and exits with 0 once the execution has ended, however it did.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta

from statechain import Engine, TaskRegistry
from statechain.limits import Limits

__all__ = ["DEADLY", "DEATH", "LIMITS"]

DEADLY = {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "Work", "End": True}}}
DEATH = 13
"""What the process exits with when its handler ends it."""

LIMITS = Limits(claims=2, suspect_seconds=0.2, suspect_backoff_seconds=0.05, suspect_backoff_longest_seconds=0.2)


async def main(url: str) -> None:
    tasks = TaskRegistry()
    tasks.add("Work", lambda _value: os._exit(DEATH))
    async with Engine(url, tasks=tasks, lease=timedelta(seconds=0.5), limits=LIMITS) as engine:
        machine = await engine.create_state_machine("deadly", DEADLY)
        handle = await machine.start_execution(name="poisoned")
        await handle.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
