"""Starts and advances, the writes that come in hundreds: what both databases make of them alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import Select, func, select

from statechain.records import CallbackStatus
from statechain.storage.leases import lease_lost
from statechain_backends.rows import Row, callback_row
from statechain_backends.schema import executions, runs, visits
from statechain_backends.selection import WITH_RUNS

if TYPE_CHECKING:
    from statechain.errors import LeaseLost
    from statechain.storage.repository import Advance

__all__ = ["callback_rows", "closed_elsewhere", "outcome_of_missed", "standing"]


def callback_rows(write: Advance) -> Iterator[tuple[object, ...]]:
    """Return the rows of the callbacks that an advance opens; one that it closes at once is written as closed."""
    for callback in write.opened:
        if callback.id in write.closed:
            yield callback_row(attrs.evolve(callback, status=CallbackStatus.CLOSED))
        else:
            yield callback_row(callback)


def closed_elsewhere(write: Advance) -> list[str]:
    """Return the ids of the callbacks that an advance closes and did not open."""
    if not write.closed:
        return []
    opened = {callback.id for callback in write.opened}
    return [each for each in write.closed if each not in opened]


def standing(execution_ids: Sequence[str]) -> Select[Any]:
    """Return where executions stand: id, epoch, epoch of the run (null once ended), and how many visits there are."""
    length = select(func.count()).where(visits.c.execution_id == executions.c.id).scalar_subquery()
    return (
        select(executions.c.id, executions.c.epoch, runs.c.epoch, length)
        .select_from(WITH_RUNS)
        .where(executions.c.id.in_(execution_ids))
    )


def outcome_of_missed(write: Advance, row: Row | None) -> LeaseLost | None:
    """Return the outcome of an advance whose guard missed: it was committed before, or the lease is lost."""
    if row is None:
        return lease_lost(write.execution_id, write.epoch, None)
    _, last_epoch, epoch, length = row
    is_here = epoch == write.epoch if write.end is None else epoch is None and last_epoch == write.epoch
    if is_here and length == write.seq + len(write.visits):
        return None
    return lease_lost(write.execution_id, write.epoch, epoch)
