"""What is asked of queues: named functions that return Core expressions, and constant statements.

Times are microseconds of uptime, as in `leases.queries`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Update,
    and_,
    case,
    cast,
    func,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from statechain.records.executions import ExecutionStatus
from statechain_backends.sql.compiler import param
from statechain_backends.sql.leases.queries import elapsed
from statechain_backends.sql.schema.tables import executions, queues, runs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "IS_LIMITED",
    "KEPT",
    "LIMITS",
    "NOTE_TAKEN",
    "OWNED",
    "QUEUES",
    "QUEUE_RUNS",
    "SET_LIMITS",
    "STATUS",
    "WAIT",
    "claimable",
    "following",
    "heads",
    "is_limited",
    "lock_open",
    "open_queues",
]

MOST_AT_ONCE = 16
"""How many queues one claim locks: others pass over what it has locked."""

LIMITS: Sequence[ColumnElement[Any]] = (
    queues.c.max_concurrency,
    queues.c.max_concurrency_per_key,
    queues.c.rate_count,
    queues.c.rate_period,
)


def is_limited() -> ColumnElement[bool]:
    """Return whether a queue's machine has any limit."""
    return func.coalesce(queues.c.max_concurrency, queues.c.max_concurrency_per_key, queues.c.rate_count).is_not(None)


IS_LIMITED = select(case((is_limited(), 1), else_=0)).where(queues.c.state_machine_id == param("machine"))
"""One row where a machine has a queue: 1 where it has limits, 0 where it had some. No row without a queue."""

# Limits


KEPT = {
    "max_concurrency": "max_concurrency",
    "max_concurrency_per_key": "max_concurrency_per_key",
    "rate_count": "rate",
    "rate_period": "rate",
}
"""The columns of limits, and the names of the limits that they are of."""


def _set_limits() -> Insert:
    new = insert(queues).values(state_machine_id=param("machine"), **{name: param(name) for name in KEPT}, free_at=0)
    # `taken` stays, so that a new rate counts what was taken up; 0 has the next claim work out anew when it is free.
    changed = {
        name: case((type_coerce(param(f"keeps_{limit}"), Integer) == 1, queues.c[name]), else_=new.excluded[name])
        for name, limit in KEPT.items()
    }
    return new.on_conflict_do_update(index_elements=[queues.c.state_machine_id], set_={**changed, "free_at": 0})


SET_LIMITS = _set_limits()


def _queue_runs() -> Update:
    """Put the runs of a machine that are in no queue into its own."""
    of_execution = executions.c.id == runs.c.execution_id
    running = (
        select(executions.c.id)
        .where(executions.c.state_machine_id == param("machine"), executions.c.status == ExecutionStatus.RUNNING.value)
        .scalar_subquery()
    )
    key = select(func.coalesce(executions.c.key, "")).where(of_execution).scalar_subquery()
    rank = select(-func.coalesce(executions.c.priority, 0)).where(of_execution).scalar_subquery()
    return (
        update(runs)
        .where(runs.c.queue.is_(None), runs.c.execution_id.in_(running))
        .values(queue=param("machine"), key=key, rank=rank)
    )


QUEUE_RUNS = _queue_runs()

# A claim

# With the very conditions of the partial indexes `runs_queued` and `runs_limited`, by which a planner knows them.
_waiting = and_(runs.c.queue == queues.c.state_machine_id, runs.c.owner.is_(None), runs.c.queue.is_not(None))
_owned = and_(runs.c.queue == queues.c.state_machine_id, runs.c.owner.is_not(None), runs.c.queue.is_not(None))


def _count(which: ColumnElement[bool]) -> ColumnElement[int]:
    return select(func.count()).select_from(runs).where(which).correlate(queues).scalar_subquery()


def open_queues(*columns: ColumnElement[Any]) -> Select[Any]:
    """Return columns of the queues in which something waits and that have room."""
    most = queues.c.max_concurrency
    return (
        select(*columns)
        .select_from(queues)
        .where(
            select(1).select_from(runs).where(_waiting).correlate(queues).exists(),
            queues.c.free_at <= elapsed(),
            or_(most.is_(None), _count(_owned) < most),
        )
    )


