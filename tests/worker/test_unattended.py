"""Executions that no asyncio task drives: when a task takes them over, and what they leave behind."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from statechain import Engine, ExecutionStatus, MemoryRepository, StatechainError, TaskRegistry
from support.faulty_repository import FaultyRepository, as_repository

PASS = {"Type": "Pass", "Next": "Work"}
WORK = {"Type": "Task", "Resource": "work", "End": True}
MACHINE = {"StartAt": "Work", "States": {"Work": WORK}}
MARK: ContextVar[str] = ContextVar("mark", default="none")


class Held:
    """A handler that waits until it is released, and what became of its calls."""

    def __init__(self) -> None:
        self.called, self.released = asyncio.Event(), asyncio.Event()
        self.ends: list[str] = []
        self.marks: list[str] = []
        self.tasks = TaskRegistry()
        self.tasks.add("work", self._work)

    async def _work(self, value: Any) -> Any:
        self.marks.append(MARK.get())
        self.called.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        self.ends.append("returned")
        return value


def all_tasks() -> int:
    """Return how many asyncio tasks there are."""
    return len(asyncio.all_tasks())


@pytest.mark.parametrize("first", ["Task", "Pass"])
async def test_an_execution_of_plain_states_takes_one_task_for_its_handler_and_no_other(first: str) -> None:
    held = Held()
    definition = MACHINE if first == "Task" else {"StartAt": "First", "States": {"First": PASS, "Work": WORK}}
    async with Engine(tasks=held.tasks) as engine:
        machine = await engine.create_state_machine("work", definition)
        before = all_tasks()
        handle = await machine.start_execution(1)
        await held.called.wait()
        assert all_tasks() == before + 1
        held.released.set()
        assert await handle.result() == 1
        assert all_tasks() == before


async def test_a_handler_sees_the_context_variables_of_the_caller() -> None:
    held = Held()
    held.released.set()
    async with Engine(tasks=held.tasks) as engine:
        machine = await engine.create_state_machine("work", MACHINE)
        MARK.set("caller")
        await machine.execute(1)
        MARK.set("another")
        await machine.execute(1)
    assert held.marks == ["caller", "another"]


async def test_leaving_the_engine_waits_for_it() -> None:
    held = Held()
    async with Engine(tasks=held.tasks) as engine:
        machine = await engine.create_state_machine("work", MACHINE)
        handle = await machine.start_execution(1)
        await held.called.wait()
        waiting = asyncio.create_task(handle.wait())
        asyncio.get_running_loop().call_later(0.01, held.released.set)
    assert held.ends == ["returned"]
    assert (await waiting).status == ExecutionStatus.SUCCEEDED


async def test_leaving_the_engine_waits_for_one_whose_start_is_being_written() -> None:
    held, storage = Held(), FaultyRepository(MemoryRepository())
    held.released.set()
    async with Engine(as_repository(storage), tasks=held.tasks) as engine:
        machine = await engine.create_state_machine("work", MACHINE)
        storage.gate.clear()
        running = asyncio.create_task(machine.execute(1))
        await storage.held.wait()
        asyncio.get_running_loop().call_later(0.01, storage.gate.set)
    assert (await running).status == ExecutionStatus.SUCCEEDED
    assert held.ends == ["returned"]


async def test_a_caller_that_is_cancelled_while_the_start_is_written_leaves_it_aborted_and_no_handler_called() -> None:
    held, storage = Held(), FaultyRepository(MemoryRepository())
    async with Engine(as_repository(storage), tasks=held.tasks) as engine:
        machine = await engine.create_state_machine("work", MACHINE)
        storage.gate.clear()
        starting = asyncio.create_task(machine.start_execution(1, name="one"))
        await storage.held.wait()
        starting.cancel()
        await asyncio.sleep(0)
        storage.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await starting
        (execution,) = await engine.list_executions()
        assert execution.status == ExecutionStatus.ABORTED
    assert not held.marks


@pytest.mark.parametrize("is_leaving", [False, True])
async def test_where_the_engine_fails_its_handler_is_cancelled_before_the_engine_is_left(*, is_leaving: bool) -> None:
    held = Held()
    engine = Engine(tasks=held.tasks)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 -- raised as the engine is left
        async with engine:
            machine = await engine.create_state_machine("work", MACHINE)
            handle = await machine.start_execution(1)
            await held.called.wait()
            worker = engine.worker

            async def fail() -> None:
                raise ZeroDivisionError

            if is_leaving:  # its task has not made its first step when the group fails
                asyncio.get_running_loop().call_soon(worker.unattended._tasks().create_task, fail())
            else:
                worker.tasks().create_task(fail())
                with pytest.raises(StatechainError, match="can be recovered"):
                    await handle.wait()
                assert held.ends == ["cancelled"]
    assert held.ends == ["cancelled"]


async def test_one_that_is_started_while_the_engine_is_interrupted_stays_running_in_storage() -> None:
    held, storage = Held(), MemoryRepository()
    async with storage:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 -- left by it
            async with Engine(storage, tasks=held.tasks) as engine:
                machine = await engine.create_state_machine("work", MACHINE)
                handle = await machine.start_execution(1)
                await held.called.wait()
                late = asyncio.create_task(machine.execute(2))
                handle_ended = asyncio.create_task(handle.wait())
                raise ZeroDivisionError
        for waiting in (late, handle_ended):
            with pytest.raises(StatechainError):
                await waiting
        assert held.ends == ["cancelled"]
