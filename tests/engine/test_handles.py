"""Handles on executions that exist: by id, by machine and name, in the process that runs them and after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from statechain import (
    Engine,
    ExecutionFilter,
    ExecutionNotFound,
    StateMachineNotFound,
    TaskRegistry,
)

CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
PASS = {"StartAt": "Done", "States": {"Done": {"Type": "Pass", "End": True}}}


async def test_a_handle_by_id_or_by_machine_and_name_awaits_an_execution_that_runs_here() -> None:
    tasks, gate = TaskRegistry(), asyncio.Event()

    @tasks.register("Call")
    async def call(value: int) -> int:
        await gate.wait()
        return value + 1

    async with Engine("memory://", tasks=tasks) as engine:
        machine = await engine.create_state_machine("orders", CALL)
        started = await machine.start_execution(1, name="order-1")
        handles = [
            await engine.get_handle(started.id),
            await engine.get_handle("order-1", machine="orders"),
            await engine.get_handle("order-1", machine=machine),
            await engine.get_handle("order-1", machine=machine.id),
        ]
        assert {(handle.id, handle.name) for handle in handles} == {(started.id, "order-1")}
        waits = [asyncio.create_task(handle.result()) for handle in handles]
        gate.set()
        assert await asyncio.gather(*waits) == [2, 2, 2, 2]


async def test_a_handle_after_a_restart_awaits_what_the_process_before_left(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    begun, tasks = asyncio.Event(), TaskRegistry()

    @tasks.register("Call")
    async def call(value: int) -> int:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        return value + 1

    async def start_and_leave() -> None:
        async with Engine(url, tasks=tasks) as engine:
            machine = await engine.create_state_machine("orders", CALL)
            await machine.start_execution(1, name="order-1")
            await begun.wait()
            raise KeyError  # leaving by an exception interrupts what runs

    with pytest.raises(KeyError):
        await start_and_leave()
    async with Engine(url, tasks=tasks) as engine:
        handle = await engine.get_handle("order-1", machine="orders")
        assert await handle.result() == 2
        assert await (await engine.get_handle(handle.id)).wait() == await engine.get_execution(handle.id)


async def test_a_handle_stops_an_execution() -> None:
    wait = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}
    async with Engine("memory://") as engine:
        await (await engine.create_state_machine("slow", wait)).start_execution(name="one")
        stopped = await (await engine.get_handle("one", machine="slow")).stop(error="Operator")
        assert (stopped.status, stopped.error) == ("ABORTED", "Operator")


async def test_a_handle_on_what_does_not_exist_is_an_error() -> None:
    async with Engine("memory://") as engine:
        machine = await engine.create_state_machine("orders", PASS)
        await machine.execute(name="order-1")
        with pytest.raises(ExecutionNotFound):
            await engine.get_handle("order-1")
        with pytest.raises(ExecutionNotFound, match="no execution with the name 'order-2' of this state machine"):
            await engine.get_handle("order-2", machine=machine)
        with pytest.raises(StateMachineNotFound, match="machine is 'invoices'"):
            await engine.get_handle("order-1", machine="invoices")


async def test_batches_and_links_are_iterated_page_by_page_in_the_order_of_their_lists() -> None:
    async with Engine("memory://") as engine:
        orders = await engine.create_state_machine("orders", PASS)
        invoices = await engine.create_state_machine("invoices", PASS)
        await orders.execute_bulk(range(3))
        for _ in range(3):
            await invoices.execute_batch(ExecutionFilter(state_machine_id="orders"))
        batches, links = await engine.list_batches(), await engine.list_linked_executions()
        assert (len(batches), len(links)) == (3, 9)
        for page_size in (1, 2, 3, 4):
            assert [each async for each in engine.iterate_batches(page_size=page_size)] == batches
            assert [each async for each in engine.iterate_linked_executions(page_size=page_size)] == links
