"""A pool of connections, of which the one used last is kept outside it for the next caller.

Taking a connection from asyncpg's pool and giving it back costs more than the statement of a small commit: a task, a
shield and three turns of the event loop. So the last one is lent again as it is.

A server that accepts connections and never answers must keep nothing waiting for longer than its bound: what is
cancelled, or times out, does not wait for the server's word.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from statechain.errors import RepositoryError
from statechain.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Connection", "Connections"]

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

BEGIN = "BEGIN"

CLOSING_PATIENCE = 2.0
"""Seconds that the server has to take note that connections are closed."""

CANCELLING_PATIENCE = 1.0
"""Seconds that the server has to end a statement whose caller is gone; then its connection is cut."""


class Connections:
    """Opens, hands out and closes connections."""

    def __init__(self) -> None:
        self._guard = Guard("the repository", "async with open_repository(url) as repository:")
        self._pool: Pool | None = None
        self._kept: Connection | None = None
        self._waiting = 0
        self.begin = BEGIN

    async def open(self, settings: Mapping[str, Any], begin: str) -> None:
        """Make the pool; it connects when a connection is asked for.

        Arguments:
            settings: The arguments of `asyncpg.create_pool`.
            begin: What begins a transaction: ``BEGIN``, or more where a session keeps nothing from one to the next.
        """
        self._guard.open()
        self.begin = begin
        self._pool = await asyncpg.create_pool(**settings, reset=_keep)

    async def close(self) -> None:
        """Close all connections; where the server does not answer, cut them."""
        self._guard.check_place()
        pool, self._pool = self._pool, None
        if pool is None:
            return
        kept, self._kept = self._kept, None
        try:
            async with asyncio.timeout(CLOSING_PATIENCE):
                if kept is not None:
                    await pool.release(kept)
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()
        except BaseException:
            pool.terminate()
            raise

    def cut(self) -> None:
        """End all connections at once, without a word to the server; nothing where they are closed."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    def lend(self) -> Loan:
        """Lend a connection for the body of an ``async with``.

        Raises RepositoryError where the pool is closed, EngineNotUsable in another event loop than the pool's.
        """
        return Loan(self, self._opened())

    def transaction(self) -> Transaction:
        """Lend a connection for the body of an ``async with`` that is a transaction. Raises as `lend` does."""
        return Transaction(self, self._opened())

    def statement(self) -> Loan:
        """Lend a connection for the body, which is one statement that waits for locks no longer than it may.

        Where the limits are set in transactions, that is one. Raises as `lend` does.
        """
        return self.lend() if self.begin == BEGIN else self.transaction()

    def _opened(self) -> Pool:
        if self._pool is None:
            raise RepositoryError("the repository is not open: use it as an async context manager")
        self._guard.check()
        return self._pool

    async def take(self, pool: Pool) -> Connection:
        """Return the kept connection while it is open, else one of the pool's."""
        connection, self._kept = self._kept, None
        if connection is not None and not connection.is_closed():
            return connection
        self._waiting += 1
        try:
            # Else the pool may count a connection that was lost as lent.
            if connection is not None:
                await pool.release(connection)
            return await pool.acquire()
        except TimeoutError as error:  # nothing else here has a time limit
            raise ConnectionError("the server did not answer in time to a new connection") from error
        finally:
            self._waiting -= 1

    async def give_back(self, pool: Pool, connection: Connection) -> None:
        """Keep a sound connection for the next caller; give it to the pool where others wait, or it is closing."""
        if self._kept is None and not self._waiting and self._pool is pool:
            self._kept = connection
        else:
            await pool.release(connection)


class Loan:
    """A connection for the body; one to a server that takes no writes is lent no more."""

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
        if exc is None:
            await self._connections.give_back(self._pool, self._connection)
            return
        if isinstance(exc, asyncpg.ReadOnlySQLTransactionError):
            self._cut()  # the next connection may find the server that took over
        # Past that time the pool has ended the connection itself; what counts is the body's error.
        with contextlib.suppress(TimeoutError, asyncpg.InterfaceError):
            await self._pool.release(self._connection, timeout=CANCELLING_PATIENCE)

    def _cut(self) -> None:
        """End the connection without a word to the server."""
        with contextlib.suppress(asyncpg.InterfaceError):  # it is back in the pool already
            self._connection.terminate()


class Transaction(Loan):
    """A connection for the body, which is a transaction: committed where it ends well, else rolled back."""

    __slots__ = ()

    async def __aenter__(self) -> Connection:
        connection = await super().__aenter__()
        await self._do(self._connections.begin)
        return connection

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            await self._do("COMMIT")
        elif isinstance(exc, asyncio.CancelledError | TimeoutError):
            self._cut()  # a statement may be under way, whose end would have to be awaited
        else:
            # Where it fails, `_do` has cut the connection, which rolls back, too: the body has its own error.
            with contextlib.suppress(TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._do("ROLLBACK", CANCELLING_PATIENCE)
        await super().__aexit__(exc_type, exc, traceback)

    async def _do(self, statement: str, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- asyncpg's own
        """Begin or end the transaction; where that fails, cut the connection, which rolls it back."""
        try:
            await self._connection.execute(statement, timeout=timeout)
        except BaseException as error:
            self._cut()
            await super().__aexit__(type(error), error, None)
            raise


async def _keep(_connection: object) -> None:
    """Leave a connection as it is: statements here change nothing of the session, and the reset costs a round trip."""
