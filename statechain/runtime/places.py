"""How many executions run at once: each holds a place, and lends it while it waits for one that it started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

__all__ = ["UNGATED", "Place"]


class Place:
    """A place among the executions that run at once. Enter it to hold it; without a gate there is always one free."""

    __slots__ = ("_borrowers", "_gate", "_is_held")

    def __init__(self, gate: asyncio.Semaphore | None = None) -> None:
        self._gate = gate
        self._is_held = False
        self._borrowers = 0

    async def __aenter__(self) -> None:
        """Wait for a place."""
        if self._gate is not None:
            await self._gate.acquire()
            self._is_held = True

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave it."""
        self._let_go()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """Let another have the place while the body waits, so that a parent does not keep out its own child.

        A body that is cancelled goes on without one: nothing much is left to run.
        """
        self._borrowers += 1
        self._let_go()
        try:
            yield
        except asyncio.CancelledError:
            self._borrowers -= 1
            raise
        except BaseException:
            await self._take_back()
            raise
        await self._take_back()

    async def _take_back(self) -> None:
        self._borrowers -= 1
        if self._gate is not None and not self._borrowers and not self._is_held:
            await self._gate.acquire()
            self._is_held = True

    def _let_go(self) -> None:
        if self._gate is not None and self._is_held:
            self._is_held = False
            self._gate.release()


UNGATED = Place()
"""The place of all executions of a worker that runs any number at once."""
