"""Waits that a cancellation does not interrupt at once: it goes on once they are over, or after a grace."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeVar

__all__ = ["GRACE", "await_shielded", "wait_ignoring_cancellation"]

T = TypeVar("T")

GRACE = 1.0
"""Seconds for which a cancelled caller of the library waits for a write that is under way, and no longer."""


async def await_shielded(future: asyncio.Future[T], grace: float | None = None) -> T:
    """Await a future to its end even if the caller is cancelled: a cancellation goes on only then.

    With a grace it goes on after that many seconds at the latest; the future's owner then sees to its end.
    """
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError as cancelled:
        await wait_ignoring_cancellation(future, grace)
        if future.done() and not future.cancelled():
            # Nothing else asks for it: asyncio would log that it was never retrieved.
            cancelled.__cause__ = future.exception()
        raise


async def wait_ignoring_cancellation(future: asyncio.Future[T], grace: float | None = None) -> None:
    """Wait until a future is done, or that many seconds have passed, while a cancellation is under way.

    More cancellations change nothing.
    """
    loop = asyncio.get_running_loop()
    until = None if grace is None else loop.time() + grace
    while not future.done():
        left = None if until is None else until - loop.time()
        if left is not None and left <= 0:
            return
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([future], timeout=left)
