"""How an outage of storage is waited out: the same call again, after delays that grow and differ."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from statechain.errors import RepositoryUnavailable

__all__ = ["delays", "patiently"]

T = TypeVar("T")

FIRST_DELAY = 0.05
LONGEST_DELAY = 5.0


def delays() -> Iterator[float]:
    """Yield seconds to wait before the second try, the third, and so on, without end."""
    delay = FIRST_DELAY
    while True:
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, not a secret
        delay = min(delay * 2, LONGEST_DELAY)


async def patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Return what a read answers, however long storage is away; for what runs, to which an outage is a pause."""
    for delay in delays():
        try:
            return await read()
        except RepositoryUnavailable:
            await asyncio.sleep(delay)
    raise AssertionError("delays never end")
