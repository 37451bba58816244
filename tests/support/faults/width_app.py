"""What worker processes import, `statechain worker` and Ray's actors alike: a handler that notes when it runs.

The storage, the ledger and the times are in the environment, as a JSON object in ``WIDTH_APP``.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from statechain import Engine, TaskRegistry
from support.faults.width_ledger import WidthLedger

__all__ = ["make_engine", "tasks"]

SETTINGS = json.loads(os.environ["WIDTH_APP"])
ledger = WidthLedger(Path(SETTINGS["ledger"]))
tasks = TaskRegistry()


@tasks.register("Call")
async def call(value: int) -> int:
    """Double a number, in a while."""
    ledger.write("begins", os.getpid(), value)
    await asyncio.sleep(SETTINGS["seconds"])
    ledger.write("ends", os.getpid(), value)
    return value * 2


def make_engine() -> Engine:
    """Return a worker's engine."""
    return Engine(SETTINGS["url"], tasks=tasks, lease=SETTINGS["lease"])
