"""The threads in which plain ``def`` handlers run: daemons of one engine, bounded in number.

A call is made in a slot. A slot is taken before the call's timeout begins to count, and is free again once the function
has returned: a call that timed out, or was cancelled, goes on in its thread, since no thread can be ended from outside.
Daemons do not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from statechain.clock import Clock

__all__ = ["HandlerThreads", "Slot", "lone_slot"]

logger = logging.getLogger(__name__)

_numbers = itertools.count(1)


@attrs.define(eq=False)
class _Call:
    """One call of a function in a thread; ``future`` is done, or cancelled, in the event loop."""

    name: str
    function: Callable[..., object]
    arguments: tuple[object, ...]
    future: asyncio.Future[object]
    loop: asyncio.AbstractEventLoop
    began: float = attrs.Factory(time.monotonic)
    context: contextvars.Context = attrs.Factory(contextvars.copy_context)
    result: object = None
    error: BaseException | None = None

    def perform(self) -> None:
        """Call the function, in the calling thread."""
        try:
            self.result = self.context.run(self.function, *self.arguments)
        except StopIteration as error:  # a future cannot hold it
            self.error = RuntimeError("the handler raised StopIteration")
            self.error.__cause__ = error
        except BaseException as error:  # noqa: BLE001 -- it is raised again where the call is awaited
            self.error = error

    def settle(self) -> None:
        """Hand over what the function returned or raised, where the call is still awaited."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class _Thread:
    """A daemon that performs one call after the other."""

    def __init__(self, returned: Callable[[_Thread, _Call], None]) -> None:
        self._returned = returned
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        threading.Thread(target=self._work, name=f"statechain handler {next(_numbers)}", daemon=True).start()

    def begin(self, call: _Call | None) -> None:
        """Perform a call; None ends the thread."""
        self._calls.put(call)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call.perform()
            try:
                # Futures and the semaphore belong to the loop's thread: they are settled there.
                call.loop.call_soon_threadsafe(self._returned, self, call)
            except RuntimeError:
                return  # the event loop is closed
            del call  # an idle thread keeps no payload alive


class Slot:
    """The right to make one call."""

    def __init__(self, threads: HandlerThreads) -> None:
        self._threads = threads
        self.is_used = False

    def call(self, name: str, function: Callable[..., object], *arguments: object) -> asyncio.Future[object]:
        """Call a function in a thread; cancelling the future leaves the call behind, in its slot."""
        self.is_used = True
        return self._threads._begin(name, function, arguments)  # noqa: SLF001 -- a slot is its threads' own part


def lone_slot(clock: Clock) -> Slot:
    """Return a slot for a call outside of any engine; its thread ends with the call."""
    threads = HandlerThreads(1, clock)
    threads.close()
    return Slot(threads)


class HandlerThreads:
    """Threads that are made when they are needed, and used again."""

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._gate = asyncio.Semaphore(most)
        self._idle: list[_Thread] = []
        self._running: set[_Call] = set()
        self._is_closed = False

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        """Wait until a call may be made; a slot in which none was made is free again at the end of the body."""
        if self._gate.locked():
            self._warn_of_left_behind()
        # To wait for a thread takes real time, over which a virtual clock must not skip.
        with self._clock.hold():
            await self._gate.acquire()
        slot = Slot(self)
        try:
            yield slot
        finally:
            # A call that is left behind keeps its slot: the thread is still taken.
            if not slot.is_used:
                self._gate.release()

    def _begin(self, name: str, function: Callable[..., object], arguments: tuple[Any, ...]) -> asyncio.Future[object]:
        loop = asyncio.get_running_loop()
        call = _Call(name, function, arguments, loop.create_future(), loop)
        thread = self._idle.pop() if self._idle else _Thread(self._returned)
        self._running.add(call)
        thread.begin(call)
        return call.future

    def _returned(self, thread: _Thread, call: _Call) -> None:
        self._running.discard(call)
        self._gate.release()
        call.settle()
        if self._is_closed:
            thread.begin(None)
        else:
            self._idle.append(thread)

    def _warn_of_left_behind(self) -> None:
        """Log that calls which nothing awaits any more keep others waiting."""
        # Done, and still running: it was left behind.
        names = sorted({call.name for call in self._running if call.future.done()})
        if names:
            logger.warning(
                "a handler waits for one of the %s threads: calls that timed out or were cancelled still run: %s",
                self._most,
                ", ".join(names),
            )

    def close(self) -> None:
        """End the idle threads, and log which calls still run: they end with the process at the latest."""
        self._is_closed = True
        for thread in self._idle:
            thread.begin(None)
        self._idle.clear()
        for call in self._running:
            logger.warning(
                "the handler %r still runs in a thread, %.1f seconds after it was called: its engine is left, and "
                "whatever it returns is not used",
                call.name,
                time.monotonic() - call.began,
            )
