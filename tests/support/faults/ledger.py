"""What handlers did, as a file outlives every process that wrote it: one line a call, in the order of the calls.

A line is appended by one `write` to a file opened with O_APPEND, so that neither a kill nor another process can cut or
reorder it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from statechain import TaskContext

__all__ = ["Call", "Ledger"]


@attrs.frozen
class Call:
    """One line of the ledger.

    Attributes:
        kind: ``"call"`` where a handler began, ``"ended"`` where a caller learned of an execution's end.

        execution: The execution's id.

        frame: The path of its line of control.

        number: The number of the visit; with the two above it is the visit's key.

        attempt: Which attempt of the visit it was.

        process: The id of the process.
    """

    kind: str
    execution: str
    frame: str = ""
    number: int = 0
    attempt: int = 0
    process: int = attrs.field(factory=os.getpid)

    @property
    def attempted(self) -> tuple[str, str, int, int]:
        """What may be done again only after a crash."""
        return self.execution, self.frame, self.number, self.attempt


class Ledger:
    """The ledger in one file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def call(self, context: TaskContext) -> None:
        """Note that a handler begins."""
        execution, _, place = context.idempotency_key.partition("/")
        frame, _, number = place.rpartition("/")
        self._append(Call("call", execution, frame, int(number), context.attempt))

    def ended(self, execution_id: str) -> None:
        """Note that a caller learned of an execution's end."""
        self._append(Call("ended", execution_id))

    def clear(self) -> None:
        """Forget all."""
        os.ftruncate(self._descriptor, 0)

    def _append(self, call: Call) -> None:
        os.write(self._descriptor, json.dumps(attrs.astuple(call)).encode() + b"\n")

    def __len__(self) -> int:
        return self.file.read_bytes().count(b"\n")

    def __iter__(self) -> Iterator[Call]:
        for line in self.file.read_text().splitlines():
            yield Call(*json.loads(line))
