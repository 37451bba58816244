"""The contract of item counts of batches in shards: they are true although not every item is looked at."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

from statechain.records.batches import Batch, BatchStatus, ItemCounts
from statechain.records.executions import ExecutionStatus
from statechain.storage.repository import EndBatch, Repository, ResumeBatch
from statechain.storage.shards import Shard
from statechain.testing.contract.claims.shards import SHARED, claimed, count, run, shared
from statechain.testing.contract.samples import advance, commit, ending, moment, redriving, start

__all__ = ["ItemCountContract"]


async def counts(repository: Repository, batch: Batch) -> ItemCounts:
    """Return a batch's counts."""
    found = await repository.batch(batch.id)
    assert found is not None
    return found.item_counts


class ItemCountContract:
    """How many items of a batch are where."""

    async def test_items_are_counted_by_what_they_are_at_present(self, repository: Repository) -> None:
        batch = await shared(repository, 8, tolerated_failure_count=9)
        first, second = await claimed(repository, batch, "one"), await claimed(repository, batch, "two")
        assert await counts(repository, batch) == ItemCounts(pending=8, total=8)
        await run(repository, batch, first)
        await run(repository, batch, second, 2)
        assert await counts(repository, batch) == ItemCounts(pending=4, succeeded=3, failed=1, total=8)
        for shard in (first, second):
            await count(repository, shard, is_done=True)
            assert await counts(repository, batch) == ItemCounts(pending=4, succeeded=3, failed=1, total=8)
        third = await claimed(repository, batch, "one")
        (item, *_) = await repository.batch_items(batch.id, after=third.first - 1, page=1)
        await start(repository, state_machine_id="machine-b", name=item.name)
        assert await counts(repository, batch) == ItemCounts(pending=3, running=1, succeeded=3, failed=1, total=8)
        (listed,) = await repository.batches(page=9)
        assert listed == await repository.batch(batch.id)

    async def test_items_that_another_mode_began_are_counted(self, repository: Repository) -> None:
        batch = await shared(repository, 6, mode="INLINE")
        # A batch in this mode has no shards: this one only names the items 4 and 5.
        await run(repository, batch, Shard(batch_id=batch.id, number=0, first=4, last=5), 5)
        ended = ItemCounts(pending=4, succeeded=1, failed=1, total=6)
        assert await counts(repository, batch) == ended
        await commit(repository, ResumeBatch(batch_id=batch.id, options=SHARED))
        assert await counts(repository, batch) == ended
        await claimed(repository, batch, "one")
        assert await counts(repository, batch) == ended
        await commit(repository, EndBatch(batch_id=batch.id, status=BatchStatus.ABORTED, end_time=moment(98)))
        await commit(repository, ResumeBatch(batch_id=batch.id))
        assert await counts(repository, batch) == ended

    async def test_what_had_failed_and_is_redriven_is_counted_by_what_it_is(self, repository: Repository) -> None:
        batch = await shared(repository, 8, tolerated_failure_count=9)
        for number in range(2):
            shard = await claimed(repository, batch, "one", range(number))
            await run(repository, batch, shard, shard.first)
            await count(repository, shard, is_done=True)
        assert await counts(repository, batch) == ItemCounts(pending=4, succeeded=2, failed=2, total=8)
        failed = await repository.batch_results(batch.id, status={ExecutionStatus.FAILED}, page=1)
        (execution,) = await repository.executions_with([failed[0].execution_id or ""])
        redriven = await commit(repository, redriving(execution))
        assert redriven is not None
        assert await counts(repository, batch) == ItemCounts(pending=4, running=1, succeeded=2, failed=1, total=8)
        (listed,) = await repository.batches(page=9)
        assert listed == await repository.batch(batch.id)
        await commit(repository, advance(execution, seq=redriven.seq, epoch=redriven.epoch, end=ending()))
        assert await counts(repository, batch) == ItemCounts(pending=4, succeeded=3, failed=1, total=8)

    async def test_what_had_ended_is_counted_before_a_shard_is_claimed_again(self, repository: Repository) -> None:
        batch = await shared(repository, 6, tolerated_failure_count=0)
        shard = await claimed(repository, batch, "one")
        await run(repository, batch, shard, 1)
        assert await count(repository, shard, is_done=True) is BatchStatus.FAILED
        ended = ItemCounts(pending=4, succeeded=1, failed=1, total=6)
        assert await counts(repository, batch) == ended
        await commit(repository, ResumeBatch(batch_id=batch.id))
        assert await counts(repository, batch) == ended
        await claimed(repository, batch, "two")
        assert await counts(repository, batch) == ended

    async def test_a_batch_most_of_whose_shards_have_failures_is_counted(self, repository: Repository) -> None:
        batch = await shared(repository, 104, concurrent_batches=104, shard_size=1, tolerated_failure_count=99)
        for number in range(104):
            shard = await claimed(repository, batch, "one", range(number))
            await run(repository, batch, shard, *([number] if number % 2 else []))
            await count(repository, shard, is_done=True)
        assert await counts(repository, batch) == ItemCounts(succeeded=52, failed=52, total=104)
