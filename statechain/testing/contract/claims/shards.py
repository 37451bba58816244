"""The contract of shards: which worker runs which part of a batch, how many at once, and how the batch ends."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import timedelta
from functools import partial
from typing import Any

import attrs
import pytest

from statechain.codec import JSONValue
from statechain.errors import BatchNotFound, LeaseLost
from statechain.records.batches import Batch, BatchStatus
from statechain.records.executions import ExecutionStatus
from statechain.records.filters import ExecutionFilter
from statechain.storage.leases import missing_lease
from statechain.storage.repository import EndBatch, FailBatchItem, Repository, ResumeBatch
from statechain.storage.shards import MOST_CLAIMS, POISONED, Shard, ShardStatus
from statechain.testing.contract.samples import bury, commit, finish, freeze, moment, start
from statechain.tickets import Ticket

__all__ = ["ShardContract"]

LONG = timedelta(hours=1)
SHARED: dict[str, JSONValue] = {"mode": "DISTRIBUTED", "concurrent_batches": 2, "shard_concurrency": 1, "shard_size": 2}
PENDING, RUNNING, DONE, FAILED = ShardStatus


async def shared(repository: Repository, items: int = 6, /, **options: Any) -> Batch:  # noqa: ANN401 -- any option
    """Store a batch of some items: by default three shards of two, two of them at once."""
    for _ in range(items):
        await finish(repository)
    meant = ExecutionFilter(state_machine_id="machine-a", order="oldest_first")
    return await freeze(repository, meant, options={**SHARED, **options})


async def claim(repository: Repository, batch: Batch, worker: str, running: Collection[int] = ()) -> Shard | None:
    """Claim a shard for a worker that runs these of it."""
    return await repository.claim_shard(batch.id, worker, running=running, at=moment(99))


async def claim_with(repository: Repository, ticket: Ticket, worker: str) -> Shard | None:
    """Claim the shard that a ticket names, for a worker that runs all that it owns."""
    held = [each.number for each in await repository.shards(ticket.batch_id) if each.owner == worker]
    return await repository.claim_shard(ticket.batch_id, worker, running=held, at=moment(99), ticket=ticket)


async def claimed(repository: Repository, batch: Batch, worker: str, running: Collection[int] = ()) -> Shard:
    """Claim a shard, which there must be."""
    shard = await claim(repository, batch, worker, running)
    assert shard is not None
    return shard


async def waiting(repository: Repository) -> tuple[int, int]:
    """Return how many shards wait for a worker, and how many run."""
    found = await repository.backlog()
    return found.shards, found.running_shards


async def run(repository: Repository, batch: Batch, shard: Shard, *failing: int) -> None:
    """Have the items of a shard end."""
    for item in await repository.batch_items(batch.id, after=shard.first - 1, page=shard.last - shard.first + 1):
        status = ExecutionStatus.FAILED if item.index in failing else ExecutionStatus.SUCCEEDED
        await finish(repository, state_machine_id="machine-b", name=item.name, status=status)


async def count(repository: Repository, shard: Shard, *, is_done: bool = False) -> BatchStatus:
    """Count a shard."""
    return await repository.count_shard(shard, is_done=is_done, at=moment(99))


async def die(repository: Repository, batch: Batch) -> Shard:
    """Have a worker die with a shard that it claims; return the shard as it was claimed."""
    await repository.renew_lease("doomed", LONG)
    shard = await claimed(repository, batch, "doomed")
    await bury(repository, "doomed")
    return shard


class ShardContract:
    """Claims, counts and ends of shards."""

    async def test_what_waits_for_a_worker_is_counted(self, repository: Repository) -> None:
        assert (await repository.backlog()).executions == 0
        await start(repository, owner=None)
        await start(repository)
        assert (await repository.backlog()).executions == 1
        assert await waiting(repository) == (0, 0)
        batch = await shared(repository)
        await shared(repository, mode="INLINE")
        assert await waiting(repository) == (1, 0), "a batch that is not cut yet needs a worker"
        first = await claimed(repository, batch, "worker")
        assert await waiting(repository) == (3, 1)
        await repository.release_shard(first)
        assert await waiting(repository) == (4, 0)
        await claimed(repository, batch, "worker")
        await run(repository, batch, first)
        await commit(repository, EndBatch(batch_id=batch.id, status=BatchStatus.ABORTED, end_time=moment(98)))
        assert await waiting(repository) == (0, 0), "a batch that has ended needs none"

    async def test_shards_that_only_their_caller_runs_wait_for_no_worker(self, repository: Repository) -> None:
        batch = await shared(repository, mode="INLINE")
        await claimed(repository, batch, "caller")
        assert await waiting(repository) == (0, 0)
        await commit(repository, ResumeBatch(batch_id=batch.id, options=SHARED))
        assert await waiting(repository) == (2, 1)

    async def test_a_batch_without_items_waits_for_the_worker_that_ends_it(self, repository: Repository) -> None:
        batch = await shared(repository, 0, mode="INLINE")
        await commit(repository, ResumeBatch(batch_id=batch.id, options=SHARED))  # which cuts it, into no shards
        assert await waiting(repository) == (1, 0)
        assert await claim(repository, batch, "one") is None
        assert await waiting(repository) == (0, 0)

    async def test_the_first_claim_cuts_a_batch(self, repository: Repository) -> None:
        batch = await shared(repository, 5)
        assert list(await repository.shards(batch.id)) == []
        shard = await claimed(repository, batch, "one")
        expected = Shard(batch_id=batch.id, number=0, first=0, last=1, status=RUNNING, owner="one", epoch=1, claims=1)
        assert shard == expected
        assert list(await repository.shards(batch.id)) == [
            expected,
            Shard(batch_id=batch.id, number=1, first=2, last=3),
            Shard(batch_id=batch.id, number=2, first=4, last=4),
        ]

    async def test_no_more_shards_than_the_width_are_under_way(self, repository: Repository) -> None:
        batch = await shared(repository)
        first = await claimed(repository, batch, "one")
        second = await claimed(repository, batch, "two")
        assert (first.number, second.number) == (0, 1)
        assert await claim(repository, batch, "three") is None
        await run(repository, batch, first)
        assert await count(repository, first, is_done=True) is BatchStatus.RUNNING
        assert (await claimed(repository, batch, "three")).number == 2
        assert await claim(repository, batch, "one") is None

    async def test_at_once_each_shard_is_claimed_once(self, repository: Repository, other: Repository) -> None:
        batch = await shared(repository, 8, concurrent_batches=4, shard_size=1)
        claims = [claim(each, batch, f"worker {n}") for n, each in enumerate([repository, other] * 4)]
        shards = [shard for shard in await asyncio.gather(*claims) if shard is not None]
        assert sorted(shard.number for shard in shards) == [0, 1, 2, 3]

    async def test_a_batch_ends_with_its_last_shard(self, repository: Repository) -> None:
        batch = await shared(repository, 4)
        for number in range(2):
            shard = await claimed(repository, batch, "one", [])
            await run(repository, batch, shard, 0)
            status = await count(repository, shard, is_done=True)
            assert status is (BatchStatus.RUNNING if number == 0 else BatchStatus.SUCCEEDED)
        ended = await repository.batch(batch.id)
        assert ended is not None
        assert (ended.status, ended.end_time) == (BatchStatus.SUCCEEDED, moment(99))
        assert [(each.status, each.owner, each.ended, each.failed) for each in await repository.shards(batch.id)] == [
            (DONE, None, 2, 1),
            (DONE, None, 2, 0),
        ]
        assert await claim(repository, batch, "two") is None

    async def test_a_batch_without_items_ends_with_the_first_claim(self, repository: Repository) -> None:
        batch = await shared(repository, 0)
        assert await claim(repository, batch, "one") is None
        assert await repository.batch_status(batch.id) is BatchStatus.SUCCEEDED

    async def test_to_count_again_changes_nothing(self, repository: Repository) -> None:
        batch = await shared(repository)
        shard = await claimed(repository, batch, "one")
        await commit(repository, FailBatchItem(batch_id=batch.id, index=1, error="Bad", cause=None))
        for _ in range(3):
            assert await count(repository, shard) is BatchStatus.RUNNING
        (stored, *_) = await repository.shards(batch.id)
        # Progress clears the claims: of a shard of which items end, no death is to be blamed.
        assert (stored.ended, stored.failed, stored.claims) == (1, 1, 0)
        await run(repository, batch, shard)
        # Item 1 was started after all: its execution counts now, and its error no more.
        await count(repository, shard)
        (stored, *_) = await repository.shards(batch.id)
        assert (stored.status, stored.ended, stored.failed) == (RUNNING, 2, 0)

    @pytest.mark.parametrize(
        ("options", "failing", "status"),
        [
            ({}, 2, BatchStatus.RUNNING),
            ({"stop_on_error": True}, 1, BatchStatus.FAILED),
            ({"tolerated_failure_count": 1}, 1, BatchStatus.RUNNING),
            ({"tolerated_failure_count": 1}, 2, BatchStatus.FAILED),
            ({"tolerated_failure_percentage": 20}, 1, BatchStatus.RUNNING),
            ({"tolerated_failure_percentage": 20}, 2, BatchStatus.FAILED),
        ],
    )
    async def test_a_batch_past_its_tolerance_ends_failed(
        self, repository: Repository, options: dict[str, JSONValue], failing: int, status: BatchStatus
    ) -> None:
        batch = await shared(repository, **options)
        first, second = await claimed(repository, batch, "one"), await claimed(repository, batch, "two")
        await run(repository, batch, first, *range(failing))
        assert await count(repository, first) is status
        assert await count(repository, second) is status
        assert await repository.batch_status(batch.id) is status

    async def test_failures_count_over_all_shards(self, repository: Repository) -> None:
        batch = await shared(repository, tolerated_failure_count=1)
        first, second = await claimed(repository, batch, "one"), await claimed(repository, batch, "two")
        await run(repository, batch, first, 0)
        await run(repository, batch, second, 2)
        assert await count(repository, first, is_done=True) is BatchStatus.RUNNING
        assert await count(repository, second, is_done=True) is BatchStatus.FAILED

    async def test_what_a_dead_worker_had_is_claimed_before_anything_new(self, repository: Repository) -> None:
        batch = await shared(repository)
        for worker in ("one", "two"):
            await repository.renew_lease(worker, LONG)
        lost = await claimed(repository, batch, "one")
        kept = await claimed(repository, batch, "two")
        await bury(repository, "one")
        taken = await claimed(repository, batch, "two", [kept.number])
        assert (taken.number, taken.epoch, taken.claims) == (0, 2, 2)
        # The worker that was taken for dead may only be slow: its epoch fences counts, ends and releases.
        for is_done in (False, True):
            with pytest.raises(LeaseLost):
                await count(repository, lost, is_done=is_done)
        await repository.release_shard(lost)
        assert (await repository.shards(batch.id))[0] == taken

    async def test_what_a_worker_without_a_lease_had_is_released(self, repository: Repository) -> None:
        batch = await shared(repository)
        await claimed(repository, batch, "ghost")
        assert list(await repository.strays()) == [missing_lease("ghost")]
        await repository.release_dead(await repository.strays())
        assert (await claimed(repository, batch, "two")).number == 0

    async def test_what_a_worker_owns_and_does_not_run_is_claimed_again(self, repository: Repository) -> None:
        batch = await shared(repository)
        first = await claimed(repository, batch, "one")
        assert (await claimed(repository, batch, "one", [first.number])).number == 1
        again = await claimed(repository, batch, "one", [1])
        assert (again.number, again.epoch) == (0, 2)

    async def test_a_worker_that_leaves_in_order_is_not_counted(self, repository: Repository) -> None:
        batch = await shared(repository)
        await repository.renew_lease("one", LONG)
        shard = await claimed(repository, batch, "one")
        await repository.release_shard(shard)
        (stored, *_) = await repository.shards(batch.id)
        assert (stored.status, stored.owner, stored.epoch, stored.claims) == (RUNNING, None, 1, 0)
        await claimed(repository, batch, "one")
        await repository.release("one")
        (stored, *_) = await repository.shards(batch.id)
        assert (stored.owner, stored.epoch, stored.claims) == (None, 2, 0)

    async def test_a_shard_whose_workers_die_fails_and_the_others_go_on(self, repository: Repository) -> None:
        batch = await shared(repository, tolerated_failure_count=5, shard_concurrency=2)
        (item, *_) = await repository.batch_items(batch.id, page=9)
        for death in range(MOST_CLAIMS):
            shard = await die(repository, batch)
            assert (shard.number, shard.claims) == (0, death + 1)
        # What was started goes on by itself: only the other item of the shard is given up with it.
        await start(repository, state_machine_id="machine-b", name=item.name)
        assert (await claimed(repository, batch, "two")).number == 1
        (stored, *_) = await repository.shards(batch.id)
        assert (stored.status, stored.owner, stored.failed) == (FAILED, None, 1)
        found = await repository.batch_items(batch.id, page=9)
        assert [each.error for each in found] == [None, POISONED, None, None, None, None]

    async def test_a_death_is_not_blamed_on_a_shard_of_which_items_ended(self, repository: Repository) -> None:
        batch = await shared(repository, shard_size=3, shard_concurrency=2)
        for _ in range(MOST_CLAIMS):
            shard = await die(repository, batch)
        (item, *_) = await repository.batch_items(batch.id, page=1)
        await finish(repository, state_machine_id="machine-b", name=item.name)
        again = await claimed(repository, batch, "two")
        assert (again.number, again.epoch, again.claims, again.ended) == (0, shard.epoch + 1, 1, 1)
        await repository.release("two")
        assert [(await die(repository, batch)).claims for _ in range(2)] == [1, 2]

    @pytest.mark.parametrize(
        ("concurrency", "begun", "claims"), [(1, 1, 1), (2, 1, 2), (2, 2, 1), (9, 2, 2), (9, 3, 1)]
    )
    async def test_a_death_is_not_blamed_on_a_shard_that_could_begin_no_more_items(
        self, repository: Repository, concurrency: int, begun: int, claims: int
    ) -> None:
        options = {"concurrent_batches": 9, "shard_concurrency": concurrency, "shard_size": 3}
        batch = await shared(repository, **options)
        assert (await die(repository, batch)).claims == 1
        for item in await repository.batch_items(batch.id, page=begun):
            await start(repository, state_machine_id="machine-b", name=item.name)
        again = await claimed(repository, batch, "two")
        assert (again.number, again.claims) == (0, claims)

    async def test_a_worker_claims_no_shard_with_more_deaths_than_it_puts_up_with(self, repository: Repository) -> None:
        batch = await shared(repository, 4, concurrent_batches=1)
        claim_at_most = partial(repository.claim_shard, batch.id, "two", running=(), at=moment(99))
        await die(repository, batch)
        again = await die(repository, batch)
        assert await claim_at_most(most_deaths=1) is None
        assert await claim_at_most(most_deaths=1, ticket=Ticket(batch.id, 0, again.epoch)) is None
        shard = await claim_at_most(most_deaths=2)
        assert shard is not None
        assert (shard.number, shard.claims) == (0, 3)

    async def test_a_shard_of_too_many_deaths_is_given_up_by_any_worker(self, repository: Repository) -> None:
        batch = await shared(repository, 4, concurrent_batches=1)
        for _ in range(MOST_CLAIMS):
            await die(repository, batch)
        # It is claimed to be given up, and not to be run: deaths are no reason to refrain.
        shard = await repository.claim_shard(batch.id, "two", running=(), at=moment(99), most_deaths=0)
        assert shard is not None
        assert shard.number == 1

    async def test_a_shard_is_passed_on_to_the_next(self, repository: Repository) -> None:
        batch = await shared(repository, 8)
        first, second = await claimed(repository, batch, "one"), await claimed(repository, batch, "two")
        await run(repository, batch, first, 0)
        status, third = await repository.pass_on(first, at=moment(99))
        assert status is BatchStatus.RUNNING
        assert third is not None
        assert (third.number, third.status, third.owner, third.epoch, third.claims) == (2, RUNNING, "one", 1, 1)
        (ended, *_) = await repository.shards(batch.id)
        assert (ended.status, ended.owner, ended.ended, ended.failed) == (DONE, None, 2, 1)
        assert await claim(repository, batch, "three") is None, "as many are under way as before"
        for lost in (first, attrs.evolve(second, epoch=9), attrs.evolve(second, owner="three")):
            with pytest.raises(LeaseLost):
                await repository.pass_on(lost, at=moment(99))

    async def test_the_last_shards_are_passed_on_to_none(self, repository: Repository) -> None:
        batch = await shared(repository, 4)
        shards = [await claimed(repository, batch, "one", [0][:number]) for number in range(2)]
        for shard in shards:
            await run(repository, batch, shard)
        assert await repository.pass_on(shards[0], at=moment(99)) == (BatchStatus.RUNNING, None)
        assert await repository.pass_on(shards[1], at=moment(99)) == (BatchStatus.SUCCEEDED, None)

    async def test_none_is_claimed_in_place_of_a_shard_that_ends_its_batch(self, repository: Repository) -> None:
        batch = await shared(repository, stop_on_error=True)
        shard = await claimed(repository, batch, "one")
        await run(repository, batch, shard, 0)
        assert await repository.pass_on(shard, at=moment(99)) == (BatchStatus.FAILED, None)

    async def test_shards_passed_on_at_once_are_followed_by_different_ones(
        self, repository: Repository, other: Repository
    ) -> None:
        batch = await shared(repository, 8, concurrent_batches=4, shard_size=1)
        shards = [await claimed(repository, batch, f"worker {number}") for number in range(4)]
        for shard in shards:
            await run(repository, batch, shard)
        ends = [each.pass_on(shard, at=moment(99)) for each, shard in zip([repository, other] * 2, shards, strict=True)]
        found = [shard for _, shard in await asyncio.gather(*ends) if shard is not None]
        assert sorted(shard.number for shard in found) == [4, 5, 6, 7]

    async def test_progress_clears_the_claims(self, repository: Repository) -> None:
        batch = await shared(repository)
        shard = await claimed(repository, batch, "one")
        await run(repository, batch, shard)
        await count(repository, shard)
        (stored, *_) = await repository.shards(batch.id)
        assert (stored.claims, stored.ended) == (0, 2)

    async def test_nothing_of_a_batch_that_is_over_is_claimed(self, repository: Repository) -> None:
        batch = await shared(repository)
        shard = await claimed(repository, batch, "one")
        await commit(repository, EndBatch(batch_id=batch.id, status=BatchStatus.ABORTED, end_time=moment(1)))
        assert await claim(repository, batch, "two") is None
        assert await count(repository, shard, is_done=True) is BatchStatus.ABORTED
        assert await claim(repository, batch, "two") is None
        assert await repository.claim_shard("nowhere", "two", running=(), at=moment(1)) is None

    async def test_a_batch_that_had_ended_is_resumed_from_its_first_shard(self, repository: Repository) -> None:
        batch = await shared(repository, stop_on_error=True)
        first, held = await claimed(repository, batch, "one"), await claimed(repository, batch, "two")
        await run(repository, batch, first, 0)
        assert await count(repository, first, is_done=True) is BatchStatus.FAILED
        tolerant = {**SHARED, "tolerated_failure_count": 5, "concurrent_batches": 1}
        resumed = await commit(repository, ResumeBatch(batch_id=batch.id, options=tolerant))
        assert (resumed.status, resumed.end_time, resumed.options) == (BatchStatus.RUNNING, None, tolerant)
        # Their epochs are raised, so that late counts of their former owners are refused.
        assert [(each.status, each.owner, each.epoch, each.ended) for each in await repository.shards(batch.id)] == [
            (PENDING, None, 2, 0),
            (PENDING, None, 2, 0),
            (PENDING, None, 1, 0),
        ]
        with pytest.raises(LeaseLost):
            await count(repository, held, is_done=True)
        again = await claimed(repository, batch, "two")
        assert (again.number, again.epoch, again.claims) == (0, 3, 1)
        assert await claim(repository, batch, "three") is None
        assert await count(repository, again, is_done=True) is BatchStatus.RUNNING

    async def test_a_batch_that_runs_is_joined(self, repository: Repository) -> None:
        batch = await shared(repository)
        shard = await claimed(repository, batch, "one")
        joined = await commit(repository, ResumeBatch(batch_id=batch.id))
        assert (joined.status, joined.options) == (BatchStatus.RUNNING, batch.options)
        assert (await repository.shards(batch.id))[0] == shard
        assert await count(repository, shard) is BatchStatus.RUNNING
        (unknown,) = await repository.commit([ResumeBatch(batch_id="nowhere")])
        assert isinstance(unknown, BatchNotFound)

    async def test_failures_that_the_claimer_counts_itself(self, repository: Repository) -> None:
        batch = await shared(repository, stop_on_error=True, redrive_failed=True)
        shard = await claimed(repository, batch, "one")
        await run(repository, batch, shard, 0)
        assert await repository.count_shard(shard, is_done=False, at=moment(99), failed=0) is BatchStatus.RUNNING
        assert (await repository.shards(batch.id))[0].failed == 0
        assert await repository.count_shard(shard, is_done=False, at=moment(99), failed=1) is BatchStatus.FAILED

    async def test_a_claimer_may_give_what_it_has_seen_itself(self, repository: Repository) -> None:
        batch = await shared(repository, tolerated_failure_count=0)
        shard = await claimed(repository, batch, "worker")
        seen = partial(repository.count_shard, shard, is_done=False, at=moment(99))
        assert await seen(ended=1, failed=0) is BatchStatus.RUNNING
        (stored, *_) = await repository.shards(batch.id)
        assert (stored.ended, stored.failed, stored.claims) == (1, 0, 0)
        assert await seen(ended=2, failed=1) is BatchStatus.FAILED
        # It has ended: a better count does not bring it back.
        assert await seen(ended=2, failed=0) is BatchStatus.FAILED
        with pytest.raises(LeaseLost):
            await repository.count_shard(attrs.evolve(shard, epoch=9), is_done=False, at=moment(99), ended=1, failed=0)

    async def test_running_batches_are_found_by_their_mode(self, repository: Repository) -> None:
        batch = await shared(repository)
        await freeze(repository, options={"mode": "INLINE"})
        await freeze(repository)
        over = await freeze(repository, options=SHARED)
        await commit(repository, EndBatch(batch_id=over.id, status=BatchStatus.ABORTED, end_time=moment(1)))
        found = await repository.running_batches("DISTRIBUTED")
        assert [(each.id, each.item_counts.total) for each in found] == [(batch.id, 6)]
        assert [each.options.get("mode") for each in await repository.running_batches()] == [
            "DISTRIBUTED",
            "INLINE",
            None,
        ]

    async def test_open_tickets_name_what_can_be_claimed(self, repository: Repository) -> None:
        batch = await shared(repository)
        for _ in range(2):  # they write nothing: the batch is cut by its first claim
            found = await repository.open_tickets(batch.id, "one", running=())
            assert found == [Ticket(batch.id, 0, 0), Ticket(batch.id, 1, 0)]
        assert await repository.shards(batch.id) == []
        await claimed(repository, batch, "one")
        assert await repository.open_tickets(batch.id, "two", running=()) == [Ticket(batch.id, 1, 0)]
        assert await repository.open_tickets(batch.id, "one", running=[0]) == [Ticket(batch.id, 1, 0)]
        lost = [Ticket(batch.id, 0, 1), Ticket(batch.id, 1, 0)]  # the reply to its claim was lost
        assert await repository.open_tickets(batch.id, "one", running=()) == lost
        await claimed(repository, batch, "two")
        assert await repository.open_tickets(batch.id, "three", running=()) == []
        await repository.release("one")
        assert await repository.open_tickets(batch.id, "three", running=()) == [Ticket(batch.id, 0, 1)]
        await commit(repository, EndBatch(batch_id=batch.id, status=BatchStatus.ABORTED, end_time=moment(1)))
        assert await repository.open_tickets(batch.id, "three", running=()) == []
        assert await repository.open_tickets("nowhere", "three", running=()) == []

    async def test_a_ticket_claims_its_shard_once(self, repository: Repository) -> None:
        batch = await shared(repository)
        last = Ticket(batch.id, 2, 0)
        assert (await claim_with(repository, last, "one")) is not None
        assert (await claim_with(repository, last, "two")) is None
        # Not by the same worker again either: its claim raised the epoch that the ticket names.
        assert (await claim_with(repository, last, "one")) is None
        assert [each.epoch for each in await repository.shards(batch.id)] == [0, 0, 1]

    async def test_a_ticket_claims_neither_a_held_shard_nor_one_too_many(self, repository: Repository) -> None:
        batch = await shared(repository)
        await claimed(repository, batch, "one")
        assert await claim_with(repository, Ticket(batch.id, 0, 1), "two") is None
        await claimed(repository, batch, "two")
        assert await claim_with(repository, Ticket(batch.id, 2, 0), "three") is None
        await repository.release("one")
        assert await claim_with(repository, Ticket(batch.id, 0, 0), "three") is None
        found = await claim_with(repository, Ticket(batch.id, 0, 1), "three")
        assert found is not None
        assert (found.number, found.epoch, found.owner) == (0, 2, "three")
        assert await claim_with(repository, Ticket(batch.id, 7, 0), "three") is None
