"""What a filter means, as SQL: pages, counts, the frozen sources of a batch.

A page is read in the order of one index. Where a filter spans several statuses (all of a machine's), or the states of
running and of ended executions, no single index has that order: it becomes a UNION ALL of branches, each with its own
index, which both databases merge in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Insert,
    Select,
    and_,
    exists,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from statechain.clock import to_micros
from statechain.records.executions import TERMINAL, ExecutionStatus
from statechain_backends.sql.functions import position, unindexed
from statechain_backends.sql.schema.tables import batch_items, executions, links, runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from statechain.records.batches import Batch
    from statechain.records.filters import Chained, Cursor, ExecutionFilter

__all__ = [
    "EXECUTION",
    "UNFAILED",
    "WITH_RUNS",
    "chosen_ids",
    "count_executions",
    "execution_keys_page",
    "executions_page",
    "freeze",
]

Query: TypeAlias = "Select[Any] | CompoundSelect[Any]"

LAST = "\U0010ffff"
"""The last character: what begins with a string lies between it and the text with this behind it, bytewise."""

MOST = 2**63 - 1
"""The largest number that a LIMIT takes."""

RUNNING = ExecutionStatus.RUNNING
UNFAILED = [RUNNING.value, ExecutionStatus.SUCCEEDED.value]
"""The statuses of a chained execution that represents its source's being chained."""

WITH_RUNS = executions.outerjoin(runs, runs.c.execution_id == executions.c.id)

EXECUTION: Sequence[ColumnElement[Any]] = (
    executions.c.id,
    executions.c.name,
    executions.c.state_machine_id,
    executions.c.state_machine_revision,
    executions.c.status,
    executions.c.input,
    executions.c.output,
    executions.c.error,
    executions.c.cause,
    executions.c.start_time,
    executions.c.end_time,
    func.coalesce(runs.c.current_state, executions.c.current_state).label("current_state"),
    executions.c.source_execution_id,
    executions.c.source_state_name,
    executions.c.redrive_count,
    executions.c.key,
    executions.c.priority,
)


def executions_page(
    filter_: ExecutionFilter, after: Cursor | None, page: int, *, limits_branches: bool = False
) -> Query:
    """Return a page of the executions that a filter means, after a cursor or, without one, after its offset.

    With ``limits_branches`` each branch of a union has a separate order and limit.
    """
    return _page(filter_, EXECUTION, after, page, limits_branches=limits_branches)


def execution_keys_page(
    filter_: ExecutionFilter, after: Cursor | None, page: int, *, limits_branches: bool = False
) -> Query:
    """Return start time, id and redrive count of what `executions_page` returns."""
    columns = (executions.c.start_time, executions.c.id, executions.c.redrive_count)
    return _page(filter_, columns, after, page, limits_branches=limits_branches)


def count_executions(filter_: ExecutionFilter) -> Select[Any]:
    """Return how many executions a filter means, without its limit and offset."""
    return select(func.count()).select_from(_union(filter_, (executions.c.id,)).subquery())


def _page(
    filter_: ExecutionFilter,
    columns: Sequence[ColumnElement[Any]],
    after: Cursor | None,
    page: int,
    *,
    limits_branches: bool,
) -> Query:
    offset = 0 if after else filter_.offset
    branches = _selects(filter_, columns, after)
    # PostgreSQL plans a branch that joins without regard to the order and limit of the whole: it would read and sort
    # all of a machine's executions for each page.
    if limits_branches and len(branches) > 1:
        first = [_ordered(each, filter_).limit(min(page + offset, MOST)).subquery() for each in branches]
        branches = [select(each) for each in first]
    return _skipping(_ordered(_merged(branches), filter_), offset).limit(page)


def chosen_ids(filter_: ExecutionFilter) -> Query:
    """Return ids and start times of all that a filter means, in its order, with its offset and limit."""
    whole = _skipping(_ordered(_union(filter_, (executions.c.id, executions.c.start_time)), filter_), filter_.offset)
    return whole if filter_.limit is None else whole.limit(literal(filter_.limit, BigInteger))


def freeze(stored: Batch, filter_: ExecutionFilter) -> Insert:
    """Insert an item into a batch for each execution that a filter means now, in its order."""
    chosen = chosen_ids(filter_).subquery()
    place = func.row_number().over(order_by=_order((chosen.c.start_time, chosen.c.id), filter_)) - 1
    name = literal(f"{stored.name_prefix}-").concat(chosen.c.id)
    return insert(batch_items).from_select(
        [batch_items.c.batch_id, batch_items.c.index, batch_items.c.source_execution_id, batch_items.c.name],
        select(literal(stored.id), place, chosen.c.id, name),
    )


