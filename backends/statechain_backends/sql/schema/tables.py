"""The tables and their indexes, for SQLite and PostgreSQL alike.

Times are microseconds since the epoch, UTC, as integers: exact, and compared the same way everywhere. Payloads are
JSON texts that no database looks into. Texts compare bytewise. A change here needs a migration beside it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

__all__ = [
    "batch_items",
    "batch_shards",
    "batches",
    "callbacks",
    "executions",
    "links",
    "metadata",
    "queues",
    "runs",
    "state_machines",
    "uptime",
    "visits",
    "workers",
]

NAMING = {
    "pk": "%(table_name)s_pk",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}

Name = String().with_variant(String(collation="C"), "postgresql")
"""A string that is compared, ordered or indexed."""

metadata = MetaData(naming_convention=NAMING)

state_machines = Table(
    "state_machines",
    metadata,
    Column("id", Name, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("name", Name, nullable=False),
    Column("type", Name, nullable=False),
    Column("definition", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    PrimaryKeyConstraint("id", "revision"),
    UniqueConstraint("name", "revision"),
)

# Wide and much indexed, therefore written at the start and at the end of an execution only. What changes with each
# step is in `runs`; `current_state` and `epoch` are valid here once the execution has ended.
executions = Table(
    "executions",
    metadata,
    Column("id", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("state_machine_id", Name, nullable=False),
    Column("state_machine_revision", Integer, nullable=False),
    Column("status", Name, nullable=False),
    Column("input", Text, nullable=False),
    Column("output", Text),
    Column("error", Text),
    Column("cause", Text),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("current_state", Name),
    Column("source_execution_id", Name),
    Column("source_state_name", Name),
    Column("redrive_count", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("key", Name),
    Column("priority", Integer),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("state_machine_id", "name"),
    CheckConstraint("status IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'TIMED_OUT', 'ABORTED')", name="status"),
    CheckConstraint("(status = 'RUNNING') = (end_time IS NULL)", name="end_time"),
)

# Every filter column leads an index that goes on in the order of pages. A machine's executions of all statuses are
# merged from the index of machines and statuses, one branch for each: an index of machines alone would be one entry
# more at the start and one at the end of each execution.
# The name is there so that a string can be looked for in an index that is narrower than the table.
Index("executions_by_start_and_name", executions.c.start_time, executions.c.id, executions.c.name)
Index("executions_by_status", executions.c.status, executions.c.start_time, executions.c.id)
Index(
    "executions_by_machine_and_status",
    executions.c.state_machine_id,
    executions.c.status,
    executions.c.start_time,
    executions.c.id,
)
# An execution that was redriven is no more what its batch's shard has counted it as.
_redriven = text("redrive_count > 0")
Index(
    "executions_redriven",
    executions.c.state_machine_id,
    executions.c.end_time,
    executions.c.name,
    sqlite_where=_redriven,
    postgresql_where=_redriven,
)
Index(
    "executions_by_state",
    executions.c.current_state,
    executions.c.start_time,
    executions.c.id,
    sqlite_where=executions.c.current_state.is_not(None),
    postgresql_where=executions.c.current_state.is_not(None),
)

# One narrow row for each RUNNING execution, and for no other: what each step's guarded write compares and changes.
# No step changes a column of an index, so that PostgreSQL can update a row in place (HOT). `claims` counts take-ups
# without progress; `backoff`, `claimable_after` and `suspect_since`, in microseconds of uptime, mean nothing while it
# is 0. `queue`, `key` ('' without one) and `rank` (minus the priority) are set where the machine has limits, or had
# some when the execution was started.
runs = Table(
    "runs",
    metadata,
    Column("execution_id", Name, nullable=False),
    Column("owner", Name),
    Column("epoch", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("claims", Integer, nullable=False),
    Column("current_state", Name),
    Column("backoff", BigInteger),
    Column("claimable_after", BigInteger),
    Column("suspect_since", BigInteger),
    Column("queue", Name),
    Column("key", Name),
    Column("rank", Integer),
    PrimaryKeyConstraint("execution_id"),
    sqlite_with_rowid=False,
)
_unowned = runs.c.owner.is_(None)
_free = _unowned & runs.c.queue.is_(None)
_queued = _unowned & runs.c.queue.is_not(None)
_limited = runs.c.owner.is_not(None) & runs.c.queue.is_not(None)
Index("runs_unowned", runs.c.execution_id, sqlite_where=_unowned, postgresql_where=_unowned)
Index("runs_free", runs.c.execution_id, sqlite_where=_free, postgresql_where=_free)
Index(  # The owner, which is always null there, lets SQLite count what waits without a look into the table.
    "runs_queued",
    runs.c.queue,
    runs.c.key,
    runs.c.rank,
    runs.c.execution_id,
    runs.c.owner,
    sqlite_where=_queued,
    postgresql_where=_queued,
)
Index("runs_limited", runs.c.queue, runs.c.key, sqlite_where=_limited, postgresql_where=_limited)

# The limits of a state machine over all processes. A claim locks the row. `taken` notes what was taken up when, as
# `statechain.storage.rates` writes it, and `free_at` is the uptime at which the rate allows more; periods are
# microseconds. A row without any limit stays, since runs may be in the queue still.
queues = Table(
    "queues",
    metadata,
    Column("state_machine_id", Name, nullable=False),
    Column("max_concurrency", Integer),
    Column("max_concurrency_per_key", Integer),
    Column("rate_count", Integer),
    Column("rate_period", BigInteger),
    Column("taken", Text),
    Column("free_at", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("state_machine_id"),
)

# `seq` counts an execution's rows from 1 without gaps. Payloads keep this table with its rowid on SQLite: measured,
# a key-ordered one writes half as fast at 1 KB a row.
visits = Table(
    "visits",
    metadata,
    Column("execution_id", Name, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("frame", Name, nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", Name, nullable=False),
    Column("type", Name, nullable=False),
    Column("entered", BigInteger, nullable=False),
    Column("exited", BigInteger),
    Column("entered_event", Integer, nullable=False),
    Column("exited_event", Integer, nullable=False),
    Column("output", Text),
    Column("error", Text),
    Column("cause", Text),
    Column("next", Name),
    Column("detail", Text),
    PrimaryKeyConstraint("execution_id", "seq"),
)

# `exclusive` is set where the start demanded to be the only one of its kind that runs or succeeded.
links = Table(
    "links",
    metadata,
    Column("target_execution_id", Name, nullable=False),
    Column("source_execution_id", Name, nullable=False),
    Column("source_state_name", Name),
    Column("target_state_machine_id", Name, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("exclusive", Name),
    PrimaryKeyConstraint("target_execution_id"),
    UniqueConstraint("exclusive"),
)
Index("links_by_creation", links.c.created, links.c.target_execution_id)
Index("links_by_source", links.c.source_execution_id, links.c.created, links.c.target_execution_id)
Index("links_by_target_machine", links.c.target_state_machine_id, links.c.created, links.c.target_execution_id)

callbacks = Table(
    "callbacks",
    metadata,
    Column("id", Name, nullable=False),
    Column("execution_id", Name, nullable=False),
    Column("redrive_count", Integer, nullable=False),
    Column("token_hash", Name),
    Column("activity", Name),
    Column("input", Text),
    Column("status", Name, nullable=False),
    Column("output", Text),
    Column("error", Text),
    Column("cause", Text),
    Column("beat", BigInteger),
    Column("state", Name),
    Column("since", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("token_hash"),
    CheckConstraint("status IN ('WAITING', 'SUCCEEDED', 'FAILED', 'CLOSED')", name="status"),
)
Index("callbacks_by_execution", callbacks.c.execution_id)
_waiting = callbacks.c.status == "WAITING"
Index(
    "callbacks_by_since", callbacks.c.since, callbacks.c.id, sqlite_where=_waiting, postgresql_where=_waiting
)  # `since` is 0 where a release before 0003 wrote the row
_untaken = (callbacks.c.activity.is_not(None)) & (callbacks.c.token_hash.is_(None)) & (callbacks.c.status == "WAITING")
Index(
    "callbacks_by_activity",
    callbacks.c.activity,
    callbacks.c.id,
    sqlite_where=_untaken,
    postgresql_where=_untaken,
)

batches = Table(
    "batches",
    metadata,
    Column("id", Name, nullable=False),
    Column("name_prefix", Name, nullable=False),
    Column("state_machine_id", Name, nullable=False),
    Column("state_machine_revision", Integer, nullable=False),
    Column("source_state_name", Name),
    Column("filter", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("status", Name, nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("parent_execution_id", Name),
    PrimaryKeyConstraint("id"),
    CheckConstraint("status IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'ABORTED')", name="status"),
)
Index("batches_by_start", batches.c.start_time, batches.c.id)
Index("batches_by_machine", batches.c.state_machine_id, batches.c.start_time, batches.c.id)
Index("batches_by_status", batches.c.status, batches.c.start_time, batches.c.id)
_is_map_run = batches.c.parent_execution_id.is_not(None)
Index(
    "batches_by_parent",
    batches.c.parent_execution_id,
    batches.c.start_time,
    batches.c.id,
    sqlite_where=_is_map_run,
    postgresql_where=_is_map_run,
)

# `input` is there where the batch was given inputs instead of sources; `source_execution_id` is then empty.
batch_items = Table(
    "batch_items",
    metadata,
    Column("batch_id", Name, nullable=False),
    Column("index", Integer, nullable=False),
    Column("source_execution_id", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("error", Text),
    Column("cause", Text),
    Column("input", Text),
    PrimaryKeyConstraint("batch_id", "index"),
    sqlite_with_rowid=False,
)

# A range of a batch's items, which one worker runs at a time; without rows a batch in shards is not cut yet. The last
# four columns are how its items had ended when the shard was over; they are null from its next claim on.
batch_shards = Table(
    "batch_shards",
    metadata,
    Column("batch_id", Name, nullable=False),
    Column("shard", Integer, nullable=False),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("status", Name, nullable=False),
    Column("owner", Name),
    Column("epoch", Integer, nullable=False),
    Column("claims", Integer, nullable=False),
    Column("ended", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("items_succeeded", Integer),
    Column("items_failed", Integer),
    Column("items_timed_out", Integer),
    Column("items_aborted", Integer),
    PrimaryKeyConstraint("batch_id", "shard"),
    CheckConstraint("status IN ('PENDING', 'RUNNING', 'DONE', 'FAILED')", name="status"),
    sqlite_with_rowid=False,
)
_open = text("status IN ('PENDING', 'RUNNING')")
Index(
    "batch_shards_open",
    batch_shards.c.batch_id,
    batch_shards.c.status,
    batch_shards.c.shard,
    sqlite_where=_open,
    postgresql_where=_open,
)
_owned = batch_shards.c.owner.is_not(None)
Index("batch_shards_owned", batch_shards.c.owner, sqlite_where=_owned, postgresql_where=_owned)

# A lease for each worker, not for each execution: a heartbeat is one row, however much the worker runs. `lease` is its
# length in microseconds; releases before 0002 leave it and `renewals` null.
workers = Table(
    "workers",
    metadata,
    Column("id", Name, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("lease", BigInteger),
    Column("renewals", BigInteger),
    PrimaryKeyConstraint("id"),
)

# One row: the microseconds of uptime that have `elapsed`, and when, by the database's clock, that was `seen`.
uptime = Table(
    "uptime",
    metadata,
    Column("id", Integer, autoincrement=False, nullable=False),
    Column("elapsed", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    PrimaryKeyConstraint("id"),
)
