"""Worker slots: each execution that runs holds one, and yields it while it waits for a child execution."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

__all__ = ["UNLIMITED", "Slot"]


class Slot:
    """A place among the executions that run at once. Enter it to hold it; without a gate there is always one free."""

    __slots__ = ("_gate", "_is_held", "_lock", "_yields")

    def __init__(self, gate: asyncio.Semaphore | None = None) -> None:
        self._gate = gate
        self._is_held = False
        self._yields = 0
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        """Wait for a place."""
        if self._gate is not None:
            await self._gate.acquire()
            self._is_held = True

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave it."""
        self._release()

    @asynccontextmanager
    async def yielded(self) -> AsyncIterator[None]:
        """Let another have the place while the body waits, so that a parent does not keep out its own child.

        A body that is cancelled goes on without one; the next one that runs takes it back.
        """
        self._yields += 1
        self._release()
        try:
            yield
        # Not taken back here: to wait for a slot would hold up the cancellation.
        except asyncio.CancelledError:
            self._yields -= 1
            raise
        except BaseException:
            self._yields -= 1
            await self.reacquire()
            raise
        self._yields -= 1
        await self.reacquire()

    async def reacquire(self) -> None:
        """Hold the place again, unless another line of control of the execution has it lent: then that one does."""
        if self._gate is None:
            return
        async with self._lock:  # of two that come at once one takes it, and the other finds it held
            if self._yields or self._is_held:
                return
            await self._gate.acquire()
            if self._yields:  # lent meanwhile, by one that had nothing to release
                self._gate.release()
            else:
                self._is_held = True

    def _release(self) -> None:
        if self._gate is not None and self._is_held:
            self._is_held = False
            self._gate.release()


UNLIMITED = Slot()
"""The place of all executions of a worker that runs any number at once."""