def _skipping(query: Query, offset: int) -> Query:
    # BIGINT: as an INTEGER the driver of PostgreSQL refuses a larger number.
    return query.offset(literal(offset, BigInteger)) if offset else query


def _ordered(query: Query, filter_: ExecutionFilter) -> Query:
    columns = query.selected_columns
    return query.order_by(*_order((columns["start_time"], columns["id"]), filter_))


def _order(keys: Sequence[ColumnElement[Any]], filter_: ExecutionFilter) -> list[ColumnElement[Any]]:
    return [key.desc() if filter_.order == "newest_first" else key.asc() for key in keys]


def _union(filter_: ExecutionFilter, columns: Sequence[ColumnElement[Any]]) -> Query:
    return _merged(_selects(filter_, columns, None))


def _merged(branches: Sequence[Select[Any]]) -> Query:
    return branches[0] if len(branches) == 1 else union_all(*branches)


def _selects(
    filter_: ExecutionFilter, columns: Sequence[ColumnElement[Any]], after: Cursor | None
) -> Sequence[Select[Any]]:
    whole = select(*columns).select_from(WITH_RUNS).where(*_conditions(filter_, after))
    return [whole.where(branch) for branch in _branches(filter_)]


def _branches(filter_: ExecutionFilter) -> Sequence[ColumnElement[bool]]:
    """Split a filter by status and state, which one index cannot serve in order, into disjoint conditions."""
    # Not split: the index of starts, which has the names, is read from end to end. To look into the table for each
    # row of a status takes four times as long, of a million rows.
    if filter_.text is not None and filter_.current_state is None and filter_.state_machine_id is None:
        wanted = sorted(status.value for status in filter_.status) if filter_.status is not None else None
        return [true() if wanted is None else unindexed(executions.c.status).in_(wanted)]
    if filter_.current_state is not None:
        return _state_branches(filter_.current_state, filter_.status)
    statuses = set(ExecutionStatus) if filter_.status is None else filter_.status
    if len(statuses) == len(ExecutionStatus) and filter_.state_machine_id is None:
        return [true()]
    return [executions.c.status == status.value for status in sorted(statuses)] or [false()]


def _state_branches(state: str, statuses: frozenset[ExecutionStatus] | None) -> Sequence[ColumnElement[bool]]:
    ended = executions.c.current_state == state
    running = and_(executions.c.status == RUNNING.value, runs.c.current_state == state)  # by the index of statuses
    if statuses is None:
        return [ended, running]
    values = [status.value for status in sorted(statuses & TERMINAL)]
    branches = [and_(ended, executions.c.status.in_(values))] if values else []
    return [*branches, *([running] if RUNNING in statuses else [])] or [false()]


def _conditions(filter_: ExecutionFilter, after: Cursor | None) -> list[ColumnElement[bool]]:
    key = tuple_(executions.c.start_time, executions.c.id)
    conditions: list[ColumnElement[bool]] = []
    if filter_.state_machine_id is not None:
        conditions.append(executions.c.state_machine_id == filter_.state_machine_id)
    if filter_.name is not None:
        conditions.append(position(executions.c.name, filter_.name) > 0)
    if filter_.text is not None:
        of_name = position(executions.c.name, filter_.text) > 0
        begins = and_(executions.c.id >= filter_.text, executions.c.id <= filter_.text + LAST)
        conditions.append(or_(of_name, begins))  # every name has an empty text in it
    if filter_.start_after is not None:
        conditions.append(executions.c.start_time > to_micros(filter_.start_after))
    if filter_.start_before is not None:
        conditions.append(executions.c.start_time < to_micros(filter_.start_before))
    if after is not None:
        # Keyset paging by a row value: both databases begin at its place in the index.
        place = tuple_(literal(to_micros(after.start_time)), literal(after.id))
        conditions.append(key < place if filter_.order == "newest_first" else key > place)
    if filter_.unchained_to is not None:
        conditions.append(~_is_chained(filter_.unchained_to))
    return conditions


def _is_chained(chained: Chained) -> ColumnElement[bool]:
    target = executions.alias("target")
    found = exists().where(
        links.c.source_execution_id == executions.c.id,
        links.c.target_state_machine_id == chained.to,
        target.c.id == links.c.target_execution_id,
        target.c.status.in_(UNFAILED),
    )
    if chained.source_state_name is None:
        return found
    return found.where(links.c.source_state_name == chained.source_state_name)
