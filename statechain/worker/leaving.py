"""Waiting for the executions of an engine that is being left, with log messages that say what it waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

__all__ = ["wait_and_log"]

logger = logging.getLogger(__name__)

FIRST_REMINDER = 5.0
LONGEST_PAUSE = 60.0
MOST_NAMES = 5


async def wait_and_log(
    engine: asyncio.Task[None], waited_for: Callable[[], Sequence[str]], *, first_reminder: float = FIRST_REMINDER
) -> None:
    """Return once an engine's task has ended; log the names of what it waits for, now and then.

    The first message is logged at once, on level INFO. Reminders are warnings: a process that does not exit has to say
    why without any configuration of logging.
    """
    clock = asyncio.get_running_loop().time
    began, pause, level = clock(), first_reminder, logging.INFO
    while not engine.done():
        names = waited_for()
        if names:
            logger.log(level, "leaving the engine: waiting for %s%s", _listed(names), _since(clock() - began))
        await asyncio.wait([engine], timeout=pause)
        if level == logging.WARNING:
            pause = min(2 * pause, LONGEST_PAUSE)
        level = logging.WARNING


def _listed(names: Sequence[str]) -> str:
    """Return how many executions there are, and the names of the first few."""
    shown, more = ", ".join(names[:MOST_NAMES]), len(names) - MOST_NAMES
    count = "1 execution" if len(names) == 1 else f"{len(names)} executions"
    return f"{count}: {shown}" + (f" and {more} more" if more > 0 else "")


def _since(seconds: float) -> str:
    return f" (for {seconds:.0f} s)" if seconds >= 1 else ""
