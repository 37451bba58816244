"""The contract of Map Runs: batches that belong to an execution, are found by it, and do not outlive it."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import pytest

from statechain.codec import JSONValue
from statechain.records.batches import Batch, BatchItem, BatchStatus
from statechain.records.executions import Execution, ExecutionStatus
from statechain.storage.repository import AddBatchItems, CreateBatch, Repository, ResumeBatch
from statechain.storage.shards import ShardStatus
from statechain.testing.contract.samples import FAILURES, batch, commit, finish, moment, redriving, start

__all__ = ["MapRunContract"]

SHARED: dict[str, JSONValue] = {"mode": "DISTRIBUTED", "concurrent_batches": 2, "shard_concurrency": 1, "shard_size": 2}


async def map_run(repository: Repository, parent: Execution, items: int = 4) -> Batch:
    """Store a Map Run of an execution: by default two shards of two items."""
    wanted = batch(options=SHARED, parent_execution_id=parent.id)
    given = [
        BatchItem(index=index, source_execution_id=None, name=f"{wanted.id}-{index}", input_text=str(index))
        for index in range(items)
    ]
    await commit(repository, AddBatchItems(batch_id=wanted.id, items=given))
    return await commit(repository, CreateBatch(batch=wanted, filter_=None, item_count=items))


class MapRunContract:
    """Batches with a parent execution."""

    async def test_a_map_run_is_found_by_its_execution(self, repository: Repository) -> None:
        parents = [await start(repository) for _ in range(2)]
        runs = [await map_run(repository, parent) for parent in (*parents, parents[0])]
        other = await commit(repository, CreateBatch(batch=batch(filter={}), filter_=None))
        assert [each.parent_execution_id for each in runs] == [parents[0].id, parents[1].id, parents[0].id]
        assert await repository.batch(runs[0].id, is_counted=False) == runs[0]
        assert list(await repository.batches(parent_execution_id=parents[0].id, page=9)) == [runs[2], runs[0]]
        assert list(await repository.batches(parent_execution_id=parents[1].id, page=9, is_counted=False)) == [runs[1]]
        assert list(await repository.batches(parent_execution_id="no-execution", page=9)) == []
        assert [each.id for each in await repository.batches(page=1)] == [other.id]
        assert other.parent_execution_id is None

    async def test_a_map_run_ends_like_any_batch_while_its_execution_runs(self, repository: Repository) -> None:
        run = await map_run(repository, await start(repository), items=2)
        shard = await repository.claim_shard(run.id, "one", running=(), at=moment(9))
        assert shard is not None
        assert await repository.count_shard(shard, is_done=False, at=moment(9)) is BatchStatus.RUNNING
        for item in await repository.batch_items(run.id, page=9):
            await finish(repository, state_machine_id="machine-b", name=item.name)
        assert await repository.count_shard(shard, is_done=True, at=moment(9)) is BatchStatus.SUCCEEDED

    @pytest.mark.parametrize("status", [ExecutionStatus.SUCCEEDED, *FAILURES])
    async def test_a_claim_ends_a_map_run_whose_execution_has_ended(
        self, repository: Repository, status: ExecutionStatus
    ) -> None:
        parent = await start(repository)
        run = await map_run(repository, parent)
        await finish(repository, of=parent, status=status)
        # An execution's end leaves its Map Runs alone: the next claim, or count, finds it and ends them.
        assert await repository.claim_shard(run.id, "one", running=(), at=moment(9)) is None
        found = await repository.batch(run.id)
        assert found is not None
        assert (found.status, found.end_time) == (BatchStatus.ABORTED, moment(9))

    async def test_a_count_ends_a_map_run_whose_execution_has_ended(self, repository: Repository) -> None:
        parent = await start(repository)
        run = await map_run(repository, parent)
        shard = await repository.claim_shard(run.id, "one", running=(), at=moment(9))
        assert shard is not None
        await finish(repository, of=parent, status=ExecutionStatus.ABORTED)
        assert await repository.count_shard(shard, is_done=False, at=moment(10)) is BatchStatus.ABORTED
        assert await repository.batch_status(run.id) is BatchStatus.ABORTED

    async def test_a_map_run_goes_on_once_its_execution_is_redriven(self, repository: Repository) -> None:
        parent = await start(repository)
        run = await map_run(repository, parent)
        await finish(repository, of=parent, status=ExecutionStatus.FAILED)
        assert await repository.claim_shard(run.id, "one", running=(), at=moment(9)) is None
        assert await commit(repository, redriving(parent)) is not None
        assert await repository.claim_shard(run.id, "one", running=(), at=moment(9)) is None, "it has ended"
        await commit(repository, ResumeBatch(batch_id=run.id))
        shard = await repository.claim_shard(run.id, "one", running=(), at=moment(9))
        assert shard is not None
        assert shard.status is ShardStatus.RUNNING
