"""Moments of virtual time, and waiting for one that never comes."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from statechain.clock import Timeout

START = datetime(2025, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def at(seconds: float) -> datetime:
    """Return the moment this many seconds after the start."""
    return START + timedelta(seconds=seconds)


async def hang(*timeouts: Timeout) -> None:
    """Wait for ever under the timeouts, the first outermost."""
    async with AsyncExitStack() as stack:
        for timeout in timeouts:
            await stack.enter_async_context(timeout)
        await asyncio.Event().wait()
