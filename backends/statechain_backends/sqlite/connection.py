"""A connection to a SQLite database with its own thread, in which whole functions run one after the other.

A commit of a group is many statements. They run in one function, so that the event loop waits for one hop to the
thread and back, however many they are.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Generic, TypeAlias, TypeVar, TypeVarTuple

from statechain.errors import RepositoryError
from statechain_backends.sqlite.errors import translated

__all__ = ["ConnectionThread"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Calls: TypeAlias = "SimpleQueue[Callable[[sqlite3.Connection], None] | None]"
"""What the thread is to run; None ends it."""


class ConnectionThread:
    """A connection and its thread, between `open` and `close`.

    Arguments:
        connect: Opens the connection; runs in the thread.

        check: Runs in the thread after each function that returned; what it raises replaces the function's result.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], check: Callable[[], None] | None = None) -> None:
        self._connect = connect
        self._check = check
        self._calls: Calls | None = None
        self._lock = Lock()  # nothing is queued behind the None that ends the thread: it would never be answered

    async def open(self) -> None:
        """Start the thread and connect in it; raise RepositoryError where that fails."""
        calls: Calls = SimpleQueue()
        opened: _Reply[None] = _Reply()
        # A daemon: a process may end although a repository was not closed. SQLite rolls back what was not committed.
        Thread(target=self._serve, args=(calls, opened), name="statechain sqlite", daemon=True).start()
        with translated():
            await opened.future
        self._calls = calls

    async def close(self) -> None:
        """Close the connection after the functions that are queued, and end the thread."""
        closed: _Reply[None] = _Reply()
        with self._lock:
            if (calls := self._calls) is None:
                return
            self._calls = None
            calls.put(lambda connection: closed.call(connection.close))
            calls.put(None)
        with translated():
            await closed.future

    def check_open(self) -> None:
        """Raise RepositoryError where the connection is not open."""
        self._opened()

    async def run(self, function: Callable[[sqlite3.Connection, *Ts], T], *args: *Ts) -> T:
        """Call a function with the connection, in its thread, and return its result.

        May be awaited in any thread and event loop. Where the caller is cancelled, the function runs to its end.
        """
        reply: _Reply[T] = _Reply()
        with self._lock:
            self._opened().put(lambda connection: reply.call(self._run, connection, function, *args))
        with translated():
            return await reply.future

    def _opened(self) -> Calls:
        if self._calls is None:
            raise RepositoryError("the repository is not open: use it as an async context manager")
        return self._calls

    def _run(self, connection: sqlite3.Connection, function: Callable[[sqlite3.Connection, *Ts], T], *args: *Ts) -> T:
        result = function(connection, *args)
        if self._check is not None:
            self._check()
        return result

    def _serve(self, calls: Calls, opened: _Reply[None]) -> None:
        """Connect, and run what is queued: the thread's function."""
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001 -- raised where the opening is awaited
            opened.fail(error)
            return
        opened.succeed(None)
        while (call := calls.get()) is not None:
            call(connection)


class _Reply(Generic[T]):
    """What a function returns or raises in another thread, to be awaited in the event loop where this was made."""

    __slots__ = ("_loop", "future")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()

    def call(self, function: Callable[[*Ts], T], *args: *Ts) -> None:
        """Call a function in this thread, and reply with what it returns or raises."""
        try:
            result = function(*args)
        except BaseException as error:  # noqa: BLE001 -- raised where the reply is awaited
            self.fail(error)
        else:
            self.succeed(result)

    def succeed(self, result: T) -> None:
        self._post(self._set_result, result)

    def fail(self, error: BaseException) -> None:
        self._post(self._set_exception, error)

    def _post(self, deliver: Callable[[*Ts], None], *args: *Ts) -> None:
        with suppress(RuntimeError):  # the event loop is closed: nothing there awaits the reply any more
            self._loop.call_soon_threadsafe(deliver, *args)

    def _set_result(self, result: T) -> None:
        if not self.future.done():  # else its caller was cancelled
            self.future.set_result(result)

    def _set_exception(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)
