"""Items of shared Map Runs that fail: as many as are tolerated, and what their Map says then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from statechain import Engine
from statechain.records.batches import BatchStatus
from support.chaining.map_items import Items, created, distributed, events, map_run_of, refusing

EngineFactory = Callable[..., Engine]
JSON = Any


@pytest.mark.parametrize(
    ("tolerance", "succeeds"),
    [
        ({}, False),
        ({"ToleratedFailureCount": 1}, False),
        ({"ToleratedFailureCount": 2}, True),
        ({"ToleratedFailurePercentage": 19}, False),
        ({"ToleratedFailurePercentage": 20}, True),
    ],
)
async def test_as_many_items_may_fail_as_are_tolerated(
    engine_factory: EngineFactory, tolerance: dict[str, int], succeeds: bool
) -> None:
    items = Items(2, 5)
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        machine = await created(engine, distributed(MaxConcurrency=4, **tolerance))
        execution = await (await machine.start_execution(list(range(10)))).wait()
        run = await map_run_of(engine, execution)
        if succeeds:
            assert execution.output == [2 * number for number in range(10) if number not in items.failing]
            assert (run.status, run.item_counts.failed) == (BatchStatus.SUCCEEDED, 2)
            return
        assert (execution.error, execution.cause) == (
            "States.ExceedToleratedFailureThreshold",
            "The specified tolerated failure threshold was exceeded",
        )
        assert (run.status, run.item_counts.running) == (BatchStatus.FAILED, 0)
        assert (await events(engine, execution))[3:] == ["MapRunFailed", "MapStateFailed"]


async def test_an_input_that_is_too_large_is_an_item_that_failed(engine_factory: EngineFactory) -> None:
    definition, value, limits = refusing(ResultSelector={"n.$": "$[*].n"})
    async with engine_factory(map_runs="shared", limits=limits) as engine:
        execution = await (await created(engine, definition)).execute(value)
        assert execution.output == {"n": ["y"]}
        failed, _ = await engine.list_batch_results((await map_run_of(engine, execution)).id)
        assert (failed.execution_id, failed.error) == (None, "InvalidPayload")
