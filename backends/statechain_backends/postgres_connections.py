"""A pool of connections, of which the one used last stays at hand.

Taking a connection from asyncpg's pool and giving it back costs more than the statement of a small commit: a task, a
shield and three turns of the event loop. So the last one is lent again as it is.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from statechain.errors import RepositoryError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Connection", "Connections"]

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

CLOSING_PATIENCE = 5.0


class Connections:
    """Opens, lends and closes connections."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._pool: Pool | None = None
        self._at_hand: Connection | None = None
        self._waiting = 0

    async def open(self) -> None:
        """Make the pool; it connects when a connection is asked for."""
        self._pool = await asyncpg.create_pool(**self._settings, reset=_keep)

    async def close(self) -> None:
        """Close all connections; a server that does not answer keeps nobody from leaving."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CLOSING_PATIENCE):
                if self._at_hand is not None:
                    await pool.release(self._at_hand)
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()
        finally:
            self._at_hand = None

    def lend(self) -> Loan:
        """Lend a connection for the body of an ``async with``."""
        return Loan(self)

    async def take(self) -> Connection:
        """Return the connection at hand where it lives, else one of the pool's. Raises RepositoryError if closed."""
        if self._pool is None:
            raise RepositoryError("the repository is not open: use it as an async context manager")
        connection, self._at_hand = self._at_hand, None
        if connection is not None and not connection.is_closed():
            return connection
        self._waiting += 1
        try:
            if connection is not None:
                await self._pool.release(connection)
            return await self._pool.acquire()
        finally:
            self._waiting -= 1

    async def give_back(self, connection: Connection, *, is_sound: bool) -> None:
        """Keep a connection at hand, or give it back to the pool where others wait; it drops one that is closed."""
        if is_sound and self._at_hand is None and not self._waiting and self._pool is not None:
            self._at_hand = connection
        elif self._pool is not None:
            await self._pool.release(connection)


class Loan:
    """A connection for the body; one to a server that takes no writes is lent to nobody again."""

    __slots__ = ("_connection", "_connections")

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def __aenter__(self) -> Connection:
        self._connection = await self._connections.take()
        return self._connection

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc, asyncpg.ReadOnlySQLTransactionError):
            self._connection.terminate()  # the next connection may find the server that took over
        await self._connections.give_back(self._connection, is_sound=exc is None)


async def _keep(_connection: object) -> None:
    """Leave a connection as it is: statements here change nothing of the session, and the reset costs a round trip."""
