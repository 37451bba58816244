"""The part of a repository that shares out a batch: its items in shards, each run by one worker at a time.

A shard is a range of a batch's items. A worker claims one under an epoch, starts its items, and ends it under the same
epoch. What a dead worker had is released with its executions (see `leases`), and claimed again before any new shard: so
that at most ``width`` shards are ever under way, and the items in flight are bounded over all processes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from math import isqrt
from typing import Protocol, cast

import attrs

from statechain.codec import JSONValue
from statechain.errors import LeaseLost
from statechain.records.batches import Batch, BatchStatus, ItemCounts
from statechain.tickets import Ticket

__all__ = [
    "CLOCK_SKEW",
    "MOST_CLAIMS",
    "OPEN",
    "OVER",
    "POISONED",
    "Shard",
    "ShardPlan",
    "ShardStatus",
    "ShardStorage",
    "claimable",
    "cut",
    "has_advanced",
    "is_begun_elsewhere",
    "is_past_tolerance",
    "number_ended",
    "number_failed",
    "poisoned",
    "shard_lost",
    "shards_of",
    "tickets",
]

MOST_CLAIMS = 5
"""How many workers may die one after the other while they had a shard, without an advance of it (`has_advanced`)."""

POISONED = "ShardPoisoned"
"""The error of items that were not started when their shard was given up."""

CLOCK_SKEW = timedelta(days=1)
"""How much the clocks of processes may differ: what ended longer before a batch began was not redriven since."""

MOST_AT_ONCE = 50
LARGEST = 500
SMALLEST = 4
"""How many items of a shard come one after the other at least, but for the last shards of a batch."""


class ShardStatus(StrEnum):
    """How far a shard is: FAILED where its workers died too often."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"


OPEN = frozenset({ShardStatus.PENDING, ShardStatus.RUNNING})
"""The statuses of shards that are not over."""

OVER = frozenset({ShardStatus.DONE, ShardStatus.FAILED})
"""The statuses of shards that are never claimed again."""


@attrs.frozen(kw_only=True)
class Shard:
    """A range of a batch's items.

    Attributes:
        batch_id: The batch.

        number: Counts the batch's shards from 0, in the order of their items.

        first: The index of its first item.

        last: The index of its last item.

        status: PENDING, RUNNING, DONE or FAILED.

        owner: The worker that runs it; None where it is claimable or over.

        epoch: Raised by each claim; what its owner writes is checked against it. At 0 no item of it was begun.

        claims: How many claims there were since it last advanced: of one without an owner, how many workers died.

        ended: How many of its items have ended, as of the last count.

        failed: How many of these did not succeed.
    """

    batch_id: str
    number: int
    first: int
    last: int
    status: ShardStatus = ShardStatus.PENDING
    owner: str | None = None
    epoch: int = 0
    claims: int = 0
    ended: int = 0
    failed: int = 0

    @property
    def size(self) -> int:
        """How many items it has."""
        return self.last - self.first + 1


