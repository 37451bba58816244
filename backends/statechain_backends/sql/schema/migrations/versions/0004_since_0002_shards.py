"""Shards of batches, which workers of many processes claim.

The release before it goes on beside it: it leaves batches in shards alone.

Revision ID: 0004_since_0002
Revises: 0003_since_0002
"""

# ruff: noqa: INP001 -- Alembic runs it as a file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_since_0002"
down_revision = "0003_since_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of shards, and an index of those that are not over."""
    name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.create_table(
        "batch_shards",
        sa.Column("batch_id", name, nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("status", name, nullable=False),
        sa.Column("owner", name),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("ended", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "shard", name=op.f("batch_shards_pk")),
        sa.CheckConstraint(
            "status IN ('PENDING', 'RUNNING', 'DONE', 'FAILED')", name=op.f("batch_shards_status_check")
        ),
        sqlite_with_rowid=False,
    )
    is_open = sa.text("status IN ('PENDING', 'RUNNING')")
    op.create_index(
        "batch_shards_open",
        "batch_shards",
        ["batch_id", "status", "shard"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    owned = sa.text("owner IS NOT NULL")
    op.create_index("batch_shards_owned", "batch_shards", ["owner"], sqlite_where=owned, postgresql_where=owned)
