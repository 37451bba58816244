"""Alembic's entry: run the migrations on the connection it is given, inside the transaction that holds the lock."""

# ruff: noqa: INP001 -- Alembic runs it as a file

from __future__ import annotations

from alembic import context

from statechain_backends.sql.schema.migrate import VERSION_TABLE
from statechain_backends.sql.schema.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
