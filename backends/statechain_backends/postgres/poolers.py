"""What is between a client and the server: nothing, or a pooler that lends the server's sessions.

A pooler in transaction mode gives each transaction a session that it also gives to others. What SET leaves there is
lost to the one and found by the others, and a statement that was prepared in one session is missing in the next. Which
mode a pooler has cannot be asked, so that behind one nothing is left in a session, unless the URL says otherwise.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import asyncpg
import attrs

if TYPE_CHECKING:
    from statechain_backends.postgres.url import Settings

__all__ = ["resolve"]

CLOSING_SECONDS = 2.0

_IS_PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE name = $1"


async def resolve(settings: Settings) -> Settings:
    """Return the settings with `pool_mode` and `statement_cache_size` as they must be; connects once for that."""
    if settings.pool_mode == "session" or (settings.pool_mode and settings.statement_cache_size is not None):
        return settings
    try:
        connection = await asyncpg.connect(**{**settings.connection(), "statement_cache_size": 0})
    except TimeoutError as error:
        raise ConnectionError("the server did not answer in time to a new connection") from error
    try:
        # A pooler makes the key by which its client may cancel statements, process id included.
        if settings.pool_mode is None and await _server_pid(connection) == connection.get_server_pid():
            found = attrs.evolve(settings, pool_mode="session")
        else:
            size = settings.statement_cache_size
            if size is None and not await _renames_statements(connection):
                size = 0
            found = attrs.evolve(settings, pool_mode="transaction", statement_cache_size=size)
    except BaseException:
        connection.terminate()
        raise
    await connection.close(timeout=CLOSING_SECONDS)
    return found


async def _server_pid(connection: asyncpg.Connection[asyncpg.Record]) -> object:
    return await connection.fetchval("SELECT pg_backend_pid()")


async def _renames_statements(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Return whether the pooler gives prepared statements its own names, and prepares them where they are missing.

    PgBouncer does from 1.21 on, with ``max_prepared_statements``.
    """
    name = f"statechain_{uuid.uuid4().hex}"
    async with connection.transaction():  # in one session of the server
        statement = await connection.prepare(_IS_PREPARED, name=name)
        is_kept = bool(await statement.fetchval(name))
        if is_kept:
            await connection.execute(f'DEALLOCATE "{name}"')
    return not is_kept
