"""The engine: opening and closing, its machines, and the operator's verbs, on every storage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from statechain import (
    DefinitionError,
    Engine,
    ExecutionFailed,
    ExecutionFilter,
    ExecutionNotFound,
    MemoryRepository,
    PostgresRepository,
    Repository,
    SQLiteRepository,
    StatechainError,
    StateMachineNotFound,
    TaskRegistry,
    open_repository,
)
from statechain.observers import ExecutionEnded, ExecutionStarted, Fact, JournalFlushed
from statechain.testing import VirtualClock
from support.statuses import ABORTED, FAILED, RUNNING, SUCCEEDED

ECHO = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
TWICE = {
    "StartAt": "First",
    "States": {
        "First": {"Type": "Task", "Resource": "Call", "Next": "Second"},
        "Second": {"Type": "Task", "Resource": "Call", "End": True},
    },
}


class Handler:
    """A handler whose calls can be held back, but for the first ``free`` ones, and counted."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.keys: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.free = 0
        self.fault: Exception | None = None
        self.running = 0

    async def __call__(self, value: Any, context: Any) -> Any:
        self.calls.append(value)
        self.keys.append(context.idempotency_key)
        self.running += 1
        try:
            if len(self.calls) > self.free:
                await self.gate.wait()
        finally:
            self.running -= 1
        if self.fault is not None:
            raise self.fault
        return value


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def tasks(handler: Handler) -> TaskRegistry:
    registry = TaskRegistry()
    registry.add("Call", handler)
    return registry


@pytest.fixture
async def repository(repository_url: str) -> AsyncIterator[Repository]:
    """Return a storage that several engines share."""
    async with open_repository(repository_url) as opened:
        yield opened


@pytest.fixture
async def engine(repository: Repository, tasks: TaskRegistry) -> AsyncIterator[Engine]:
    async with Engine(repository, tasks=tasks) as running:
        yield running


async def calls(handler: Handler, count: int) -> None:
    """Wait until the handler was called so often."""
    async with asyncio.timeout(30):
        while len(handler.calls) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


# Opening and closing


@pytest.mark.parametrize(
    "wrong", [{"lease": timedelta(0)}, {"lease": timedelta(seconds=-1)}, {"max_concurrent_executions": 0}]
)
def test_what_makes_no_engine_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"lease|max_concurrent"):
        Engine("memory://", **wrong)


async def test_a_duration_may_be_a_number_of_seconds() -> None:
    async with Engine(lease=5, worker_id="the-one") as engine:
        assert engine.worker.id == "the-one"
        assert await engine.get_activity_task("nothing", patience=timedelta(0)) is None


async def test_whatever_implements_it_is_a_repository(repository: Repository) -> None:
    assert isinstance(repository, Repository)
    assert not isinstance("memory://", Repository)


@pytest.mark.parametrize(
    "construct",
    [
        lambda: Engine("memory://", lease=0),
        lambda: Engine("nothing"),
        lambda: Engine(lease="soon"),  # type: ignore[arg-type]
        lambda: SQLiteRepository("sqlite:///shop.db?colour=red"),
        lambda: PostgresRepository("postgresql://localhost:many/shop"),
        lambda: VirtualClock(datetime(2026, 1, 1)),  # noqa: DTZ001
    ],
)
def test_what_a_constructor_that_raised_leaves_can_be_shown(construct: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"\w") as raised:
        construct()
    # As tracebacks with local variables do, such as those of rich, Sentry and debuggers.
    shown = [repr(value) for entry in raised.traceback for value in entry.frame.f_locals.values()]
    assert any("not constructed" in text for text in shown)


async def test_an_engine_that_is_not_open_says_so() -> None:
    engine = Engine("memory://")
    with pytest.raises(StatechainError, match="not open"):
        await engine.create_state_machine("echo", ECHO)


async def test_an_engine_is_entered_once() -> None:
    engine = Engine("memory://")
    async with engine:
        with pytest.raises(StatechainError, match="entered once"):
            await engine.__aenter__()


async def test_an_engine_closes_only_what_it_opened() -> None:
    async with MemoryRepository() as repository:
        for _ in range(2):
            async with Engine(repository) as engine:
                machine = await engine.create_state_machine("echo", ECHO)
                await machine.execute()
        assert await repository.count_executions(ExecutionFilter()) == 2


