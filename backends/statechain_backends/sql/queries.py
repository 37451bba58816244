"""What is asked of the tables: each question a named function that returns a Core expression.

The same expressions serve SQLite and PostgreSQL; `records` reads their answers. An argument may be a value, or a bind
parameter where a statement is compiled once. What a filter means is in `filters`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from statechain.clock import to_micros
from statechain.records.batches import BatchStatus
from statechain.records.executions import ExecutionStatus
from statechain.storage.outlines import SHORT_DETAIL
from statechain_backends.sql.compiler import Number, Text
from statechain_backends.sql.filters import EXECUTION, UNFAILED, WITH_RUNS
from statechain_backends.sql.functions import size
from statechain_backends.sql.schema.tables import (
    batch_items,
    batches,
    callbacks,
    executions,
    links,
    state_machines,
    visits,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from statechain.records.batches import Batch
    from statechain.records.executions import Link

__all__ = [
    "LINK",
    "all_batches_running",
    "batch_items_page",
    "batch_status",
    "batch_uncounted",
    "batches_page",
    "batches_running",
    "callbacks_with",
    "chained_holder",
    "execution",
    "execution_by_name",
    "executions_by_names",
    "executions_with",
    "last_output",
    "links_page",
    "state_machine",
    "state_machines_newest",
    "statistics",
    "visit_outlines_page",
    "visits_at",
    "visits_page",
]

RUNNING = ExecutionStatus.RUNNING


# One execution


def execution(execution_id: Text) -> Select[Any]:
    """Return the execution with an id."""
    return select(*EXECUTION).select_from(WITH_RUNS).where(executions.c.id == execution_id)


def executions_with(ids: Sequence[Text]) -> Select[Any]:
    """Return the executions with these ids."""
    return select(*EXECUTION).select_from(WITH_RUNS).where(executions.c.id.in_(ids))


def execution_by_name(state_machine_id: Text, name: Text) -> Select[Any]:
    """Return the execution that holds a name in a machine."""
    return (
        select(*EXECUTION)
        .select_from(WITH_RUNS)
        .where(executions.c.state_machine_id == state_machine_id, executions.c.name == name)
    )


def executions_by_names(names: Sequence[tuple[str, str]]) -> Select[Any]:
    """Return the executions that hold some names, each in its machine."""
    by_machine: dict[str, list[str]] = defaultdict(list)
    for machine, name in names:
        by_machine[machine].append(name)
    wanted = [
        and_(executions.c.state_machine_id == machine, executions.c.name.in_(some))
        for machine, some in by_machine.items()
    ]
    return select(*EXECUTION).select_from(WITH_RUNS).where(or_(false(), *wanted))


def visits_page(execution_id: Text, after: Number, page: Number | None) -> Select[Any]:
    """Return an execution's visit rows in order, after the first that many."""
    return (
        select(*visits.c)
        .where(visits.c.execution_id == execution_id, visits.c.seq > after)
        .order_by(visits.c.seq)
        .limit(page)
    )


def visit_outlines_page(execution_id: Text, after: Number, page: Number) -> Select[Any]:
    """Return an execution's visit rows without their payloads, in order, behind a place."""
    return (
        select(
            visits.c.execution_id,
            visits.c.seq,
            visits.c.frame,
            visits.c.number,
            visits.c.state,
            visits.c.type,
            visits.c.entered,
            visits.c.exited,
            visits.c.entered_event,
            visits.c.exited_event,
            visits.c.output.is_not(None),
            visits.c.error,
            visits.c.next,
            visits.c.detail.is_not(None),
            case((size(visits.c.detail) <= literal(SHORT_DETAIL, literal_execute=True), visits.c.detail)),
        )
        .where(visits.c.execution_id == execution_id, visits.c.seq > after)
        .order_by(visits.c.seq)
        .limit(page)
    )


def visits_at(execution_id: Text, places: Sequence[int]) -> Select[Any]:
    """Return the visit rows of an execution at some places."""
    return select(*visits.c).where(visits.c.execution_id == execution_id, visits.c.seq.in_(places))


