"""A batch that ends early, at a failure, past its tolerance or cancelled, leaves nothing running and no holes."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from statechain import (
    BatchExecutionOptions,
    BatchStatus,
    BatchStopped,
    ExecutionFailed,
    InputTransformerError,
)
from support.chaining.batch_callbacks import Told, Unwelcome
from support.chaining.harness import ChainingHarness, statuses
from support.statuses import ABORTED, FAILED, RUNNING, SUCCEEDED

# Stopping


async def test_the_first_failure_stops_the_batch(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(8))
    chaining.work.fails = {2}

    async def hang_after_two(value: dict[str, Any]) -> Any:
        if value["n"] > 2:
            await asyncio.Event().wait()
        while value["n"] == 2 and 4 not in chaining.work.begun:  # noqa: ASYNC110 -- until its siblings are at work
            await asyncio.sleep(0.001)
        return await chaining.work.answer(value)

    chaining.work.does = hang_after_two
    told = Told()
    with pytest.raises(BatchStopped) as stopped:
        await chaining.batch(
            stop_on_error=True,
            concurrent_batches=3,
            on_execution_start=told.start,
            on_execution_complete=told.complete,
        )
    results = stopped.value.results
    assert [result.index for result in results] == list(range(len(results)))
    assert statuses(results[:3]) == [SUCCEEDED, SUCCEEDED, FAILED]
    assert set(statuses(results[3:])) == {ABORTED}
    assert len(results) == 5
    assert stopped.value.__cause__ is results[2].error
    assert isinstance(stopped.value.__cause__, ExecutionFailed)
    told.check(5)
    assert [str(execution.status) for execution in await chaining.made()] == statuses(results)
    (batch,) = await chaining.engine.list_batches()
    assert batch.status is BatchStatus.FAILED
    assert (batch.item_counts.pending, batch.item_counts.aborted, batch.item_counts.failed) == (3, 2, 1)


async def test_a_transformer_that_raises_is_a_failure_to_stop_at(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(3))

    def refuse(output: Any) -> Any:
        raise Unwelcome(output["n"])

    with pytest.raises(BatchStopped) as stopped:
        await chaining.targets.execute_batch(
            chaining.select(), options=BatchExecutionOptions(stop_on_error=True), input_transformer=refuse
        )
    assert isinstance(stopped.value.__cause__, InputTransformerError)
    assert [result.index for result in stopped.value.results] == [0]
    assert chaining.work.begun == []


@pytest.mark.parametrize(
    ("tolerance", "failing", "ended"),
    [
        ({"tolerated_failure_count": 0}, {0}, 1),
        ({"tolerated_failure_count": 2}, {1, 3, 5}, 6),
        ({"tolerated_failure_count": 2}, {1, 3}, None),
        ({"tolerated_failure_percentage": 20}, {1, 3}, None),
        ({"tolerated_failure_percentage": 20}, {1, 3, 4}, 5),
        ({"tolerated_failure_percentage": 100}, set(range(10)), None),
        ({"tolerated_failure_percentage": 0}, {7}, 8),
        ({"tolerated_failure_percentage": 50, "tolerated_failure_count": 1}, {2, 6}, 7),
        ({"tolerated_failure_percentage": 10, "tolerated_failure_count": 5}, {2, 6}, 7),
        ({"stop_on_error": True, "tolerated_failure_count": 5}, {4}, 5),
        ({}, set(range(10)), None),
    ],
)
async def test_tolerances_are_those_of_the_map_state(
    chaining: ChainingHarness, tolerance: dict[str, Any], failing: set[int], ended: int | None
) -> None:
    await chaining.finish(*range(10))
    chaining.work.fails = failing
    if ended is None:
        results = await chaining.batch(**tolerance)
        assert [result.index for result in results if result.error] == sorted(failing)
        assert len(results) == 10
        return
    with pytest.raises(BatchStopped) as stopped:
        await chaining.batch(**tolerance)
    assert [result.index for result in stopped.value.results] == list(range(ended))
    assert [result.index for result in stopped.value.results if result.error] == sorted(failing)


async def test_results_have_an_entry_for_each_source_started_and_none_for_others(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(9))
    started: list[int] = []
    for concurrency, failing in itertools.product([1, 2, 4], [0, 3, 8]):
        chaining.work.fails = {failing}
        started.clear()
        with pytest.raises(BatchStopped) as stopped:
            await chaining.batch(
                stop_on_error=True,
                concurrent_batches=concurrency,
                on_execution_start=lambda _source, index: started.append(index),
            )
        assert [result.index for result in stopped.value.results] == started == list(range(len(started)))
    assert await chaining.made(RUNNING) == []


# Cancelling


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_cancelling_a_batch_leaves_nothing_running(chaining: ChainingHarness, concurrency: int) -> None:
    await chaining.finish(*range(5))
    chaining.work.does = chaining.work.hang
    told = Told()
    batch = asyncio.ensure_future(
        chaining.batch(
            concurrent_batches=concurrency, on_execution_start=told.start, on_execution_complete=told.complete
        )
    )
    while chaining.work.running < concurrency:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert [execution.status for execution in await chaining.made()] == [ABORTED] * concurrency
    told.check(concurrency)
    (stored,) = await chaining.engine.list_batches()
    assert stored.status is BatchStatus.ABORTED
    assert stored.end_time is not None


async def test_a_batch_can_be_cancelled_at_any_turn(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(3))
    for turns in range(0, 60, 3):
        batch = asyncio.ensure_future(chaining.batch(name_prefix=f"after-{turns}", concurrent_batches=2))
        for _ in range(turns):
            await asyncio.sleep(0)
        batch.cancel()
        await asyncio.wait([batch])
        assert batch.cancelled() or len(batch.result()) == 3
        assert await chaining.made(RUNNING) == []
    for stored in await chaining.engine.list_batches():
        assert stored.status is not BatchStatus.RUNNING
