"""A caller that is cancelled while storage does not answer ends by its cancellation, and leaves nothing that runs."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from statechain import Engine, Execution, Limits, MemoryRepository, RepositoryError, StateMachine, TaskRegistry
from statechain.storage.repository import RedriveExecution, StartExecution
from support.faulty_repository import FaultyRepository, as_repository

PASS = {"StartAt": "Pass", "States": {"Pass": {"Type": "Pass", "End": True}}}


class _Left(Exception):
    pass


@pytest.mark.parametrize("role", ["client", "worker"])
@pytest.mark.parametrize("call", [StateMachine.start_execution, StateMachine.execute], ids=["start", "execute"])
async def test_a_start_that_is_cancelled_as_its_engine_is_left_ends_cancelled(role: Any, call: Any) -> None:
    async with MemoryRepository() as inner:
        faulty = FaultyRepository(inner)
        with suppress(_Left):
            async with Engine(as_repository(faulty), role=role, limits=Limits(drain_seconds=0.1)) as engine:
                machine = await engine.create_state_machine("pass", PASS)
                faulty.hold(lambda write: isinstance(write, StartExecution))
                caller = asyncio.create_task(call(machine, {}))
                await faulty.held.wait()
                caller.cancel()
                await asyncio.sleep(0)
                raise _Left
        await asyncio.wait([caller])
        assert caller.cancelled()


GUARD = 20.0


@asynccontextmanager
async def redriving() -> AsyncIterator[tuple[FaultyRepository, Engine, Execution, asyncio.Task[Any]]]:
    """Yield an execution that failed, and the caller that redrives it, whose write waits at the gate."""
    tasks = TaskRegistry()

    outcomes = iter([ValueError()])

    async def fail_and_then_hang(_value: Any) -> None:
        for error in outcomes:
            raise error
        await asyncio.Event().wait()

    tasks.add("work", fail_and_then_hang)
    definition = {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "work", "End": True}}}
    async with MemoryRepository() as inner:
        faulty = FaultyRepository(inner)
        async with asyncio.timeout(GUARD), Engine(as_repository(faulty), tasks=tasks) as engine:
            machine = await engine.create_state_machine("work", definition)
            failed = await (await machine.start_execution(1)).wait()
            faulty.hold(lambda write: isinstance(write, RedriveExecution))
            caller = asyncio.create_task(engine.redrive_execution(failed.id))
            await faulty.held.wait()
            yield faulty, engine, failed, caller


async def test_what_is_redriven_for_a_caller_that_is_cancelled_meanwhile_ends_before_the_caller_does() -> None:
    async with redriving() as (faulty, engine, failed, caller):
        caller.cancel()
        await asyncio.sleep(0)
        faulty.gate.set()
        await asyncio.wait([caller])
        assert caller.cancelled()
        ended = await engine.get_execution(failed.id)
    assert (ended.status, ended.redrive_count) == ("ABORTED", 1)
    assert ended.end_time is not None


async def test_a_caller_that_is_cancelled_waits_no_longer_than_its_grace_and_what_it_redrove_ends_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("statechain.worker.worker.GRACE", 0.0)
    async with redriving() as (faulty, engine, failed, caller):
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
        faulty.gate.set()
        while (ended := await engine.get_execution(failed.id)).status != "ABORTED":  # noqa: ASYNC110 -- storage has no event
            await asyncio.sleep(0)
        assert ended.redrive_count == 1


@pytest.mark.parametrize("grace", [0.0, GUARD])
async def test_a_redrive_that_is_refused_for_a_cancelled_caller_is_no_error_of_the_loop(
    monkeypatch: pytest.MonkeyPatch, grace: float
) -> None:
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    monkeypatch.setattr("statechain.worker.worker.GRACE", grace)
    async with redriving() as (faulty, engine, failed, caller):
        faulty.before = lambda _: RepositoryError("refused")
        caller.cancel()
        if not grace:
            await asyncio.wait([caller])
        faulty.gate.set()
        await asyncio.wait([caller])
        assert caller.cancelled()
        assert (await engine.get_execution(failed.id)).status == "FAILED"
    gc.collect()
    assert lost == []


@pytest.mark.parametrize("role", ["client", "worker"])
@pytest.mark.parametrize("call", [StateMachine.start_execution, StateMachine.execute], ids=["start", "execute"])
async def test_a_caller_that_is_cancelled_while_its_start_is_written_waits_no_longer_than_its_grace(
    monkeypatch: pytest.MonkeyPatch, role: Any, call: Any
) -> None:
    monkeypatch.setattr("statechain.worker.worker.GRACE", 0.0)
    monkeypatch.setattr("statechain.worker.submissions.GRACE", 0.0)
    async with MemoryRepository() as inner:
        faulty = FaultyRepository(inner)
        async with asyncio.timeout(GUARD), Engine(as_repository(faulty), role=role) as engine:
            machine = await engine.create_state_machine("pass", PASS)
            faulty.hold(lambda write: isinstance(write, StartExecution))
            caller = asyncio.create_task(call(machine, {}, name="started"))
            await faulty.held.wait()
            caller.cancel()
            await asyncio.wait([caller])
            assert caller.cancelled()
            faulty.gate.set()
            while not (found := await engine.list_executions()) or found[0].status != "ABORTED":  # noqa: ASYNC110 -- likewise
                await asyncio.sleep(0)
