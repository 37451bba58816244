"""A statement that is built for one call is not kept: only constant ones are compiled once, and stay."""

from __future__ import annotations

import gc
from datetime import timedelta

import pytest

from statechain import Repository
from statechain.records.batches import BatchStatus
from statechain.records.executions import ExecutionStatus
from statechain.records.filters import ExecutionFilter
from statechain.records.queues import MachineLimits
from statechain.storage.repository import LimitStateMachine, ReleaseExecution
from statechain.testing.contract.samples import callback, commit, freeze, start
from statechain_backends.postgres.writes import COMPILER as POSTGRES
from statechain_backends.sqlite.writes import COMPILER as SQLITE

pytestmark = pytest.mark.slow  # two databases

MACHINE = "machine-a"


async def claim_in_all_ways(repository: Repository) -> None:
    """Claim of a machine with limits in all ways in which a worker does; leave what was claimed as suspects."""
    for asked in (
        {},
        {"excluded_revisions": [("elsewhere", 1)]},
        {"suspects": range(1, 2)},
        {"only_queued": [(await start(repository, owner=None)).id]},
    ):
        for _ in range(2):
            await start(repository, owner=None, key="key")
        for claim in await repository.claim("worker", page=9, **asked):  # type: ignore[arg-type]
            await commit(repository, ReleaseExecution(execution_id=claim.execution.id, epoch=claim.epoch, claims=1))


async def ask_in_many_ways(repository: Repository) -> None:
    """Ask what operators ask, with values that differ each time."""
    batch = await freeze(repository)
    for status in ExecutionStatus:
        filter_ = ExecutionFilter(status=status, name=batch.id)
        assert await repository.executions(filter_, after=None, page=9) == []
        assert await repository.count_executions(filter_) == 0
        assert await repository.batch_results(batch.id, status=[status], until=3, page=0) == []
    made = await start(repository, state_machine_id="machine-b")
    assert await repository.links(source_execution_id=made.id, page=9) == []
    assert await repository.callbacks([callback(made).id]) == []
    assert await repository.waiting_tasks(execution_id=made.id, page=9) == []
    await repository.batches(status=BatchStatus.FAILED, page=9)
    await repository.retain("worker", {made.id: 1})
    await repository.suspects(page=9)


async def test_no_statement_is_kept_of_a_call(repository: Repository) -> None:
    limits = MachineLimits(max_concurrency=10**6)
    await commit(repository, LimitStateMachine(state_machine_id=MACHINE, limits=limits))
    await repository.renew_lease("worker", timedelta(hours=1))
    kept = []
    for _ in range(3):
        await claim_in_all_ways(repository)
        await ask_in_many_ways(repository)
        gc.collect()
        kept.append(len(SQLITE._known) + len(POSTGRES._known))
    assert kept[1] == kept[2]
