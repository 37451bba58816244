"""A renewer of leases with a connection of its own, which no other statement holds up."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import TracebackType
from typing import Self

import asyncpg

from statechain_backends.postgres.errors import translated
from statechain_backends.postgres.performing import perform
from statechain_backends.postgres.url import Settings
from statechain_backends.sql.leases import scripts as lease_scripts

__all__ = ["ConnectionLeaseRenewer"]

SHORTEST_PATIENCE = 5.0
"""Seconds that a renewal may take however short the lease is."""


class ConnectionLeaseRenewer:
    """Renews a lease over a connection of the renewer, made anew where it was lost."""

    def __init__(self, settings: Settings, worker_id: str, lease: timedelta, renewed: set[str]) -> None:
        self._settings = settings
        self._worker_id = worker_id
        self._lease = lease
        self._renewed = renewed
        # Where a connection is lost without a word, the next renewal needs a new one while the lease still holds.
        self._patience = max(lease.total_seconds() / 3, SHORTEST_PATIENCE)
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.terminate()

    async def renew(self) -> bool:
        """Renew the lease; return whether it was there, and the connection is that of the renewal before."""
        with translated():
            try:
                async with asyncio.timeout(self._patience):
                    return await self._renew()
            except TimeoutError as error:
                raise ConnectionError("the server did not answer in time to the renewal of a lease") from error

    async def _renew(self) -> bool:
        is_same = self._connection is not None and not self._connection.is_closed()
        if self._connection is None or not is_same:
            self._connection = await self._connect()
            # A worker's first connection replaces none, so that nothing can have been lost with one. That of
            # another renewer counts: a loss is mostly noticed by a renewal that fails, and ends its renewer.
            is_same = self._worker_id not in self._renewed
        try:
            await self._connection.execute(self._settings.begin())
            was_there = await perform(self._connection, lease_scripts.renew_lease(self._worker_id, self._lease))
            await self._connection.execute("COMMIT")
        except BaseException:
            self._connection.terminate()
            raise
        self._renewed.add(self._worker_id)
        return bool(was_there) and is_same

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(**self._settings.connection())
        try:
            await self._settings.prepare(connection)
        except BaseException:
            connection.terminate()  # else the next renewal would take it for one that is set up
            raise
        return connection
