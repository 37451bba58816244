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
        at_hand, self._at_hand = self._at_hand, None
        try:
            async with asyncio.timeout(CLOSING_PATIENCE):
                if at_hand is not None:
                    await pool.release(at_hand)
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()
        except BaseException:
            pool.terminate()
            raise

    def lend(self) -> Loan:
        """Lend a connection for the body of an ``async with``. Raises RepositoryError where the pool is closed."""
        if self._pool is None:
            raise RepositoryError("the repository is not open: use it as an async context manager")
        return Loan(self, self._pool)

    async def take(self, pool: Pool) -> Connection:
        """Return the connection at hand where it lives, else one of the pool's."""
        connection, self._at_hand = self._at_hand, None
        if connection is not None and not connection.is_closed():
            return connection
        self._waiting += 1
        try:
            if connection is not None:
                await pool.release(connection)
            return await pool.acquire()
        finally:
            self._waiting -= 1

    async def give_back(self, pool: Pool, connection: Connection, *, is_sound: bool) -> None:
        """Keep a connection at hand, or give it back to its pool: where others wait for one, or the pool is closing."""
        if is_sound and self._at_hand is None and not self._waiting and self._pool is pool:
            self._at_hand = connection
        else:
            await pool.release(connection)


class Loan:
    """A connection for the body; one to a server that takes no writes is lent to nobody again."""

    __slots__ = ("_connection", "_connections", "_pool")

    def __init__(self, connections: Connections, pool: Pool) -> None:
        self._connections = connections
        self._pool = pool

    async def __aenter__(self) -> Connection:
        self._connection = await self._connections.take(self._pool)
        return self._connection

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc, asyncpg.ReadOnlySQLTransactionError):
            self._connection.terminate()  # the next connection may find the server that took over
        await self._connections.give_back(self._pool, self._connection, is_sound=exc is None)


async def _keep(_connection: object) -> None:
    """Leave a connection as it is: statements here change nothing of the session, and the reset costs a round trip."""
