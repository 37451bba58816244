"""An engine works where it was entered, and while it is: each other call is refused at once, with what to do."""

from __future__ import annotations

import asyncio
import copy
import inspect
import multiprocessing
import os
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from statechain import (
    Engine,
    EngineNotUsable,
    Execution,
    ExecutionFilter,
    ExecutionHandle,
    StatechainError,
    StateMachine,
    open_repository,
)
from statechain.payload import Payload
from statechain.tickets import Ticket

PASS = {"StartAt": "Only", "States": {"Only": {"Type": "Pass", "End": True}}}
ARGUMENTS: dict[str, Any] = {
    "name": "machine",
    "definition": PASS,
    "name_or_id": "machine",
    "id_or_name": "an-id",
    "execution_id": "an-id",
    "executions": [],
    "task_id": "a-task",
    "worker_id": "an-id",
    "ticket": Ticket("an-id", 0, 0),
    "begin": datetime(2026, 1, 1, tzinfo=UTC),
    "end": datetime(2026, 1, 2, tzinfo=UTC),
    "id": "an-id",
    "state_machine_id": "an-id",
    "token": "a-token",
    "output": None,
    "activity": "an-activity",
    "filter": ExecutionFilter(),
    "input": None,
    "given": Payload(None),
    "inputs": [],
    "source": None,
    "joins": None,
    "redrive_failed": False,
    "key": None,
    "priority": 0,
}
"""What the public methods need at least."""