def lock_open() -> Select[Any]:
    """Lock queues that are open; return id, limits, what was taken, and uptime.

    The counts are those of before the lock: they only spare a claim the queues that are full.
    """
    return (
        open_queues(queues.c.state_machine_id, *LIMITS, queues.c.taken, elapsed())
        # At random: where more queues are open than one claim locks, each has its turn.
        .order_by(func.random())
        .limit(MOST_AT_ONCE)
        .with_for_update(of=queues, skip_locked=True)
    )


OWNED = (
    select(runs.c.key, func.count())
    .where(runs.c.queue == param("queue"), runs.c.owner.is_not(None), runs.c.queue.is_not(None))
    .group_by(runs.c.key)
)
"""How many runs of a queue are owned, by their keys."""

NOTE_TAKEN = (
    update(queues)
    .where(queues.c.state_machine_id == param("queue"))
    .values(taken=param("now_taken"), free_at=param("now_free_at"))
)

_in_queue = and_(runs.c.queue == param("queue"), runs.c.owner.is_(None), runs.c.queue.is_not(None))


def heads(wanted: ColumnElement[bool]) -> Select[Any]:
    """Return the first run of each key in a queue: key, rank, id. It reads an entry of the index for each key."""
    # A loose index scan: each step of the recursion jumps to the next key, over all that waits under the one before.
    first = select(func.min(runs.c.key).label("key")).where(_in_queue, wanted).cte("keys", recursive=True)
    later = (
        select(func.min(runs.c.key))
        .where(_in_queue, wanted, runs.c.key > first.c.key)
        .correlate(first)
        .scalar_subquery()
    )
    keys = first.union_all(select(later).where(first.c.key.is_not(None)))
    head = runs.alias("head")
    first_of_key = (
        select(runs.c.execution_id)
        .where(_in_queue, wanted, runs.c.key == keys.c.key)
        .order_by(runs.c.rank, runs.c.execution_id)
        .limit(1)
        .correlate(keys)
        .scalar_subquery()
    )
    return select(head.c.key, head.c.rank, head.c.execution_id).select_from(
        keys.join(head, head.c.execution_id == first_of_key)
    )


def following(wanted: ColumnElement[bool]) -> Select[Any]:
    """Return the runs of one key in a queue that follow another one: rank and id, in order."""
    place = tuple_(type_coerce(param("rank"), Integer), param("after"))
    return (
        select(runs.c.rank, runs.c.execution_id)
        .where(_in_queue, wanted, runs.c.key == param("key"), tuple_(runs.c.rank, runs.c.execution_id) > place)
        .order_by(runs.c.rank, runs.c.execution_id)
        .limit(param("most"))
    )


# What operators ask


def claimable() -> Select[Any]:
    """Return one row: how many executions may be claimed of all queues, as far as their concurrency allows."""
    waiting, room = _count(_waiting), queues.c.max_concurrency - _count(_owned)
    within = case((queues.c.max_concurrency.is_(None), waiting), (room <= 0, 0), (room < waiting, room), else_=waiting)
    return select(cast(func.coalesce(func.sum(within), 0), BigInteger)).select_from(queues)


STATUS: Sequence[ColumnElement[Any]] = (queues.c.state_machine_id, *LIMITS, _count(_waiting), _count(_owned))

QUEUES = (
    select(*STATUS)
    .where(or_(is_limited(), select(1).select_from(runs).where(_waiting).correlate(queues).exists()))
    .order_by(queues.c.state_machine_id)
)

_of_key = (
    select(func.count())
    .select_from(_other := runs.alias("other"))
    .where(
        _other.c.queue == runs.c.queue,
        _other.c.owner.is_not(None),
        _other.c.queue.is_not(None),
        _other.c.key == runs.c.key,
    )
    .correlate(runs)
    .scalar_subquery()
)
WAIT = (
    select(*STATUS, case((runs.c.key == "", None), else_=_of_key), queues.c.taken, elapsed())
    .select_from(runs.join(queues, queues.c.state_machine_id == runs.c.queue))
    .where(runs.c.execution_id == param("execution"), runs.c.owner.is_(None))
)
