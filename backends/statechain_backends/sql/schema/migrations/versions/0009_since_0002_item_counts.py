"""How the items of a shard had ended when it was over, and an index of the executions that were redriven.

The release before it goes on beside it: it leaves batches in shards alone.

Revision ID: 0009_since_0002
Revises: 0008_since_0002
"""

# ruff: noqa: INP001 -- Alembic runs it as a file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009_since_0002"
down_revision = "0008_since_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and fill them where all items have succeeded; add the index."""
    for column in ("items_succeeded", "items_failed", "items_timed_out", "items_aborted"):
        op.add_column("batch_shards", sa.Column(column, sa.Integer()))
    op.execute(
        "UPDATE batch_shards SET items_succeeded = ended, items_failed = 0, items_timed_out = 0, items_aborted = 0 "
        "WHERE status = 'DONE' AND failed = 0 AND ended = last - first + 1"
    )
    redriven = sa.text("redrive_count > 0")
    op.create_index(
        "executions_redriven",
        "executions",
        ["state_machine_id", "end_time", "name"],
        sqlite_where=redriven,
        postgresql_where=redriven,
    )