async def test_leaving_waits_for_what_runs(repository: Repository, tasks: TaskRegistry, handler: Handler) -> None:
    handler.gate.clear()
    async with Engine(repository, tasks=tasks) as engine:
        handle = await (await engine.create_state_machine("call", CALL)).start_execution(1)
        await calls(handler, 1)
        asyncio.get_running_loop().call_later(0.02, handler.gate.set)
    execution = await repository.execution(handle.id)
    assert execution is not None
    assert execution.status is SUCCEEDED


async def test_leaving_by_an_exception_interrupts_what_runs_and_the_next_engine_goes_on(
    repository: Repository, tasks: TaskRegistry, handler: Handler
) -> None:
    async def crash() -> str:
        async with Engine(repository, tasks=tasks) as engine:
            machine = await engine.create_state_machine("twice", TWICE)
            handler.gate.clear()
            handler.free = 1
            handle = await machine.start_execution("order")
            await calls(handler, 2)
            ids.append(handle.id)
            raise KeyError

    ids: list[str] = []
    with pytest.raises(KeyError):
        await crash()
    left = await repository.execution(ids[0])
    assert left is not None
    assert left.status is RUNNING
    handler.gate.set()
    async with Engine(repository, tasks=tasks) as engine:
        async with asyncio.timeout(30):
            while not (execution := await engine.get_execution(ids[0])).status.is_terminal:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert (execution.status, execution.output) == (SUCCEEDED, "order")
    first, second, again = handler.keys
    assert first != second == again  # the first state's result was durable; the second ran again under its own key


async def test_cancelling_the_wait_at_the_end_interrupts(
    repository: Repository, tasks: TaskRegistry, handler: Handler
) -> None:
    handler.gate.clear()

    async def run() -> None:
        async with Engine(repository, tasks=tasks) as engine:
            await (await engine.create_state_machine("call", CALL)).start_execution(1)
            await calls(handler, 1)

    running = asyncio.ensure_future(run())
    await calls(handler, 1)
    await asyncio.sleep(0.02)
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (left,) = await repository.executions(ExecutionFilter(), after=None, page=5)
    assert left.status is RUNNING


async def test_observers_are_told_what_happened(repository: Repository, tasks: TaskRegistry) -> None:
    facts: list[Fact] = []

    class Observer:
        def observe(self, fact: Fact) -> None:
            facts.append(fact)

    async with Engine(repository, tasks=tasks, observers=[Observer()]) as engine:
        execution = await (await engine.create_state_machine("call", CALL)).execute(1)
    told = [(type(f), f.execution.id) for f in facts if isinstance(f, ExecutionStarted | ExecutionEnded)]
    assert told == [(ExecutionStarted, execution.id), (ExecutionEnded, execution.id)]
    assert sum(fact.writes for fact in facts if isinstance(fact, JournalFlushed)) >= 3


# Machines


