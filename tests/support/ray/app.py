"""What the actors of the Ray tests import: an engine with a handler, on the storage that the environment names."""

from __future__ import annotations

import os

from statechain import Engine, TaskRegistry

__all__ = ["make_engine"]

tasks = TaskRegistry()


@tasks.register("Call")
async def call(value: int) -> int:
    """Double a number; once, in a process that finds no file at ``KILL_ONCE``, die instead."""
    once = os.environ["KILL_ONCE"]
    if value == 7 and not os.path.exists(once):  # noqa: PTH110, ASYNC240 -- a file of the test
        os.mkdir(once)  # noqa: PTH102
        os._exit(9)
    return value * 2


def make_engine() -> Engine:
    """Return a worker's engine."""
    return Engine(os.environ["STORAGE_URL"], tasks=tasks, lease=2)
