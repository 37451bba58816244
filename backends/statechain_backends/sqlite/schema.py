"""The schema of a SQLite database, created or upgraded by Alembic on the writer's own connection.

Alembic is synchronous and so runs in the writer's thread. No second connection writes to the file, not even here:
SQLite below 3.51.3 can damage a database when two connections write and checkpoint at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statechain_backends.sql.schema import migrate

if TYPE_CHECKING:
    import sqlite3

__all__ = ["upgrade"]


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the schema to what this library needs, in one transaction; raise the driver's errors as they are."""
    from sqlalchemy import StaticPool, create_engine  # noqa: PLC0415 -- only a new schema needs an engine

    engine = create_engine(
        "sqlite://",
        creator=lambda: connection,
        poolclass=StaticPool,
        isolation_level="AUTOCOMMIT",  # the lock's statement begins the transaction
        hide_parameters=True,
    )
    with engine.begin() as through:
        migrate.upgrade(through)
