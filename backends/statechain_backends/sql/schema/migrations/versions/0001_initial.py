"""The first schema.

Revision ID: 0001
"""

# ruff: noqa: INP001 -- Alembic finds revisions by their files, whose names ascend

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create all tables."""
    _create_state_machines()
    _create_executions()
    _create_visits_and_links()
    _create_callbacks()
    _create_batches()
    _create_workers()


def _create_state_machines() -> None:
    op.create_table(
        "state_machines",
        sa.Column("id", NAME, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("type", NAME, nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", "revision", name=op.f("state_machines_pk")),
        sa.UniqueConstraint("name", "revision", name=op.f("state_machines_name_revision_key")),
    )


def _create_executions() -> None:
    op.create_table(
        "executions",
        sa.Column("id", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("state_machine_id", NAME, nullable=False),
        sa.Column("state_machine_revision", sa.Integer(), nullable=False),
        sa.Column("status", NAME, nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("output", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("cause", sa.Text()),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger()),
        sa.Column("current_state", NAME),
        sa.Column("source_execution_id", NAME),
        sa.Column("source_state_name", NAME),
        sa.Column("redrive_count", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.CheckConstraint("(status = 'RUNNING') = (end_time IS NULL)", name=op.f("executions_end_time_check")),
        sa.CheckConstraint(
            "status IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'TIMED_OUT', 'ABORTED')",
            name=op.f("executions_status_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("executions_pk")),
        sa.UniqueConstraint("state_machine_id", "name", name=op.f("executions_state_machine_id_name_key")),
    )
    op.create_index("executions_by_machine", "executions", ["state_machine_id", "start_time", "id"])
    op.create_index(
        "executions_by_machine_and_status",
        "executions",
        ["state_machine_id", "status", "start_time", "id"],
    )
    op.create_index("executions_by_start", "executions", ["start_time", "id"])
    op.create_index(
        "executions_by_state",
        "executions",
        ["current_state", "start_time", "id"],
        sqlite_where=sa.text("current_state IS NOT NULL"),
        postgresql_where=sa.text("current_state IS NOT NULL"),
    )
    op.create_index("executions_by_status", "executions", ["status", "start_time", "id"])
    op.create_table(
        "runs",
        sa.Column("execution_id", NAME, nullable=False),
        sa.Column("owner", NAME),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("current_state", NAME),
        sa.PrimaryKeyConstraint("execution_id", name=op.f("runs_pk")),
        sqlite_with_rowid=False,
    )


def _create_visits_and_links() -> None:
    op.create_table(
        "visits",
        sa.Column("execution_id", NAME, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("frame", NAME, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("type", NAME, nullable=False),
        sa.Column("entered", sa.BigInteger(), nullable=False),
        sa.Column("exited", sa.BigInteger()),
        sa.Column("entered_event", sa.Integer(), nullable=False),
        sa.Column("exited_event", sa.Integer(), nullable=False),
        sa.Column("output", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("cause", sa.Text()),
        sa.Column("next", NAME),
        sa.Column("detail", sa.Text()),
        sa.PrimaryKeyConstraint("execution_id", "seq", name=op.f("visits_pk")),
    )
    op.create_table(
        "links",
        sa.Column("target_execution_id", NAME, nullable=False),
        sa.Column("source_execution_id", NAME, nullable=False),
        sa.Column("source_state_name", NAME),
        sa.Column("target_state_machine_id", NAME, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("exclusive", NAME),
        sa.PrimaryKeyConstraint("target_execution_id", name=op.f("links_pk")),
        sa.UniqueConstraint("exclusive", name=op.f("links_exclusive_key")),
    )
    op.create_index("links_by_creation", "links", ["created", "target_execution_id"])
    op.create_index("links_by_source", "links", ["source_execution_id", "created", "target_execution_id"])
    op.create_index("links_by_target_machine", "links", ["target_state_machine_id", "created", "target_execution_id"])


def _create_callbacks() -> None:
    op.create_table(
        "callbacks",
        sa.Column("id", NAME, nullable=False),
        sa.Column("execution_id", NAME, nullable=False),
        sa.Column("redrive_count", sa.Integer(), nullable=False),
        sa.Column("token_hash", NAME),
        sa.Column("activity", NAME),
        sa.Column("input", sa.Text()),
        sa.Column("status", NAME, nullable=False),
        sa.Column("output", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("cause", sa.Text()),
        sa.Column("beat", sa.BigInteger()),
        sa.CheckConstraint(
            "status IN ('WAITING', 'SUCCEEDED', 'FAILED', 'CLOSED')",
            name=op.f("callbacks_status_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("callbacks_pk")),
        sa.UniqueConstraint("token_hash", name=op.f("callbacks_token_hash_key")),
    )
    untaken = sa.text("activity IS NOT NULL AND token_hash IS NULL AND status = 'WAITING'")
    op.create_index(
        "callbacks_by_activity",
        "callbacks",
        ["activity", "id"],
        sqlite_where=untaken,
        postgresql_where=untaken,
    )
    op.create_index("callbacks_by_execution", "callbacks", ["execution_id"])


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", NAME, nullable=False),
        sa.Column("name_prefix", NAME, nullable=False),
        sa.Column("state_machine_id", NAME, nullable=False),
        sa.Column("state_machine_revision", sa.Integer(), nullable=False),
        sa.Column("source_state_name", NAME),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("status", NAME, nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger()),
        sa.CheckConstraint(
            "status IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'ABORTED')",
            name=op.f("batches_status_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("batches_pk")),
    )
    op.create_index("batches_by_machine", "batches", ["state_machine_id", "start_time", "id"])
    op.create_index("batches_by_start", "batches", ["start_time", "id"])
    op.create_index("batches_by_status", "batches", ["status", "start_time", "id"])
    op.create_table(
        "batch_items",
        sa.Column("batch_id", NAME, nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("source_execution_id", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("cause", sa.Text()),
        sa.PrimaryKeyConstraint("batch_id", "index", name=op.f("batch_items_pk")),
        sqlite_with_rowid=False,
    )


def _create_workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", NAME, nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("workers_pk")),
    )
