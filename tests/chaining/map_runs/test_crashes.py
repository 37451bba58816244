"""A distributed Map that is shared, struck down at each of its commits in turn: it ends the same every time."""

from __future__ import annotations

from itertools import count

import pytest

from statechain import ExecutionFilter, StatechainError, TaskError
from statechain.records.batches import BatchStatus
from support.engine_harness import EngineHarness, engine_harness, machine, task

pytestmark = pytest.mark.slow  # crashes at every commit

DISTRIBUTED = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
EACH = machine(
    Each={
        "Type": "Map",
        "MaxConcurrency": 2,
        "ToleratedFailureCount": 1,
        "ItemProcessor": {**DISTRIBUTED, **machine(First=task("Item", Next="Then"), Then=task("Item"))},
    }
)
ITEMS = [0, 1, 2, 3, 4]
OUTPUT = [0, 4, 8, 16]


async def play(harness: EngineHarness, commits: int, *, keeps_last: bool) -> bool:
    """Run the Map, its engine dying at a commit; return whether it came to die."""

    async def item(value: int) -> int:
        if value == 3:
            raise TaskError("Three")
        return value * 2

    harness.tasks.add("Item", item)
    await harness.close()
    await harness.open(map_runs="shared")
    await harness.engine.create_state_machine("orders", EACH)
    harness.crash_at_commit(commits, keeps_last=keeps_last)
    while True:
        orders = await harness.engine.get_state_machine("orders")
        try:
            ended = await (await orders.start_execution(ITEMS, name="one")).wait()
        except StatechainError:
            assert harness.is_struck
        if not harness.is_struck:
            break
        await harness.reopen(map_runs="shared")
    assert ended.output == OUTPUT, ended.cause
    (run,) = await harness.engine.list_batches()
    assert (run.status, run.parent_execution_id) == (BatchStatus.SUCCEEDED, ended.id)
    assert (run.item_counts.succeeded, run.item_counts.failed, run.item_counts.total) == (4, 1, 5)
    items = ExecutionFilter(state_machine_id=run.state_machine_id)
    assert await harness.engine.count_executions(items) == len(ITEMS)
    assert await harness.engine.count_executions(ExecutionFilter(status="RUNNING")) == 0
    return harness.crashes > 0


@pytest.mark.parametrize("keeps_last", [False, True])
async def test_a_map_run_survives_a_crash_at_any_commit(*, keeps_last: bool) -> None:
    for commits in count(1):
        async with engine_harness("memory://") as harness:
            if not await play(harness, commits, keeps_last=keeps_last):
                break
    assert commits > 5
