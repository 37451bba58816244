"""Leases and claims, step by step: scripts as in `scripts.writes`, for SQLite and PostgreSQL alike."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from statechain.clock import MICROSECOND
from statechain.errors import DamagedRow
from statechain.records.executions import ExecutionStatus
from statechain_backends.sql.compiler import param
from statechain_backends.sql.functions import now
from statechain_backends.sql.leases import queries
from statechain_backends.sql.queues import scripts as queue_scripts
from statechain_backends.sql.records import to_claim
from statechain_backends.sql.schema.tables import executions, runs, workers
from statechain_backends.sql.scripts.writes import LOST_EPOCHS, chunks
from statechain_backends.sql.text_escape import unescape_text

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, Select, Update

    from statechain.records.executions import Claim
    from statechain.storage.leases import WorkerLease
    from statechain_backends.sql.decoding import Row
    from statechain_backends.sql.scripts.steps import Script, Steps

__all__ = ["claim", "end_damaged", "owned", "release", "release_dead", "renew_lease", "retain"]

logger = logging.getLogger(__name__)

_lease: dict[str, Any] = {"lease_until": now() + param("new_lease"), "lease": param("new_lease")}
_RENEW = (
    update(workers)
    .where(workers.c.id == param("id_"))
    .values(renewals=func.coalesce(workers.c.renewals, 0) + 1, **_lease)
    .returning(workers.c.id)
)
_REGISTER = insert(workers).values(id=param("id_"), renewals=1, **_lease).on_conflict_do_nothing()
_STAND_IN = insert(workers).values(id=param("id_"), lease_until=0, renewals=0).on_conflict_do_nothing()
_ADVANCE_UPTIME = queries.advance_uptime()
_FORGET_LEASE = queries.forget_lease()
_RELEASE_DEAD_RUNS = queries.release_dead_runs(param("worker"))
_RELEASE_DEAD_SHARDS = queries.release_shards(param("worker"), in_order=False)
_OWNED = select(runs.c.execution_id, runs.c.epoch).where(runs.c.owner == param("worker"))
_RELEASE = queries.release_runs(param("worker"))
_RELEASE_SHARDS = queries.release_shards(param("worker"), in_order=True)
_FORGET = queries.forget_worker(param("worker"))


def renew_lease(worker_id: str, lease: timedelta) -> Script:
    """Register a worker or renew its lease; return whether it was there."""
    renewal = {"id_": worker_id, "new_lease": lease // MICROSECOND}
    rows = yield _RENEW, renewal
    if not rows:
        yield _REGISTER, renewal
    # Last: all renewals update this one row, which stays locked until the commit.
    yield _ADVANCE_UPTIME, {}
    return bool(rows)


def release_dead(leases: Sequence[WorkerLease]) -> Script:
    """Release what dead workers own, where their leases are as they were seen; return the workers' ids."""
    released: list[str] = []
    for lease in sorted(leases, key=lambda each: each.worker_id):  # in one order: two that do it at once never deadlock
        seen = {"worker": lease.worker_id, "until": lease.until, "renewals": lease.renewals}
        # A row that equals what was seen, deleted again at once: a registration at the same time waits for it, and
        # one that was made before keeps it from being inserted, so that nothing is released.
        if lease.is_missing:
            yield _STAND_IN, {"id_": lease.worker_id}
        rows = yield _FORGET_LEASE, seen
        if rows:
            yield _RELEASE_DEAD_RUNS, {"worker": lease.worker_id}
            yield _RELEASE_DEAD_SHARDS, {"worker": lease.worker_id}
            released.append(lease.worker_id)
    return released


def retain(worker_id: str, epochs: Mapping[str, int]) -> Script:
    """Own again what was released and not claimed since."""
    for epoch, ids in _by_epoch(epochs):
        yield queries.retain(worker_id, ids, epoch), None
    return None


