"""Limits of a state machine, over all engines of a storage."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from statechain import (
    BatchExecutionOptions,
    Engine,
    ExecutionFilter,
    ExecutionStatus,
    InvalidArgument,
    StateMachineNotFound,
    TaskRegistry,
)
from statechain.observers import Fact, QueueCounted
from statechain.records.queues import MachineLimits

CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
PARENT = {
    "StartAt": "Call",
    "States": {
        "Call": {
            "Type": "Task",
            "Resource": "arn:aws:states:::states:startExecution.sync:2",
            "Parameters": {"StateMachineArn": "calls", "Input.$": "$"},
            "OutputPath": "$.Output",
            "End": True,
        }
    },
}

EngineFactory = Callable[..., Engine]


class Calls:
    """A handler that notes its calls, and how many run at once, until they are let through."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.running: Counter[Any] = Counter()
        self.peak = 0
        self.peaks: Counter[Any] = Counter()
        self.made: list[Any] = []
        self.seconds = seconds
        self.open = asyncio.Event()
        self.open.set()
        self.begun = asyncio.Event()
        self.tasks = TaskRegistry()
        self.tasks.register("Call")(self.call)

    async def call(self, value: Any) -> Any:
        key = value.get("key") if isinstance(value, dict) else None
        self.made.append(value)
        self.running[key] += 1
        self.peaks[key] = max(self.peaks[key], self.running[key])
        self.peak = max(self.peak, self.running.total())
        self.begun.set()
        try:
            await asyncio.sleep(self.seconds)
            await self.open.wait()
        finally:
            self.running[key] -= 1
        if value == "fail":
            raise ValueError(value)
        return value


@pytest.fixture
def calls() -> Calls:
    return Calls()


@asynccontextmanager
async def closed(calls: Calls) -> AsyncIterator[None]:
    """Keep handlers from ending meanwhile."""
    calls.open.clear()
    try:
        yield
    finally:
        calls.open.set()


async def test_no_more_run_at_once_than_the_limit_allows(engine_factory: EngineFactory, calls: Calls) -> None:
    calls.seconds = 0.002
    async with engine_factory(tasks=calls.tasks) as one, engine_factory(tasks=calls.tasks) as two:
        for engine in (one, two):
            machine = await engine.create_state_machine("calls", CALL, max_concurrency=3)
            handles = [await machine.start_execution({"number": number}) for number in range(15)]
            outputs = [await handle.result() for handle in handles]
            assert outputs == [{"number": number} for number in range(15)]
        assert calls.peak <= 3
        (queue,) = await one.list_queues()
        assert (queue.waiting, queue.running) == (0, 0)


async def test_an_engine_that_does_not_know_the_limits_keeps_them(engine_factory: EngineFactory, calls: Calls) -> None:
    async with engine_factory(tasks=calls.tasks) as one, engine_factory(tasks=calls.tasks) as two:
        machine = await one.create_state_machine("calls", CALL)
        async with closed(calls):
            direct = [await machine.start_execution({"number": number}) for number in range(2)]
            await two.set_machine_limits("calls", max_concurrency=3)
            later = [await machine.start_execution({"number": number}) for number in range(2, 8)]
            (queue,) = await two.list_queues()
            assert queue.waiting + queue.running == 8
            assert queue.running <= 3
        assert len([await handle.result() for handle in (*direct, *later)]) == 8
    assert calls.peak <= 3


async def test_no_more_of_one_key_run_at_once_than_the_limit_allows(
    engine_factory: EngineFactory, calls: Calls
) -> None:
    calls.seconds = 0.002
    inputs = [{"number": number, "key": "ab"[number % 2]} for number in range(20)]
    options = BatchExecutionOptions(concurrent_batches=20, key=lambda value: value["key"], priority=3)
    async with engine_factory(tasks=calls.tasks) as engine, engine_factory(tasks=calls.tasks):
        machine = await engine.create_state_machine("calls", CALL, max_concurrency_per_key=2, max_concurrency=10)
        results = await machine.execute_bulk(inputs, options=options)
        assert [result.output for result in results] == inputs
        executions = await engine.list_executions()
        assert {(each.key, each.priority) for each in executions} == {("a", 3), ("b", 3)}
    assert max(calls.peaks.values()) <= 2


async def test_a_batch_keeps_the_limits(engine_factory: EngineFactory, calls: Calls) -> None:
    calls.seconds = 0.002
    options = BatchExecutionOptions(concurrent_batches=8, key="tenant", priority=-1)
    async with engine_factory(tasks=calls.tasks) as engine:
        sources = await engine.create_state_machine("sources", {"StartAt": "A", "States": {"A": {"Type": "Succeed"}}})
        await sources.execute_bulk([{"number": number} for number in range(8)])
        machine = await engine.create_state_machine("calls", CALL, max_concurrency=2)
        for mode in ("INLINE", "DISTRIBUTED"):
            made = BatchExecutionOptions(mode=mode, concurrent_batches=8, key=options.key, priority=options.priority)
            results = await machine.execute_batch(ExecutionFilter(state_machine_id=sources), options=made)
            assert len([result.output for result in results]) == 8
        keys = await engine.list_executions(ExecutionFilter(state_machine_id=machine))
        assert [(each.key, each.priority) for each in keys] == [("tenant", -1)] * 16
    assert calls.peak <= 2


