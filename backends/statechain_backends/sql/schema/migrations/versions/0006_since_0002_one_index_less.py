"""One index of executions less: a machine's are read from the index of machines and statuses.

The release before it goes on beside it: its pages of one machine, where no status is given, take longer.

Revision ID: 0006_since_0002
Revises: 0005_since_0002
"""

# ruff: noqa: INP001 -- Alembic runs it as a file

from __future__ import annotations

from alembic import op

revision = "0006_since_0002"
down_revision = "0005_since_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the index of machines."""
    op.drop_index("executions_by_machine", "executions")
