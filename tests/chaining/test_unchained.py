"""What is left to chain: each source once, no matter what else chains it, and again where its chain failed."""

from __future__ import annotations

import asyncio

import pytest

from statechain import (
    BatchExecutionOptions,
    Chained,
)
from support.chaining.harness import ChainingHarness, numbers, statuses
from support.statuses import SUCCEEDED


@pytest.mark.parametrize("how", ["machine", "id", "chained"])
async def test_what_was_chained_to_the_target_is_left_out(chaining: ChainingHarness, how: str) -> None:
    await chaining.finish(*range(3))
    target = {"machine": chaining.targets, "id": chaining.targets.id, "chained": Chained(to=chaining.targets)}[how]
    await chaining.targets.execute_batch(chaining.select(limit=2))
    left = chaining.select(unchained_to=target)
    assert [execution.name for execution in await chaining.engine.list_executions(left)] == ["source-2"]
    assert numbers(await chaining.targets.execute_batch(left)) == [2]
    assert await chaining.targets.execute_batch(left) == []


async def test_another_target_another_state_and_a_failed_chain_do_not_count(chaining: ChainingHarness) -> None:
    await chaining.finish(0)
    echo = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
    other = await chaining.engine.create_state_machine("other", echo)
    await other.execute_batch(chaining.select())
    chaining.work.fails = {0}
    await chaining.targets.execute_batch(chaining.select())
    left = chaining.select(unchained_to=Chained(to=chaining.targets))
    by_state = chaining.select(unchained_to=Chained(to=chaining.targets, source_state_name="Prepare"))
    assert [await chaining.engine.count_executions(each) for each in (left, by_state)] == [1, 1]
    chaining.work.fails = set()
    assert statuses(await chaining.targets.execute_batch(left)) == [SUCCEEDED]
    assert [await chaining.engine.count_executions(each) for each in (left, by_state)] == [0, 1]


async def test_without_a_state_any_chain_to_the_target_counts(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(2))
    left = chaining.select(unchained_to=chaining.targets)
    assert statuses(await chaining.targets.execute_batch(left, "Prepare")) == [SUCCEEDED] * 2
    assert await chaining.targets.execute_batch(left, "Prepare") == []
    by_another = chaining.select(unchained_to=Chained(to=chaining.targets, source_state_name="Other"))
    assert await chaining.engine.count_executions(by_another) == 2


async def test_a_batch_that_looks_for_chains_from_a_state_joins_none_from_the_whole_output(
    chaining: ChainingHarness,
) -> None:
    await chaining.finish(*range(2))
    whole = await chaining.targets.execute_batch(chaining.select())
    by_state = chaining.select(unchained_to=Chained(to=chaining.targets, source_state_name="Prepare"))
    results = await chaining.targets.execute_batch(by_state)
    assert statuses(results) == [SUCCEEDED] * 2
    assert len({result.execution.id for result in [*whole, *results] if result.execution}) == 4


async def test_a_chain_that_runs_counts(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(0)
    chaining.work.does = chaining.work.hang
    running = await chaining.targets.start_execution(source=source)
    left = chaining.select(unchained_to=chaining.targets)
    assert await chaining.engine.count_executions(left) == 0
    await running.stop()
    assert await chaining.engine.count_executions(left) == 1


async def test_two_equal_batches_at_once_chain_each_source_once(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(8))
    both = await asyncio.gather(
        *(chaining.batch(name_prefix="invoice", concurrent_batches=3) for _ in range(2)),
    )
    assert [numbers(results) for results in both] == [list(range(8))] * 2
    assert sorted(chaining.work.begun) == list(range(8))
    assert len(await chaining.made()) == 8


async def test_two_batches_at_once_of_what_is_unchained_chain_each_source_once(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(8))
    left = chaining.select(unchained_to=chaining.targets)

    async def both_are_stored(_source: str, _index: int) -> None:
        while len(await chaining.engine.list_batches()) < 2:  # noqa: ASYNC110 -- storage has no event
            await asyncio.sleep(0.001)

    options = [
        BatchExecutionOptions(name_prefix=prefix, concurrent_batches=3, on_execution_start=both_are_stored)
        for prefix in ("one", "other")
    ]
    both = await asyncio.gather(*(chaining.targets.execute_batch(left, options=each) for each in options))
    assert sorted(chaining.work.begun) == list(range(8))
    for results in both:
        assert numbers(results) == list(range(8))
        assert statuses(results) == [SUCCEEDED] * 8
