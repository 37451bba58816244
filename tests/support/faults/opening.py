"""Processes that open one storage at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from statechain import open_repository
from support.forked import start

__all__ = ["open_in_processes"]


def open_in_processes(url: str, count: int, folder: Path) -> list[str]:
    """Open a storage in processes that begin at once; return the messages of those that failed."""
    prints = [folder / f"opening-{number}" for number in range(count)]
    processes = [start(_open, url, stdout=file, stderr=file, folder=folder) for file in prints]
    for process in processes:
        process.join(100)
        if process.exitcode is None:
            process.kill()
            process.join()
    return [file.read_text() for process, file in zip(processes, prints, strict=True) if process.exitcode]


def _open(url: str) -> None:
    asyncio.run(_look(url))


async def _look(url: str) -> None:
    async with open_repository(url) as repository:
        assert await repository.state_machines() == []
