"""Items of a batch whose name an execution of another input holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from statechain import BatchExecutionOptions, BatchStatus, Engine, ExecutionAlreadyExists, ItemCounts
from support.chaining.calls import Calls
from support.chaining.harness import ChainingHarness
from support.chaining.sources import CALL

EngineFactory = Callable[..., Engine]


async def test_an_item_whose_name_is_free_again_represents_the_execution_that_takes_it(
    engine_factory: EngineFactory,
) -> None:
    calls = Calls()
    options = BatchExecutionOptions(name_prefix="nightly", mode="DISTRIBUTED")
    async with engine_factory(tasks=calls.tasks) as engine:
        target = await engine.create_state_machine("target", CALL)
        holder = await target.start_execution(100, name="nightly-1")
        await holder.wait()
        (_, result) = await target.execute_bulk(range(2), options=options)
        assert isinstance(result.error, ExecutionAlreadyExists)
        (batch,) = await engine.list_batches()
        (_, refused) = await engine.list_batch_results(batch.id)
        assert (refused.execution_id, refused.status, refused.error) == (None, None, "ExecutionAlreadyExists")
        await engine.delete_execution(holder.id)
        resumed = await engine.resume_batch(batch.id)
        assert (resumed.status, resumed.item_counts) == (BatchStatus.SUCCEEDED, ItemCounts(succeeded=2, total=2))
        (_, again) = await engine.list_batch_results(batch.id)
        assert (again.name, again.status, again.error, again.cause) == ("nightly-1", "SUCCEEDED", None, None)
    assert calls.inputs == [100, 0, 1]


@pytest.mark.parametrize("mode", ["INLINE", "DISTRIBUTED"])
async def test_a_prefix_whose_items_were_chained_from_another_state_is_taken(
    chaining: ChainingHarness, mode: Literal["INLINE", "DISTRIBUTED"]
) -> None:
    """Else the executions of the other state would be returned as those of this one."""
    await chaining.finish(1, 2)
    options = BatchExecutionOptions(name_prefix="nightly", mode=mode)
    first = await chaining.targets.execute_batch(chaining.select(), "Prepare", options=options)
    other = await chaining.targets.execute_batch(chaining.select(), options=options)
    assert [(type(result.error), result.execution) for result in other] == [(ExecutionAlreadyExists, None)] * 2
    again = await chaining.targets.execute_batch(chaining.select(), "Prepare", options=options)
    assert [result.execution for result in again] == [result.execution for result in first]
    assert chaining.work.begun == [1, 2]


async def test_a_prefix_of_items_with_the_same_inputs_is_no_other_one(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(1)
    made = await chaining.targets.execute({"n": 1, "step": "finished"}, name=f"nightly-{source.id}")
    (result,) = await chaining.batch(name_prefix="nightly")
    assert (result.execution, result.error) == (made, None)
    assert chaining.work.begun == [1]
