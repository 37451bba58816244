"""The part of a repository that decides which worker runs what: leases, claims, suspects.

A worker renews one row, its lease. Storage judges no worker by its own clock: it shows the leases, and a worker that
has seen one unchanged for its whole length has it released, by compare-and-set. What is released has no owner, and
only what has no owner is claimed. A take-up that a death follows makes a suspect; its backoff is counted in *uptime*,
a clock of the storage that advances only while some worker renews a lease, so that steps of the database's clock
neither fake nor block it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

import attrs

from statechain.errors import LeaseLost, LossReason
from statechain.records.executions import Claim, Suspect

__all__ = ["LONGEST_GAP", "LeaseRenewer", "LeaseStorage", "SuspectGroup", "WorkerLease", "lease_lost", "missing_lease"]

LONGEST_GAP = timedelta(seconds=60)
"""How much uptime passes at most between two renewals, what the database's clock says."""


@attrs.frozen(kw_only=True)
class WorkerLease:
    """A worker's lease, as it was when it was read: two that are equal were not renewed in between.

    Attributes:
        worker_id: The worker.

        until: When it is over by the database's clock, in microseconds since 1970.

        renewals: Grows with each renewal, so that a database's clock that does not advance does not hide one.

        length: How long it holds after a renewal; None where a release before this field wrote it.

        is_over: Whether it is over by the database's clock.

        is_dead: Whether storage knows that the worker's process has ended.

        is_missing: Whether there is no such lease: the worker owns executions without one (see `missing_lease`).
    """

    worker_id: str
    until: int
    renewals: int
    length: timedelta | None
    is_over: bool = attrs.field(default=False, eq=False)
    is_dead: bool = attrs.field(default=False, eq=False)
    is_missing: bool = False


def missing_lease(worker_id: str, *, is_dead: bool = False) -> WorkerLease:
    """Return what represents the lease of an owner that has none: one that is over, and never changes."""
    return WorkerLease(
        worker_id=worker_id, until=0, renewals=0, length=None, is_over=True, is_dead=is_dead, is_missing=True
    )


@attrs.frozen(kw_only=True)
class SuspectGroup:
    """The suspects without an owner that have as many deaths.

    Attributes:
        deaths: How many take-ups of each were followed by the death of its worker.

        count: How many executions these are.

        due: When the first of them may be claimed, counted from now; zero or less where one may be at once.
    """

    deaths: int
    count: int
    due: timedelta


class LeaseRenewer(Protocol):
    """Renews one worker's lease, in the thread and event loop that it is entered in."""

    async def __aenter__(self) -> Self:
        """Open what it needs, such as a connection."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it; the lease is left as it is."""

    async def renew(self) -> bool:
        """Renew the lease as `LeaseStorage.renew_lease` does.

        Return False also where the connection was lost since the renewal before: storage may have failed over.
        """


class LeaseStorage(Protocol):
    """Leases and claims of a `Repository`."""

    async def renew_lease(self, worker_id: str, lease: timedelta) -> bool:
        """Register a worker or renew its lease: one row, however much the worker runs. Uptime advances with it.

        Return whether the lease was there; where it was not, what the worker owned has been released.
        """

    def lease_renewer(self, worker_id: str, lease: timedelta) -> LeaseRenewer:
        """Return what renews a worker's lease from a separate thread, so that a blocked event loop does not lose it.

        It uses nothing that belongs to this repository's event loop.
        """

    async def workers(self) -> Sequence[WorkerLease]:
        """Return the leases of all workers, as they are now."""

    async def release_dead(self, leases: Sequence[WorkerLease]) -> Sequence[str]:
        """Release what dead workers own: of each lease that is still exactly as it was seen, and only of those.

        The lease is deleted and its executions have no owner, in one transaction; the backoff of suspects among them
        begins. A missing lease (see `strays`) is as it was seen where it is missing still. Return the ids of the
        workers that were released.
        """

    async def strays(self) -> Sequence[WorkerLease]:
        """Return a `missing_lease` for each owner of RUNNING executions that has no lease.

        A failover, a restored backup or an older release leaves such owners. One of them may be alive and about to
        renew its lease, so that it is released only once its lease was seen missing for long enough.

        It reads every RUNNING execution: call it seldom.
        """

    async def retain(self, worker_id: str, epochs: Mapping[str, int]) -> None:
        """Own again what was released while the worker runs it: each execution without owner, at exactly its epoch."""

    async def owned(self, worker_id: str) -> Mapping[str, int]:
        """Return the epochs of the RUNNING executions that a worker owns, by their ids.

        It reads every RUNNING execution: call it seldom.
        """

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
        """Take over at most ``page`` RUNNING executions without an owner, oldest (by id) first.

        Each one's epoch is raised; two workers never get the same one. Its cost does not grow with what is owned.

        Of a machine with limits (see `statechain.storage.queues`) only as many are taken as its limits allow, however
        many workers claim at once; a queue that another claim has locked is passed over. They are chosen by their turn
        within their key, which counts those of the key that are owned already, then by priority, the highest first,
        then by id; executions without a key share their turns. With other executions they are then taken by id.

        Arguments:
            worker_id: The claimer.

            page: How many at most.

            excluded_revisions: Revisions (state machine id, revision) that this worker does not run.

            orphaned: The epochs, by ids, of executions that the claimer owns and does not run, since the reply to an
                earlier claim was lost, say. Those that it owns at that epoch are released first, for any worker to
                claim.

            suspects: None claims executions without deaths alone; a range claims suspects whose number of deaths is
                in it, and whose backoff is over.

            only_queued: Where given, only those of these executions that are in the queue of their machine.
        """

    async def suspect_groups(self) -> Sequence[SuspectGroup]:
        """Return how many suspects without an owner there are, by their deaths in ascending order."""

    async def suspects(self, *, page: int) -> Sequence[Suspect]:
        """Return at most ``page`` suspects, owned or not: the most deaths first, then by id."""

    async def release(self, worker_id: str) -> None:
        """Release all that a worker owns and forget the worker: others may claim at once.

        To leave in order is no failure: take-ups under this worker count as none, and no backoff begins.
        """


LOSSES: Mapping[LossReason, str] = {
    "ANOTHERS": "another worker claimed it",
    "ENDED": "it has ended, or was deleted",
    "BEHIND": "storage holds less than it acknowledged, as after a failover or from a backup",
}


def lease_lost(execution_id: str, epoch: int, stored_epoch: int | None) -> LeaseLost:
    """Return the refusal of a write under an epoch; ``stored_epoch`` is the run's, None where there is none."""
    reason: LossReason = "ENDED"
    if stored_epoch is not None:
        # Epochs only grow: one that is not above the writer's comes from older data.
        reason = "ANOTHERS" if stored_epoch > epoch else "BEHIND"
    return LeaseLost(f"execution {execution_id} is lost to this worker ({reason}): {LOSSES[reason]}", reason)
