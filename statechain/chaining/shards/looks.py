"""When a worker looks for shards: at once after each change, and at the latest when the next look is due."""

from __future__ import annotations

import asyncio
from contextlib import suppress

__all__ = ["Looks"]


class Looks:
    """The moments of the looks of one worker.

    Attributes:
        is_outdated: Whether the batches may have changed since they were read: then the next look reads them again.
    """

    def __init__(self) -> None:
        self.is_outdated = True
        self._changed = asyncio.Event()
        self._due_at = float("-inf")

    def wake(self) -> None:
        """Look at once, for the same batches as before."""
        self._changed.set()

    def read_again(self) -> None:
        """Look at once, and for other batches than at the look before, too."""
        self.is_outdated = True
        self._changed.set()

    def take_due(self, interval: float) -> bool:
        """Return whether a look is due, however many changes there were; the next one is due an interval later."""
        now = asyncio.get_running_loop().time()
        if now < self._due_at:
            return False
        self._due_at = now + interval
        return True

    async def wait(self) -> None:
        """Return at the next change, at the latest when the next look is due."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._due_at):
                await self._changed.wait()
        self._changed.clear()