def last_output(execution_id: ColumnElement[str] | Text, state: ColumnElement[str | None] | Text) -> Select[Any]:
    """Return the output of the last completed visit of a state."""
    return (
        select(visits.c.output)
        .where(visits.c.execution_id == execution_id, visits.c.state == state, visits.c.output.is_not(None))
        .order_by(visits.c.seq.desc())
        .limit(1)
    )


def callbacks_with(ids: Sequence[str]) -> Select[Any]:
    """Return the callbacks that have these ids."""
    return select(*callbacks.c).where(callbacks.c.id.in_(ids))


# Statistics

_PERCENTILES = (50, 95, 99)


def statistics(state_machine_id: Text) -> Select[Any]:
    """Return for each status: count, and least, mean, 50th, 95th, 99th percentile and greatest duration."""
    duration = executions.c.end_time - executions.c.start_time
    ranked = (
        select(
            executions.c.status,
            duration.label("duration"),
            func.row_number().over(partition_by=executions.c.status, order_by=duration).label("rank"),
            func.count().over(partition_by=executions.c.status).label("number"),
        )
        .where(executions.c.state_machine_id == state_machine_id)
        .subquery()
    )
    took = ranked.c.duration
    percentiles = [
        # The nearest rank, in whole numbers: the least duration that as many percent do not exceed.
        func.min(case((ranked.c.rank * 100 >= ranked.c.number * percent, took))).label(f"p{percent}")
        for percent in _PERCENTILES
    ]
    return select(
        ranked.c.status,
        func.count(),
        func.min(took),
        func.avg(took),
        *percentiles,
        func.max(took),
    ).group_by(ranked.c.status)


# Links

LINK: Sequence[ColumnElement[Any]] = (
    links.c.target_execution_id,
    links.c.source_execution_id,
    links.c.source_state_name,
    links.c.target_state_machine_id,
    links.c.created,
)


def links_page(
    source_execution_id: str | None,
    target_execution_id: str | None,
    target_state_machine_id: str | None,
    after: Link | None,
    page: int,
) -> Select[Any]:
    """Return the links that match all that is given, in order, after a link."""
    wanted = (
        (links.c.source_execution_id, source_execution_id),
        (links.c.target_execution_id, target_execution_id),
        (links.c.target_state_machine_id, target_state_machine_id),
    )
    query = select(*LINK).where(*(column == value for column, value in wanted if value is not None))
    if after is not None:
        place = tuple_(literal(to_micros(after.created)), literal(after.target_execution_id))
        query = query.where(tuple_(links.c.created, links.c.target_execution_id) > place)
    return query.order_by(links.c.created, links.c.target_execution_id).limit(page)


def chained_holder(state_machine_id: Text, source_execution_id: Text, source_state_name: Text | None) -> Select[Any]:
    """Return the execution of a machine, chained from a source, that runs or succeeded; the oldest of several."""
    return (
        select(*EXECUTION)
        .select_from(WITH_RUNS.join(links, links.c.target_execution_id == executions.c.id))
        .where(
            links.c.source_execution_id == source_execution_id,
            links.c.source_state_name.is_not_distinct_from(source_state_name),
            links.c.target_state_machine_id == state_machine_id,
            executions.c.status.in_(UNFAILED),
        )
        .order_by(links.c.created, links.c.target_execution_id)
        .limit(1)
    )


# State machines


def state_machine(name_or_id: Text, revision: Number | None) -> Select[Any]:
    """Return a revision of a state machine, the newest unless one is named; an id wins over a name."""
    query = select(*state_machines.c).where(or_(state_machines.c.id == name_or_id, state_machines.c.name == name_or_id))
    if revision is not None:
        query = query.where(state_machines.c.revision == revision)
    # A machine may have another one's id as its name.
    by_id = case((state_machines.c.id == name_or_id, 0), else_=1)
    return query.order_by(by_id, state_machines.c.revision.desc()).limit(1)