async def test_the_highest_priority_is_first(engine_factory: EngineFactory, calls: Calls) -> None:
    async with engine_factory(tasks=calls.tasks) as engine:
        machine = await engine.create_state_machine("calls", CALL, max_concurrency=0)
        handles = [await machine.start_execution(priority, priority=priority) for priority in (1, -5, 9999, 0)]
        await engine.set_machine_limits(machine, max_concurrency=1)
        for handle in handles:
            await handle.wait()
    assert calls.made == [9999, 1, 0, -5]


async def test_a_redrive_keeps_the_limits(engine_factory: EngineFactory, calls: Calls) -> None:
    async with engine_factory(tasks=calls.tasks) as engine:
        machine = await engine.create_state_machine("calls", CALL)
        failed = await (await machine.start_execution("fail", key="a")).wait()
        assert failed.status is ExecutionStatus.FAILED
        await engine.set_machine_limits(machine, max_concurrency=0)
        handle = await engine.redrive_execution(failed.id)
        wait = await engine.get_limit_wait(failed.id)
        assert wait is not None
        assert wait.limit == "max_concurrency"
        await engine.set_machine_limits(machine, max_concurrency=1)
        ended = await handle.wait()
        assert (ended.status, ended.redrive_count, ended.key) == (ExecutionStatus.FAILED, 1, "a")
        assert await engine.get_limit_wait(failed.id) is None
    assert calls.made == ["fail", "fail"]


async def test_an_execution_that_waits_says_so_and_its_history_says_nothing_else(
    engine_factory: EngineFactory, calls: Calls
) -> None:
    async with engine_factory(tasks=calls.tasks) as engine:
        machine = await engine.create_state_machine("calls", CALL, max_concurrency=1)
        async with closed(calls):
            first = await machine.start_execution(1)
            await calls.begun.wait()
            second = await machine.start_execution(2)
            wait = await engine.get_limit_wait(second.id)
            assert str(wait) == "waits for max_concurrency (1 at once; 1 run, 1 wait)"
            assert await engine.get_limit_wait(first.id) is None
            events = await engine.get_execution_history(second.id)
            assert [event["type"] for event in events] == ["ExecutionStarted"]
        for handle in (first, second):
            await handle.result()
        types = [event["type"] for event in await engine.get_execution_history(second.id)]
        assert types == [event["type"] for event in await engine.get_execution_history(first.id)]


async def test_one_that_waits_can_be_stopped(engine_factory: EngineFactory, calls: Calls) -> None:
    async with engine_factory(tasks=calls.tasks) as engine:
        machine = await engine.create_state_machine("calls", CALL, max_concurrency=0)
        handle = await machine.start_execution(1)
        assert (await handle.stop()).status is ExecutionStatus.ABORTED
        assert (await handle.wait()).status is ExecutionStatus.ABORTED
        cancelled = asyncio.create_task(machine.execute(2, name="two"))
        while not await engine.count_executions(ExecutionFilter(name="two")):  # noqa: ASYNC110 -- storage has no event
            await asyncio.sleep(0.01)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        two = await engine.get_handle("two", machine=machine)
        assert (await two.wait()).status is ExecutionStatus.ABORTED
    assert calls.made == []


async def test_a_rate_is_kept(engine_factory: EngineFactory, calls: Calls) -> None:
    async with engine_factory(tasks=calls.tasks) as engine:
        machine = await engine.create_state_machine("calls", CALL, rate=(2, timedelta(hours=1)))
        handles = [await machine.start_execution(number) for number in range(4)]
        for handle in handles[:2]:
            await handle.result()
        wait = await engine.get_limit_wait(handles[3].id)
        assert wait is not None
        assert (wait.limit, str(wait.queue.limits)) == ("rate", "2 in 3600 s")
        assert calls.made == [0, 1]
        await engine.set_machine_limits(machine, rate=None)
        for handle in handles[2:]:
            await handle.result()


async def test_an_express_machine_has_limits_too(engine_factory: EngineFactory, calls: Calls) -> None:
    calls.seconds = 0.002
    async with engine_factory(tasks=calls.tasks) as engine:
        machine = await engine.create_state_machine("calls", CALL, type="EXPRESS", max_concurrency=2)
        results = await machine.execute_bulk(range(8), options=BatchExecutionOptions(concurrent_batches=8))
        assert [result.output for result in results] == list(range(8))
    assert calls.peak <= 2


# Who runs them


