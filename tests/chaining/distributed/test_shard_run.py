"""The end of a run of a shard, where storage says that the shard is no longer this worker's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from statechain import MemoryRepository
from statechain.chaining.runner import BatchServices
from statechain.chaining.shards.run import ShardRun
from statechain.clock import SystemClock
from statechain.errors import LeaseLost, RepositoryUnavailable
from statechain.records.batches import Batch
from statechain.storage.repository import Repository
from statechain.storage.shards import Shard, ShardPlan
from statechain.testing.contract.claims.shards import claimed, run, shared
from statechain.testing.contract.samples import moment


@pytest.fixture
async def repository() -> AsyncIterator[Repository]:
    async with MemoryRepository() as repository:
        yield repository


async def ended_by(repository: Repository, batch: Batch, shard: Shard) -> None:
    """End a shard as the run does that has seen all of its items end."""
    nothing: Any = None
    services = BatchServices(repository, nothing, SystemClock(), nothing)
    await ShardRun(services, batch, ShardPlan.of(batch.options), shard, nothing, None, lambda: False).end()


async def test_a_shard_that_its_claim_has_ended_ended(repository: Repository) -> None:
    batch = await shared(repository)
    shard = await claimed(repository, batch, "one")
    await run(repository, batch, shard)
    await repository.count_shard(shard, is_done=True, at=moment(9))
    await ended_by(repository, batch, shard)  # as after a reply that was lost


async def test_a_shard_that_was_taken_from_a_dead_worker_has_not_ended(repository: Repository) -> None:
    batch = await shared(repository)
    shard = await claimed(repository, batch, "one")
    await repository.release_dead(await repository.strays())
    with pytest.raises(LeaseLost):
        await ended_by(repository, batch, shard)


async def test_a_lost_shard_has_not_ended_where_storage_does_not_say_so(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await shared(repository)
    shard = await claimed(repository, batch, "one")
    await repository.release_dead(await repository.strays())

    async def away(_batch_id: str) -> None:
        raise RepositoryUnavailable("away")

    monkeypatch.setattr(repository, "shards", away)
    with pytest.raises(LeaseLost):
        await ended_by(repository, batch, shard)
