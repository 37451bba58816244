"""What is asked of leases, claims and suspects: named functions that return Core expressions, as in `queries`.

Two clocks: `now` is the database's, and decides nothing by itself. `elapsed` is uptime: it follows the database's clock
from one renewal of some worker to the next, but neither backwards nor by more than `LONGEST_GAP` at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Delete,
    Select,
    Update,
    and_,
    case,
    cast,
    delete,
    exists,
    false,
    func,
    literal,
    null,
    or_,
    select,
    union,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from statechain.clock import MICROSECOND
from statechain.storage.leases import LONGEST_GAP
from statechain_backends.sql.compiler import Number, Text, param
from statechain_backends.sql.filters import EXECUTION, WITH_RUNS
from statechain_backends.sql.functions import now
from statechain_backends.sql.schema.tables import batch_shards, executions, runs, uptime, workers

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import CTE
    from sqlalchemy.sql.dml import ReturningDelete

__all__ = [
    "HAS_NOT_ENDED",
    "advance_uptime",
    "claim",
    "claim_queued",
    "claimed",
    "elapsed",
    "epochs",
    "forget_lease",
    "forget_worker",
    "leases",
    "release_dead_runs",
    "release_owned",
    "release_runs",
    "release_shards",
    "retain",
    "strays",
    "suspect_groups",
    "suspects",
    "suspicion",
    "wanted",
]

MOST_GAP = LONGEST_GAP // MICROSECOND


# Uptime


def _passed(seen: ColumnElement[int], at: ColumnElement[int]) -> ColumnElement[int]:
    """Return how much uptime passed between two readings of the database's clock."""
    return case((at < seen, 0), (at - seen > MOST_GAP, MOST_GAP), else_=at - seen)


def advance_uptime() -> Insert:
    """Bring uptime to the present."""
    first = insert(uptime).values(id=1, elapsed=0, seen=now())
    passed = _passed(uptime.c.seen, first.excluded.seen)
    return first.on_conflict_do_update(
        index_elements=[uptime.c.id],
        set_={"elapsed": uptime.c.elapsed + passed, "seen": first.excluded.seen},
    )


def elapsed() -> ColumnElement[int]:
    """Return the uptime at present, in microseconds."""
    at_present = select(uptime.c.elapsed + _passed(uptime.c.seen, now())).where(uptime.c.id == 1)
    return func.coalesce(at_present.scalar_subquery(), 0)


# Workers


def leases() -> Select[Any]:
    """Return the leases of all workers: id, end, renewals, length, and whether they are over by this clock."""
    return select(
        workers.c.id,
        workers.c.lease_until,
        func.coalesce(workers.c.renewals, 0),
        workers.c.lease,
        workers.c.lease_until <= now(),
    )


def strays() -> CompoundSelect[Any]:
    """Return the owners that have no lease."""
    return union(*(_strays_of(owner) for owner in (runs.c.owner, batch_shards.c.owner)))


def _strays_of(owner: ColumnElement[str]) -> Select[Any]:
    return select(owner).where(owner.is_not(None), ~exists().where(workers.c.id == owner))


def forget_lease() -> ReturningDelete[*tuple[Any, ...]]:
    """Forget a worker whose lease is exactly as it was seen; return its id."""
    return (
        delete(workers)
        .where(
            workers.c.id == param("worker"),
            # Compare-and-set: a renewal since the look changes one of these, also by a clock that does not advance.
            workers.c.lease_until == param("until"),
            func.coalesce(workers.c.renewals, 0) == param("renewals"),
        )
        .returning(workers.c.id)
    )


def forget_worker(worker_id: Text) -> Delete:
    """Forget a worker and its lease."""
    return delete(workers).where(workers.c.id == worker_id)


# Runs

_released = {"owner": null(), "claimable_after": elapsed() + func.coalesce(runs.c.backoff, 0)}


def release_dead_runs(worker_id: Text) -> Update:
    """Release what a dead worker owned; the backoff of suspects begins."""
    return update(runs).where(runs.c.owner == worker_id).values(_released)


def release_runs(worker_id: Text) -> Update:
    """Release a worker's runs: it left in order, so that its take-ups count as none."""
    former = case((runs.c.claims > 0, runs.c.claims - 1), else_=0)
    return update(runs).where(runs.c.owner == worker_id).values(owner=None, claims=former, claimable_after=None)


def release_shards(worker_id: Text, *, in_order: bool) -> Update:
    """Release a worker's shards; the claims of one that left in order count as none."""
    former = case((batch_shards.c.claims > 0, batch_shards.c.claims - 1), else_=0)
    released = {"owner": null(), "claims": former} if in_order else {"owner": null()}
    return update(batch_shards).where(batch_shards.c.owner == worker_id).values(released)


def release_owned(worker_id: str, execution_ids: Sequence[str], epoch: int) -> Update:
    """Release runs that a worker owns at an epoch and does not run."""
    return (
        update(runs)
        .where(runs.c.execution_id.in_(execution_ids), runs.c.owner == worker_id, runs.c.epoch == epoch)
        .values(owner=None, claimable_after=None)
    )


def retain(worker_id: str, execution_ids: Sequence[str], epoch: int) -> Update:
    """Own runs again that have no owner and are still at an epoch."""
    return (
        update(runs)
        # A claim since then has raised the epoch: the run is left to its claimer.
        .where(runs.c.execution_id.in_(execution_ids), runs.c.epoch == epoch, runs.c.owner.is_(None))
        .values(owner=worker_id)
    )


