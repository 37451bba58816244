"""How many calls run at once over all processes, by a file that outlives each of them: begins, ends and signals.

A line is appended by one `write` to a file opened with O_APPEND, so that neither a kill nor another process can cut or
reorder it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

__all__ = ["WidthLedger"]


class WidthLedger:
    """The ledger in one file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, what: str, process: int, value: int = 0) -> None:
        """Note that a call of a value ``begins`` or ``ends`` in a process, or that the process is ``struck``."""
        os.write(self._descriptor, f"{what} {process} {value}\n".encode())

    def lines(self) -> Iterator[tuple[str, int, int]]:
        """Yield the lines: what, process, value."""
        for line in self._file.read_text().splitlines():
            what, process, value = line.split()
            yield what, int(process), int(value)

    def begun(self) -> list[int]:
        """Return the values of all calls, in order."""
        return [value for what, _, value in self.lines() if what == "begins"]

    def last_processes(self, count: int = 20) -> list[int]:
        """Return the processes of the last calls that began."""
        return [process for what, process, _ in self.lines() if what == "begins"][-count:]

    def width(self) -> int:
        """Return the most calls that ran at once.

        A process that was struck counts no more: killed, it runs nothing; stopped past its lease, it may begin what it
        had read before, until it notices.
        """
        running: Counter[int] = Counter()
        struck: set[int] = set()
        most = 0
        for what, process, _ in self.lines():
            if what == "struck":
                struck.add(process)
                del running[process]
            elif process not in struck:
                running[process] += 1 if what == "begins" else -1
            most = max(most, running.total())
        return most
