"""Which workers are dead: those whose leases this worker has seen unchanged for their whole length, on its own clock.

The database's clock does not decide. Where it steps forward, the leases of live workers seem to be over, and where it
steps back, those of dead ones seem to hold; a renewal shows all the same.

An owner without a lease counts as one whose lease never changes: after a failover its worker may be alive and about to
register again. What was seen before a doubt plays no part: storage may have failed over since, to a server on which a
lease that was renewed is again as it had been seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statechain.storage.leases import WorkerLease

__all__ = ["Peers"]


class Peers:
    """The other workers' leases, as this worker has seen them.

    Arguments:
        worker_id: Returns the id of this worker, which never judges itself. A fork of a process has another one.

        lease: The length of this worker's lease, for workers of a release that does not report theirs.
    """

    def __init__(self, worker_id: Callable[[], str], lease: timedelta) -> None:
        self._worker_id = worker_id
        self._lease = lease
        self._seen: dict[str, tuple[WorkerLease, float]] = {}
        self._doubts = 0

    def find_dead(
        self, leases: Sequence[WorkerLease], *, asked: float, answered: float, doubts: int = 0
    ) -> list[WorkerLease]:
        """Return which of all leases are those of dead workers.

        An unchanged lease was seen first when that look was answered, and last when this one was asked for: in between
        it was not renewed. ``doubts`` is `Lease.doubts` of this worker: after another one, all are watched anew.
        """
        if doubts != self._doubts:
            self.forget()
        self._doubts = doubts
        # What is not listed any more is forgotten, so that a worker that comes back is watched for its whole length.
        former, self._seen = self._seen, {}
        dead: list[WorkerLease] = []
        for lease in leases:
            if lease.worker_id == self._worker_id():
                continue
            seen, since = former.get(lease.worker_id, (None, answered))
            since = since if seen == lease else answered
            self._seen[lease.worker_id] = lease, since
            # Without the lease's own length, this worker's may be too short for it: it must be over for storage, too.
            if lease.is_dead or (asked - since >= self._length(lease) and (lease.is_over or lease.length is not None)):
                dead.append(lease)
        return dead

    def forget(self) -> None:
        """Forget what was seen: this worker was cut off, and each lease has to be watched for its whole length anew."""
        self._seen = {}

    def next_due(self) -> float | None:
        """Return the moment at which the next worker is dead unless it renews its lease; None without workers."""
        return min((since + self._length(lease) for lease, since in self._seen.values()), default=None)

    def is_due(self, now: float) -> bool:
        """Return whether a worker may be dead by now."""
        due = self.next_due()
        return due is not None and due <= now

    def _length(self, lease: WorkerLease) -> float:
        return (self._lease if lease.length is None else lease.length).total_seconds()
