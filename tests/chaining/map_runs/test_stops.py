"""Shared Map Runs that are stopped, by themselves or with their execution: nothing of them goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from statechain import Engine
from statechain.records.batches import BatchStatus
from support.chaining.map_items import RUNNING, Items, created, distributed, events, map_run_of, settled

EngineFactory = Callable[..., Engine]
JSON = Any


async def test_a_stop_of_the_execution_stops_its_items(engine_factory: EngineFactory) -> None:
    items = Items()
    items.gate.clear()
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        handle = await (await created(engine)).start_execution(list(range(6)))
        await items.reached(6)
        stopped = await handle.stop()
        run = await map_run_of(engine, stopped)
        assert (run.status, run.item_counts.aborted) == (BatchStatus.ABORTED, 6)
        assert await engine.count_executions(RUNNING) == 0
        assert "MapRunAborted" in await events(engine, stopped)


async def test_a_stop_from_elsewhere_stops_the_items(engine_factory: EngineFactory) -> None:
    """Also where the worker of the execution cannot notice it: the next count finds that the execution has ended."""
    items = Items()
    items.gate.clear()
    async with (
        engine_factory(tasks=items.tasks, map_runs="shared", lease=3600),
        engine_factory(role="client") as client,
    ):
        handle = await (await created(client)).start_execution(list(range(6)))
        await items.reached(6)
        await client.stop_execution(handle.id)
        await settled(client)
        run = await map_run_of(client, handle.execution)
        assert (run.status, run.item_counts.aborted) == (BatchStatus.ABORTED, 6)


async def test_a_timeout_of_the_execution_stops_the_items(engine_factory: EngineFactory) -> None:
    items = Items()
    items.gate.clear()
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        machine = await created(engine, distributed() | {"TimeoutSeconds": 1})
        ended = await (await machine.start_execution([1, 2])).wait()
        assert ended.status == "TIMED_OUT"
        assert (await map_run_of(engine, ended)).status is BatchStatus.ABORTED
        assert await engine.count_executions(RUNNING) == 0


async def test_a_map_run_that_is_stopped_fails_its_map(engine_factory: EngineFactory) -> None:
    items = Items()
    items.gate.clear()
    catch = [{"ErrorEquals": ["States.TaskFailed"], "ResultPath": "$[0]", "Next": "Caught"}]
    definition = distributed(Catch=catch)
    definition["States"]["Caught"] = {"Type": "Succeed"}
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        handle = await (await created(engine, definition)).start_execution([1, 2])
        await items.reached(2)
        await engine.stop_batch((await map_run_of(engine, handle.execution)).id)
        ended = await handle.wait()
        assert ended.status == "SUCCEEDED"
        assert "was stopped" in ended.output[0]["Cause"]
