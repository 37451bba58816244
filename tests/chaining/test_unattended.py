"""Items that no asyncio task runs: they end with their siblings where a launch fails, or its caller is cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statechain import BatchExecutionOptions, BatchStopped, Engine, ExecutionFilter, StateMachine, TaskRegistry
from statechain.launcher import Place, launch_in_places
from support.engine_harness import machine, task


class Kept:
    """Work without a task, which is released by the test once it was cancelled."""

    def __init__(self) -> None:
        self.cut, self.released, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def rest(self) -> None:
        raise AssertionError("it has not stopped by itself")

    async def cut_short(self) -> None:
        self.cut.set()
        await self.released.wait()
        self.ended.set()


async def launched(kept: Kept) -> None:
    """Launch work that no task does, beside work that fails."""

    async def fail() -> None:
        raise ValueError("failed")

    def begin(item: Any, place: Place) -> None:
        if item == "kept":
            place.keep(kept)
        else:
            place.run(fail())

    await launch_in_places(["kept", "fails"], begin, concurrency=5)


async def test_a_launch_that_fails_leaves_once_its_work_without_a_task_has_ended() -> None:
    kept = Kept()
    launching = asyncio.ensure_future(launched(kept))
    async with asyncio.timeout(20):
        await kept.cut.wait()
        assert not launching.done()
        kept.released.set()
        with pytest.raises(ExceptionGroup) as failed:
            await launching
    assert failed.group_contains(ValueError)
    assert kept.ended.is_set()


async def test_a_cancellation_while_such_work_ends_waits_for_it_and_wins() -> None:
    kept = Kept()
    launching = asyncio.ensure_future(launched(kept))
    async with asyncio.timeout(20):
        await kept.cut.wait()
        launching.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not launching.done()
        kept.released.set()
        with pytest.raises(asyncio.CancelledError):
            await launching
    assert kept.ended.is_set()


async def chaining(engine: Engine, count: int) -> tuple[StateMachine, ExecutionFilter]:
    """Return a machine that calls the handler, and what finds so many executions to chain from."""
    source = await engine.create_state_machine("source", machine(Pass={"Type": "Pass"}))
    for value in range(count):
        await (await source.start_execution(value)).wait()
    target = await engine.create_state_machine("target", machine(Work=task("work")))
    return target, ExecutionFilter(state_machine_id=source.id)


async def test_a_failure_ends_all_items_that_run_and_each_has_its_result() -> None:
    running, tasks = asyncio.Event(), TaskRegistry()
    calls: list[Any] = []

    async def work(value: Any) -> Any:
        calls.append(value)
        if len(calls) == 4:
            running.set()
        if value == 3:
            await running.wait()
            raise ValueError("the fourth")
        await asyncio.Event().wait()

    tasks.add("work", work)
    async with asyncio.timeout(20), Engine(tasks=tasks) as engine:
        target, found = await chaining(engine, 4)
        with pytest.raises(BatchStopped) as stopped:
            await target.execute_batch(found, options=BatchExecutionOptions(concurrent_batches=4, stop_on_error=True))
    ended = sorted((each.execution.status, each.index) for each in stopped.value.results if each.execution is not None)
    assert [status for status, _ in ended] == ["ABORTED"] * 3 + ["FAILED"]


async def test_items_whose_results_nobody_takes_wait_and_are_all_handed_out() -> None:
    tasks = TaskRegistry()
    tasks.add("work", str)
    async with asyncio.timeout(20), Engine(tasks=tasks) as engine:
        target, found = await chaining(engine, 20)
        options = BatchExecutionOptions(concurrent_batches=4)
        seen = []
        async with target.stream_batch(found, options=options) as results:
            first = await anext(aiter(results))
            # As many as run at once, and those that wait for room.
            while await engine.count_executions(ExecutionFilter(state_machine_id=target.id)) < 8:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            for _ in range(50):
                await asyncio.sleep(0)
            assert await engine.count_executions(ExecutionFilter(state_machine_id=target.id)) <= 9
            seen = [first.index, *[each.index async for each in results]]
    assert sorted(seen) == list(range(20))
