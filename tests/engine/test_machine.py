"""A state machine as its users hold it: execute, start, wait, stop, and what a name means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from statechain import (
    Engine,
    ExecutionAlreadyExists,
    ExecutionFailed,
    ExecutionFilter,
    ExecutionStatus,
    InvalidPayload,
    StateMachine,
    TaskContext,
    TaskError,
    TaskRegistry,
)

CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}


class Harness:
    """A machine whose one handler does what the test says."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.gate = asyncio.Event()
        self.engine: Engine
        self.machine: StateMachine

    async def call(self, value: Any, context: TaskContext) -> Any:
        self.calls.append(value)
        assert context.state_name == "Call"
        if value == "wait":
            await self.gate.wait()
        if value == "fail":
            raise TaskError("Payment.Declined", cause="card 42")
        return {"got": value}


@pytest.fixture
async def harness(repository_url: str) -> AsyncIterator[Harness]:
    made = Harness()
    tasks = TaskRegistry()
    tasks.add("Call", made.call)
    async with Engine(repository_url, tasks=tasks) as made.engine:
        made.machine = await made.engine.create_state_machine("call", CALL)
        yield made
        made.gate.set()


async def called(harness: Harness, times: int) -> None:
    async with asyncio.timeout(30):
        while len(harness.calls) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_execute_returns_the_execution_that_succeeded(harness: Harness) -> None:
    execution = await harness.machine.execute({"id": 1}, name="order-1")
    assert (execution.name, execution.status) == ("order-1", ExecutionStatus.SUCCEEDED)
    assert (execution.input, execution.output) == ({"id": 1}, {"got": {"id": 1}})
    assert execution.end_time is not None
    assert execution.start_time <= execution.end_time
    assert execution.current_state == "Call"
    assert (execution.error, execution.cause, execution.source, execution.redrive_count) == (None, None, None, 0)
    assert await harness.engine.get_execution(execution.id) == execution


async def test_execute_raises_what_failed(harness: Harness) -> None:
    with pytest.raises(ExecutionFailed, match=r"order-2.*FAILED.*Payment\.Declined: card 42") as failed:
        await harness.machine.execute("fail", name="order-2")
    assert (failed.value.error, failed.value.cause) == ("Payment.Declined", "card 42")
    assert failed.value.execution == await harness.engine.get_execution(failed.value.execution.id)
    assert failed.value.execution.output is None


async def test_a_handle_waits_in_whatever_status_and_result_gives_the_output(harness: Harness) -> None:
    good, bad = await harness.machine.start_execution(1, name="good"), await harness.machine.start_execution("fail")
    assert (good.name, repr(good)) == ("good", "<ExecutionHandle good>")
    assert (await good.wait()).status is ExecutionStatus.SUCCEEDED
    assert await good.result() == {"got": 1}
    assert (await bad.wait()).status is ExecutionStatus.FAILED
    with pytest.raises(ExecutionFailed):
        await bad.result()


async def test_a_start_is_durable_before_it_returns(harness: Harness) -> None:
    handle = await harness.machine.start_execution("wait")
    stored = await harness.engine.get_execution(handle.id)
    assert (stored.status, stored.input, stored.end_time) == (ExecutionStatus.RUNNING, "wait", None)
    harness.gate.set()
    await handle.wait()


async def test_without_a_name_each_execution_is_another(harness: Harness) -> None:
    made = [await harness.machine.execute(1) for _ in range(3)]
    assert len({execution.id for execution in made}) == 3
    assert len({execution.name for execution in made}) == 3


async def test_a_name_with_the_same_input_is_the_same_execution(harness: Harness) -> None:
    first = await harness.machine.execute({"a": 1, "b": 2}, name="order")
    assert await harness.machine.execute({"b": 2, "a": 1}, name="order") == first
    assert len(harness.calls) == 1
    running = await harness.machine.start_execution("wait", name="running")
    again = await harness.machine.start_execution("wait", name="running")
    assert again.id == running.id
    harness.gate.set()
    assert await running.wait() == await again.wait()
    assert harness.calls == [{"a": 1, "b": 2}, "wait"]


@pytest.mark.parametrize(("first", "other"), [(1, 2), (1, True), (1, "1"), ({}, []), (None, {}), ([1, 2], [2, 1])])
async def test_a_name_with_another_input_is_taken(harness: Harness, first: Any, other: Any) -> None:
    made = await harness.machine.execute(first, name="order")
    with pytest.raises(ExecutionAlreadyExists, match=made.id):
        await harness.machine.execute(other, name="order")
    with pytest.raises(ExecutionAlreadyExists):
        await harness.machine.start_execution(other, name="order")
    assert len(harness.calls) == 1


async def test_a_failed_execution_keeps_its_name(harness: Harness) -> None:
    for _ in range(2):
        with pytest.raises(ExecutionFailed):
            await harness.machine.execute("fail", name="order")
    assert len(harness.calls) == 1


