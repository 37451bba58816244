"""A worker process whose files may not grow: ``python disk_full.py URL LEDGER OPTIONS``.

It runs the batch while every file that it writes may grow by ``room`` bytes beyond the largest one. After ``seconds``
the limit is lifted, or the process dies on the spot.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from statechain import BatchExecutionOptions, Engine
from support.faults.ledger import Ledger
from support.faults.workload import SOURCES, TARGETS, make_tasks, select_sources

__all__ = ["DEATH"]

DEATH = 13


async def main(url: str, ledger: Ledger, *, room: int, seconds: float, dies: bool) -> None:
    async with Engine(url, tasks=make_tasks(ledger)) as engine:
        sources = await engine.create_state_machine("sources", SOURCES)
        targets = await engine.create_state_machine("targets", TARGETS)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (_largest(url) + room, hard))

        def end() -> None:
            if dies:
                os._exit(DEATH)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

        asyncio.get_running_loop().call_later(seconds, end)
        options = BatchExecutionOptions(name_prefix="chain", concurrent_batches=4)
        async with targets.stream_batch(select_sources(sources), options=options) as results:
            async for result in results:
                assert result.execution is not None
                ledger.ended(result.execution.id)


def _largest(url: str) -> int:
    """Return the size of the largest of the database's files."""
    database = Path(urlsplit(url).path.removeprefix("/"))
    return max(file.stat().st_size for file in database.parent.glob(f"{database.name}*") if file.is_file())


if __name__ == "__main__":
    options: dict[str, Any] = json.loads(sys.argv[3])
    asyncio.run(main(sys.argv[1], Ledger(Path(sys.argv[2])), **options))
