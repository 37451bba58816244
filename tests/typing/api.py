"""The public API as its users' type checkers see it; checked by mypy --strict, never run."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, assert_type

from statechain import (
    ActivityTask,
    Batch,
    BatchExecutionOptions,
    BatchExecutionResult,
    BatchHandle,
    BatchStatus,
    BatchStopped,
    Chained,
    Clock,
    Depends,
    Engine,
    Execution,
    ExecutionFailed,
    ExecutionFilter,
    ExecutionHandle,
    ExecutionStatus,
    HistoryEvent,
    InputTransformer,
    ItemCounts,
    JSONInput,
    JSONValue,
    Link,
    MemoryRepository,
    Observer,
    Repository,
    ResultStream,
    Source,
    StateMachine,
    SystemClock,
    TaskContext,
    TaskError,
    TaskRegistry,
    __version__,
    open_repository,
)
from statechain.testing import VirtualClock

tasks = TaskRegistry()


@tasks.register
async def by_its_name(order: dict[str, Any]) -> dict[str, Any]:
    return order


@tasks.register("Named", delivery="at_most_once")
async def with_context(order: dict[str, Any], context: TaskContext) -> list[str]:
    await context.heartbeat()
    if context.attempt > 1:
        raise TaskError("Payment.Declined", cause="card 42")
    return [context.execution_id, context.idempotency_key, context.task_token or ""]


@tasks.register()
def plain(number: int) -> int:
    return number + 1


assert_type(plain(1), int)  # a decorator changes nothing of the function
tasks.add("Lambda", lambda value: value)
tasks.add("Wrong", plain, delivery="sometimes")  # type: ignore[arg-type]


async def with_dependency(order: dict[str, Any], now: Annotated[datetime, Depends(datetime.now)]) -> str:
    await asyncio.sleep(0)
    return now.isoformat()


def registries() -> None:
    merged = TaskRegistry()
    merged.add("dependent", with_dependency)
    merged.include(tasks, prefix="orders.")
    Engine(tasks=merged, dependencies={datetime: datetime.now, Path: Path("orders")})
    merged.include([tasks])  # type: ignore[arg-type]


def storages() -> None:
    assert_type(open_repository("memory://"), Repository)
    repository: Repository = MemoryRepository()
    Engine(repository)
    Engine("sqlite:///shop.db", tasks=tasks, lease=timedelta(seconds=10), max_concurrent_executions=8)
    clocks: list[Clock] = [SystemClock(), VirtualClock(), VirtualClock(datetime.now(UTC), auto=False, grace=0.1)]
    Engine(clock=clocks[0])
    Engine(42)  # type: ignore[arg-type]


async def machines(engine: Engine) -> None:
    machine = await engine.create_state_machine("orders", {"StartAt": "A", "States": {}})
    assert_type(machine, StateMachine)
    await engine.create_state_machine("orders", "StartAt: A")
    await engine.create_state_machine("orders", Path("orders.json"), type="EXPRESS")
    await engine.create_state_machine("orders", {}, type="FAST")  # type: ignore[arg-type]
    assert_type(await engine.get_state_machine("orders"), StateMachine)
    assert_type(await engine.list_state_machines(), list[StateMachine])


async def executions(engine: Engine, machine: StateMachine) -> None:
    execution = await machine.execute({"id": 1, "lines": [1, 2.5, None, True, "text"]}, name="order-1")
    assert_type(execution, Execution)
    assert_type(execution.status, ExecutionStatus)
    assert_type(execution.start_time, datetime)
    assert_type(execution.end_time, datetime | None)
    assert_type(execution.error, str | None)
    handle = await machine.start_execution([1, 2])
    assert_type(handle, ExecutionHandle)
    assert_type(await handle.wait(), Execution)
    assert_type(await handle.result(), JSONValue)
    assert_type(await handle.result(ItemCounts), ItemCounts)
    assert_type(await handle.result(list[int]), list[int])
    assert_type(execution.output_as(ItemCounts), ItemCounts)
    assert_type(execution.input_as(dict[str, int]), dict[str, int])
    await handle.stop(error="Stopped", cause="by hand")
    for source in (execution, execution.id, Source(execution.id, "Price")):
        await machine.execute(source=source, input_transformer=lambda output: output["total"])
    try:
        await handle.result()
    except ExecutionFailed as failed:
        assert_type(failed.execution, Execution)
        assert_type(failed.cause, str | None)
    assert_type(await engine.list_executions(ExecutionFilter(status="FAILED")), list[Execution])
    assert_type(await engine.list_execution_ids(), list[str])
    assert_type(await engine.count_executions(), int)
    assert_type([each async for each in engine.iterate_executions(page_size=10)], list[Execution])
    assert_type(await engine.list_linked_executions(source_execution_id=execution.id), list[Link])
    assert_type(await engine.delete_executions(ExecutionFilter()), int)
    assert_type(await engine.redrive_execution(execution.id), ExecutionHandle)
    assert_type(await engine.recover(), list[str])


async def values(engine: Engine, machine: StateMachine, counts: dict[str, int], rows: list[dict[str, str]]) -> None:
    given: JSONInput = counts
    ended = await machine.execute(given)
    assert_type(ended.input, JSONValue)
    assert_type(ended.output, JSONValue)
    await machine.execute(ended.output)
    await machine.execute(counts)
    await machine.start_execution(rows)
    await machine.execute({"counts": counts, "rows": rows, "pair": (1, "two"), "none": None})
    await machine.execute_bulk([counts, counts])
    await machine.execute_bulk(rows)
    await machine.execute(source="order-1", input_transformer=count)
    await machine.execute_batch(ExecutionFilter(), input_transformer=count_later)
    await engine.send_task_success("token", counts)
    await machine.execute({"at": datetime.now(UTC)})  # type: ignore[dict-item]
    await machine.execute({1: "one"})  # type: ignore[dict-item]
    await machine.execute_bulk([{1, 2}])  # type: ignore[list-item]
    await machine.execute(source="order-1", input_transformer=refused)  # type: ignore[arg-type]


def count(output: Any) -> dict[str, int]:
    return {"count": len(output)}


async def count_later(output: Any) -> list[dict[str, int]]:
    await asyncio.sleep(0)
    return [count(output)]


def refused(output: Any) -> dict[str, datetime]:
    return {"at": output}


def filters(machine: StateMachine) -> None:
    ExecutionFilter(
        status=[ExecutionStatus.FAILED, "TIMED_OUT"],
        state_machine_id=machine.id,
        name="order",
        current_state="Price",
        start_after=datetime.now(UTC) - timedelta(hours=1),
        limit=3,
        offset=1,
        order="oldest_first",
        unchained_to=Chained(to=machine, source_state_name="Price"),
    )
    ExecutionFilter(unchained_to=machine)
    ExecutionFilter(unchained_to=machine.id)
    ExecutionFilter(order="random")  # type: ignore[arg-type]


async def prioritize(output: Any) -> Any:
    await asyncio.sleep(0)
    return {**output, "priority": "high"}


def started(source_execution_id: str, index: int) -> None:
    assert_type((source_execution_id, index), tuple[str, int])


async def completed(source_execution_id: str, index: int, error: Exception | None) -> None:
    started(source_execution_id, index)
    if error is not None:
        raise error


async def batches(engine: Engine, machine: StateMachine) -> None:
    options = BatchExecutionOptions(
        name_prefix="invoice",
        concurrent_batches=3,
        tolerated_failure_percentage=12.5,
        on_execution_start=started,
        on_execution_complete=completed,
    )
    try:
        results = await machine.execute_batch(
            ExecutionFilter(limit=50), "Price", options=options, input_transformer=prioritize
        )
    except BatchStopped as stop:
        assert_type(stop.results, list[BatchExecutionResult])
        raise
    assert_type(results, list[BatchExecutionResult])
    assert_type(results[0].index, int)
    assert_type(results[0].execution, Execution | Any)
    assert_type(results[0].execution.id, str | Any)
    assert_type(results[0].error, Exception | None)
    async with machine.stream_batch(ExecutionFilter(), options=options) as stream:
        async for result in stream:
            assert_type(result, BatchExecutionResult)
    assert_type(await machine.execute_bulk([{"id": n} for n in range(3)]), list[BatchExecutionResult])
    async for result in machine.stream_bulk(inputs(), options=options):
        assert_type(result, BatchExecutionResult)
    batch = (await engine.list_batches(state_machine_id=machine.id, status=BatchStatus.RUNNING))[0]
    assert_type(await engine.list_batches(parent_execution_id=batch.parent_execution_id), list[Batch])
    assert_type(batch, Batch)
    assert_type(batch.item_counts, ItemCounts)
    assert_type(batch.is_distributed, bool)
    assert_type(await engine.stop_batch(batch.id), Batch)
    assert_type(await engine.resume_batch(batch.id, options=options), Batch)


async def the_same_machine_in_three_ways(engine: Engine, machine: StateMachine) -> None:
    for given in (machine, machine.name, machine.id):
        assert_type(await engine.get_state_machine(given), StateMachine)
        assert_type(await engine.get_handle("order-1", machine=given), ExecutionHandle)
        assert_type(await engine.list_batches(state_machine_id=given), list[Batch])
        await engine.execution_statistics(given)
        ExecutionFilter(state_machine_id=given, unchained_to=given, name_contains="order")
    assert_type(await engine.get_handle("an-id"), ExecutionHandle)
    await engine.get_state_machine(1)  # type: ignore[arg-type]


async def newer_names(engine: Engine, machine: StateMachine, transformer: InputTransformer, observer: Observer) -> None:
    assert_type(__version__, str)
    assert_type([each async for each in engine.iterate_batches()], list[Batch])
    assert_type([each async for each in engine.iterate_linked_executions(page_size=10)], list[Link])
    history = await engine.get_execution_history("an-id")
    assert_type(history, list[HistoryEvent])
    assert_type(history[0]["timestamp"], datetime)
    assert_type(history[0]["previousEventId"], int)
    assert_type(await engine.get_activity_task("inspect"), ActivityTask | None)
    options = BatchExecutionOptions(max_concurrency=3)
    stream = machine.stream_batch(ExecutionFilter(), options=options, input_transformer=transformer)
    assert_type(stream, ResultStream[BatchExecutionResult])
    assert_type(await machine.start_batch(ExecutionFilter()), BatchHandle)
    Engine(observers=[observer])


async def inputs() -> AsyncIterator[dict[str, Any]]:
    for number in range(3):
        yield {"id": number}