@attrs.frozen
class ShardPlan:
    """How a batch is cut.

    Attributes:
        width: How many shards are under way at once, over all workers.

        concurrency: How many items of a shard are in flight at once.

        size: How many items a shard has; None for fewer and fewer (see `sizes`).
    """

    width: int
    concurrency: int
    size: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, JSONValue]) -> ShardPlan:
        """Return the plan of a batch with these stored options.

        width times concurrency is at most ``concurrent_batches``.
        """
        at_once = max(1, cast("int", options.get("concurrent_batches", 1)))
        concurrency = cast("int | None", options.get("shard_concurrency"))
        concurrency = min(at_once, concurrency or _concurrency(at_once))
        # Rounded down: never more items in flight than the caller allows.
        return cls(at_once // concurrency, concurrency, cast("int | None", options.get("shard_size")))

    def sizes(self, total: int) -> Iterator[int]:
        """Yield how many items each shard of a batch has.

        As many shards as are under way at once are half of what is left. So the first are large, and claims do not
        count; the last are small, and all workers end at about the same time.
        """
        left, smallest = total, SMALLEST * self.concurrency
        while left > 0:
            fair = min(LARGEST, max(left // (2 * self.width), min(smallest, -(-left // self.width))))
            # No more turns than there are items: a width without bound, as of a batch with none, is a large number.
            for _ in range(min(self.width, left)):
                size = min(left, self.size or fair)
                if size > 0:
                    yield size
                left -= size


def _concurrency(at_once: int) -> int:
    """Return about the square root of what runs at once, such that as little of it as can be is lost by rounding.

    Then such that the number of shards is even: two workers have the same share.
    """
    root = isqrt(at_once)
    root = min(MOST_AT_ONCE, root + (at_once - root * root > root))
    most = min(MOST_AT_ONCE, at_once, root + 1)
    near = sorted(range((root + 1) // 2, most + 1), key=lambda each: abs(each - root))
    return max(near, key=lambda each: (at_once // each * each, at_once // each % 2 == 0))


def cut(batch_id: str, total: int, plan: ShardPlan, epoch: int = 0) -> Iterator[Shard]:
    """Yield the shards of a batch with that many items, in order."""
    first = 0
    for number, size in enumerate(plan.sizes(total)):
        yield Shard(batch_id=batch_id, number=number, first=first, last=first + size - 1, epoch=epoch)
        first += size


def shards_of(batch: Batch, *, was_begun: bool = False) -> Iterator[Shard]:
    """Yield the shards that a batch is cut into; where another mode began it before, at an epoch as if claimed before.

    So nothing of a shard at epoch 0 was begun, and its items need not be looked at.
    """
    # Epoch 1, as if claimed: an epoch of 0 says that nothing of the shard was begun.
    epoch = int(was_begun or not batch.is_distributed)
    return cut(batch.id, batch.item_counts.total, ShardPlan.of(batch.options), epoch)


def is_past_tolerance(options: Mapping[str, JSONValue], failed: int, total: int) -> bool:
    """Return whether a batch with these stored options tolerates fewer failures than there are."""
    count = cast("int | None", 0 if options.get("stop_on_error") else options.get("tolerated_failure_count"))
    percentage = cast("float | None", options.get("tolerated_failure_percentage"))
    if count is not None and failed > count:
        return True
    # Multiplied out: a quotient would be rounded, and there may be no items.
    return percentage is not None and failed * 100 > percentage * total


def poisoned(shard: Shard) -> str:
    """Return the cause of items that were not started when their shard was given up."""
    return f"{shard.claims} workers died with shard {shard.number} of the batch, without an advance of it in between"


def shard_lost(shard: Shard) -> LeaseLost:
    """Return the refusal of a write by a worker whose claim of a shard is over."""
    return LeaseLost(f"shard {shard.number} of the batch {shard.batch_id} is lost to this worker", "ANOTHERS")


def has_advanced(shard: Shard, plan: ShardPlan, ended: int, running: int) -> bool:
    """Return whether a shard is not to blame for the death of the worker that had it.

    It is not where items of it ended since it was claimed, nor where it began no more of them: as many as may be were
    executions by then, or all. An execution that kills its workers is contained by itself, and not by its shard.
    """
    return ended > shard.ended or running >= plan.concurrency or ended + running >= shard.size


def claimable(
    shards: Iterable[Shard],
    width: int,
    worker_id: str,
    running: Collection[int],
    *,
    ticket: Ticket | None = None,
    most_deaths: int = MOST_CLAIMS,
) -> list[Shard]:
    """Return which of a batch's open shards a worker may claim, in order (see `ShardStorage.claim_shard`).

    What was begun and has no owner comes first, or is the worker's own and lost; then as many PENDING ones as there is
    room for.
    """
    known = sorted(shards, key=lambda each: each.number)
    under_way = [each for each in known if each.status is ShardStatus.RUNNING]
    room = max(0, width - len(under_way))
    begun = [
        each
        for each in under_way
        if (each.owner is None or (each.owner == worker_id and each.number not in running))
        # One that is to be given up is among them, however few deaths the worker puts up with: else it would stay open.
        and (each.claims <= most_deaths or each.claims >= MOST_CLAIMS)
    ]
    pending = [each for each in known if each.status is ShardStatus.PENDING]
    if ticket is None:
        return [*begun, *pending[:room]]
    found = [*begun, *pending] if room else begun
    return [each for each in found if (each.number, each.epoch) == (ticket.shard, ticket.epoch)]


def is_begun_elsewhere(before: Batch, resumed: Batch) -> bool:
    """Return whether a batch is DISTRIBUTED since it was resumed: its items may have been begun in another mode."""
    return not before.is_distributed and resumed.is_distributed


def number_failed(counts: ItemCounts) -> int:
    """Return how many items have ended without success."""
    return counts.failed + counts.timed_out + counts.aborted


def number_ended(counts: ItemCounts) -> int:
    """Return how many items have ended."""
    return counts.succeeded + number_failed(counts)


def tickets(shards: Iterable[Shard]) -> list[Ticket]:
    """Return the tickets of shards, at their epochs."""
    return [Ticket(each.batch_id, each.number, each.epoch) for each in shards]


class ShardStorage(Protocol):
    """The shards of a `Repository`."""

    async def running_batches(self, mode: str | None = None) -> Sequence[Batch]:
        """Return the RUNNING batches, oldest first, all of their items as pending; with a mode, those that have it."""

    async def claim_shard(
        self,
        batch_id: str,
        worker_id: str,
        *,
        running: Collection[int],
        at: datetime,
        ticket: Ticket | None = None,
        most_deaths: int = MOST_CLAIMS,
    ) -> Shard | None:
        """Claim a shard of a batch; cut the batch first where that was not done yet.

        What was begun and has no owner comes first, then the lowest that is PENDING, unless ``width`` shards (see
        `ShardPlan`) are under way. The claim raises ``epoch`` and ``claims``; of a shard that has advanced since it was
        claimed before (see `has_advanced`), ``claims`` is 1 then. One that was claimed `MOST_CLAIMS` times without
        becomes FAILED instead, and those of its items that were not started get the error `POISONED`. A batch without
        an open shard is ended; one whose parent execution does not run is ended as ABORTED.

        Arguments:
            batch_id: The batch.

            worker_id: The claimer.

            running: The shards that the claimer runs. What else it owns is claimed anew: the reply to a claim was lost.

            at: The end time of a batch that is ended.

            ticket: Where given, only the shard that it names is claimed, and only while its epoch is the ticket's.

            most_deaths: What was begun is claimed where at most that many workers died with it, one after the other.

        Returns:
            The shard; None where there is none to claim now.
        """

    async def pass_on(self, shard: Shard, *, at: datetime) -> tuple[BatchStatus, Shard | None]:
        """Count and end a claimed shard, and claim the lowest that is PENDING in its place, in one transaction.

        As many shards are under way as before: so no claim of another worker has to wait for it. Return what
        `count_shard` returns, and the shard; None where none is PENDING, or the batch is over. Raises LeaseLost where
        the shard is another worker's.

        Arguments:
            shard: The shard, as it was claimed; all of its items have ended.

            at: The end time of a batch that is ended.
        """

    async def open_tickets(self, batch_id: str, worker_id: str, *, running: Collection[int]) -> Sequence[Ticket]:
        """Return a ticket for each shard of a RUNNING batch that `claim_shard` would claim now, in that order.

        It writes nothing: of a batch that is not cut yet, the shards are those that it will be cut into.
        """

    async def count_shard(
        self, shard: Shard, *, is_done: bool, at: datetime, ended: int | None = None, failed: int | None = None
    ) -> BatchStatus:
        """Count how many items of a claimed shard have ended; with ``is_done`` the shard is over, too.

        A batch that is past its tolerance, or all of whose shards are over, is ended then; and so is, as ABORTED, one
        whose parent execution does not run: no Map Run outlives its execution. Counting again changes nothing. Return
        the batch's status. Raises LeaseLost where the shard is another worker's.

        Arguments:
            shard: The shard, as it was claimed.

            is_done: Whether all of its items have ended.

            at: The end time of a batch that is ended.

            ended: How many ends the claimer has seen itself; else they are counted. A claimer that has run all that was
                run of the shard gives it, which saves reading the items.

            failed: How many failures the claimer has seen itself; else they are counted. A claimer that redrives what
                failed before gives it, since what it has not come to is no failure yet.
        """

    async def release_shard(self, shard: Shard) -> None:
        """Leave a claimed shard to other workers, in order: the claim does not count. Nothing where it was lost."""

    async def shards(self, batch_id: str) -> Sequence[Shard]:
        """Return the shards of a batch, in order."""