def _by_epoch(epochs: Mapping[str, int]) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield each epoch with some of the ids that have it, in one order: two that do it at once never deadlock."""
    by_epoch: dict[int, list[str]] = defaultdict(list)
    for execution_id, epoch in sorted(epochs.items()):
        by_epoch[epoch].append(execution_id)
    for epoch, ids in by_epoch.items():
        for some in chunks(ids):
            yield epoch, some


def owned(worker_id: str) -> Script:
    """Return the epochs of the executions that a worker owns, by their ids."""
    rows = yield _OWNED, {"worker": worker_id}
    return {unescape_text(id_): epoch for id_, epoch in rows}


def claim(
    worker_id: str,
    page: int,
    excluded_revisions: Collection[tuple[str, int]],
    orphaned: Mapping[str, int],
    suspects: range | None,
    only_queued: Collection[str] | None = None,
) -> Script:
    """Take over what has no owner, once what the claimer owns without running it has none.

    Of machines with limits, what their queues admit is taken; the queues are locked until the end.
    """
    for epoch, ids in _by_epoch(orphaned):
        yield queries.release_owned(worker_id, ids, epoch), None
    admissions = yield from queue_scripts.admit(page, excluded_revisions, suspects, only_queued)
    admitted = frozenset(id_ for each in admissions for id_ in each.ids)
    chosen, parameters = _filled(sorted(admitted))
    if only_queued is not None:
        rows = yield queries.claim_queued(worker_id, sorted(admitted)[:page]), None
    elif suspects is None and not excluded_revisions and parameters is not None:
        rows = yield _claim(len(chosen)), {"worker": worker_id, "page": page, **parameters}
    else:
        rows = yield queries.claim(worker_id, page, excluded_revisions, suspects, sorted(admitted)), None
    if not rows:
        return []
    taken = [unescape_text(id_) for (id_,) in rows]
    yield from queue_scripts.note_taken(admissions, frozenset(taken))
    named, parameters = _filled(taken)
    claimed = yield queries.claimed(named) if parameters is None else _claimed(len(named)), parameters
    claims: list[Claim] = []
    for row in claimed:
        try:
            claim = to_claim(row)
            claims.append(attrs.evolve(claim, is_limited=True) if claim.execution.id in admitted else claim)
        except DamagedRow as damage:
            yield from end_damaged(row, damage)
    return claims


# A claim comes several times a second. Its statements are compiled once for each of a few numbers of ids.

_SIZES = (0, 1, 10, 100)


def _filled(ids: Sequence[str]) -> tuple[Sequence[str], Mapping[str, object] | None]:
    """Return ids, the last one repeated up to one of the sizes, and as parameters; None where they are too many."""
    size = next((size for size in _SIZES if size >= len(ids)), None)
    if size is None:
        return ids, None
    filled = [*ids, *([ids[-1]] * (size - len(ids)) if ids else ())]
    return filled, {f"chosen_{place}": id_ for place, id_ in enumerate(filled)}


def _ids(size: int) -> Sequence[BindParameter[Any]]:
    return [param(f"chosen_{place}") for place in range(size)]


@cache
def _claim(size: int) -> Update:
    return queries.claim(param("worker"), param("page"), (), None, _ids(size))


@cache
def _claimed(size: int) -> Select[Any]:
    return queries.claimed(_ids(size))


def end_damaged(row: Row, damage: DamagedRow) -> Steps:
    """End the execution in a row of `queries.claimed` as FAILED: what cannot be read cannot be run."""
    _, _, _, _, stored_id, *_ = row
    # The id alone: the rest of the row may not be readable.
    id_ = unescape_text(stored_id)
    logger.warning("an execution is ended, since %s", damage)
    yield delete(runs).where(runs.c.execution_id == id_), None
    failed = {
        "status": ExecutionStatus.FAILED.value,
        "error": "States.Runtime",
        "cause": str(damage),
        "end_time": now(),
        "epoch": executions.c.epoch + LOST_EPOCHS,
    }
    yield update(executions).where(executions.c.id == id_).values(failed), None


def release(worker_id: str) -> Script:
    """Release all that a worker owns, and forget it."""
    yield _RELEASE, {"worker": worker_id}
    yield _RELEASE_SHARDS, {"worker": worker_id}
    yield _FORGET, {"worker": worker_id}
    return None
