"""What an adapter connects to, opened at its first use: a dispatcher is made while its server may be away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Generic, TypeVar

__all__ = ["OpenedOnUse"]

T = TypeVar("T")


class OpenedOnUse(Generic[T]):
    """A resource that the first of its users opens while the others wait; one that failed to open is tried again.

    Arguments:
        make: Returns the resource's context manager, which is entered by `get` and left by `close`.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._make = make
        self._lock = asyncio.Lock()
        self._opened: tuple[T, AsyncExitStack] | None = None

    async def get(self) -> T:
        """Return the resource, opened where it is not open."""
        async with self._lock:
            if self._opened is None:
                async with AsyncExitStack() as stack:
                    resource = await stack.enter_async_context(self._make())
                    # Kept once it is open: a failure leaves the stack closed and the resource to the next caller.
                    self._opened = resource, stack.pop_all()
            return self._opened[0]

    async def close(self) -> None:
        """Close the resource where it is open; the next use opens it again."""
        async with self._lock:
            if self._opened is not None:
                (_, stack), self._opened = self._opened, None
                await stack.aclose()
