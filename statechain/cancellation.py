"""Waits that a cancellation does not cut short: it goes on once they are over."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeVar

__all__ = ["linger", "outlast"]

T = TypeVar("T")


async def outlast(future: asyncio.Future[T]) -> T:
    """Await a future to its end whatever happens to the caller: a cancellation goes on only then."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await linger(future)
        raise


async def linger(future: asyncio.Future[T]) -> None:
    """Wait until a future is done, in whatever way, while a cancellation is under way: more of them change nothing."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([future])
