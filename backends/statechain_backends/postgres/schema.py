"""The schema of a PostgreSQL database, created or upgraded by Alembic through an engine for this alone.

Alembic is synchronous: it runs in a thread, where its own event loop drives asyncpg.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

from statechain_backends.sql.schema import migrate

if TYPE_CHECKING:
    from statechain_backends.postgres.url import Settings

__all__ = ["upgrade"]

UNNAMED = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
"""No prepared statement outlives its execution: in a pooler's session another one could have its name."""


async def upgrade(settings: Settings) -> None:
    """Bring the schema to what this library needs; raise the driver's errors as they are."""
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    try:
        await asyncio.to_thread(asyncio.run, _upgrade(settings.connection()))
    except DBAPIError as error:
        # SQLAlchemy's error has its adapter's as its origin, and that the driver's, which alone has the SQLSTATE.
        cause = error.orig.__cause__ if error.orig is not None else None
        if isinstance(cause, asyncpg.PostgresError | asyncpg.InterfaceError | OSError):
            raise cause from None
        raise


async def _upgrade(connection: dict[str, Any]) -> None:
    from sqlalchemy import NullPool  # noqa: PLC0415 -- only a new schema needs an engine
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(**{**connection, "statement_cache_size": 0}),
        connect_args=UNNAMED,
        poolclass=NullPool,
        hide_parameters=True,
    )
    try:
        async with engine.begin() as through:
            await through.run_sync(migrate.upgrade)
    finally:
        await engine.dispose()
