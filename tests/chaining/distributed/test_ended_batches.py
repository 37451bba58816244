"""A process that starts many DISTRIBUTED batches keeps nothing of those that have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from statechain import BatchExecutionOptions, Engine, TaskRegistry

CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
OPTIONS = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=4)


def names_of(part: object) -> Collection[str]:
    return [*getattr(part, "__slots__", ()), *getattr(part, "__dict__", ())]


@pytest.mark.parametrize("recovery", [True, False], ids=["runs all batches", "runs its own"])
async def test_nothing_is_kept_of_a_batch_that_has_ended(*, recovery: bool) -> None:
    tasks = TaskRegistry()
    tasks.add("Call", lambda value: value)
    async with Engine("memory://", tasks=tasks, recovery=recovery) as engine, asyncio.timeout(30):
        machine = await engine.create_state_machine("call", CALL)
        started = await machine.start_bulk([1, 2, 3], options=OPTIONS)
        await started.wait()
        assert all(result.error is None for result in await machine.execute_bulk([1, 2, 3], options=OPTIONS))
        ids = [batch.id for batch in await engine.list_batches()]
        assert len(ids) == 2

        def kept() -> list[str]:
            shards = engine.shards
            parts = shards, shards.served, shards._running, shards._running._services
            values = [(name, getattr(part, name)) for part in parts for name in names_of(part)]
            return [
                name for name, value in values if isinstance(value, Collection) and any(id_ in value for id_ in ids)
            ]

        while kept():  # noqa: ASYNC110 -- until the next look finds that they run no more
            await asyncio.sleep(0.01)
