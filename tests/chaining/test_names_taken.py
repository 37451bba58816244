"""Items of a batch whose name an execution of another input holds."""

from __future__ import annotations

from collections.abc import Callable

from statechain import BatchExecutionOptions, BatchStatus, Engine, ExecutionAlreadyExists, ItemCounts
from support.chaining.calls import Calls
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
