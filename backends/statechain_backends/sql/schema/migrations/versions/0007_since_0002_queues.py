"""Limits of state machines over all processes: their queues, and what runs and executions have for them.

The release before it goes on beside it, but claims what waits for a limit as it claims anything else.

Revision ID: 0007_since_0002
Revises: 0006_since_0002
"""

# ruff: noqa: INP001 -- Alembic runs it as a file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_since_0002"
down_revision = "0006_since_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of queues, the columns of executions and runs, and the indexes that claims read."""
    name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.create_table(
        "queues",
        sa.Column("state_machine_id", name, nullable=False),
        sa.Column("max_concurrency", sa.Integer()),
        sa.Column("max_concurrency_per_key", sa.Integer()),
        sa.Column("rate_count", sa.Integer()),
        sa.Column("rate_period", sa.BigInteger()),
        sa.Column("taken", sa.Text()),
        sa.Column("free_at", sa.BigInteger(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("state_machine_id", name=op.f("queues_pk")),
    )
    op.add_column("executions", sa.Column("key", name))
    op.add_column("executions", sa.Column("priority", sa.Integer()))
    op.add_column("runs", sa.Column("queue", name))
    op.add_column("runs", sa.Column("key", name))
    op.add_column("runs", sa.Column("rank", sa.Integer()))
    for index, columns, condition in (
        ("runs_free", ["execution_id"], "owner IS NULL AND queue IS NULL"),
        ("runs_queued", ["queue", "key", "rank", "execution_id", "owner"], "owner IS NULL AND queue IS NOT NULL"),
        ("runs_limited", ["queue", "key"], "owner IS NOT NULL AND queue IS NOT NULL"),
    ):
        op.create_index(index, "runs", columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))
