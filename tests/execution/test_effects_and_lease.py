"""Effects and the worker's lease: nothing begins while it does not hold, nor after a lapse before a write."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from statechain import Engine, MemoryRepository, TaskError, TaskRegistry
from statechain.testing import VirtualClock
from support.engine_harness import machine, task
from support.faulty_repository import FaultyRepository, as_repository

TURNS = 100
"""More turns of the event loop than it takes from one handler's end to the next one's call."""


@pytest.mark.parametrize("more", [{}, {"TimeoutSeconds": 60}], ids=["a plain Task", "a Task with a timeout"])
async def test_no_handler_is_called_while_the_lease_does_not_hold(more: dict[str, Any]) -> None:
    called: list[str] = []
    lapsed = asyncio.Event()
    tasks = TaskRegistry()

    @tasks.register
    async def first(_value: Any) -> None:
        called.append("first")
        lease.clock = lambda: float("inf")  # no renewal makes it hold
        lapsed.set()

    @tasks.register
    async def second(_value: Any) -> None:
        called.append("second")

    async with asyncio.timeout(60), Engine(tasks=tasks) as engine:
        lease = engine._supervisor._lease
        clock = lease.clock
        created = await engine.create_state_machine(
            "m", machine(First=task("first", Next="Second"), Second=task("second", **more))
        )
        started = await created.start_execution()
        await lapsed.wait()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert called == ["first"]
        lease.clock = clock
        lease.renewed(clock())
        await started.result()
    assert called == ["first", "second"]


@pytest.mark.parametrize("lapses", [0, 1])
async def test_after_a_lapse_storage_is_written_to_before_an_attempt(lapses: int) -> None:
    """Another worker may have the execution by now: then the write is refused, and the handler is not called."""
    storage = FaultyRepository(MemoryRepository(), remembers=True)
    clock = VirtualClock(auto=False)
    commits: list[int] = []
    tasks = TaskRegistry()

    @tasks.register
    async def work(_value: Any) -> None:
        commits.append(len(storage.groups))
        if len(commits) == 1:
            raise TaskError("Again")

    retry = [{"ErrorEquals": ["Again"], "IntervalSeconds": 60, "MaxAttempts": 1}]
    async with asyncio.timeout(60), Engine(as_repository(storage), tasks=tasks, clock=clock) as engine:
        created = await engine.create_state_machine("m", machine(Work=task("work", Retry=retry)))
        started = await created.start_execution()
        while len(commits) < 1:  # noqa: ASYNC110 -- a turn of the loop is all that is awaited
            await asyncio.sleep(0)
        for _ in range(TURNS):  # the pause is written
            await asyncio.sleep(0)
        before = len(storage.groups)
        engine._supervisor._lease.lapses += lapses
        await clock.advance(timedelta(seconds=60))
        await started.result()
    assert commits[1] - before == lapses
