"""What a public docstring lists under Raises is raised: one case for each error of each method."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pytest
import pytest_asyncio

import statechain
from statechain import (
    BatchExecutionOptions,
    Engine,
    ExecutionFilter,
    ExecutionHandle,
    MemoryRepository,
    Source,
    StateMachine,
    TaskRegistry,
)
from statechain.chaining.distributed import BatchHandle
from statechain.storage.writes import AddBatchItems, DropBatchItems
from statechain.tickets import Ticket
from support.docstrings import RAISING, errors_of
from support.faulty_repository import FaultyRepository, as_repository

NONE = ExecutionFilter(state_machine_id="none")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DISTRIBUTED = BatchExecutionOptions(mode="DISTRIBUTED")
STRICT = BatchExecutionOptions(stop_on_error=True)


def task(resource: str, **fields: Any) -> dict[str, Any]:
    return {"StartAt": "Do", "States": {"Do": {"Type": "Task", "Resource": resource, "End": True, **fields}}}


ASK = task("ask.waitForTaskToken", Parameters={"token.$": "$$.Task.Token"})
ASK_TWICE = {"StartAt": "Both", "States": {"Both": {"Type": "Parallel", "Branches": [ASK, ASK], "End": True}}}
EACH = {
    "StartAt": "Each",
    "States": {
        "Each": {
            "Type": "Map",
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                **task("same"),
            },
            "End": True,
        }
    },
}


class World:
    """An engine with executions in every status, and what is needed to get hold of them."""

    def __init__(self, engine: Engine, repository: FaultyRepository, tokens: asyncio.Queue[str]) -> None:
        self.engine = engine
        self.repository = repository
        self.tokens = tokens

    async def machine(self) -> StateMachine:
        """Return a machine that gives back its input, and fails for what is no number."""
        return await self.engine.create_state_machine("same", task("same"))

    async def one(self) -> ExecutionFilter:
        """Return what an execution that SUCCEEDED matches."""
        machine = await self.machine()
        await machine.execute(1, name="one")
        return ExecutionFilter(state_machine_id=machine.id, status="SUCCEEDED")

    async def failing(self) -> StateMachine:
        """Return a machine whose executions fail."""
        return await self.engine.create_state_machine("failing", task("fail"))

    async def asking(self, definition: dict[str, Any] = ASK, tasks: int = 1) -> tuple[ExecutionHandle, str]:
        """Return an execution that waits for an answer, and a token."""
        machine = await self.engine.create_state_machine(f"asking {tasks}", definition)
        handle = await machine.start_execution()
        tokens = [await self.tokens.get() for _ in range(tasks)]
        while len(await self.engine.list_waiting_tasks(execution_id=handle.id)) < tasks:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return handle, tokens[0]

    async def answered(self) -> tuple[ExecutionHandle, str]:
        """Return an execution whose task was answered, and its token."""
        handle, token = await self.asking()
        await self.engine.send_task_success(token, 1)
        await handle.wait()
        return handle, token

    async def deleted(self) -> ExecutionHandle:
        """Return a handle on an execution that is deleted."""
        await self.one()
        handle = await self.engine.get_handle("one", machine="same")
        await self.engine.delete_execution(handle.id)
        return handle

    async def map_run(self) -> str:
        """Return the id of a Map Run."""
        machine = await self.engine.create_state_machine("each", EACH)
        execution = await machine.execute([1])
        (batch,) = await self.engine.list_batches(parent_execution_id=execution.id)
        return batch.id

    async def batch(self) -> str:
        """Return the id of a batch, which has ended."""
        machine = await self.machine()
        await machine.execute_batch(await self.one())
        (batch,) = await self.engine.list_batches()
        return batch.id

    async def stopped(self) -> str:
        """Return the id of a batch that was stopped by a failure."""
        with suppress(statechain.BatchStopped):
            await (await self.failing()).execute_batch(await self.one(), options=STRICT)
        (batch,) = await self.engine.list_batches()
        return batch.id

    def gone(self) -> BatchHandle:
        """Return a handle on a batch that storage does not have."""
        services = self.engine.shared_batches._services  # no public call deletes a batch
        return BatchHandle("none", services, self.engine.stop_execution)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    tasks, tokens = TaskRegistry(), asyncio.Queue[str]()

    @tasks.register
    async def same(value: Any) -> Any:
        return value

    @tasks.register
    async def fail(value: Any) -> Any:
        raise ValueError(value)

    @tasks.register
    async def ask(request: Any) -> None:
        tokens.put_nowait(request["token"])

    repository = FaultyRepository(MemoryRepository())
    async with Engine(as_repository(repository), tasks=tasks, map_runs="shared") as engine:
        yield World(engine, repository, tokens)
        repository.fail_all(whether=False)
        for id_ in await engine.list_execution_ids(ExecutionFilter(status="RUNNING")):
            await engine.stop_execution(id_)  # what still waits for an answer


Case: TypeAlias = Callable[[World], Coroutine[Any, Any, object]]
WRONG: Any = object()
"""No JSON, no name, no number of seconds: what no argument takes."""


async def awaited(called: Any) -> None:
    """Await what a method returned, or take its results."""
    if hasattr(called, "__aenter__"):
        async with called as results:
            async for _ in results:
                pass
    elif hasattr(called, "__anext__"):
        async for _ in called:
            pass
    elif hasattr(called, "__await__"):
        await called


def engine(method: str, *arguments: Any, **named: Any) -> Case:
    """Return a case that calls a method of the engine."""

    async def call(world: World) -> None:
        await awaited(getattr(world.engine, method)(*arguments, **named))

    return call


def about(stored: Callable[[World], Any], method: str, *arguments: Any, **named: Any) -> Case:
    """Return a case that calls a method of the engine about what is stored: with its id."""

    async def call(world: World) -> None:
        found = await stored(world)
        await awaited(getattr(world.engine, method)(getattr(found, "id", found), *arguments, **named))

    return call


def machine(kind: Callable[[World], Any], method: str, *arguments: Any, **named: Any) -> Case:
    """Return a case that calls a method of a machine; a function among the arguments makes one of the world."""

    async def call(world: World) -> None:
        found = await kind(world)
        given = [await each(world) if callable(each) else each for each in arguments]
        more = {name: await value(world) if name == "source" else value for name, value in named.items()}
        await awaited(getattr(found, method)(*given, **more))

    return call


def registry(method: str, *arguments: Any, handler: Any = None) -> Case:
    """Return a case that calls a method of a registry, which has a handler and a transformer."""

    async def call(_world: World) -> None:
        tasks = TaskRegistry()
        tasks.add("a", str)
        tasks.transformer("a")(str)
        found = getattr(tasks, method)(*arguments)
        if handler is not None:
            found(handler)

    return call


async def none(_world: World) -> str:
    return "none"


async def asking(world: World) -> str:
    return (await world.asking())[0].id


async def asking_twice(world: World) -> str:
    return (await world.asking(ASK_TWICE, tasks=2))[0].id


async def waiting_token(world: World) -> str:
    return (await world.asking())[1]


async def answered(world: World) -> str:
    return (await world.answered())[0].id


async def used_token(world: World) -> str:
    return (await world.answered())[1]


async def done(world: World) -> str:
    await world.one()
    return (await world.engine.list_executions())[0].id


async def state_of_done(world: World) -> Source:
    return Source(await done(world), state_name="Other")


async def named_one(world: World) -> StateMachine:
    await world.one()
    return await world.machine()


def unavailable(method: str, *arguments: Any) -> Case:
    async def call(world: World) -> None:
        world.repository.fail_all()
        await getattr(world.engine, method)(*arguments)

    return call


async def left(_world: World) -> None:
    async with Engine(MemoryRepository()) as engine:
        pass
    await engine.get_execution_waits([])


async def client(_world: World) -> None:
    async with Engine(MemoryRepository(), role="client") as engine:
        await engine.run_ticket(Ticket("none", 0, 0))


async def items_deleted(world: World) -> None:
    """Delete inputs that are stored, as `statechain doctor --fix` does, before their batch is there."""
    stored: list[str] = []

    def note(writes: Any) -> None:
        stored.extend(write.batch_id for write in writes if isinstance(write, AddBatchItems))

    async def inputs() -> AsyncIterator[int]:
        for number in range(1_000):
            yield number
            if stored:
                await world.repository.commit([DropBatchItems(batch_id=stored.pop(), first=0, last=0)])

    world.repository.after = note
    await (await world.machine()).start_bulk(inputs(), options=BatchExecutionOptions(page_size=10))


async def result(world: World, kind: Callable[[World], Any], *types: type) -> None:
    await (await (await kind(world)).start_execution("text")).result(*types)


async def shared_stops(world: World) -> None:
    options = BatchExecutionOptions(stop_on_error=True, mode="DISTRIBUTED")
    handle = await (await world.failing()).start_batch(await world.one(), options=options)
    await awaited(handle.results())


async def of_deleted(world: World, method: str) -> None:
    await getattr(await world.deleted(), method)()


async def of_gone(world: World, method: str) -> None:
    await getattr(world.gone(), method)()


def unresolvable(value: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821 -- the case
    """Take what nothing defines."""


EXECUTION = "delete_execution draw_execution get_execution get_execution_history get_handle get_limit_wait"
EXECUTION += " iterate_execution_history page_execution_history redrive_execution stop_execution fail_waiting_task"
BATCH = "continue_batch get_batch get_batch_totals join_batch list_batch_results redrive_batch resume_batch stop_batch"
MACHINE = "get_machine_limits get_state_machine set_machine_limits"
FILTER = "count_executions delete_executions iterate_executions list_execution_ids list_executions page_executions"
ANSWERS: dict[str, tuple[Any, ...]] = {
    "send_task_failure": (),
    "send_task_heartbeat": (),
    "send_task_success": (2,),  # the same answer again is no error
}
CASES: dict[str, Case] = {
    **{f"Engine.{each}: ExecutionNotFound": engine(each, "none") for each in EXECUTION.split()},
    **{f"Engine.{each}: BatchNotFound": engine(each, "none") for each in BATCH.split()},
    **{f"Engine.{each}: StateMachineNotFound": engine(each, "none") for each in MACHINE.split()},
    **{f"Engine.{each}: StateMachineNotFound": engine(each, NONE) for each in FILTER.split()},
    **{f"Engine.{each}: InvalidToken": about(none, each, *answer) for each, answer in ANSWERS.items()},
    **{f"Engine.{each}: TaskTimedOut": about(used_token, each, *answer) for each, answer in ANSWERS.items()},
    **{
        f"Engine.{each}: ValueError": about(World.map_run, each)
        for each in ("continue_batch", "join_batch", "resume_batch")
    },
    **{
        f"Engine.{each}: {error}": engine(each, **{name: "none"})
        for methods, error, name in (
            ("list_batches iterate_batches", "StateMachineNotFound", "state_machine_id"),
            ("list_batches iterate_batches", "ExecutionNotFound", "parent_execution_id"),
            ("list_linked_executions iterate_linked_executions", "StateMachineNotFound", "target_state_machine_id"),
            ("list_linked_executions iterate_linked_executions", "ExecutionNotFound", "source_execution_id"),
            ("list_waiting_tasks", "StateMachineNotFound", "state_machine_id"),
            ("list_waiting_tasks", "ExecutionNotFound", "execution_id"),
        )
        for each in methods.split()
    },
    "Engine.answer_waiting_task: ExecutionNotFound": engine("answer_waiting_task", "none", 1),
    "Engine.answer_waiting_task: InvalidPayload": about(asking, "answer_waiting_task", WRONG),
    "Engine.answer_waiting_task: TaskTimedOut": about(answered, "answer_waiting_task", 1),
    "Engine.answer_waiting_task: ValueError": about(asking_twice, "answer_waiting_task", 1),
    "Engine.backlog: RepositoryUnavailable": unavailable("backlog"),
    "Engine.create_state_machine: DefinitionError": engine("create_state_machine", "a", {}),
    "Engine.create_state_machine: ValueError": engine("create_state_machine", "", ASK),
    "Engine.delete_execution: ValueError": about(asking, "delete_execution"),
    "Engine.draw_execution: ValueError": about(done, "draw_execution", "png"),
    "Engine.execution_activity: StateMachineNotFound": engine(
        "execution_activity", datetime(2025, 1, 1, tzinfo=UTC), NOW, state_machine_id="none"
    ),
    "Engine.execution_activity: ValueError": engine("execution_activity", NOW, NOW),
    "Engine.execution_statistics: InvalidArgument": engine("execution_statistics", WRONG),
    "Engine.fail_waiting_task: TaskTimedOut": about(answered, "fail_waiting_task"),
    "Engine.fail_waiting_task: ValueError": about(asking_twice, "fail_waiting_task"),
    "Engine.get_activity_task: InvalidArgument": engine("get_activity_task", "a", patience=WRONG),
    "Engine.get_execution_history: ValueError": about(done, "get_execution_history", after=-1),
    "Engine.get_execution_waits: EngineNotUsable": left,
    "Engine.get_execution_waits: TypeError": engine("get_execution_waits", WRONG),
    "Engine.get_handle: StateMachineNotFound": engine("get_handle", "a", machine="none"),
    "Engine.get_waiting_task: ExecutionNotFound": engine("get_waiting_task", "none", "none"),
    "Engine.get_waiting_task: TaskTimedOut": about(answered, "get_waiting_task", "none"),
    "Engine.iterate_execution_history: ValueError": about(done, "iterate_execution_history", limit=-1),
    "Engine.list_batch_results: ValueError": about(World.batch, "list_batch_results", status="NONE"),
    "Engine.list_queues: RepositoryUnavailable": unavailable("list_queues"),
    "Engine.page_execution_history: ValueError": about(done, "page_execution_history", failures=-1),
    "Engine.redrive_execution: ValueError": about(asking, "redrive_execution"),
    "Engine.report_death: RepositoryUnavailable": unavailable("report_death", "none"),
    "Engine.resume_batch: BatchStopped": about(World.stopped, "resume_batch"),
    "Engine.run_ticket: StatechainError": client,
    "Engine.send_task_success: InvalidPayload": about(waiting_token, "send_task_success", WRONG),
    "Engine.start_batch: StateMachineNotFound": engine("start_batch", "none", ExecutionFilter()),
    "Engine.start_batch: ValueError": about(
        World.machine, "start_batch", ExecutionFilter(), input_transformer="unknown"
    ),
    **{
        f"StateMachine.{each}: {error}": case
        for each in ("execute", "start_execution")
        for error, case in {
            "ExecutionAlreadyExists": machine(named_one, each, 2, name="one"),
            "ExecutionNotFound": machine(World.machine, each, source=none),
            "InputTransformerError": machine(World.machine, each, source=done, input_transformer=lambda _: 1 / 0),
            "InvalidPayload": machine(World.machine, each, WRONG),
            "SourceNotFinished": machine(World.machine, each, source=asking),
            "SourceStateNotFound": machine(World.machine, each, source=state_of_done),
            "ValueError": machine(World.machine, each, 1, source=none),
        }.items()
    },
    **{
        f"StateMachine.{each}: {error}": case
        for each in ("execute_batch", "start_batch", "stream_batch")
        for error, case in {
            "StateMachineNotFound": machine(World.machine, each, NONE),
            "ValueError": machine(World.machine, each, ExecutionFilter(), input_transformer="unknown"),
        }.items()
    },
    "StateMachine.execute: ExecutionFailed": machine(World.failing, "execute"),
    "StateMachine.execute_batch: BatchStopped": machine(World.failing, "execute_batch", World.one, options=STRICT),
    "StateMachine.execute_bulk: BatchStopped": machine(World.failing, "execute_bulk", [1], options=STRICT),
    "StateMachine.start_bulk: RepositoryError": items_deleted,
    "StateMachine.stream_batch: BatchStopped": machine(World.failing, "stream_batch", World.one, options=STRICT),
    "StateMachine.stream_bulk: BatchStopped": machine(World.failing, "stream_bulk", [1], options=STRICT),
    "ExecutionHandle.result: ExecutionFailed": lambda world: result(world, World.failing),
    "ExecutionHandle.result: InvalidPayload": lambda world: result(world, World.machine, int),
    "ExecutionHandle.stop: ExecutionNotFound": lambda world: of_deleted(world, "stop"),
    "ExecutionHandle.wait: ExecutionNotFound": lambda world: of_deleted(world, "wait"),
    "BatchHandle.results: BatchStopped": shared_stops,
    "BatchHandle.stop: BatchNotFound": lambda world: of_gone(world, "stop"),
    "BatchHandle.wait: BatchNotFound": lambda world: of_gone(world, "wait"),
    "TaskRegistry.add: InvalidArgument": registry("add", "b", WRONG),
    "TaskRegistry.add: TypeError": registry("add", "b", unresolvable),
    "TaskRegistry.add: ValueError": registry("add", "a", str),
    "TaskRegistry.include: InvalidArgument": registry("include", WRONG),
    "TaskRegistry.include: ValueError": registry("include", (taken := TaskRegistry())),
    "TaskRegistry.register: InvalidArgument": registry("register", WRONG),
    "TaskRegistry.register: ValueError": registry("register", "a", handler=str),
    "TaskRegistry.transformer: InvalidArgument": registry("transformer", WRONG),
    "TaskRegistry.transformer: ValueError": registry("transformer", "a", handler=str),
}
taken.add("a", str)


def test_each_error_of_a_docstring_has_a_case() -> None:
    listed = {f"{name}: {error}" for name, method in RAISING.items() for error in errors_of(method)}
    assert sorted(CASES) == sorted(listed)


@pytest.mark.parametrize("case", CASES)
async def test_it_is_raised(case: str, world: World) -> None:
    error = case.partition(": ")[2]
    expected = getattr(statechain, error, None) or getattr(builtins, error)
    with pytest.raises(expected) as raised:
        await CASES[case](world)
    # The error itself, and no more special one that would have its own line.
    assert error in {"StatechainError", "TypeError", "ValueError"} or type(raised.value) is expected
