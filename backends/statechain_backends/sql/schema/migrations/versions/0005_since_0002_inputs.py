"""The inputs of batches that were given inputs instead of sources.

The release before it goes on beside it: it leaves such batches, which are in shards, alone.

Revision ID: 0005_since_0002
Revises: 0004_since_0002
"""

# ruff: noqa: INP001 -- Alembic runs it as a file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_since_0002"
down_revision = "0004_since_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column of inputs."""
    op.add_column("batch_items", sa.Column("input", sa.Text()))
