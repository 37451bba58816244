"""A SQLite connection and the one thread that uses it; what SQLite refuses becomes the library's errors here.

A call is one hop to the thread, whatever it does there. A caller that is cancelled leaves the call to run to its end:
the connection is never interrupted, and stays fit for the next one.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

from statechain.errors import RepositoryError, RepositoryUnavailable

__all__ = ["Lane", "translated"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PASSING = {
    sqlite3.SQLITE_BUSY: "the database is locked by another connection",
    sqlite3.SQLITE_LOCKED: "a table is locked by another connection",
    sqlite3.SQLITE_PROTOCOL: "the database's lock could not be had",
    sqlite3.SQLITE_FULL: "the disk is full: make room",
    sqlite3.SQLITE_IOERR: "the file could not be read or written: look at the disk",
    sqlite3.SQLITE_NOMEM: "there was not enough memory",
}

LASTING = {
    sqlite3.SQLITE_CANTOPEN: "the file could not be opened: its folder must exist and be writable",
    sqlite3.SQLITE_READONLY: "the file is read-only: it, and its folder, must be writable",
    sqlite3.SQLITE_PERM: "access was denied: the file, and its folder, must be writable",
    sqlite3.SQLITE_AUTH: "access was denied",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database: check the URL",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it from a backup",
    sqlite3.SQLITE_TOOBIG: "a value is larger than SQLite takes",
    sqlite3.SQLITE_CONSTRAINT: "a row breaks a rule of the schema",
    sqlite3.SQLITE_ERROR: "a statement does not fit the schema: was it changed by hand?",
}

PRIMARY = 0xFF


@contextmanager
def translated() -> Iterator[None]:
    """Raise what SQLite refuses as RepositoryUnavailable where it may pass, else as RepositoryError."""
    try:
        yield
    except sqlite3.Error as fault:
        code = getattr(fault, "sqlite_errorcode", -1)
        name = getattr(fault, "sqlite_errorname", type(fault).__name__)
        if code & PRIMARY in PASSING and code != -1:
            raise RepositoryUnavailable(f"SQLite: {PASSING[code & PRIMARY]} ({name})") from fault
        reason = LASTING.get(code & PRIMARY, "the driver refused the call")
        raise RepositoryError(f"SQLite: {reason} ({name})") from fault
    except UnicodeEncodeError as fault:
        raise RepositoryError("SQLite: a text holds a lone surrogate, which UTF-8 has no form for") from fault


class Lane:
    """One connection, opened at its first use, in a thread of its own."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="statechain-sqlite")

    async def run(self, function: Callable[[sqlite3.Connection, *Ts], T], *args: *Ts) -> T:
        """Call a function with the connection, in its thread; from any event loop."""
        if self._is_closed:
            raise RepositoryError("the repository is not open: use it as an async context manager")
        with translated():
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, function, *args)

    def _call(self, function: Callable[[sqlite3.Connection, *Ts], T], *args: *Ts) -> T:
        if self._connection is None:
            self._connection = self._connect()
        return function(self._connection, *args)

    async def close(self) -> None:
        """Close the connection once the calls that wait are done, and end the thread."""
        self._is_closed = True
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        finally:
            self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
