"""After a lapse of its lease a worker owns again what others released meanwhile and have not claimed."""

from __future__ import annotations

import asyncio
from typing import Any

from statechain import Engine, MemoryRepository, TaskRegistry
from statechain.observers import Fact, LeaseRenewed
from support.engine_harness import machine, task
from support.faulty_repository import FaultyRepository, as_repository


async def test_what_was_released_during_a_lapse_is_owned_again_and_goes_on() -> None:
    begun, gate, calls, tasks = asyncio.Event(), asyncio.Event(), [], TaskRegistry()

    async def wait(value: Any) -> Any:
        calls.append(value)
        begun.set()
        await gate.wait()
        return value

    tasks.add("wait", wait)
    async with MemoryRepository() as inner, asyncio.timeout(20):
        faulty = FaultyRepository(inner)
        async with Engine(as_repository(faulty), tasks=tasks, lease=0.3, recovery=False) as engine:
            created = await engine.create_state_machine("waits", machine(Wait=task("wait")))
            handle = await created.start_execution(1)
            await begun.wait()
            faulty.cut_off()
            while not all(lease.is_over for lease in await inner.workers()):  # noqa: ASYNC110 -- storage has no event
                await asyncio.sleep(0.01)
            await inner.release(engine.worker.id)
            assert await inner.owned(engine.worker.id) == {}
            faulty.cut_off(whether=False)
            while list(await inner.owned(engine.worker.id)) != [handle.id]:  # noqa: ASYNC110 -- likewise
                await asyncio.sleep(0.01)
            gate.set()
            assert (await handle.wait()).status == "SUCCEEDED"
    assert calls == [1]


async def test_observers_are_shown_each_renewal_of_the_lease_and_how_often_it_had_lapsed() -> None:
    renewed = asyncio.Queue[LeaseRenewed]()

    class Observer:
        def observe(self, fact: Fact) -> None:
            if isinstance(fact, LeaseRenewed):
                loop.call_soon_threadsafe(renewed.put_nowait, fact)

    loop = asyncio.get_running_loop()
    async with MemoryRepository() as inner, asyncio.timeout(20):
        faulty = FaultyRepository(inner)
        async with Engine(as_repository(faulty), lease=0.3, observers=[Observer()]) as engine:
            first = await renewed.get()
            assert (first.worker_id, first.lapses) == (engine.worker.id, 0)
            assert 0 <= first.seconds < 20
            faulty.cut_off()
            while not all(lease.is_over for lease in await inner.workers()):  # noqa: ASYNC110 -- storage has no event
                await asyncio.sleep(0.01)
            await inner.release(engine.worker.id)
            faulty.cut_off(whether=False)
            while (await renewed.get()).lapses == 0:
                pass
