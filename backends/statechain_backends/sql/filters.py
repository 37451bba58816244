"""What a filter means, as SQL: pages, counts, the frozen sources of a batch.

A page is read in the order of one index. Where a filter spans several statuses, or the states of running and of
ended executions, no single index has that order: it becomes a UNION ALL of branches, each with an index of its own,
which both databases merge in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Insert,
    Integer,
    Select,
    and_,
    exists,
    false,
    func,
    insert,
    literal,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from statechain.clock import to_micros
from statechain.records import TERMINAL, ExecutionStatus
from statechain_backends.sql.schema import batch_items, executions, links, runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.sql.compiler import SQLCompiler

    from statechain.filters import Chained, Cursor, ExecutionFilter
    from statechain.records import Batch

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

RUNNING = ExecutionStatus.RUNNING
UNFAILED = [RUNNING.value, ExecutionStatus.SUCCEEDED.value]
"""The statuses of a chained execution that stands for its source's being chained."""

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
)


class position(FunctionElement[int]):  # noqa: N801
    """Where a text first occurs in another, bytewise, from 1; 0 where it does not."""

    type = Integer()
    inherit_cache = True


@compiles(position)
def _position(element: position, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    return f"strpos({compiler.process(element.clauses, **options)})"


@compiles(position, "sqlite")
def _position_on_sqlite(element: position, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    return f"instr({compiler.process(element.clauses, **options)})"


def executions_page(meant: ExecutionFilter, after: Cursor | None, page: int) -> Query:
    """Return a page of the executions that a filter means, after a cursor or, without one, after its offset."""
    return _page(meant, EXECUTION, after, page)


def execution_keys_page(meant: ExecutionFilter, after: Cursor | None, page: int) -> Query:
    """Return start time, id and redrive count of what `executions_page` returns."""
    return _page(meant, (executions.c.start_time, executions.c.id, executions.c.redrive_count), after, page)


def count_executions(meant: ExecutionFilter) -> Select[Any]:
    """Return how many executions a filter means, whatever its limit and offset."""
    return select(func.count()).select_from(_union(meant, (executions.c.id,)).subquery())


def _page(meant: ExecutionFilter, columns: Sequence[ColumnElement[Any]], after: Cursor | None, page: int) -> Query:
    whole = _ordered(_union(meant, columns, after), meant)
    return (whole if after else _skipping(whole, meant.offset)).limit(page)


def chosen_ids(meant: ExecutionFilter) -> Query:
    """Return ids and start times of all that a filter means, in its order, with its offset and limit."""
    whole = _skipping(_ordered(_union(meant, (executions.c.id, executions.c.start_time)), meant), meant.offset)
    return whole if meant.limit is None else whole.limit(literal(meant.limit, BigInteger))


def freeze(stored: Batch, meant: ExecutionFilter) -> Insert:
    """Insert an item into a batch for each execution that a filter means now, in its order."""
    chosen = chosen_ids(meant).subquery()
    place = func.row_number().over(order_by=_order((chosen.c.start_time, chosen.c.id), meant)) - 1
    name = literal(f"{stored.name_prefix}-").concat(chosen.c.id)
    return insert(batch_items).from_select(
        [batch_items.c.batch_id, batch_items.c.index, batch_items.c.source_execution_id, batch_items.c.name],
        select(literal(stored.id), place, chosen.c.id, name),
    )


def _skipping(query: Query, offset: int) -> Query:
    return query.offset(literal(offset, BigInteger)) if offset else query


def _ordered(query: Query, meant: ExecutionFilter) -> Query:
    columns = query.selected_columns
    return query.order_by(*_order((columns["start_time"], columns["id"]), meant))


def _order(keys: Sequence[ColumnElement[Any]], meant: ExecutionFilter) -> list[ColumnElement[Any]]:
    return [key.desc() if meant.order == "newest_first" else key.asc() for key in keys]


def _union(meant: ExecutionFilter, columns: Sequence[ColumnElement[Any]], after: Cursor | None = None) -> Query:
    whole = select(*columns).select_from(WITH_RUNS).where(*_conditions(meant, after))
    branches = [whole.where(branch) for branch in _branches(meant)]
    return branches[0] if len(branches) == 1 else union_all(*branches)


def _branches(meant: ExecutionFilter) -> Sequence[ColumnElement[bool]]:
    """Split a filter by status and state, which one index cannot serve in order, into disjoint conditions."""
    if meant.current_state is not None:
        return _state_branches(meant.current_state, meant.status)
    if meant.status is None or len(meant.status) == len(ExecutionStatus):
        return [true()]
    return [executions.c.status == status.value for status in sorted(meant.status)] or [false()]


def _state_branches(state: str, statuses: frozenset[ExecutionStatus] | None) -> Sequence[ColumnElement[bool]]:
    ended = executions.c.current_state == state
    running = runs.c.current_state == state
    if statuses is None:
        return [ended, running]
    values = [status.value for status in sorted(statuses & TERMINAL)]
    branches = [and_(ended, executions.c.status.in_(values))] if values else []
    return [*branches, *([running] if RUNNING in statuses else [])] or [false()]


def _conditions(meant: ExecutionFilter, after: Cursor | None) -> list[ColumnElement[bool]]:
    key = tuple_(executions.c.start_time, executions.c.id)
    conditions: list[ColumnElement[bool]] = []
    if meant.state_machine_id is not None:
        conditions.append(executions.c.state_machine_id == meant.state_machine_id)
    if meant.name is not None:
        conditions.append(position(executions.c.name, meant.name) > 0)
    if meant.start_after is not None:
        conditions.append(executions.c.start_time > to_micros(meant.start_after))
    if meant.start_before is not None:
        conditions.append(executions.c.start_time < to_micros(meant.start_before))
    if after is not None:
        place = tuple_(literal(to_micros(after.start_time)), literal(after.id))
        conditions.append(key < place if meant.order == "newest_first" else key > place)
    if meant.unchained_to is not None:
        conditions.append(~_is_chained(meant.unchained_to))
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
