"""A worker whose handlers note in a file when they begin and end: ``python limited.py URL FILE LEASE``.

A line is appended by one `write`, so that the order of the lines is that of the calls over all processes. It says
``begin`` or ``end``, the process, the execution's key, and the time of the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from statechain import Engine, TaskRegistry

__all__ = ["Notes", "Totals"]


class Notes:
    """The file that all processes append to."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, kind: str, process: int, key: str | None = None) -> None:
        """Append a line."""
        os.write(self._descriptor, json.dumps([kind, process, key, time.monotonic()]).encode() + b"\n")

    def __iter__(self) -> Iterator[tuple[str, int, str | None, float]]:
        for line in self.file.read_text().splitlines():
            kind, process, key, at = json.loads(line)
            yield kind, process, key, at


@attrs.frozen
class Totals:
    """What the notes add up to.

    Attributes:
        most: How many calls ran at once, at most.

        most_per_key: How many with one key, at most.

        begun: When each call began.
    """

    most: int
    most_per_key: int
    begun: list[float]

    @classmethod
    def of(cls, notes: Notes) -> Totals:
        """Add the notes up; a process that was killed runs nothing any more."""
        running: list[tuple[int, str | None]] = []
        begun: list[float] = []
        most = most_per_key = 0
        for kind, process, key, at in notes:
            if kind == "begin":
                running.append((process, key))
                begun.append(at)
                most = max(most, len(running))
                if key is not None:
                    most_per_key = max(most_per_key, sum(other == key for _, other in running))
            elif kind == "end":
                running.remove((process, key))
            else:
                running = [each for each in running if each[0] != process]
        return cls(most, most_per_key, begun)


async def main(url: str, file: str, lease: float) -> None:
    notes, tasks, process = Notes(Path(file)), TaskRegistry(), os.getpid()

    @tasks.register("Work")
    async def work(value: dict[str, Any]) -> int:
        notes.note("begin", process, value["key"])
        await asyncio.sleep(value["seconds"])
        notes.note("end", process, value["key"])
        return int(value["number"])

    async with Engine(url, tasks=tasks, lease=lease):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
