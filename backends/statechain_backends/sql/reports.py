"""What an operator asks: counts and durations in a window, tasks that wait, results of a batch.

Each question is a named function that returns a Core expression; the readers of its rows are beside it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)

from statechain.clock import to_micros
from statechain.records.batches import BatchStatus
from statechain.records.callbacks import CallbackStatus
from statechain.records.executions import TERMINAL, ExecutionStatus
from statechain.reports import BatchResult, WaitingTask
from statechain.storage.shards import ShardStatus
from statechain_backends.sql.batch_counts import items_with_executions
from statechain_backends.sql.compiler import Number, Text, param
from statechain_backends.sql.decoding import member, moment_or_none, number, reads, text, text_or_none
from statechain_backends.sql.functions import unindexed
from statechain_backends.sql.queues.queries import claimable
from statechain_backends.sql.schema.tables import batch_items, batch_shards, batches, callbacks, executions, runs

if TYPE_CHECKING:
    from datetime import datetime

    from statechain_backends.sql.decoding import Row

__all__ = [
    "backlog",
    "batch_results_page",
    "count_unowned",
    "counts",
    "durations",
    "to_batch_result",
    "to_waiting_task",
    "waiting_tasks",
    "waiting_tasks_page",
]


# `encode` writes no spaces.
DISTRIBUTED_OPTION = '%"mode":"DISTRIBUTED"%'
"""What the stored options of such a batch look like."""


def _window(*, of_machine: bool) -> list[ColumnElement[bool]]:
    """Return the conditions of a window of start times, for the parameters ``machine``, ``begin`` and ``end``."""
    start = executions.c.start_time
    machine = [executions.c.state_machine_id == param("machine")] if of_machine else []
    return [*machine, start > param("begin"), start < param("end")]


def counts(*, of_machine: bool) -> Select[Any]:
    """Return one row: how many executions in a window have each status, each counted within one index."""
    window = _window(of_machine=of_machine)
    return select(
        *(
            select(func.count())
            .select_from(executions)
            .where(executions.c.status == literal(status.value, literal_execute=True), *window)
            .scalar_subquery()
            for status in ExecutionStatus
        )
    )


def durations(*, of_machine: bool, limits_branches: bool = False) -> Select[Any] | CompoundSelect[Any]:
    """Return how long the newest executions in a window took that have ended, in microseconds; start times and ids.

    A machine's are merged from a branch for each status, since no index has them all in order. For ``limits_branches``
    see `statechain_backends.sql.filters.executions_page`.
    """
    took = (executions.c.end_time - executions.c.start_time).label("took")
    ended = select(took, executions.c.start_time, executions.c.id).where(
        *_window(of_machine=of_machine), executions.c.end_time.is_not(None)
    )
    newest = ended.order_by(executions.c.start_time.desc(), executions.c.id.desc()).limit(param("most"))
    if not of_machine:
        return newest
    branches = [
        (newest if limits_branches else ended).where(executions.c.status == each.value) for each in sorted(TERMINAL)
    ]
    merged = union_all(*(select(each.subquery()) if limits_branches else each for each in branches))
    columns = merged.selected_columns
    return merged.order_by(columns["start_time"].desc(), columns["id"].desc()).limit(param("most"))


def count_unowned() -> Select[Any]:
    """Return how many RUNNING executions have no owner, counted within the partial index of those."""
    return select(func.count()).select_from(runs).where(runs.c.owner.is_(None))


def backlog() -> Select[Any]:
    """Return one row: executions without an owner, shards without one (see `Backlog`), shards that workers run.

    Shards are counted within the partial index of the open ones, batch by batch.
    """
    # Shards of a batch in another mode are run by the process of its caller alone, and wait for no worker.
    is_running = and_(
        batches.c.status == literal(BatchStatus.RUNNING.value, literal_execute=True),
        batches.c.options.like(DISTRIBUTED_OPTION),
    )
    of_batch = batch_shards.c.batch_id == batches.c.id
    is_open = batch_shards.c.status.in_(
        [literal(each.value, literal_execute=True) for each in (ShardStatus.PENDING, ShardStatus.RUNNING)]
    )
    shards = select(func.count()).select_from(batches.join(batch_shards, of_batch)).where(is_running, is_open)
    uncut = select(func.count()).select_from(batches).where(is_running, ~exists().where(of_batch))
    waiting = shards.where(batch_shards.c.owner.is_(None)).scalar_subquery() + uncut.scalar_subquery()
    owned = shards.where(batch_shards.c.owner.is_not(None)).scalar_subquery()
    free = count_unowned().where(runs.c.queue.is_(None)).scalar_subquery()
    return select(free + claimable().scalar_subquery(), waiting, owned)


def waiting_tasks(
    execution_id: str | None, state_machine_id: str | None, state: str | None, task_id: str | None
) -> Select[Any]:
    """Return tasks that wait, as far as they match what is given.

    Those of one machine are found by its RUNNING executions, and nothing is read where it has none. All others are read
    in the order of the index of tasks that wait, so that a page needs no sort.
    """
    running = executions.c.status if state_machine_id is not None else unindexed(executions.c.status)
    wanted = (
        (callbacks.c.execution_id, execution_id),
        (executions.c.state_machine_id, state_machine_id),
        (callbacks.c.state, state),
        (callbacks.c.id, task_id),
    )
    return (
        select(
            callbacks.c.id,
            callbacks.c.execution_id,
            executions.c.name,
            executions.c.state_machine_id,
            callbacks.c.state,
            callbacks.c.since,
            callbacks.c.activity,
            callbacks.c.token_hash.is_not(None),
            callbacks.c.beat,
        )
        .select_from(callbacks.join(executions, executions.c.id == callbacks.c.execution_id))
        .where(
            callbacks.c.status == literal(CallbackStatus.WAITING.value, literal_execute=True),
            running == ExecutionStatus.RUNNING.value,
            executions.c.redrive_count == callbacks.c.redrive_count,
            *(column == value for column, value in wanted if value is not None),
            *([] if state_machine_id is None else [_any_running(state_machine_id)]),
        )
    )


def _any_running(state_machine_id: str) -> ColumnElement[bool]:
    """Return whether a machine has RUNNING executions: PostgreSQL asks once; its statistics do not show it.

    The order is that of the index of machines and statuses. Without it PostgreSQL may read the whole table, in the
    hope of an early match.
    """
    others = executions.alias()
    first = (
        select(others.c.id)
        .where(others.c.status == ExecutionStatus.RUNNING.value, others.c.state_machine_id == state_machine_id)
        .order_by(others.c.start_time, others.c.id)
        .limit(1)
    )
    return first.scalar_subquery().is_not(None)


def waiting_tasks_page(
    query: Select[Any], since_before: datetime | None, after: WaitingTask | None, page: int
) -> Select[Any]:
    """Return a page of what `waiting_tasks` returns, by the time since when they wait."""
    if since_before is not None:
        query = query.where(callbacks.c.since < to_micros(since_before))
    if after is not None:
        since = 0 if after.since is None else to_micros(after.since)
        query = query.where(tuple_(callbacks.c.since, callbacks.c.id) > tuple_(literal(since), literal(after.id)))
    return query.order_by(callbacks.c.since, callbacks.c.id).limit(page)


@reads("callbacks", 0)
def to_waiting_task(row: Row) -> WaitingTask:
    """Return a task that waits from a row of `waiting_tasks_page`."""
    id_, execution, name, machine, state, since, activity, is_taken, beat = row
    return WaitingTask(
        id=text(id_, "id"),
        execution_id=text(execution, "execution_id"),
        execution_name=text(name, "name"),
        state_machine_id=text(machine, "state_machine_id"),
        state=text_or_none(state, "state"),
        since=moment_or_none(since or None, "since"),
        activity=text_or_none(activity, "activity"),
        is_taken=bool(is_taken),
        last_heartbeat=moment_or_none(beat, "beat"),
    )


def batch_results_page(
    batch_id: Text, status: Collection[ExecutionStatus] | None, after: Number, until: int | None, page: Number
) -> Select[Any]:
    """Return items of a batch behind an index, up to another, with the executions that have their names."""
    query = (
        select(
            batch_items.c.index,
            batch_items.c.name,
            batch_items.c.source_execution_id,
            executions.c.id,
            executions.c.status,
            func.coalesce(executions.c.error, batch_items.c.error),
            func.coalesce(executions.c.cause, batch_items.c.cause),
        )
        .select_from(items_with_executions)
        .where(batch_items.c.batch_id == batch_id, batch_items.c.index > after)
    )
    if until is not None:
        query = query.where(batch_items.c.index <= until)
    if status is not None:
        wanted: ColumnElement[bool] = executions.c.status.in_([each.value for each in sorted(status)])
        if ExecutionStatus.FAILED in status:
            wanted = or_(wanted, and_(executions.c.status.is_(None), batch_items.c.error.is_not(None)))
        query = query.where(wanted)
    return query.order_by(batch_items.c.index).limit(page)


@reads("batch_items", 0)
def to_batch_result(row: Row) -> BatchResult:
    """Return an item's result from a row of `batch_results_page`."""
    index, name, source, execution, status, error, cause = row
    return BatchResult(
        index=number(index, "index"),
        name=text(name, "name"),
        source_execution_id=text(source, "source_execution_id") or None,
        execution_id=text_or_none(execution, "id"),
        status=None if status is None else member(ExecutionStatus, status, "status"),
        error=text_or_none(error, "error"),
        cause=text_or_none(cause, "cause"),
    )