def suspicion(claims: ColumnElement[int]) -> ColumnElement[int]:
    """Return since when a run is a suspect that is given that many claims now."""
    return case(
        (claims == 0, null()),
        (runs.c.claims == 0, elapsed()),
        else_=func.coalesce(runs.c.suspect_since, elapsed()),
    )


def wanted(suspects: range | None, excluded_revisions: Collection[tuple[str, int]]) -> ColumnElement[bool]:
    """Return whether a run is one that is claimed: without deaths, or a suspect that is due; not of some revisions."""
    if suspects is None:
        claimable = runs.c.claims == 0
    else:
        is_due = func.coalesce(runs.c.claimable_after, 0) <= elapsed()
        claimable = and_(runs.c.claims >= suspects.start, runs.c.claims < suspects.stop, is_due)
    # Only `excluded_revisions` needs the executions: without it the index alone gives the page in its order.
    left = [
        and_(executions.c.state_machine_id == machine, executions.c.state_machine_revision == revision)
        for machine, revision in sorted(excluded_revisions)
    ]
    is_left = exists().where(executions.c.id == runs.c.execution_id, or_(false(), *left))
    return and_(claimable, ~is_left) if left else claimable


def claim(
    worker_id: Text,
    page: Number,
    excluded_revisions: Collection[tuple[str, int]],
    suspects: range | None,
    admitted: Sequence[Text] = (),
) -> Update:
    """Take over runs without owner, oldest first, but those of some revisions; return their ids.

    Runs that are in a queue are taken where they are ``admitted``.
    """
    free = _free_runs(wanted(suspects, excluded_revisions), runs.c.queue.is_(None)).limit(page).cte("free")
    chosen: CTE = free
    if admitted:
        queued = _queued_runs(admitted).cte("queued")
        either = union_all(select(free.c.execution_id), select(queued.c.execution_id)).subquery("either")
        chosen = select(either.c.execution_id).order_by(either.c.execution_id).limit(page).cte("chosen")
    return _taken_over(worker_id, chosen)


def claim_queued(worker_id: Text, admitted: Sequence[Text]) -> Update:
    """Take over runs that are in a queue and admitted; return their ids."""
    return _taken_over(worker_id, _queued_runs(admitted).cte("queued"))


def _taken_over(worker_id: Text, chosen: CTE) -> Update:
    return (
        update(runs)
        .where(runs.c.execution_id.in_(select(chosen.c.execution_id)))
        .values(owner=worker_id, epoch=runs.c.epoch + 1)
        .returning(runs.c.execution_id)
    )


def _queued_runs(execution_ids: Sequence[Text]) -> Select[Any]:
    return _free_runs(runs.c.execution_id.in_(execution_ids), runs.c.queue.is_not(None))


def _free_runs(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(runs.c.execution_id)
        .where(runs.c.owner.is_(None), *conditions)
        .order_by(runs.c.execution_id)
        # Two claims at once never wait for each other, nor take the same run.
        .with_for_update(of=runs, skip_locked=True)
    )


def epochs(execution_ids: Sequence[Text]) -> Select[Any]:
    """Return the epochs of those of some executions that are RUNNING."""
    return select(runs.c.execution_id, runs.c.epoch).where(runs.c.execution_id.in_(execution_ids))


# Said by the status, SQLite would read every RUNNING execution by that column's index.
HAS_NOT_ENDED = executions.c.end_time.is_(None)
"""Whether an execution is RUNNING."""


def _suspected() -> ColumnElement[int]:
    since = elapsed() - func.coalesce(runs.c.suspect_since, elapsed())
    return case((runs.c.claims == 0, 0), (since < 0, 0), else_=since)


def claimed(execution_ids: Sequence[Text]) -> Select[Any]:
    """Return epoch, seq, claims, how long a suspect, and the execution, of runs, oldest first."""
    return (
        select(runs.c.epoch, runs.c.seq, runs.c.claims, _suspected(), *EXECUTION)
        .select_from(WITH_RUNS)
        .where(executions.c.id.in_(execution_ids), HAS_NOT_ENDED)
        .order_by(executions.c.id)
    )


def suspect_groups() -> Select[Any]:
    """Return the suspects without owner: deaths, how many, and when the first may be claimed, from now."""
    due = func.min(func.coalesce(runs.c.claimable_after, 0)) - elapsed()
    return (
        select(runs.c.claims, func.count(), due)
        .where(runs.c.owner.is_(None), runs.c.claims > 0)
        .group_by(runs.c.claims)
        .order_by(runs.c.claims)
    )


def suspects(page: int) -> Select[Any]:
    """Return suspects: deaths, how long, whether they run, how long until they may, and the execution.

    What runs after its first take-up is none yet; and the take-up of a suspect that runs was no death so far.
    """
    is_running = runs.c.owner.is_not(None)
    deaths = case((is_running, runs.c.claims - 1), else_=runs.c.claims)
    due = cast(func.coalesce(runs.c.claimable_after, 0) - elapsed(), BigInteger)
    found = (
        select(runs.c.execution_id)
        .where(or_(runs.c.claims > 1, and_(runs.c.claims > 0, ~is_running)))
        .order_by(deaths.desc(), runs.c.execution_id)
        .limit(page)
        .cte("found")
    )
    return (
        select(
            deaths,
            _suspected(),
            is_running,
            case((or_(is_running, due < 0), literal(0)), else_=due),
            *EXECUTION,
        )
        .select_from(WITH_RUNS)
        .where(executions.c.id.in_(select(found.c.execution_id)), HAS_NOT_ENDED)
        .order_by(deaths.desc(), executions.c.id)
    )
