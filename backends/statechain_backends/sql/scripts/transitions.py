"""Starts and advances, the writes that come in hundreds: what both databases make of them alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import Select, func, select

from statechain.clock import to_micros
from statechain.records.callbacks import CallbackStatus
from statechain.storage.leases import lease_lost
from statechain_backends.sql.decoding import Row
from statechain_backends.sql.filters import WITH_RUNS
from statechain_backends.sql.records import to_visit
from statechain_backends.sql.rows import callback_row
from statechain_backends.sql.schema.tables import executions, runs, visits

if TYPE_CHECKING:
    from statechain.errors import LeaseLost
    from statechain.storage.repository import Advance

__all__ = [
    "callback_rows",
    "callbacks_to_close",
    "current_positions",
    "last_written",
    "may_be_committed",
    "outcome_after_guard_miss",
]


def callback_rows(write: Advance) -> Iterator[tuple[object, ...]]:
    """Return the rows of the callbacks that an advance opens; one that it closes at once is written as closed."""
    for callback in write.opened:
        if callback.id in write.closed:
            # On PostgreSQL one statement cannot change a row that it inserts.
            yield callback_row(attrs.evolve(callback, status=CallbackStatus.CLOSED))
        else:
            yield callback_row(callback)


def callbacks_to_close(write: Advance) -> list[str]:
    """Return the ids of the callbacks that an advance closes and did not open."""
    if not write.closed:
        return []
    opened = {callback.id for callback in write.opened}
    return [each for each in write.closed if each not in opened]


def current_positions(execution_ids: Sequence[str]) -> Select[Any]:
    """Return where executions are: id, epoch, epoch of the run (null once ended), status, end time, count of visits."""
    length = select(func.count()).where(visits.c.execution_id == executions.c.id).scalar_subquery()
    return (
        select(executions.c.id, executions.c.epoch, runs.c.epoch, executions.c.status, executions.c.end_time, length)
        .select_from(WITH_RUNS)
        .where(executions.c.id.in_(execution_ids))
    )


def last_written(write: Advance) -> Select[Any]:
    """Return the visit row that is where an advance puts its last one."""
    place = write.seq + len(write.visits)
    return select(*visits.c).where(visits.c.execution_id == write.execution_id, visits.c.seq == place)


def may_be_committed(write: Advance, row: Row | None) -> bool:
    """Return whether an execution is where an advance leads, so that it may have been committed before.

    Where it does, the row of its last visit decides (`last_written`); where it does not, none need be read.
    """
    if row is None:
        return False
    _, last_epoch, epoch, status, end_time, length = row
    is_here = epoch == write.epoch if write.end is None else epoch is None and last_epoch == write.epoch
    end = write.end
    is_own_end = end is None or (status, end_time) == (end.status.value, to_micros(end.end_time))
    return bool(is_here and is_own_end and length == write.seq + len(write.visits))


def outcome_after_guard_miss(write: Advance, row: Row | None, last: Row | None) -> LeaseLost | None:
    """Return the outcome of an advance whose guard missed: it was committed before, or the lease is lost.

    Arguments:
        write: The advance.

        row: Where its execution is (`current_positions`); None where there is none.

        last: What is stored where it puts its last visit (`last_written`); None where there is none.
    """
    # The epoch alone does not show it: after a failover that lost a claim, two workers may have the same one. So the
    # last row, and the end, must be this write's own.
    is_own_visit = not write.visits or (last is not None and to_visit(last) == write.visits[-1])
    if may_be_committed(write, row) and is_own_visit:
        return None
    _, _, epoch, *_ = row or (None,) * 3
    return lease_lost(write.execution_id, write.epoch, epoch)
