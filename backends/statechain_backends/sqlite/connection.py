"""SQLAlchemy's async engines on aiosqlite, and what runs in the thread of one of their connections in one hop.

The engine owns the connections; a lane is one of them, lent. Going through the engine for each statement would cost
many hops, so that a lane hands whole functions to the driver's connection below it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, TypeVarTuple, cast

from sqlalchemy import URL, AsyncAdaptedQueuePool, StaticPool, event
from sqlalchemy.ext.asyncio import create_async_engine

from statechain.errors import RepositoryError
from statechain_backends.sqlite.errors import translated

if TYPE_CHECKING:
    from types import TracebackType

    import aiosqlite
    from sqlalchemy import AdaptedConnection, Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["Lane", "make_engine"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def make_engine(
    database: Path | None, prepare: Callable[[sqlite3.Connection], None], *, connections: int, patience: float
) -> AsyncEngine:
    """Return an engine on a file, or on a private database in memory, which has but one connection.

    Args:
        database: The file; None: in memory.
        prepare: Sets up a new connection, in its thread.
        connections: How many there are at most.
        patience: How long a connection waits for another one's lock, and a caller for a connection, in seconds.
    """
    sizes = {"pool_size": connections, "max_overflow": 0, "pool_timeout": patience, "pool_use_lifo": True}
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=None if database is None else str(database)),
        connect_args={"timeout": patience, "cached_statements": 200},
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",  # transactions begin where `sqlite_writes` says so
        poolclass=StaticPool if database is None else AsyncAdaptedQueuePool,
        pool_reset_on_return=None,  # each call ends its own transaction, and to make sure costs a hop
        **({} if database is None else sizes),
    )

    def set_up(adapted: AdaptedConnection, _record: object) -> None:
        try:
            adapted.run_async(lambda driver: _hop(driver, prepare))
        except BaseException:
            adapted.run_async(lambda driver: driver.close())
            raise

    event.listen(engine.sync_engine, "connect", set_up)
    return engine


class Lane:
    """A connection of an engine while it is entered: functions run in its thread, one after the other."""

    def __init__(self, engine: AsyncEngine, check: Callable[[], None] | None = None) -> None:
        self._engine = engine
        self._check = check  # is called in the thread after each function
        self._lent: tuple[aiosqlite.Connection, AsyncConnection] | None = None

    async def __aenter__(self) -> Self:
        """Borrow a connection; not to be cancelled, or one that is being opened may be lost."""
        with translated():
            connection = await self._engine.connect()
            pooled = await connection.get_raw_connection()
        self._lent = cast("aiosqlite.Connection", pooled.driver_connection), connection
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the connection back."""
        lent, self._lent = self._lent, None
        if lent is not None:
            with translated():
                await lent[1].close()

    def check_open(self) -> tuple[aiosqlite.Connection, AsyncConnection]:
        """Return the driver's connection and SQLAlchemy's; raise RepositoryError where none is borrowed."""
        if self._lent is None:
            raise RepositoryError("the repository is not open: use it as an async context manager")
        return self._lent

    async def run(self, function: Callable[[sqlite3.Connection, *Ts], T], *args: *Ts) -> T:
        """Call a function with the driver's connection, in its thread; from any thread and event loop.

        A caller that is cancelled leaves the call to run to its end.
        """
        driver, _ = self.check_open()
        with translated():
            if self._check is None:
                return await _hop(driver, function, *args)
            return await _hop(driver, self._run_checked, function, *args)

    def _run_checked(
        self, connection: sqlite3.Connection, function: Callable[[sqlite3.Connection, *Ts], T], *args: *Ts
    ) -> T:
        result = function(connection, *args)
        cast("Callable[[], None]", self._check)()
        return result

    async def run_sync(self, function: Callable[[Connection], T]) -> T:
        """Call a function with SQLAlchemy's connection, in this thread, each statement a hop."""
        _, connection = self.check_open()
        with translated():
            return await connection.run_sync(function)


async def _hop(driver: aiosqlite.Connection, function: Callable[[sqlite3.Connection, *Ts], T], *args: *Ts) -> T:
    """Call a function in the connection's thread.

    aiosqlite has no public way to run more than a statement in one hop; the version is pinned for this.
    """
    connection = driver._conn  # noqa: SLF001

    def call() -> T:  # no partial: aiosqlite would log it with its arguments, and payloads are nobody's business
        return function(connection, *args)

    execute = cast("Any", driver._execute)  # noqa: SLF001
    return cast("T", await execute(call))