class World:
    """An engine, and what it hands out."""

    def __init__(self, engine: Engine, machine: StateMachine, handle: ExecutionHandle, execution: Execution) -> None:
        self.arguments = {**ARGUMENTS, "execution": execution}
        self.stream = machine.stream_bulk([None])
        self.objects: list[object] = [engine, machine, handle]

    def calls(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Yield each public method that touches storage or the event loop, with arguments that fit."""
        for thing in self.objects:
            for name, method in inspect.getmembers(type(thing), inspect.isfunction):
                if name.startswith(("_", "to_")):
                    continue
                needed = [
                    each.name
                    for each in inspect.signature(method).parameters.values()
                    if each.default is each.empty and each.name != "self"
                ]
                given = {each: self.arguments[each] for each in needed}
                yield (
                    f"{type(thing).__name__}.{name}",
                    lambda thing=thing, name=name, given=given: getattr(thing, name)(**given),
                )
        yield "ResultStream.__aenter__", self.stream.__aenter__
        yield "ResultStream.__anext__", self.stream.__anext__


async def finish(made: Any) -> None:
    """Await what a method returned, or take the first of it."""
    if inspect.isawaitable(made):
        await made
    elif hasattr(made, "__anext__"):
        await anext(made)


async def refusals(world: World) -> list[str]:
    """Return what each public method says; each must refuse at once."""
    texts = []
    for name, call in world.calls():
        with pytest.raises(EngineNotUsable) as refused:
            async with asyncio.timeout(30):
                await finish(call())
        texts.append(f"{name}: {refused.value}")
    assert len(texts) > 30
    return texts


@pytest.fixture
async def engine(repository_url: str) -> AsyncIterator[Engine]:
    async with Engine(repository_url) as opened:
        yield opened


async def world_of(engine: Engine) -> World:
    machine = await engine.create_state_machine("machine", PASS)
    handle = await machine.start_execution()
    world = World(engine, machine, handle, await handle.wait())
    world.objects.append(await machine.start_bulk([]))
    return world


async def test_a_call_from_another_thread_is_refused(engine: Engine) -> None:
    world = await world_of(engine)
    texts = await asyncio.to_thread(lambda: asyncio.run(refusals(world)))
    assert all("run_coroutine_threadsafe" in text for text in texts), texts
    assert (await engine.count_executions()) == 1


def test_a_call_from_another_event_loop_is_refused(repository_url: str) -> None:
    with asyncio.Runner() as first, asyncio.Runner() as second:
        engine = first.run(Engine(repository_url).__aenter__())
        world = first.run(world_of(engine))
        texts = second.run(refusals(world))
        assert all("another event loop" in text for text in texts), texts
        with pytest.raises(EngineNotUsable, match="another event loop"):
            second.run(engine.__aexit__(None, None, None))
        first.run(engine.__aexit__(None, None, None))


async def test_a_call_on_an_engine_that_was_left_is_refused(repository_url: str) -> None:
    async with Engine(repository_url) as engine:
        world = await world_of(engine)
    texts = list(await refusals_but_reading_a_stream(world))
    assert all("not open any more" in text for text in texts), texts


async def test_a_call_from_elsewhere_on_an_engine_that_was_left_learns_that(repository_url: str) -> None:
    async with Engine(repository_url) as engine:
        await engine.create_state_machine("machine", PASS)
    with pytest.raises(EngineNotUsable, match="not open any more"):
        await asyncio.to_thread(asyncio.run, engine.get_state_machine("machine"))


async def refusals_but_reading_a_stream(world: World) -> list[str]:
    """Return what each public method says; a stream that has begun may be read to its end."""
    calls = list(world.calls())[:-1]
    world.calls = lambda: iter(calls)  # type: ignore[method-assign]
    return await refusals(world)


async def test_a_stream_that_begins_after_its_engine_was_left_is_refused() -> None:
    async with Engine("memory://") as engine:
        machine = await engine.create_state_machine("machine", PASS)
        stream = machine.stream_bulk([1])
    with pytest.raises(EngineNotUsable, match="not open any more, it was left"):
        await anext(stream)


async def test_a_call_on_an_engine_that_is_not_entered_is_refused(repository_url: str) -> None:
    async with Engine(repository_url) as other:
        machine = await other.create_state_machine("machine", PASS)
        execution = await machine.execute()
        engine = Engine("memory://")
        for name, method in inspect.getmembers(Engine, inspect.iscoroutinefunction):
            if name.startswith("_"):
                continue
            needed = [each for each in inspect.signature(method).parameters.values() if each.default is each.empty]
            given = {each.name: {**ARGUMENTS, "execution": execution}[each.name] for each in needed[1:]}
            with pytest.raises(EngineNotUsable, match="async with Engine"):
                await getattr(engine, name)(**given)
        with pytest.raises(EngineNotUsable, match="async with Engine"):
            engine.iterate_executions()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # by pytest-xdist, and at its own risk
async def test_a_call_in_a_forked_process_is_refused(engine: Engine) -> None:
    world = await world_of(engine)
    receiving, sending = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:  # nothing of the test may run on in the child
        try:
            thread = threading.Thread(target=lambda: sending.send(asyncio.run(refusals(world))))
            thread.start()
            thread.join(60)
        finally:
            os._exit(0)
    assert await asyncio.to_thread(receiving.poll, 60)
    texts = receiving.recv()
    await asyncio.to_thread(os.waitpid, child, 0)
    assert all("fork" in text for text in texts), texts
    assert (await engine.count_executions()) == 1


async def test_an_engine_that_failed_to_open_is_not_open() -> None:
    engine = Engine("sqlite:////nowhere/at/all.db")
    with pytest.raises(StatechainError):
        await engine.__aenter__()
    with pytest.raises(EngineNotUsable, match="not open"):
        await engine.list_executions()


async def test_a_pool_of_connections_is_refused_in_another_event_loop(postgres_url: str) -> None:
    async with open_repository(postgres_url) as repository:
        with pytest.raises(EngineNotUsable, match="the repository"):
            await asyncio.to_thread(lambda: asyncio.run(repository.count_executions(ExecutionFilter())))  # type: ignore[arg-type]
        assert await repository.count_executions(ExecutionFilter()) == 0


async def test_what_belongs_to_an_engine_is_neither_pickled_nor_copied() -> None:
    async with Engine("memory://") as engine:
        machine = await engine.create_state_machine("pass", PASS)
        handle = await machine.start_execution()
        started = await machine.start_bulk([1])
        for owned in (engine, machine, handle, started):
            for copied in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match=rf"^{type(owned).__name__} cannot be pickled or copied.*pass ids"):
                    copied(owned)
