"""Callbacks of a batch: each called once for every item, complete after start; one that raises ends the batch."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statechain import (
    BatchExecutionOptions,
    BatchStatus,
    ExecutionFailed,
    SourceStateNotFound,
)
from support.chaining.batch_callbacks import Told, Unwelcome
from support.chaining.harness import ChainingHarness
from support.statuses import ABORTED, RUNNING, SUCCEEDED


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("slowly", [False, True])
async def test_callbacks_are_told_once_each_complete_after_start(
    chaining: ChainingHarness, concurrency: int, slowly: bool
) -> None:
    sources = await chaining.finish(*range(6))
    chaining.work.fails = {2}
    told = Told()
    results = await chaining.batch(
        concurrent_batches=concurrency,
        on_execution_start=told.start_slowly if slowly else told.start,
        on_execution_complete=told.complete_slowly if slowly else told.complete,
    )
    told.check(6)
    assert all(fact[1] == sources[fact[2]].id for fact in told.facts)
    errors = {fact[2]: fact[3] for fact in told.facts if fact[0] == "complete"}
    assert errors == {result.index: result.error for result in results}
    assert isinstance(errors[2], ExecutionFailed)


async def test_callbacks_are_told_of_a_source_that_could_not_be_started(chaining: ChainingHarness) -> None:
    await chaining.finish(0, 1)
    told = Told()
    options = BatchExecutionOptions(on_execution_start=told.start, on_execution_complete=told.complete)
    await chaining.targets.execute_batch(chaining.select(), "Nowhere", options=options)
    told.check(2)
    assert [type(fact[3]) for fact in told.facts if fact[0] == "complete"] == [SourceStateNotFound] * 2


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("which", ["on_execution_start", "on_execution_complete"])
async def test_a_callback_that_raises_stops_the_batch_and_propagates(
    chaining: ChainingHarness, which: str, slowly: bool
) -> None:
    await chaining.finish(*range(6))

    def refuse(_source: str, index: int, _error: Exception | None = None) -> None:
        if index == 3:
            raise Unwelcome(index)

    async def refuse_slowly(source: str, index: int, error: Exception | None = None) -> None:
        await asyncio.sleep(0.001)
        refuse(source, index, error)

    async def hang_unless_three(value: dict[str, Any]) -> None:
        if value["n"] != 3:
            await asyncio.Event().wait()

    chaining.work.does = hang_unless_three
    async with asyncio.timeout(30):
        with pytest.raises(Unwelcome, match="3"):
            await chaining.batch(concurrent_batches=4, **{which: refuse_slowly if slowly else refuse})
    assert await chaining.made(RUNNING) == []
    by_number = {execution.input["n"]: execution.status for execution in await chaining.made()}  # type: ignore[index, call-overload]
    assert by_number.pop(3, SUCCEEDED) is SUCCEEDED
    assert set(by_number.values()) <= {ABORTED}
    assert not {4, 5} & set(by_number)
    (batch,) = await chaining.engine.list_batches()
    assert batch.status is BatchStatus.ABORTED
