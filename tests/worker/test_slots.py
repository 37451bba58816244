"""At most as many executions as were asked for run at once in a worker; the others are durable and wait."""

from __future__ import annotations

import asyncio
from typing import Any

from statechain import Engine, MemoryRepository, TaskRegistry
from support.engine_harness import machine, task


async def test_what_waits_for_a_slot_begins_as_soon_as_one_is_free() -> None:
    begun: asyncio.Queue[int] = asyncio.Queue()
    gates, tasks = {number: asyncio.Event() for number in range(4)}, TaskRegistry()

    async def wait(value: Any) -> None:
        begun.put_nowait(value)
        await gates[value].wait()

    tasks.add("wait", wait)
    async with (
        MemoryRepository() as repository,
        asyncio.timeout(20),
        Engine(repository, tasks=tasks, max_concurrent_executions=2) as engine,
    ):
        created = await engine.create_state_machine("waits", machine(Wait=task("wait")))
        handles = [await created.start_execution(number) for number in range(4)]
        assert [await begun.get() for _ in range(2)] == [0, 1]
        assert await engine.count_executions() == 4
        assert begun.empty()
        gates[1].set()
        await handles[1].wait()
        assert await begun.get() == 2
        assert begun.empty()
        for gate in gates.values():
            gate.set()
