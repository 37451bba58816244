"""Asking storage again: after delays that grow and differ, while it is away or has no answer yet."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from statechain.errors import RepositoryUnavailable

__all__ = ["backoff_delays", "polling_delays", "retry_while_unavailable"]

T = TypeVar("T")

FIRST_DELAY = 0.05
LONGEST_DELAY = 5.0
FIRST_POLL = 0.1
LONGEST_POLL = 0.5
# As a share of what was waited so far; after 25 s the longest poll is reached.
SHARE_WAITED = 0.02


def backoff_delays(first: float = FIRST_DELAY, longest: float = LONGEST_DELAY) -> Iterator[float]:
    """Yield seconds to wait before the second try, the third, and so on, without end."""
    delay = first
    while True:
        # Spread: many callers that met the same outage do not come back at the same moment.
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, not a secret
        delay = min(delay * 2, longest)


def polling_delays(first: float = FIRST_POLL, longest: float = LONGEST_POLL) -> Iterator[float]:
    """Yield seconds to wait before storage is asked again for what takes its time.

    They grow with the time waited so far, so that what is waited for is known soon, compared to how long it took.
    """
    waited = 0.0
    while True:
        delay = min(longest, max(first, SHARE_WAITED * waited))
        waited += delay
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, not a secret


async def retry_while_unavailable(read: Callable[[], Awaitable[T]]) -> T:
    """Return what a read answers, however long storage is away; for what runs, to which an outage is a pause."""
    pauses = backoff_delays()
    while True:
        try:
            return await read()
        except RepositoryUnavailable:
            await asyncio.sleep(next(pauses))
