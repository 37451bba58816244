"""What would hold the event loop for long, in a thread instead: long evaluations, and definitions of some size.

It begins in the event loop, since nearly all evaluations are short; one that goes past `STEPS_ON_LOOP` is given up and
made again in a thread. Python lets the loop run in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from statechain.asl.effort import TakesLong
from statechain.errors import StateError

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.execution.frame import Frame

__all__ = ["at_length", "evaluated", "loaded"]

T = TypeVar("T")

TEXT_ON_LOOP = 16 * 1024
"""Characters of a definition that are read and checked at once: a few hundredths of a second."""
PARTS_ON_LOOP = 500


async def at_length(frame: Frame, clock: Clock, make: Callable[[], T]) -> T:
    """Make an evaluation of a frame's visit in a thread. What it draws at random begins anew."""
    frame.draw_anew()
    # The thread is not ended by a cancellation, and need not be: an evaluation has no effect.
    with clock.hold():
        return await asyncio.to_thread(make)


async def evaluated(
    frame: Frame, clock: Clock, make: Callable[[], T], explain: Callable[[StateError], StateError]
) -> T:
    """Make an evaluation of a frame's visit here, or in a thread where it takes long; its error is explained."""
    try:
        try:
            return make()
        except TakesLong:
            return await at_length(frame, clock, make)
    except StateError as fault:
        raise explain(fault) from fault


async def loaded(definition: Mapping[str, Any] | str | Path, load: Callable[[], T]) -> T:
    """Read and check a definition here, or in a thread where it is large."""
    return await asyncio.to_thread(load) if _is_large(definition) else load()


def _is_large(definition: Mapping[str, Any] | str | Path) -> bool:
    """Return whether a definition takes long to read and check; a file is read in a thread of any size."""
    if isinstance(definition, str):
        return len(definition) > TEXT_ON_LOOP
    if isinstance(definition, Path):
        return True
    pending: list[object] = [definition]
    for _ in range(PARTS_ON_LOOP):
        if not pending:
            return False
        part = pending.pop()
        if isinstance(part, Mapping):
            pending.extend(part.values())
        elif isinstance(part, list | tuple):
            pending.extend(part)
        elif isinstance(part, str) and len(part) > TEXT_ON_LOOP:
            return True
        if len(pending) > PARTS_ON_LOOP:
            return True
    return bool(pending)
