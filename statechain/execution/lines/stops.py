"""Where a line stops, and what waits for that: a task, or what goes on without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol, TypeVar

__all__ = ["Exit", "Stop", "Taker"]

LineT_contra = TypeVar("LineT_contra", contravariant=True)


class Exit(Enum):
    """Where a line stopped."""

    DONE = auto()
    """The line of control has ended; the root with the end of its execution written, where `Run.end` has it."""

    BEFORE = auto()
    """Before a state: its visit has not begun."""

    BEGUN = auto()
    """In a visit that has begun, and in which nothing has happened yet."""

    RETURNED = auto()
    """In a visit whose handler has returned, and which could not be left; or which has failed: `Line.result` says."""


class Taker(Protocol[LineT_contra]):
    """What goes on once a line has stopped that no task awaits."""

    def take_stopped(self, line: LineT_contra, /) -> None:
        """Take the line: it has ended, or a task has to go on with it."""


class Stop(asyncio.Future[None]):
    """What a task awaits until a line has stopped; a cancellation is the line's.

    A future that refuses it makes asyncio raise the cancellation in the task as soon as it is woken.
    """

    def __init__(self, cancel_line: Callable[[], bool]) -> None:
        super().__init__()
        self._cancel_line = cancel_line

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002
        """Cancel the line, which may refuse."""
        return self._cancel_line()

    def raise_cancelled(self) -> None:
        """Cancel the wait."""
        super().cancel()