async def test_a_definition_is_a_mapping_a_text_or_a_file(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "echo.json"
    file.write_text(json.dumps(ECHO))
    yaml = "StartAt: Echo\nStates:\n  Echo:\n    Type: Pass\n    End: true\n"
    for definition in (ECHO, json.dumps(ECHO), json.dumps(ECHO, indent=2), yaml, file):
        machine = await engine.create_state_machine("echo", definition)
        assert (machine.name, machine.revision, machine.definition) == ("echo", 1, ECHO)


async def test_the_order_of_members_makes_no_other_definition(engine: Engine) -> None:
    first = await engine.create_state_machine("twice", TWICE)
    turned = {"States": dict(reversed(TWICE["States"].items())), "StartAt": TWICE["StartAt"]}  # type: ignore[attr-defined]
    again = await engine.create_state_machine("twice", turned)
    assert (again.id, again.revision, again.definition) == (first.id, 1, TWICE)


async def test_another_definition_is_a_new_revision_and_what_runs_keeps_its_own(
    engine: Engine, handler: Handler
) -> None:
    first = await engine.create_state_machine("machine", CALL)
    handler.gate.clear()
    running = await first.start_execution("old")
    await calls(handler, 1)
    second = await engine.create_state_machine("machine", ECHO)
    assert (second.id, second.revision, first.revision) == (first.id, 2, 1)
    assert (await second.execute("new")).state_machine_revision == 2
    handler.gate.set()
    ended = await running.wait()
    assert (ended.state_machine_revision, ended.output, ended.current_state) == (1, "old", "Call")
    assert (await engine.get_state_machine("machine")).revision == 2
    assert (await engine.get_state_machine(first.id)).definition == ECHO


async def test_machines_are_listed_by_name(engine: Engine) -> None:
    for name in ("b", "a", "C"):
        await engine.create_state_machine(name, ECHO)
    assert [machine.name for machine in await engine.list_state_machines()] == ["C", "a", "b"]
    with pytest.raises(StateMachineNotFound, match="nowhere"):
        await engine.get_state_machine("nowhere")


@pytest.mark.parametrize("name", ["", "x" * 81, "a\nb", "\x00", 7])
async def test_a_name_nobody_can_keep_is_refused(engine: Engine, name: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        await engine.create_state_machine(name, ECHO)


async def test_a_definition_with_faults_lists_them_all_with_their_places(engine: Engine) -> None:
    states = {"Call": {"Type": "Task", "Resource": "Unknown", "Next": "Gone"}}
    text = json.dumps({"StartAt": "Nowhere", "States": states}, indent=2)
    with pytest.raises(DefinitionError) as refused:
        await engine.create_state_machine("faulty", text)
    pointers = {diagnostic.pointer for diagnostic in refused.value.diagnostics}
    assert {"/StartAt", "/States/Call/Next"} <= pointers
    assert all(diagnostic.line for diagnostic in refused.value.diagnostics)
    assert str(len(refused.value.diagnostics)) in str(refused.value).splitlines()[0]
    text = json.dumps(CALL).replace('"Resource": "Call"', '"Resource": "Unknown"')
    with pytest.raises(DefinitionError, match="Unknown"):
        await engine.create_state_machine("call", text)
    assert await engine.list_state_machines() == []


async def test_a_type_is_one_of_two(engine: Engine) -> None:
    with pytest.raises(ValueError, match="FAST"):
        await engine.create_state_machine("echo", ECHO, type="FAST")  # type: ignore[arg-type]
    express = await engine.create_state_machine("express", TWICE, type="EXPRESS")
    assert (await express.execute(3)).output == 3


# Reading


async def test_executions_are_found_counted_and_paged(engine: Engine, handler: Handler) -> None:
    machine = await engine.create_state_machine("call", CALL)
    made = [await machine.execute(n, name=f"order-{n}") for n in range(7)]
    handler.fault = ValueError("no")
    with pytest.raises(ExecutionFailed):
        await machine.execute(7, name="order-7")
    newest = [execution.id for execution in reversed(made)]
    good = ExecutionFilter(state_machine_id=machine.id, status="SUCCEEDED")
    assert await engine.list_execution_ids(good) == newest
    assert await engine.list_executions(good) == list(reversed(made))
    assert await engine.count_executions(good) == 7
    assert await engine.count_executions() == 8
    for page_size in (1, 2, 3, 100):
        walked = [execution.id async for execution in engine.iterate_executions(good, page_size=page_size)]
        assert walked == newest
    part = ExecutionFilter(state_machine_id=machine.id, status="SUCCEEDED", offset=2, limit=3, order="oldest_first")
    assert await engine.list_execution_ids(part) == [execution.id for execution in made[2:5]]
    assert await engine.count_executions(part) == 3
    assert await engine.count_executions(ExecutionFilter(offset=6, limit=9)) == 2
    assert await engine.count_executions(ExecutionFilter(offset=99)) == 0
    assert await engine.get_execution(made[0].id) == made[0]
    with pytest.raises(ExecutionNotFound, match="nowhere"):
        await engine.get_execution("nowhere")


async def test_a_page_holds_at_least_one(engine: Engine) -> None:
    with pytest.raises(ValueError, match="page_size"):
        _ = [each async for each in engine.iterate_executions(page_size=0)]


async def test_the_history_is_told_as_aws_tells_it(engine: Engine) -> None:
    execution = await (await engine.create_state_machine("call", CALL)).execute({"n": 1})
    history = await engine.get_execution_history(execution.id)
    assert [event["type"] for event in history] == [
        "ExecutionStarted",
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "TaskSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]
    assert [event["id"] for event in history] == list(range(1, 8))
    assert all(event["previousEventId"] < event["id"] for event in history)
    assert [event["timestamp"] for event in history] == sorted(event["timestamp"] for event in history)
    assert json.loads(history[-1]["executionSucceededEventDetails"]["output"]) == {"n": 1}
    with pytest.raises(ExecutionNotFound):
        await engine.get_execution_history("nowhere")


async def test_statistics_count_and_measure_by_status(engine: Engine, handler: Handler) -> None:
    machine = await engine.create_state_machine("call", CALL)
    for n in range(4):
        await machine.execute(n)
    handler.fault = ValueError("no")
    with pytest.raises(ExecutionFailed):
        await machine.execute(4)
    statistics = await engine.execution_statistics(machine.id)
    assert {status: figures.count for status, figures in statistics.items()} == {SUCCEEDED: 4, FAILED: 1}
    good = statistics[SUCCEEDED]
    ordered = [good.min, good.p50, good.p95, good.p99, good.max]
    assert None not in ordered
    assert ordered == sorted(ordered)  # type: ignore[type-var]
    assert await engine.execution_statistics("nowhere") == {}


# Verbs


async def test_stopping_is_final_and_idempotent(engine: Engine, handler: Handler) -> None:
    handler.gate.clear()
    machine = await engine.create_state_machine("call", CALL)
    handle = await machine.start_execution(1)
    await calls(handler, 1)
    stopped = await engine.stop_execution(handle.id, error="Operator", cause="by hand")
    assert (stopped.status, stopped.error, stopped.cause) == (ABORTED, "Operator", "by hand")
    assert stopped.end_time is not None
    assert await handle.wait() == stopped == await engine.get_execution(handle.id)
    assert await engine.stop_execution(handle.id, cause="again") == stopped
    assert handler.running == 0
    with pytest.raises(ExecutionNotFound):
        await engine.stop_execution("nowhere")


async def test_another_engine_stops_what_runs_here(
    repository: Repository, tasks: TaskRegistry, handler: Handler
) -> None:
    handler.gate.clear()
    async with Engine(repository, tasks=tasks) as here, Engine(repository, tasks=tasks) as there:
        handle = await (await here.create_state_machine("twice", TWICE)).start_execution(1)
        await calls(handler, 1)
        stopped = await there.stop_execution(handle.id)
        assert stopped.status is ABORTED
        handler.gate.set()
        async with asyncio.timeout(30):
            assert (await handle.wait()).status is ABORTED
        assert len(handler.calls) == 1


async def test_a_redrive_goes_on_from_the_state_that_failed(engine: Engine, handler: Handler) -> None:
    machine = await engine.create_state_machine("twice", TWICE)
    handler.gate.clear()
    handle = await machine.start_execution("order")
    await calls(handler, 1)
    handler.gate.set()
    handler.gate.clear()
    await calls(handler, 2)
    handler.fault = ValueError("not yet")
    handler.gate.set()
    failed = await handle.wait()
    assert (failed.status, failed.current_state) == (FAILED, "Second")
    handler.fault = None
    redriven = await (await engine.redrive_execution(failed.id)).wait()
    assert (redriven.id, redriven.status, redriven.output) == (failed.id, SUCCEEDED, "order")
    assert redriven.redrive_count == 1
    assert len(handler.calls) == 3
    with pytest.raises(ValueError, match="SUCCEEDED"):
        await engine.redrive_execution(failed.id)
    with pytest.raises(ExecutionNotFound):
        await engine.redrive_execution("nowhere")


async def test_deleting_takes_what_has_ended_and_nothing_else(engine: Engine, handler: Handler) -> None:
    machine = await engine.create_state_machine("call", CALL)
    for n in range(3):
        await machine.execute(n, name=f"order-{n}")
    handler.gate.clear()
    running = await machine.start_execution(3, name="order-3")
    await calls(handler, 4)
    assert await engine.delete_executions(ExecutionFilter(name="order-1")) == 1
    assert await engine.delete_executions(ExecutionFilter()) == 2
    assert await engine.list_execution_ids() == [running.id]
    handler.gate.set()
    assert (await running.wait()).status is SUCCEEDED


async def test_recovery_has_nothing_to_do_where_nobody_died(engine: Engine, handler: Handler) -> None:
    handler.gate.clear()
    handle = await (await engine.create_state_machine("call", CALL)).start_execution(1)
    assert await engine.recover() == []
    handler.gate.set()
    await handle.wait()


async def test_whoever_asks_again_and_again_is_not_remembered(engine: Engine, handler: Handler) -> None:
    handler.gate.clear()
    handle = await (await engine.create_state_machine("call", CALL)).start_execution(1)
    await calls(handler, 1)
    for _ in range(50):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle.wait(), 0.001)
    live = engine.worker._live[handle.id]
    assert len(live._waiters) <= 1
    handler.gate.set()
    assert (await handle.wait()).status is SUCCEEDED


async def test_an_engine_that_was_left_starts_nothing(handler: Handler, tasks: TaskRegistry) -> None:
    async with Engine("memory://", tasks=tasks) as engine:
        machine = await engine.create_state_machine("call", CALL)
    with pytest.raises(StatechainError, match="not open"):
        await machine.start_execution(1)