async def test_what_a_parent_waits_for_runs_while_the_engine_is_left(
    engine_factory: EngineFactory, calls: Calls
) -> None:
    async with engine_factory(tasks=calls.tasks) as engine:
        await engine.create_state_machine("calls", CALL, max_concurrency=1)
        parents = await engine.create_state_machine("parents", PARENT)
        handles = [await parents.start_execution(number) for number in range(3)]
    async with engine_factory(role="reader") as reader:
        for number, handle in enumerate(handles):
            ended = await reader.get_execution(handle.id)
            assert (ended.status, ended.output) == (ExecutionStatus.SUCCEEDED, number)
    assert calls.peak == 1


async def test_an_engine_without_recovery_runs_what_it_waits_for(engine_factory: EngineFactory, calls: Calls) -> None:
    async with engine_factory(tasks=calls.tasks, recovery=False) as engine:
        machine = await engine.create_state_machine("calls", CALL, max_concurrency=1)
        left = await machine.start_execution(1)
        assert (await machine.execute(2)).output == 2
        assert (await left.wait()).output == 1
    assert sorted(calls.made) == [1, 2]


async def test_an_engine_without_recovery_runs_nothing_else(engine_factory: EngineFactory, calls: Calls) -> None:
    async with engine_factory(role="client") as client, engine_factory(tasks=calls.tasks, recovery=False) as engine:
        submitted = await client.create_state_machine("calls", CALL, max_concurrency=5)
        other = await submitted.start_execution("other")
        machine = await engine.get_state_machine("calls")
        assert [(await machine.execute(number)).output for number in range(2)] == [0, 1]
        assert (await client.get_execution(other.id)).status is ExecutionStatus.RUNNING
    assert calls.made == [0, 1]


async def test_what_is_not_waited_for_is_left_to_others(engine_factory: EngineFactory, calls: Calls) -> None:
    async with engine_factory(tasks=calls.tasks) as engine:
        machine = await engine.create_state_machine("calls", CALL, max_concurrency=0)
        handle = await machine.start_execution(7)
        await engine.set_machine_limits(machine, max_concurrency=None)
    async with engine_factory(tasks=calls.tasks) as later:
        assert (await (await later.get_handle(handle.id)).wait()).output == 7


# Setting


async def test_a_limit_that_is_left_out_stays(engine_factory: EngineFactory) -> None:
    async with engine_factory(role="client") as engine:
        machine = await engine.create_state_machine("calls", CALL, max_concurrency=3, rate=(5, 1))
        made = MachineLimits(max_concurrency=3, rate=(5, 1.0))
        assert await engine.get_machine_limits("calls") == made
        await engine.create_state_machine("calls", CALL)
        assert await engine.set_machine_limits(machine.id) == made
        await engine.create_state_machine("calls", CALL, rate=None, max_concurrency_per_key=1)
        assert await engine.get_machine_limits(machine) == MachineLimits(max_concurrency=3, max_concurrency_per_key=1)
        assert await engine.set_machine_limits(machine, max_concurrency=None, max_concurrency_per_key=None) == (
            MachineLimits()
        )
        assert await engine.list_queues() == []
        with pytest.raises(StateMachineNotFound):
            await engine.get_machine_limits("nothing")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_concurrency": -1},
        {"max_concurrency": True},
        {"rate": 5},
        {"rate": (0, 1)},
        {"rate": (5, 0)},
        {"rate": "5/s"},
        {"max_concurrency_per_key": 0},
    ],
)
async def test_a_limit_that_means_nothing_is_refused(engine: Engine, wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(InvalidArgument, match=f"{name} must be"):
        await engine.create_state_machine("calls", CALL, **wrong)


@pytest.mark.parametrize("wrong", [{"key": ""}, {"key": "a" * 81}, {"key": "a\n"}, {"priority": 10_000}])
async def test_a_key_or_priority_that_means_nothing_is_refused(engine: Engine, wrong: dict[str, Any]) -> None:
    machine = await engine.create_state_machine("pass", {"StartAt": "A", "States": {"A": {"Type": "Succeed"}}})
    (name,) = wrong
    with pytest.raises(InvalidArgument, match=f"{name} must be"):
        await machine.start_execution(1, **wrong)
    with pytest.raises(ValueError, match=f"{name} must be"):
        BatchExecutionOptions(**wrong)


async def test_a_function_of_a_distributed_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="takes a key that is a string"):
        BatchExecutionOptions(mode="DISTRIBUTED", key=lambda _: "a")


async def test_queues_are_counted_for_observers(engine_factory: EngineFactory, calls: Calls) -> None:
    counted: asyncio.Queue[QueueCounted] = asyncio.Queue()

    class Counts:
        def observe(self, fact: Fact) -> None:
            if isinstance(fact, QueueCounted):
                counted.put_nowait(fact)

    async with engine_factory(tasks=calls.tasks, observers=[Counts()], lease=0.3) as engine:
        machine = await engine.create_state_machine("calls", CALL, max_concurrency=0)
        await machine.start_execution(1)
        async with asyncio.timeout(30):
            while (fact := await counted.get()).waiting != 1:
                pass
        assert (fact.state_machine, fact.running, fact.worker_id) == ("calls", 0, engine.worker.id)
