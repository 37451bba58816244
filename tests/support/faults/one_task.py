"""The smallest machine with a handler, some handlers for it, and leaving an engine at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from statechain import TaskRegistry

__all__ = ["ONE_TASK", "Left", "answer", "hang", "tasks_of"]

ONE_TASK: dict[str, Any] = {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "Work", "End": True}}}


class Left(Exception):
    """Leaves an engine at once when it is raised inside it: what runs is interrupted, and stays RUNNING in storage."""


def tasks_of(work: Callable[..., Any] | None = None, **handlers: Callable[..., Any]) -> TaskRegistry:
    """Return a registry with a handler of ``Work``, or with handlers by their names."""
    tasks = TaskRegistry()
    for name, handler in {**({} if work is None else {"Work": work}), **handlers}.items():
        tasks.add(name, handler)
    return tasks


async def answer(_value: object) -> str:
    return "well"


async def hang(_value: object) -> None:
    await asyncio.Event().wait()
