"""The facts that a running engine tells, and who may listen.

Observers are told after the fact is durable; they cannot change what happens, and must return at once.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import attrs

from statechain.records import Execution

__all__ = ["ExecutionEnded", "ExecutionStarted", "Fact", "JournalFlushed", "Observer"]


@attrs.frozen
class ExecutionStarted:
    """An execution was recorded as started, redriven or resumed by this engine."""

    execution: Execution


@attrs.frozen
class ExecutionEnded:
    """An execution was recorded as ended by this engine."""

    execution: Execution


@attrs.frozen
class JournalFlushed:
    """The journal committed a group of writes.

    Attributes:
        writes: How many writes the commit served.

        seconds: How long it took, retries included.
    """

    writes: int
    seconds: float


Fact: TypeAlias = ExecutionStarted | ExecutionEnded | JournalFlushed


class Observer(Protocol):
    """Whoever wants to be told."""

    def observe(self, fact: Fact) -> None:
        """Take note of a fact; called from the event loop, so it must not block."""
