"""Claims by what has no owner, suspects, and the length of leases.

It only adds, and the release before it goes on beside it: what is new may be null, or is made by new workers alone.

Revision ID: 0002
Revises: 0001
"""

# ruff: noqa: INP001 -- Alembic runs it as a file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns, the index of executions without owner, and the clock of uptime."""
    for name in ("backoff", "claimable_after", "suspect_since"):
        op.add_column("runs", sa.Column(name, sa.BigInteger()))
    for name in ("lease", "renewals"):
        op.add_column("workers", sa.Column(name, sa.BigInteger()))
    unowned = sa.text("owner IS NULL")
    op.create_index("runs_unowned", "runs", ["execution_id"], sqlite_where=unowned, postgresql_where=unowned)
    op.create_table(
        "uptime",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("elapsed", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("uptime_pk")),
    )
