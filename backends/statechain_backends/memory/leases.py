"""Leases, claims and suspects of a memory repository: the reference of that part of the contract.

Its uptime is a clock that cannot be set, so that it needs no renewals to follow.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs

from statechain.clock import MICROSECOND
from statechain.records.executions import Claim, Suspect
from statechain.storage.leases import SuspectGroup, WorkerLease, lease_lost, missing_lease
from statechain_backends.lease_renewal import SharedLeaseRenewer
from statechain_backends.memory.queues import MemoryQueues
from statechain_backends.memory.reads import Run

if TYPE_CHECKING:
    from statechain.storage.leases import LeaseRenewer
    from statechain.storage.repository import ReleaseExecution, TakeUpExecution

__all__ = ["MemoryLeases"]


class MemoryLeases(MemoryQueues):
    """The leases of a `Repository`."""

    def __init__(self) -> None:
        super().__init__()
        self._leases: dict[str, WorkerLease] = {}

    async def renew_lease(self, worker_id: str, lease: timedelta) -> bool:
        """Register a worker or renew its lease."""
        former = self._leases.get(worker_id)
        self._leases[worker_id] = WorkerLease(
            worker_id=worker_id,
            until=(timedelta(seconds=time.monotonic()) + lease) // MICROSECOND,
            renewals=1 if former is None else former.renewals + 1,
            length=lease,
        )
        return former is not None

    def lease_renewer(self, worker_id: str, lease: timedelta) -> LeaseRenewer:
        """Return what renews a worker's lease; any thread may do it."""
        return SharedLeaseRenewer(self, worker_id, lease)

    async def workers(self) -> Sequence[WorkerLease]:
        """Return the leases of all workers."""
        now = timedelta(seconds=time.monotonic()) // MICROSECOND
        # A copy: the thread that renews a lease may register a worker while this iterates.
        return [attrs.evolve(each, is_over=each.until <= now) for each in tuple(self._leases.values())]

    async def release_dead(self, leases: Sequence[WorkerLease]) -> Sequence[str]:
        """Release what dead workers own."""
        # Compare-and-set: a lease that was renewed since it was seen differs in its renewals, and stays.
        released = [each.worker_id for each in leases if self._lease_of(each.worker_id) == each]
        for worker in released:
            self._leases.pop(worker, None)
        self._release_where(lambda run: run.owner in released)
        self._release_shards(released, in_order=False)
        return released

    async def strays(self) -> Sequence[WorkerLease]:
        """Return the missing leases of owners without one."""
        owners = {run.owner for run in self._runs.values() if run.owner is not None}
        owners |= {each.owner for shards in self._shards.values() for each in shards if each.owner is not None}
        return [missing_lease(each) for each in owners - self._leases.keys()]

    def _lease_of(self, worker_id: str) -> WorkerLease:
        return self._leases.get(worker_id) or missing_lease(worker_id)

    def _release_where(self, is_wanted: Callable[[Run], bool]) -> None:
        for run in self._runs.values():
            if run.owner is not None and is_wanted(run):
                # The backoff of a suspect begins at the death of its worker; without deaths it is not asked for.
                run.owner, run.claimable_after = None, time.monotonic() + run.backoff

    async def retain(self, worker_id: str, epochs: Mapping[str, int]) -> None:
        """Own again what was released while the worker runs it."""
        for execution_id, epoch in epochs.items():
            run = self._runs.get(execution_id)
            # A run that was claimed since has a higher epoch, even where its claimer released it again.
            if run is not None and run.owner is None and run.epoch == epoch:
                run.owner = worker_id

    async def owned(self, worker_id: str) -> Mapping[str, int]:
        """Return the epochs of the executions that a worker owns, by their ids."""
        return {execution_id: run.epoch for execution_id, run in self._runs.items() if run.owner == worker_id}

    async def claim(
        self,
        worker_id: str,
        *,
        page: int,
        excluded_revisions: Collection[tuple[str, int]] = (),
        orphaned: Mapping[str, int] | None = None,
        suspects: range | None = None,
        only_queued: Collection[str] | None = None,
    ) -> Sequence[Claim]:
        """Take over executions without an owner."""
        for execution_id, epoch in (orphaned or {}).items():
            run = self._runs.get(execution_id)
            if run is not None and (run.owner, run.epoch) == (worker_id, epoch):
                run.owner, run.claimable_after = None, 0.0
        now = time.monotonic()
        orphans = [
            (each, run)
            for each, run in self._runs.items()
            if run.owner is None
            and (run.claims == 0 if suspects is None else run.claims in suspects and run.claimable_after <= now)
        ]
        if excluded_revisions:
            orphans = [(each, run) for each, run in orphans if self._revision_of(each) not in excluded_revisions]
        queued = [self._executions[each] for each, run in orphans if run.queue is not None]
        free = [each for each, run in orphans if run.queue is None]
        if only_queued is not None:
            queued, free = [each for each in queued if each.id in only_queued], []
        # Ids are UUIDv7: the smallest are the oldest.
        first = heapq.nsmallest(page, [*free, *(each.id for each in self._admitted(queued, page))])
        chosen = [self._executions[each] for each in first]
        self._note_taken([each for each in chosen if self._runs[each.id].queue is not None])
        return [self._claim(execution.id, worker_id) for execution in chosen]

    def _revision_of(self, execution_id: str) -> tuple[str, int]:
        execution = self._executions[execution_id]
        return execution.state_machine_id, execution.state_machine_revision

    def _claim(self, execution_id: str, worker_id: str) -> Claim:
        run = self._runs[execution_id]
        run.owner, run.epoch = worker_id, run.epoch + 1
        return Claim(
            execution=self._executions[execution_id],
            epoch=run.epoch,
            seq=len(self._visits[execution_id]),
            claims=run.claims,
            suspected=_suspected(run),
            is_limited=run.queue is not None,
        )

    async def suspect_groups(self) -> Sequence[SuspectGroup]:
        """Return how many suspects without an owner there are, by their deaths."""
        groups: dict[int, list[float]] = defaultdict(list)
        for run in self._runs.values():
            if run.owner is None and run.claims:
                groups[run.claims].append(run.claimable_after)
        now = time.monotonic()
        return [
            SuspectGroup(deaths=deaths, count=len(moments), due=timedelta(seconds=min(moments) - now))
            for deaths, moments in sorted(groups.items())
        ]

    async def suspects(self, *, page: int) -> Sequence[Suspect]:
        """Return suspects, the most deaths first."""
        found = [
            Suspect(
                execution=self._executions[each],
                # The take-up of one that runs is no death so far.
                deaths=run.claims if run.owner is None else run.claims - 1,
                suspected=_suspected(run),
                is_running=run.owner is not None,
                due=timedelta(seconds=0 if run.owner else max(0.0, run.claimable_after - time.monotonic())),
            )
            for each, run in self._runs.items()
            if run.claims > (0 if run.owner is None else 1)
        ]
        return sorted(found, key=lambda each: (-each.deaths, each.execution.id.encode()))[:page]

    async def release(self, worker_id: str) -> None:
        """Release all that a worker owns."""
        self._leases.pop(worker_id, None)
        self._release_shards([worker_id], in_order=True)
        for run in self._runs.values():
            if run.owner == worker_id:
                # To leave in order is no death: the take-up by this worker is taken back.
                run.owner, run.claims, run.claimable_after = None, max(0, run.claims - 1), 0.0

    # Writes

    def _take_up(self, write: TakeUpExecution) -> object:
        run = self._runs.get(write.execution_id)
        if run is None or run.epoch != write.epoch:
            return lease_lost(write.execution_id, write.epoch, None if run is None else run.epoch)
        _set_claims(run, write.claims)
        run.backoff = write.backoff.total_seconds()
        return None

    def _release(self, write: ReleaseExecution) -> object:
        run = self._runs.get(write.execution_id)
        if run is not None and run.epoch == write.epoch:
            _set_claims(run, write.claims)
            run.owner, run.claimable_after = None, time.monotonic() + write.backoff.total_seconds()
        return None


def _set_claims(run: Run, claims: int) -> None:
    # Suspected since the first take-up without progress; later ones leave the moment as it is.
    if run.claims == 0:
        run.suspect_since = time.monotonic()
    run.claims = claims


def _suspected(run: Run) -> timedelta:
    return timedelta(seconds=time.monotonic() - run.suspect_since if run.claims else 0.0)
