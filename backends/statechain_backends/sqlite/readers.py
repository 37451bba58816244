"""Connections that only read a SQLite file, beside the writer.

SQLAlchemy's asyncio engine opens, keeps and lends them, and aiosqlite gives each its own thread. A statement is
handed to aiosqlite, which fetches all of its rows in one hop; through SQLAlchemy's own cursor it would be four.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from statechain_backends.sqlite.errors import translated

if TYPE_CHECKING:
    import aiosqlite

    from statechain_backends.sql.decoding import Row

__all__ = ["Reader", "Readers"]


class Reader:
    """A connection that was lent; it can write temporary tables only."""

    def __init__(self, driver: aiosqlite.Connection) -> None:
        self._driver = driver

    async def fetch(self, text: str, arguments: Sequence[Any] = ()) -> Sequence[Row]:
        """Return the rows of a statement."""
        with translated():
            return cast("Sequence[Row]", await self._driver.execute_fetchall(text, arguments))


class Readers:
    """Opens, lends and closes connections.

    Arguments:
        database: The file, which must be there.

        connections: How many there are at most.

        patience: How long a connection waits for another one's lock, and a caller for a connection, in seconds.
    """

    def __init__(self, database: Path, *, connections: int, patience: float) -> None:
        self._engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=database.as_uri(), query={"mode": "ro", "uri": "true"}),
            connect_args={"timeout": patience, "cached_statements": 200},
            hide_parameters=True,
            # Else the driver begins a transaction at the INSERT of `freezing`: its snapshot would hold up checkpoints.
            isolation_level="AUTOCOMMIT",
            pool_size=connections,
            max_overflow=0,
            pool_timeout=patience,
            pool_use_lifo=True,
            pool_reset_on_return=None,  # each read is one statement, after which no transaction is open
        )

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Reader]:
        """Lend a connection for the body; not to be cancelled, or one that is being opened may be lost."""
        with translated():
            async with self._engine.connect() as connection:
                pooled = await connection.get_raw_connection()
                yield Reader(cast("aiosqlite.Connection", pooled.driver_connection))

    async def close(self) -> None:
        """Close the connections that are not lent."""
        await self._engine.dispose()