def state_machines_newest() -> Select[Any]:
    """Return the newest revision of every state machine, by name."""
    other = state_machines.alias("other")
    newest = select(func.max(other.c.revision)).where(other.c.id == state_machines.c.id)
    return (
        select(*state_machines.c)
        .where(state_machines.c.revision == newest.scalar_subquery())
        .order_by(state_machines.c.name)
    )


# Batches


def batch_uncounted(batch_id: Text) -> Select[Any]:
    """Return a batch, all of its items as pending: to count a million takes seconds, to find the last one does not."""
    return _uncounted().where(batches.c.id == batch_id)


def all_batches_running() -> Select[Any]:
    """Return the RUNNING batches, all of their items as pending, oldest first."""
    running = _uncounted().where(batches.c.status == BatchStatus.RUNNING.value)
    return running.order_by(batches.c.start_time, batches.c.id)


def batches_running(state_machine_id: Text, name_prefix: Text) -> Select[Any]:
    """Return the RUNNING batches of a machine that have a name prefix, all of their items as pending, oldest first."""
    of_machine = batches.c.state_machine_id == state_machine_id, batches.c.status == BatchStatus.RUNNING.value
    named = _uncounted().where(*of_machine, batches.c.name_prefix == name_prefix)
    return named.order_by(batches.c.start_time, batches.c.id)


def batch_status(batch_id: Text) -> Select[Any]:
    """Return a batch's status."""
    return select(batches.c.status).where(batches.c.id == batch_id)


def batches_page(
    state_machine_id: str | None,
    status: BatchStatus | None,
    parent_execution_id: str | None,
    after: Batch | None,
    page: int,
) -> Select[Any]:
    """Return the batches that match all that is given, newest first, after a batch, all of their items as pending."""
    return _newest_first(_uncounted(), state_machine_id, status, parent_execution_id, after).limit(page)


def _newest_first(
    query: Select[Any],
    state_machine_id: str | None,
    status: BatchStatus | None,
    parent_execution_id: str | None,
    after: Batch | None,
) -> Select[Any]:
    if state_machine_id is not None:
        query = query.where(batches.c.state_machine_id == state_machine_id)
    if status is not None:
        query = query.where(batches.c.status == status.value)
    if parent_execution_id is not None:
        query = query.where(batches.c.parent_execution_id == parent_execution_id)
    if after is not None:
        place = tuple_(literal(to_micros(after.start_time)), literal(after.id))
        query = query.where(tuple_(batches.c.start_time, batches.c.id) < place)
    return query.order_by(batches.c.start_time.desc(), batches.c.id.desc())


def _uncounted() -> Select[Any]:
    """Return batches, all of their items as pending."""
    # Items have no gaps: the last index, one look into the key, is how many there are.
    last = select(func.max(batch_items.c.index)).where(batch_items.c.batch_id == batches.c.id)
    total = func.coalesce(last.correlate(batches).scalar_subquery() + 1, 0)
    nothing = [literal(0, literal_execute=True)] * 5
    return select(*batches.c, total, *nothing, total)


def batch_items_page(batch_id: Text, after: Number, page: Number) -> Select[Any]:
    """Return items above an index, with their sources' statuses and the outputs to chain from, as of now."""
    of_state = last_output(batch_items.c.source_execution_id, batches.c.source_state_name)
    output = case(
        (batches.c.source_state_name.is_(None), executions.c.output),
        else_=of_state.correlate(batch_items, batches).scalar_subquery(),
    )
    return (
        select(
            batch_items.c.index,
            batch_items.c.source_execution_id,
            batch_items.c.name,
            executions.c.status,
            output.label("source_output"),
            batch_items.c.error,
            batch_items.c.cause,
            batch_items.c.input,
        )
        .select_from(
            batch_items.join(batches, batches.c.id == batch_items.c.batch_id).outerjoin(
                executions, executions.c.id == batch_items.c.source_execution_id
            )
        )
        .where(batch_items.c.batch_id == batch_id, batch_items.c.index > after)
        .order_by(batch_items.c.index)
        .limit(page)
    )
