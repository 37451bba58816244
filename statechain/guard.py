"""Where an engine, or a pool of connections, works: in the event loop that it was opened in, while it is open.

Futures, locks and sockets belong to one event loop. A call from another one, from another thread or from a fork would
wait for ever, or damage what the loop holds. So each public call asks a `Guard` first, and is refused with what to do.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import Callable
from typing import Any, Final, NoReturn, Protocol, TypeVar

from statechain.arguments import check_of
from statechain.errors import EngineNotUsable

__all__ = ["Guard", "guarded"]

T = TypeVar("T", bound="type[Guarded]")

NOWHERE: Final = object()
"""Compares unequal to every event loop, and to there being none."""


class Guard:
    """Knows where something was opened, and whether it still is.

    Arguments:
        what: What it is, such as ``"the engine"``.

        how: How to open another one, such as ``"async with Engine(...) as engine"``.
    """

    __slots__ = ("_how", "_loop", "_opened_in", "_pid", "_thread", "_what")

    def __init__(self, what: str, how: str) -> None:
        self._what = what
        self._how = how
        self._loop: object = NOWHERE
        self._opened_in: object = NOWHERE
        self._pid = 0
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Take note that it is open from now on, in the running event loop."""
        self._loop = self._opened_in = asyncio.get_running_loop()
        self._pid, self._thread = os.getpid(), threading.current_thread()

    def close(self) -> None:
        """Take note that it is closed."""
        # `_opened_in` stays, so that a later call learns that it was left, and not that it never was open.
        self._loop = NOWHERE

    def check(self) -> None:
        """Raise EngineNotUsable unless it is open, in the running event loop."""
        # One comparison for all: another thread, a fork and another `asyncio.run` each have another loop.
        if asyncio._get_running_loop() is not self._loop:  # noqa: SLF001 -- documented; cheap also where none runs
            raise EngineNotUsable(self._why())

    def check_place(self) -> None:
        """Raise EngineNotUsable where it was opened elsewhere; closing it, or reading what it left, needs no more."""
        if self._opened_in is not NOWHERE and asyncio._get_running_loop() is not self._opened_in:  # noqa: SLF001
            raise EngineNotUsable(self._why_elsewhere())

    def _why(self) -> str:
        if self._opened_in is NOWHERE:
            return f"{self._what} is not open: use it as an async context manager, as in `{self._how}`"
        # In a fork it is open nowhere, too, and what to do there is another thing.
        if self._loop is NOWHERE and os.getpid() == self._pid:
            return f"{self._what} is not open any more, it was left: make another one, as in `{self._how}`"
        return self._why_elsewhere()

    def _why_elsewhere(self) -> str:
        if os.getpid() != self._pid:
            return (
                f"{self._what} was opened in the process {self._pid}, and this is its fork {os.getpid()}: "
                f"make another one in each process, after the fork, as in `{self._how}`"
            )
        if self._thread is not None and self._thread is not threading.current_thread():
            return (
                f"{self._what} works in the event loop of the thread {self._thread.name!r}, and this is the thread "
                f"{threading.current_thread().name!r}: have the coroutine run there, by "
                f"asyncio.run_coroutine_threadsafe(coroutine, loop), or make another one here, as in `{self._how}`"
            )
        return (
            f"{self._what} was opened in another event loop, and works only there: use one event loop, such as one "
            f"asyncio.run(), or make another one in this, as in `{self._how}`"
        )


class Guarded(Protocol):
    """What `guarded` needs of a class."""

    guard: Guard


def guarded(*more: str) -> Callable[[T], T]:
    """Decorate a class: each public coroutine method and async generator, and ``more``, checks its guard first."""

    def decorate(cls: T) -> T:
        for name, method in tuple(vars(cls).items()):
            if inspect.iscoroutinefunction(method) and not name.startswith("_"):
                setattr(cls, name, _checked_coroutine(method))
            elif name in more or (inspect.isasyncgenfunction(method) and not name.startswith("_")):
                setattr(cls, name, _checked(method))
        # Pickling and copying would fail at a future or a lock deep inside, or copy half of an event loop.
        setattr(cls, "__reduce_ex__", _refuse_to_copy)  # noqa: B010 -- type checkers know another signature
        return cls

    return decorate


def _refuse_to_copy(self: object, _protocol: int) -> NoReturn:
    """Raise TypeError, as the ``__reduce_ex__`` of what belongs to an engine."""
    name = type(self).__name__
    raise TypeError(
        f"{name} cannot be pickled or copied, it belongs to an engine that is open in this process: pass ids, and make "
        f"an engine on the same storage where they are used"
    )


def _checked_coroutine(method: Callable[..., Any]) -> Callable[..., Any]:
    # Arguments are checked here, too: one coroutine for both, which lives as long as the call.
    check, plain = check_of(method)

    @functools.wraps(method)
    # The check is made when the call is awaited, in the loop that does.
    async def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        args[0].guard.check()
        if check is not None:
            check(args, kwargs)
        work = plain(*args, **kwargs)
        del args, kwargs  # a large input is not kept while the call goes on
        return await work

    return call


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Guarded, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        self.guard.check()
        return method(self, *args, **kwargs)

    return call
