"""An engine is left in time although a batch runs and its storage is away."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest

from statechain import BatchExecutionOptions, BatchStatus, Limits, MemoryRepository
from statechain.storage.repository import Advance, EndBatch
from statechain.testing.contract.samples import moment
from support.chaining.harness import chaining_harness
from support.faulty_repository import FaultyRepository, as_repository

GUARD = 20.0
"""Seconds: an engine that waits for its storage would be left only once that is back, which it never is here."""


class _Left(Exception):
    pass


async def leave_while_a_batch_runs(*, cancels: bool = False, leaves_it: bool = False, **options: Any) -> None:
    """Leave an engine by an exception while a batch runs, and its storage takes no calls any more.

    With ``cancels`` the batch is cancelled before: its items ask storage how their executions have ended. With
    ``leaves_it`` its reader is gone before.
    """
    async with MemoryRepository() as inner:
        faulty = FaultyRepository(inner)
        limits = Limits(drain_seconds=0.1)
        with suppress(_Left):
            async with asyncio.timeout(GUARD), chaining_harness(as_repository(faulty), limits=limits) as chaining:
                await chaining.finish(*range(3))
                chaining.work.does = chaining.work.hang
                batch = BatchExecutionOptions(concurrent_batches=3, **options)
                stream = await chaining.targets.stream_batch(chaining.select(), options=batch).__aenter__()
                while chaining.work.running < 3:  # noqa: ASYNC110 -- until all of them are at work
                    await asyncio.sleep(0.01)
                faulty.fail_all()
                if cancels:
                    stream.cancel()
                if leaves_it:
                    await stream.__aexit__(asyncio.CancelledError, asyncio.CancelledError(), None)
                while cancels and faulty.refused["execution_by_name"] < 3:  # noqa: ASYNC110 -- until they ask storage
                    await asyncio.sleep(0.01)
                raise _Left


@pytest.mark.parametrize("mode", ["INLINE", "DISTRIBUTED"])
async def test_an_engine_is_left_while_a_batch_runs_and_storage_is_away(mode: str) -> None:
    await leave_while_a_batch_runs(mode=mode)


async def test_an_engine_is_left_while_cancelled_items_wait_for_storage() -> None:
    await leave_while_a_batch_runs(cancels=True)


async def test_an_engine_is_left_while_a_batch_ends_that_was_stopped_elsewhere() -> None:
    async with MemoryRepository() as inner:
        faulty = FaultyRepository(inner)
        limits = Limits(drain_seconds=0.1)
        with suppress(_Left):
            async with asyncio.timeout(GUARD), chaining_harness(as_repository(faulty), limits=limits) as chaining:
                await chaining.finish(*range(3))
                chaining.work.does = chaining.work.hang
                batch = BatchExecutionOptions(concurrent_batches=3, mode="DISTRIBUTED")
                started = await chaining.targets.start_batch(chaining.select(), options=batch)
                while chaining.work.running < 3:  # noqa: ASYNC110 -- until all of them are at work
                    await asyncio.sleep(0.01)
                faulty.hold(lambda write: isinstance(write, Advance))
                await inner.commit([EndBatch(batch_id=started.id, status=BatchStatus.ABORTED, end_time=moment())])
                await faulty.held.wait()  # an execution is aborted
                faulty.fail_all()
                faulty.gate.set()
                while faulty.refused["execution_by_name"] < 3:  # noqa: ASYNC110 -- until they ask storage
                    await asyncio.sleep(0.01)
                raise _Left


async def test_a_batch_that_could_not_be_stopped_for_its_caller_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    await leave_while_a_batch_runs(leaves_it=True, mode="DISTRIBUTED")
    for _ in range(9):  # the task that stops it goes on without its caller
        await asyncio.sleep(0)
    gc.collect()
    assert lost == []
    assert "could not be stopped for its caller" in caplog.text
