"""The contract of batches that are given inputs: their items are stored before they are, page by page."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import attrs

from statechain.errors import RepositoryError
from statechain.records.batches import NAME_TAKEN, Batch, BatchItem, ItemCounts
from statechain.records.executions import ExecutionStatus
from statechain.storage.repository import (
    AddBatchItems,
    CreateBatch,
    DropBatchItems,
    FailBatchItem,
    JoinBatchItem,
    Repository,
)
from statechain.testing.contract.samples import batch, commit, finish, moment

__all__ = ["InputContract"]


async def items_of(repository: Repository, stored: Batch) -> list[BatchItem]:
    """Return all items of a batch."""
    return list(await repository.batch_items(stored.id, page=1000))


def given(stored: Batch, *indexes: int, error: str | None = None) -> AddBatchItems:
    """Return the write of items of a batch that was given inputs."""
    added = [
        BatchItem(
            index=index,
            source_execution_id=None,
            name=f"{stored.name_prefix}-{index}",
            input_text=None if error else f'{{"n":{index}}}',
            error=error,
            cause=error and "it was refused: \u0000",
        )
        for index in indexes
    ]
    return AddBatchItems(batch_id=stored.id, items=added)


class InputContract:
    """Batches of inputs, and what becomes of their items."""

    async def test_items_come_back_with_their_inputs(self, repository: Repository) -> None:
        wanted = batch(filter={})
        # Items are stored before their batch, page by page: its commit makes all of them visible at once.
        await commit(repository, given(wanted, *range(75)))
        await commit(repository, given(wanted, 75, 76, error="InvalidPayload"))
        assert await repository.batch(wanted.id) is None
        stored = await commit(repository, CreateBatch(batch=wanted, filter_=None, item_count=77))
        assert stored == attrs.evolve(wanted, item_counts=ItemCounts(pending=77, total=77))
        first, *_, last = await items_of(repository, stored)
        assert first == BatchItem(
            index=0, source_execution_id=None, name=f"{wanted.name_prefix}-0", input_text='{"n":0}'
        )
        assert (last.index, last.input_text, last.error, last.cause) == (
            76,
            None,
            "InvalidPayload",
            "it was refused: \u0000",
        )
        (result, *_) = await repository.batch_results(stored.id, page=1)
        assert (result.source_execution_id, result.status) == (None, None)
        counted = await repository.batch(stored.id)
        assert counted is not None
        assert (counted.item_counts.pending, counted.item_counts.failed) == (75, 2)

    async def test_writes_that_come_again_change_nothing(self, repository: Repository) -> None:
        wanted = batch(filter={})
        # The second time as after a lost reply.
        for _ in range(2):
            await commit(repository, given(wanted, 0, 1))
        write = CreateBatch(batch=wanted, filter_=None, item_count=2)
        stored = await commit(repository, write)
        # The page comes once more, and late: what the batch may have read by now is not replaced.
        await commit(repository, given(wanted, 0, 1, error="Late"))
        assert await commit(repository, write) == stored
        assert [item.error for item in await items_of(repository, stored)] == [None, None]

    async def test_a_batch_without_some_of_its_items_is_refused(self, repository: Repository) -> None:
        wanted = batch(filter={})
        await commit(repository, given(wanted, 0, 1))
        (refused,) = await repository.commit([CreateBatch(batch=wanted, filter_=None, item_count=3)])
        assert isinstance(refused, RepositoryError)
        assert await repository.batch(wanted.id) is None

    async def test_items_are_dropped_unless_their_batch_is_there(self, repository: Repository) -> None:
        kept, given_up = batch(filter={}), batch(filter={})
        for each in (kept, given_up):
            await commit(repository, given(each, 0, 1, 2))
        await commit(repository, CreateBatch(batch=kept, filter_=None, item_count=3))
        for each in (kept, given_up):
            await commit(repository, DropBatchItems(batch_id=each.id, first=1, last=2))
        assert len(await items_of(repository, kept)) == 3
        stored = await commit(repository, CreateBatch(batch=given_up, filter_=None, item_count=1))
        assert stored.item_counts.total == 1

    async def test_a_batch_of_no_inputs(self, repository: Repository) -> None:
        stored = await commit(repository, CreateBatch(batch=batch(filter={}), filter_=None, item_count=0))
        assert stored.item_counts == ItemCounts()

    async def test_a_batch_of_inputs_is_joined_too(self, repository: Repository) -> None:
        first, second = (batch(filter={}, name_prefix="same") for _ in range(2))
        for each in (first, second):
            await commit(repository, given(each, 0))
            stored = await commit(repository, CreateBatch(batch=each, filter_=None, item_count=1, joins=True))
            assert stored.id == first.id

    async def test_a_write_about_an_item_that_does_not_exist_changes_nothing(self, repository: Repository) -> None:
        wanted = batch(filter={})
        await commit(repository, given(wanted, 0))
        await commit(repository, CreateBatch(batch=wanted, filter_=None, item_count=1))
        before = await items_of(repository, wanted)
        for batch_id, index in ((wanted.id, 1), ("nowhere", 0)):
            failing = FailBatchItem(batch_id=batch_id, index=index, error="Refused", cause=None)
            joining = JoinBatchItem(batch_id=batch_id, index=index, name="another")
            assert list(await repository.commit([failing, joining])) == [None, None]
        assert await items_of(repository, wanted) == before

    async def test_an_item_whose_name_is_taken_represents_no_execution(self, repository: Repository) -> None:
        wanted = batch(
            filter={},
            state_machine_id="machine-b",
            options={"mode": "DISTRIBUTED", "shard_size": 1, "concurrent_batches": 2},
        )
        await commit(repository, given(wanted, 0, 1))
        stored = await commit(repository, CreateBatch(batch=wanted, filter_=None, item_count=2))
        for index in range(2):
            await finish(repository, state_machine_id="machine-b", name=f"{wanted.name_prefix}-{index}")
        await commit(repository, FailBatchItem(batch_id=stored.id, index=0, error=NAME_TAKEN, cause=None))
        counted = await repository.batch(stored.id)
        assert counted is not None
        assert counted.item_counts == ItemCounts(succeeded=1, failed=1, total=2)
        taken, other = await repository.batch_results(stored.id, page=9)
        assert (taken.status, taken.execution_id, taken.error) == (None, None, NAME_TAKEN)
        assert other.status is ExecutionStatus.SUCCEEDED
        shard = await repository.claim_shard(stored.id, "one", running=(), at=moment(9))
        assert shard is not None
        await repository.count_shard(shard, is_done=False, at=moment(9))
        assert await repository.claim_shard(stored.id, "two", running=(), at=moment(9)) is not None
        (first, *_) = await repository.shards(stored.id)
        assert (first.ended, first.failed) == (1, 1)
        await commit(repository, FailBatchItem(batch_id=stored.id, index=0, error=None, cause=None))
        counted = await repository.batch(stored.id)
        assert counted is not None
        assert counted.item_counts.succeeded == 2
