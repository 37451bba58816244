"""What is reported of the items that a batch cancels, since one of them stopped it or its engine is left."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from statechain import (
    BatchExecutionOptions,
    BatchStopped,
    ExecutionFailed,
    ExecutionNotFound,
    Limits,
    MemoryRepository,
    RepositoryUnavailable,
)
from support.chaining.batch_callbacks import Told
from support.chaining.harness import ChainingHarness, chaining_harness, statuses
from support.faulty_repository import FaultyRepository, as_repository


class _Left(Exception):
    pass


async def test_what_is_cancelled_with_its_siblings_is_reported_as_it_ended(chaining: ChainingHarness) -> None:
    """The first item ends, the second one runs, the third one has no execution, and the fourth one stops them all."""
    await chaining.finish(*range(4))
    begun = asyncio.Event()

    async def transform(value: dict[str, Any]) -> dict[str, Any]:
        if value["n"] == 2:
            begun.set()
            await asyncio.Event().wait()
        return value

    async def work(value: dict[str, Any]) -> Any:
        if value["n"] == 1:
            await chaining.work.hang(value)
        if value["n"] == 3:
            await begun.wait()
            while chaining.work.running < 2:  # noqa: ASYNC110 -- until the second item is at work
                await asyncio.sleep(0)
        return await chaining.work.answer(value)

    chaining.work.does, chaining.work.fails = work, {3}
    told = Told()
    options = BatchExecutionOptions(concurrent_batches=4, stop_on_error=True, on_execution_complete=told.complete)
    with pytest.raises(BatchStopped) as stopped:
        await chaining.targets.execute_batch(chaining.select(), options=options, input_transformer=transform)
    results = stopped.value.results
    assert statuses(results) == ["SUCCEEDED", "ABORTED", None, "FAILED"]
    errors = {fact[2]: fact[3] for fact in told.facts}
    assert errors == {result.index: result.error for result in results}
    assert {fact[2]: fact[1] for fact in told.facts} == {result.index: result.source_execution_id for result in results}
    assert [type(result.error) for result in results] == [
        type(None),
        ExecutionFailed,
        ExecutionNotFound,
        ExecutionFailed,
    ]
    assert str(errors[2]) == "item 2 was cancelled before its execution was started"


async def test_of_what_is_cancelled_while_storage_is_away_it_is_not_known_how_it_ended() -> None:
    told = Told()
    async with MemoryRepository() as inner:
        faulty = FaultyRepository(inner)
        with suppress(_Left):
            async with chaining_harness(as_repository(faulty), limits=Limits(drain_seconds=0.1)) as chaining:
                await chaining.finish(0)
                chaining.work.does = chaining.work.hang
                batch = BatchExecutionOptions(on_execution_complete=told.complete)
                stream = await chaining.targets.stream_batch(chaining.select(), options=batch).__aenter__()
                while not chaining.work.running:  # noqa: ASYNC110 -- until it is at work
                    await asyncio.sleep(0)
                faulty.fail_all()
                stream.cancel()
                raise _Left
    ((_, _, _, error),) = told.facts
    assert isinstance(error, RepositoryUnavailable)
    assert str(error) == "item 0 was cancelled, and storage did not say how it ended"