async def test_many_starts_of_one_name_at_once_run_once(harness: Harness) -> None:
    made = await asyncio.gather(*(harness.machine.execute("same", name="order") for _ in range(20)))
    assert len({execution.id for execution in made}) == 1
    assert harness.calls == ["same"]


async def test_names_are_of_their_machine(harness: Harness) -> None:
    other = await harness.engine.create_state_machine("other", CALL)
    one, two = await harness.machine.execute(1, name="order"), await other.execute(2, name="order")
    assert one.id != two.id


@pytest.mark.parametrize("name", ["", "x" * 81, "a\tb", "\x7f", "\ud800", 5, b"order"])
async def test_a_name_of_an_execution_has_1_to_80_printable_characters(harness: Harness, name: Any) -> None:
    with pytest.raises(ValueError, match="1 to 80 printable"):
        await harness.machine.execute(1, name=name)
    assert harness.calls == []


@pytest.mark.parametrize("name", ["x" * 80, "with space", "ÄÖ 日本 😀", "a/b:c%_\\'\"--", "Order", "order"])
async def test_any_printable_name_is_kept_exactly(harness: Harness, name: str) -> None:
    made = await harness.machine.execute(name, name=name)
    assert (await harness.engine.get_execution(made.id)).name == name
    assert (await harness.machine.execute(name, name=name)).id == made.id


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, {"a": {1}}, object(), "x" * 300_000])
async def test_an_input_that_cannot_be_kept_starts_nothing(harness: Harness, value: Any) -> None:
    with pytest.raises(InvalidPayload):
        await harness.machine.execute(value)
    assert await harness.engine.count_executions() == 0


async def test_a_handler_does_not_see_later_changes_of_the_input(harness: Harness) -> None:
    given: Any = {"lines": [1, 2]}
    handle = await harness.machine.start_execution(given)
    given["lines"].append(3)
    await handle.wait()
    assert harness.calls == [{"lines": [1, 2]}]


# Ends


async def test_cancelling_the_await_aborts_and_records_it_first(harness: Harness) -> None:
    running = asyncio.ensure_future(harness.machine.execute("wait", name="order"))
    await called(harness, 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (execution,) = await harness.engine.list_executions()
    assert execution.status is ExecutionStatus.ABORTED
    assert execution.end_time is not None


async def test_cancelled_twice_it_is_still_recorded_first(harness: Harness) -> None:
    ending, released = asyncio.Event(), asyncio.Event()

    async def slow(_value: Any, _context: TaskContext) -> None:
        try:
            await harness.gate.wait()
        finally:
            ending.set()
            await released.wait()

    harness.engine._tasks.add("Slow", slow)
    definition = {"StartAt": "Slow", "States": {"Slow": {"Type": "Task", "Resource": "Slow", "End": True}}}
    machine = await harness.engine.create_state_machine("slow", definition)
    execution = asyncio.create_task(machine.execute(name="twice"))
    async with asyncio.timeout(30):
        while not await harness.engine.count_executions(ExecutionFilter(name="twice")):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        execution.cancel()
        await ending.wait()
        execution.cancel()
        await asyncio.sleep(0.01)
        released.set()
        with pytest.raises(asyncio.CancelledError):
            await execution
    (ended,) = await harness.engine.list_executions(ExecutionFilter(name="twice"))
    assert ended.status == ExecutionStatus.ABORTED


async def test_cancelled_at_any_turn_an_execution_is_not_left_running(harness: Harness) -> None:
    for turns in range(40):
        running = asyncio.ensure_future(harness.machine.execute("wait"))
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    executions = await harness.engine.list_executions()
    assert {execution.status for execution in executions} <= {ExecutionStatus.ABORTED}


async def test_cancelling_a_wait_does_not_touch_the_execution(harness: Harness) -> None:
    handle = await harness.machine.start_execution("wait")
    waiting = asyncio.ensure_future(handle.wait())
    await called(harness, 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await harness.engine.get_execution(handle.id)).status is ExecutionStatus.RUNNING
    harness.gate.set()
    assert await handle.result() == {"got": "wait"}


async def test_a_handle_stops_its_execution(harness: Harness) -> None:
    handle = await harness.machine.start_execution("wait")
    await called(harness, 1)
    stopped = await handle.stop("Order.Withdrawn", "the customer called")
    assert (stopped.status, stopped.error, stopped.cause) == (
        ExecutionStatus.ABORTED,
        "Order.Withdrawn",
        "the customer called",
    )
    with pytest.raises(ExecutionFailed, match="the customer called"):
        await handle.result()
    done = await harness.machine.start_execution(1)
    await done.wait()
    assert (await done.stop()).status is ExecutionStatus.SUCCEEDED


async def test_a_machine_tells_what_it_is(harness: Harness) -> None:
    assert repr(harness.machine) == "<StateMachine call revision 1>"
    assert harness.machine.definition == CALL
    definition: Any = harness.machine.definition
    definition["States"].clear()
    assert harness.machine.definition == CALL
