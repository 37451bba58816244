"""A worker process that shares distributed Maps, until one execution has ended.

What it does is appended to the notes, a line at a time, with its process's id: ``item VALUE`` where a handler begins,
``parent`` where it takes the execution of the Map up.
"""

from __future__ import annotations

import asyncio
import os
from multiprocessing.process import BaseProcess
from pathlib import Path

from statechain import Engine, TaskRegistry
from statechain.observers import ExecutionResumed, ExecutionStarted, Fact
from support.forked import start

__all__ = ["LEASE", "MACHINE", "WIDTH", "spawn"]

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


def spawn(url: str, notes: Path, execution_id: str, log: Path) -> BaseProcess:
    """Start a worker; what it prints is added to the log."""
    return start(_work, url, notes, execution_id, stdout=log, stderr=log, folder=log.parent)


def _work(url: str, notes: Path, execution_id: str) -> None:
    asyncio.run(_serve(url, Notes(notes), execution_id))


async def _serve(url: str, notes: Notes, execution_id: str) -> None:
    """Serve until the execution has ended."""
    tasks = TaskRegistry()

    @tasks.register("Item")
    async def item(value: int) -> int:
        notes.add(f"item {value}")
        await asyncio.sleep(SECONDS)
        return value * 2

    async with Engine(url, tasks=tasks, lease=LEASE, map_runs="shared", observers=[notes]) as engine:
        await (await engine.get_handle(execution_id)).wait()
