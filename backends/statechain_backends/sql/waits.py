"""What RUNNING executions wait for: their runs, the last visit of each, and the task that has waited longest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import Select, case, literal, select

from statechain.records.callbacks import CallbackStatus
from statechain.storage.outlines import SHORT_DETAIL
from statechain.storage.waits import Awaited, ExecutionWait, wait_of
from statechain_backends.sql.decoding import moment_or_none, payload_or_none, reads, text, text_or_none
from statechain_backends.sql.functions import size
from statechain_backends.sql.schema.tables import callbacks, executions, runs, visits

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, ColumnElement

    from statechain_backends.sql.decoding import Row

__all__ = ["to_wait", "waits_of"]


def waits_of(ids: Sequence[BindParameter[Any]]) -> Select[Any]:
    """Return a row for each execution of some that is RUNNING; `to_wait` reads it."""
    waiting = callbacks.alias("waiting")
    oldest = (
        select(waiting.c.id)
        .where(
            waiting.c.execution_id == runs.c.execution_id,
            waiting.c.status == literal(CallbackStatus.WAITING.value, literal_execute=True),
            waiting.c.redrive_count == executions.c.redrive_count,
        )
        .order_by(waiting.c.since, waiting.c.id)
        .limit(1)
        .correlate(runs, executions)
        .scalar_subquery()
    )
    is_short = size(visits.c.detail) <= literal(SHORT_DETAIL, literal_execute=True)
    columns: list[ColumnElement[Any]] = [
        runs.c.execution_id,
        runs.c.owner.is_not(None),
        runs.c.queue.is_not(None),
        callbacks.c.id,
        callbacks.c.state,
        callbacks.c.activity,
        callbacks.c.token_hash.is_not(None),
        visits.c.type,
        visits.c.exited,
        case((is_short, visits.c.detail)),
    ]
    # By `seq` of the run, which is the place of its last visit: one look into the key, in place of a sort.
    last = (visits.c.execution_id == runs.c.execution_id) & (visits.c.seq == runs.c.seq)
    tables = (
        runs.join(executions, executions.c.id == runs.c.execution_id)
        .outerjoin(visits, last)
        .outerjoin(callbacks, callbacks.c.id == oldest)
    )
    return select(*columns).select_from(tables).where(runs.c.execution_id.in_(ids))


@attrs.frozen
class _Visit:
    type: str
    exited: datetime | None
    detail: str | None


@reads("runs", 0)
def to_wait(row: Row) -> tuple[str, ExecutionWait | None]:
    """Return an execution's id, and what it waits for."""
    id_, is_owned, is_queued, callback, state, activity, is_taken, type_, exited, detail = row
    awaited, visit = None, None
    if callback is not None:
        awaited = Awaited(text_or_none(state, "state"), text_or_none(activity, "activity"), bool(is_taken))
    if type_ is not None:
        visit = _Visit(text(type_, "type"), moment_or_none(exited, "exited"), payload_or_none(detail, "detail"))
    wait = wait_of(is_owned=bool(is_owned), is_queued=bool(is_queued), awaited=awaited, visit=visit)
    return text(id_, "execution_id"), wait
