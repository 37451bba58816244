"""Map Runs as batches: the execution whose distributed Map a batch is the Map Run of.

The release before it goes on beside it, but runs the items of a distributed Map in the process of its execution.

Revision ID: 0008_since_0002
Revises: 0007_since_0002
"""

# ruff: noqa: INP001 -- Alembic runs it as a file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_since_0002"
down_revision = "0007_since_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and an index of the batches that have it."""
    name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.add_column("batches", sa.Column("parent_execution_id", name))
    is_map_run = sa.text("parent_execution_id IS NOT NULL")
    op.create_index(
        "batches_by_parent",
        "batches",
        ["parent_execution_id", "start_time", "id"],
        sqlite_where=is_map_run,
        postgresql_where=is_map_run,
    )
