"""The usual claim in one statement: executions that are in no queue and no suspects, while no queue is open.

Else a claim is a transaction of several statements, each with a round trip, in which the slots of a worker are
empty. While a queue has something that it may give, the statement takes nothing and says so: which of both comes
first is decided in that transaction alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, func, literal, select, true, update

from statechain_backends.sql.compiler import param
from statechain_backends.sql.filters import EXECUTION
from statechain_backends.sql.leases.queries import HAS_NOT_ENDED, wanted
from statechain_backends.sql.queues.queries import open_queues
from statechain_backends.sql.schema.tables import executions, runs

if TYPE_CHECKING:
    from statechain_backends.sql.decoding import Row

__all__ = ["CLAIM", "rows_of_claims"]


def _claim() -> Select[Any]:
    # A CTE, for it is asked twice, and both answers must be the same one.
    is_open = open_queues(literal(1)).limit(1).cte("is_open")
    free = (
        select(runs.c.execution_id)
        .where(runs.c.owner.is_(None), runs.c.queue.is_(None), wanted(None, ()), ~select(is_open).exists())
        .order_by(runs.c.execution_id)
        .limit(param("page"))
        # A claim waits for no other one: what another worker is about to take is passed over.
        .with_for_update(of=runs, skip_locked=True)
        .cte("free")
    )
    taken = (
        update(runs)
        .where(runs.c.execution_id.in_(select(free.c.execution_id)))
        .values(owner=param("worker"), epoch=runs.c.epoch + 1)
        .returning(runs.c.execution_id, runs.c.epoch, runs.c.seq, runs.c.claims, runs.c.current_state)
        .cte("taken")
    )
    # What a run holds comes from RETURNING: the rest of the statement sees `runs` as it was before.
    current_state = func.coalesce(taken.c.current_state, executions.c.current_state)
    execution: list[ColumnElement[Any]] = [
        current_state if column.name == "current_state" else column for column in EXECUTION
    ]
    claimed = (
        select(taken.c.epoch, taken.c.seq, taken.c.claims, literal(0).label("suspected"), *execution)
        .select_from(taken.join(executions, executions.c.id == taken.c.execution_id))
        .where(HAS_NOT_ENDED)
        .subquery("claimed")
    )
    answer = select(func.count().label("count")).select_from(is_open).subquery("answer")
    return select(answer.c.count, *claimed.c).select_from(answer.outerjoin(claimed, true())).order_by(claimed.c.id)


CLAIM = _claim()
"""At least one row: 1 where a queue is open; then the columns of `leases.queries.claimed`, or nulls."""


def rows_of_claims(rows: Sequence[Row]) -> list[Row] | None:
    """Return the rows of what was claimed, from what `CLAIM` answered; None where a queue is open."""
    claimed: list[Row] = []
    for is_open, *row in rows:
        if is_open:
            return None
        if row[0] is not None:
            claimed.append(row)
    return claimed
