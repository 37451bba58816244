"""What the console looks for: the state and the beginning of tasks that wait, and names in the order of starts.

The release before it goes on beside it: what is new has a default, and no index that it needs is gone but for one that
begins with the same columns.

Revision ID: 0003_since_0002
Revises: 0002
"""

# ruff: noqa: INP001 -- Alembic runs it as a file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_since_0002"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns of callbacks and their index; replace the index of executions by one that has the names."""
    name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.add_column("callbacks", sa.Column("state", name))
    op.add_column("callbacks", sa.Column("since", sa.BigInteger(), nullable=False, server_default="0"))
    waiting = sa.text("status = 'WAITING'")
    op.create_index("callbacks_by_since", "callbacks", ["since", "id"], sqlite_where=waiting, postgresql_where=waiting)
    op.create_index("executions_by_start_and_name", "executions", ["start_time", "id", "name"])
    op.drop_index("executions_by_start", "executions")
