"""What is left to chain: each source once, whoever else chains it, and again where its chain failed."""

from __future__ import annotations

import asyncio

import pytest

from statechain import (
    BatchExecutionOptions,
    Chained,
    ExecutionStatus,
)
from workshop import Workshop, numbers, statuses

SUCCEEDED = ExecutionStatus.SUCCEEDED


@pytest.mark.parametrize("how", ["machine", "id", "chained"])
async def test_what_was_chained_to_the_target_is_left_out(workshop: Workshop, how: str) -> None:
    await workshop.finish(*range(3))
    target = {"machine": workshop.targets, "id": workshop.targets.id, "chained": Chained(to=workshop.targets)}[how]
    await workshop.targets.execute_batch(workshop.select(limit=2))
    left = workshop.select(unchained_to=target)
    assert [execution.name for execution in await workshop.engine.list_executions(left)] == ["source-2"]
    assert numbers(await workshop.targets.execute_batch(left)) == [2]
    assert await workshop.targets.execute_batch(left) == []


async def test_another_target_another_state_and_a_failed_chain_do_not_count(workshop: Workshop) -> None:
    await workshop.finish(0)
    echo = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
    other = await workshop.engine.create_state_machine("other", echo)
    await other.execute_batch(workshop.select())
    workshop.work.fails = {0}
    await workshop.targets.execute_batch(workshop.select())
    left = workshop.select(unchained_to=Chained(to=workshop.targets))
    by_state = workshop.select(unchained_to=Chained(to=workshop.targets, source_state_name="Prepare"))
    assert [await workshop.engine.count_executions(each) for each in (left, by_state)] == [1, 1]
    workshop.work.fails = set()
    assert statuses(await workshop.targets.execute_batch(left)) == [SUCCEEDED]
    assert [await workshop.engine.count_executions(each) for each in (left, by_state)] == [0, 1]


async def test_without_a_state_any_chain_to_the_target_counts(workshop: Workshop) -> None:
    await workshop.finish(*range(2))
    left = workshop.select(unchained_to=workshop.targets)
    assert statuses(await workshop.targets.execute_batch(left, "Prepare")) == [SUCCEEDED] * 2
    assert await workshop.targets.execute_batch(left, "Prepare") == []
    by_another = workshop.select(unchained_to=Chained(to=workshop.targets, source_state_name="Other"))
    assert await workshop.engine.count_executions(by_another) == 2


async def test_a_chain_that_runs_counts(workshop: Workshop) -> None:
    (source,) = await workshop.finish(0)
    workshop.work.does = workshop.work.hang
    running = await workshop.targets.start_execution(source=source)
    left = workshop.select(unchained_to=workshop.targets)
    assert await workshop.engine.count_executions(left) == 0
    await running.stop()
    assert await workshop.engine.count_executions(left) == 1


async def test_two_equal_batches_at_once_chain_each_source_once(workshop: Workshop) -> None:
    await workshop.finish(*range(8))
    both = await asyncio.gather(
        *(workshop.batch(name_prefix="invoice", concurrent_batches=3) for _ in range(2)),
    )
    assert [numbers(results) for results in both] == [list(range(8))] * 2
    assert sorted(workshop.work.begun) == list(range(8))
    assert len(await workshop.made()) == 8


async def test_two_batches_at_once_of_what_is_unchained_chain_each_source_once(workshop: Workshop) -> None:
    await workshop.finish(*range(8))
    left = workshop.select(unchained_to=workshop.targets)
    options = [BatchExecutionOptions(name_prefix=prefix, concurrent_batches=3) for prefix in ("one", "other")]
    both = await asyncio.gather(*(workshop.targets.execute_batch(left, options=each) for each in options))
    assert sorted(workshop.work.begun) == list(range(8))
    for results in both:
        assert numbers(results) == list(range(8))
        assert statuses(results) == [SUCCEEDED] * 8
