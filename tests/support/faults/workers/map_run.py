"""A worker process that shares distributed Maps, until one execution has ended.

``python map_run.py URL NOTES EXECUTION``: what it does is appended to the notes, a line at a time, with its process's
id: ``item VALUE`` where a handler begins, ``parent`` where it takes the execution of the Map up.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from statechain import Engine, TaskRegistry
from statechain.observers import ExecutionResumed, ExecutionStarted, Fact

__all__ = ["LEASE", "MACHINE", "WIDTH"]

LEASE = 1.5
SECONDS = 0.02
WIDTH = 12

MACHINE = {
    "StartAt": "Each",
    "States": {
        "Each": {
            "Type": "Map",
            "MaxConcurrency": WIDTH,
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "First",
                "States": {
                    "First": {"Type": "Task", "Resource": "Item", "ResultPath": None, "Next": "Then"},
                    "Then": {"Type": "Task", "Resource": "Item", "End": True},
                },
            },
            "End": True,
        }
    },
}


class Notes:
    """Lines that outlive the process: each is one write to a file that was opened to append."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, what: str) -> None:
        """Append a line."""
        os.write(self._descriptor, f"{os.getpid()} {what}\n".encode())

    def observe(self, fact: Fact) -> None:
        """Note that this process takes the Map's execution up."""
        if isinstance(fact, ExecutionStarted | ExecutionResumed) and fact.state_machine == "orders":
            self.add("parent")


async def main(url: str, notes: Notes, execution_id: str) -> None:
    """Serve until the execution has ended."""
    tasks = TaskRegistry()

    @tasks.register("Item")
    async def item(value: int) -> int:
        notes.add(f"item {value}")
        await asyncio.sleep(SECONDS)
        return value * 2

    async with Engine(url, tasks=tasks, lease=LEASE, map_runs="shared", observers=[notes]) as engine:
        await (await engine.get_handle(execution_id)).wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Notes(Path(sys.argv[2])), sys.argv[3]))
