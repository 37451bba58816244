"""A stop reaches executions that run in another process: each says which batch was stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, MemoryRepository, StateMachine
from statechain.storage.repository import StopExecution
from support.chaining.calls import Calls
from support.chaining.map_items import Items, begun, created, settled
from support.chaining.sources import CALL, sources
from support.faulty_repository import FaultyRepository, as_repository

EngineFactory = Callable[..., Engine]


async def stop(client: Engine, batch_id: str, _caller: asyncio.Task[object]) -> None:
    await client.stop_batch(batch_id)


async def cancel(_client: Engine, _batch_id: str, caller: asyncio.Task[object]) -> None:
    caller.cancel()
    await asyncio.wait([caller])


async def causes(engine: Engine, machine: StateMachine | str) -> list[tuple[str, str | None]]:
    """Return how the executions of a machine have ended, and why."""
    id_ = machine if isinstance(machine, str) else machine.id
    found = await engine.list_executions(ExecutionFilter(state_machine_id=id_))
    return [(each.status, each.cause) for each in found]


@pytest.mark.parametrize("end", [stop, cancel])
async def test_executions_say_which_batch_was_stopped_from_another_process(
    engine_factory: EngineFactory, end: Callable[[Engine, str, asyncio.Task[object]], Awaitable[None]]
) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(role="client") as client, engine_factory(tasks=calls.tasks) as worker:
        found, _ = await sources(worker, 2)
        target = await client.create_state_machine("target", CALL)
        options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=2)
        caller = asyncio.create_task(target.execute_batch(found, options=options))
        await calls.reached(2)
        (batch,) = await client.list_batches()
        await end(client, batch.id, caller)
        assert await causes(client, target) == [("ABORTED", f"the batch {batch.id} was stopped")] * 2
        await asyncio.wait([caller])


async def test_items_of_a_map_say_so_where_another_worker_runs_them(engine_factory: EngineFactory) -> None:
    items = Items()
    items.gate.clear()
    async with engine_factory(map_runs="shared") as engine, engine_factory(tasks=items.tasks, map_runs="shared"):
        execution = await (await created(engine)).start_execution([1, 2])
        await items.reached(2)
        batch = await begun(engine, execution.id)
        await execution.stop()
        await settled(engine)
        assert await causes(engine, batch.state_machine_id) == [("ABORTED", f"the batch {batch.id} was stopped")] * 2


async def test_what_a_client_submitted_for_a_batch_ends_before_its_caller_does(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(role="client") as client, engine_factory(tasks=calls.tasks) as worker:
        found, _ = await sources(worker, 2)
        target = await client.create_state_machine("target", CALL)
        caller = asyncio.create_task(target.execute_batch(found, options=BatchExecutionOptions(concurrent_batches=2)))
        await calls.reached(2)
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
        assert await causes(client, target) == [("ABORTED", None)] * 2


async def test_a_caller_waits_for_that_no_longer_than_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statechain.worker.worker.GRACE", 0.0)
    calls = Calls()
    calls.gate.clear()
    async with MemoryRepository() as inner:
        faulty = FaultyRepository(inner)
        async with Engine(inner, tasks=calls.tasks) as worker, Engine(as_repository(faulty), role="client") as client:
            found, _ = await sources(worker, 1)
            target = await client.create_state_machine("target", CALL)
            caller = asyncio.create_task(target.execute_batch(found))
            await calls.reached(1)
            faulty.hold(lambda write: isinstance(write, StopExecution))
            caller.cancel()
            await faulty.held.wait()
            await asyncio.wait([caller], timeout=20)
            assert caller.cancelled()
            assert await causes(worker, target) == [("RUNNING", None)]
            faulty.gate.set()
