"""DISTRIBUTED batches: workers of one storage share the items, wherever it was started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import attrs
import pytest

from statechain import (
    BatchExecutionOptions,
    BatchNotFound,
    BatchStopped,
    Engine,
    ExecutionAlreadyExists,
    ExecutionFailed,
    ExecutionFilter,
    ExecutionStatus,
    InputTransformerError,
    InvalidPayload,
    Limits,
    MemoryRepository,
    StateMachine,
    TaskRegistry,
)
from statechain.records.batches import BatchStatus
from statechain.reports import BatchTotals
from statechain.storage.repository import Advance, StartExecution
from statechain.storage.shards import ShardStatus

EngineFactory = Callable[..., Engine]

PASS = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
SHARED = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=4, shard_size=3)


class Calls:
    """A handler that counts its calls, may be held back, and fails for some inputs."""

    def __init__(self, *failing: int) -> None:
        self.inputs: list[int] = []
        self.failing = failing
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = self.peak = 0
        self.released: set[int] = set()
        self.tasks = TaskRegistry()
        self.tasks.register("Call")(self.call)

    async def call(self, value: int) -> int:
        self.inputs.append(value)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            while not (self.gate.is_set() or value in self.released):  # noqa: ASYNC110 -- it waits for either
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.001)
            if value in self.failing:
                raise ValueError(value)
            return value * 2
        finally:
            self.running -= 1


async def sources(engine: Engine, count: int = 12) -> ExecutionFilter:
    """Store some executions whose outputs are numbers; return the filter that finds them, oldest first."""
    machine = await engine.create_state_machine("sources", PASS)
    for number in range(count):
        await machine.execute(number)
    return ExecutionFilter(state_machine_id=machine.id, order="oldest_first")


async def target(engine: Engine) -> StateMachine:
    return await engine.create_state_machine("target", CALL)


async def test_each_source_is_chained_once_and_results_are_in_order(engine_factory: EngineFactory) -> None:
    calls = Calls()
    async with engine_factory(tasks=calls.tasks) as engine:
        found = await sources(engine)
        results = await (await target(engine)).execute_batch(found, options=SHARED)
        assert [result.output for result in results] == [2 * number for number in range(12)]
        assert [result.index for result in results] == list(range(12))
        (batch,) = await engine.list_batches()
        assert batch.status is BatchStatus.SUCCEEDED
        assert batch.item_counts.succeeded == 12
        shards = await engine.repository.shards(batch.id)
        assert [(each.status, each.ended) for each in shards] == [(ShardStatus.DONE, 3)] * 4
    assert sorted(calls.inputs) == list(range(12))
    assert calls.peak <= 4


async def test_two_workers_share_a_batch_that_a_client_starts(engine_factory: EngineFactory) -> None:
    one, two = Calls(), Calls()
    async with (
        engine_factory(tasks=one.tasks),
        engine_factory(tasks=two.tasks),
        engine_factory(role="client") as client,
    ):
        found = await sources(client, 24)
        options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=4, shard_size=2)
        one.gate.clear()
        two.gate.clear()
        handle = await (await target(client)).start_batch(found, options=options)
        while not (one.inputs and two.inputs):  # noqa: ASYNC110 -- it waits for two engines
            await asyncio.sleep(0.01)
        one.gate.set()
        two.gate.set()
        results = [result async for result in handle.results()]
        assert (await handle.wait()).status is BatchStatus.SUCCEEDED
    assert sorted(result.output for result in results) == [2 * number for number in range(24)]
    assert sorted([*one.inputs, *two.inputs]) == list(range(24))
    assert one.peak + two.peak <= 4


async def test_a_started_batch_outlives_its_engine(engine_factory: EngineFactory) -> None:
    calls = Calls()
    async with engine_factory(role="client") as client, engine_factory(tasks=calls.tasks):
        found = await sources(client, 5)
    async with engine_factory(role="client") as client:
        handle = await (await target(client)).start_batch(found, options=SHARED)
    async with engine_factory(tasks=calls.tasks) as worker:
        while (await worker.get_batch(handle.id)).status is BatchStatus.RUNNING:  # noqa: ASYNC110 -- storage is asked
            await asyncio.sleep(0.02)
        assert (await worker.get_batch(handle.id)).item_counts.succeeded == 5


async def test_a_worker_without_the_handler_leaves_it(engine_factory: EngineFactory) -> None:
    calls = Calls()
    async with engine_factory(tasks=TaskRegistry()) as other:
        found = await sources(other, 3)
    async with engine_factory(tasks=TaskRegistry()) as other, engine_factory(role="client") as client:
        handle = await (await target(client)).start_batch(found, options=SHARED)
        await asyncio.sleep(1.2)
        assert list(await other.repository.shards(handle.id)) == []
        async with engine_factory(tasks=calls.tasks):
            assert (await handle.wait()).status is BatchStatus.SUCCEEDED


async def test_past_the_tolerance_the_batch_fails_and_has_its_results(engine_factory: EngineFactory) -> None:
    calls = Calls(0, 1)
    async with engine_factory(tasks=calls.tasks) as engine:
        found = await sources(engine, 40)
        options = BatchExecutionOptions(
            mode="DISTRIBUTED", concurrent_batches=2, shard_size=2, tolerated_failure_count=1
        )
        with pytest.raises(BatchStopped) as stopped:
            await (await target(engine)).execute_batch(found, options=options)
        failed = [result for result in stopped.value.results if result.error is not None and result.execution]
        assert {result.index for result in failed} >= {0, 1}
        (batch,) = await engine.list_batches()
        assert (batch.status, batch.end_time is None) == (BatchStatus.FAILED, False)
        assert batch.item_counts.running == 0
        assert batch.item_counts.pending > 0


async def test_a_stopped_batch_aborts_what_runs(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine, engine_factory(role="client") as client:
        found = await sources(engine)
        handle = await (await target(client)).start_batch(found, options=SHARED)
        while not calls.inputs:  # noqa: ASYNC110 -- it waits for another engine
            await asyncio.sleep(0.01)
        await handle.stop()
        with pytest.raises(BatchStopped):
            async for _ in handle.results():
                pass
        assert (await handle.wait()).status is BatchStatus.ABORTED
        running = ExecutionFilter(status="RUNNING")
        while await engine.list_executions(running):  # noqa: ASYNC110 -- storage is asked
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("count", [1, 3])
async def test_a_stop_aborts_what_runs_elsewhere_before_it_returns(engine_factory: EngineFactory, count: int) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine, engine_factory(role="client") as client:
        machine = await target(client)
        handle = await machine.start_batch(
            await sources(engine, count), options=attrs.evolve(SHARED, shard_concurrency=3)
        )
        while len(calls.inputs) < count:  # noqa: ASYNC110 -- it waits for another engine
            await asyncio.sleep(0.01)
        await handle.stop()
        stopped = await client.get_batch(handle.id)
        assert (stopped.status, stopped.item_counts.aborted) == (BatchStatus.ABORTED, count)
        assert stopped.end_time
        for result in await client.list_batch_results(handle.id):
            aborted = await client.get_execution(result.execution_id or "")
            assert aborted.cause == f"the batch {handle.id} was stopped"


async def test_a_cancelled_caller_stops_the_batch(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine:
        found = await sources(engine)
        caller = asyncio.create_task((await target(engine)).execute_batch(found, options=SHARED))
        while not calls.inputs:  # noqa: ASYNC110 -- it waits for a handler
            await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        (batch,) = await engine.list_batches()
        assert batch.status is BatchStatus.ABORTED
        assert batch.item_counts.running == 0


async def test_a_worker_that_leaves_hands_its_shards_over(engine_factory: EngineFactory) -> None:
    one, two = Calls(), Calls()
    one.gate.clear()
    async with engine_factory(role="client") as client:
        async with engine_factory(tasks=one.tasks) as first:
            found = await sources(first)
            handle = await (await target(client)).start_batch(found, options=SHARED)
            while not one.inputs:  # noqa: ASYNC110 -- it waits for another engine
                await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.05, one.gate.set)
        shards = await client.repository.shards(handle.id)
        assert all(each.owner is None for each in shards)
        async with engine_factory(tasks=two.tasks):
            assert (await handle.wait()).item_counts.succeeded == 12
    assert sorted([*one.inputs, *two.inputs]) == list(range(12))


async def test_callbacks_are_called_once_and_in_order(engine_factory: EngineFactory) -> None:
    told: list[tuple[str, int]] = []
    calls = Calls(3)
    async with engine_factory(tasks=calls.tasks) as engine:
        options = BatchExecutionOptions(
            mode="DISTRIBUTED",
            concurrent_batches=4,
            on_execution_start=lambda _, index: told.append(("start", index)),
            on_execution_complete=lambda _, index, error: told.append(("failed" if error else "done", index)),
        )
        await (await target(engine)).execute_batch(await sources(engine, 6), options=options)
    for index in range(6):
        assert [word for word, at in told if at == index] == ["start", "failed" if index == 3 else "done"]


async def test_functions_are_refused(engine_factory: EngineFactory) -> None:
    async with engine_factory(tasks=Calls().tasks) as engine:
        machine = await target(engine)
        with pytest.raises(ValueError, match=r"input_transformer.*register .*@tasks\.transformer"):
            machine.stream_batch(ExecutionFilter(), options=SHARED, input_transformer=lambda value: value)


async def test_a_transformer_is_named_and_a_worker_without_it_leaves_the_batch(engine_factory: EngineFactory) -> None:
    without, having = Calls(), Calls()

    @having.tasks.transformer
    async def hundredfold(value: int) -> int:
        return value * 100

    async with engine_factory(tasks=without.tasks) as other, engine_factory(role="client") as client:
        found = await sources(client, 5)
        machine = await target(client)
        handle = await machine.start_batch(found, options=SHARED, input_transformer="hundredfold")
        await asyncio.sleep(1.2)
        assert list(await other.repository.shards(handle.id)) == []
        async with engine_factory(tasks=having.tasks):
            results = [result async for result in handle.results()]
            assert (await handle.wait()).status is BatchStatus.SUCCEEDED
    assert sorted(result.output for result in results) == [200 * number for number in range(5)]
    assert without.inputs == []


async def test_a_transformer_that_raises_fails_its_item(engine_factory: EngineFactory) -> None:
    calls = Calls()

    @calls.tasks.transformer("Odd")
    def odd(value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"{value} is even")
        return value

    async with engine_factory(tasks=calls.tasks) as engine:
        found = await sources(engine, 4)
        results = await (await target(engine)).execute_batch(found, options=SHARED, input_transformer="Odd")
    assert [type(result.error) for result in results] == [InputTransformerError, type(None)] * 2
    assert "2 is even" in str(results[2].error)
    assert sorted(calls.inputs) == [1, 3]


async def test_a_name_that_is_not_registered_is_refused(engine_factory: EngineFactory) -> None:
    async with engine_factory(tasks=Calls().tasks) as engine:
        machine, found = await target(engine), ExecutionFilter()
        refused = pytest.raises(ValueError, match=r"no input_transformer is registered under the name 'Absent'")
        with refused:
            await machine.start_batch(found, input_transformer="Absent")
        for mode in ("INLINE", "DISTRIBUTED"):
            with refused:
                machine.stream_batch(found, options=BatchExecutionOptions(mode=mode), input_transformer="Absent")
        with refused:
            await engine.start_batch(machine, found, input_transformer="Absent")


async def test_results_and_callbacks_come_as_items_end(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    told: list[tuple[str, int]] = []
    options = BatchExecutionOptions(
        mode="DISTRIBUTED",
        concurrent_batches=6,
        shard_concurrency=6,
        shard_size=6,
        on_execution_start=lambda _, index: told.append(("start", index)),
        on_execution_complete=lambda _, index, _error: told.append(("done", index)),
    )
    async with engine_factory(tasks=calls.tasks) as engine:
        found = await sources(engine, 6)
        async with (await target(engine)).stream_batch(found, options=options) as results:
            first = asyncio.ensure_future(anext(results))
            while len(told) < 6:  # noqa: ASYNC110 -- all are to have begun
                await asyncio.sleep(0.01)
            assert sorted(told) == [("start", index) for index in range(6)]
            calls.released.add(2)
            assert (await first).index == 2
            assert told[6:] == [("done", 2)]
            shards = await engine.repository.shards((await engine.list_batches())[0].id)
            assert [each.status for each in shards] == [ShardStatus.RUNNING]
            calls.gate.set()
            assert sorted([result.index async for result in results]) == [0, 1, 3, 4, 5]
    assert sorted(told) == sorted((word, index) for word in ("start", "done") for index in range(6))


async def test_a_stored_bulk_is_shared_and_outlives_its_engine(engine_factory: EngineFactory) -> None:
    calls = Calls(7)
    async with engine_factory(role="client") as client:
        handle = await (await target(client)).start_bulk(range(10), options=SHARED)
        stored = await client.get_batch(handle.id)
        assert (stored.item_counts.pending, stored.filter, stored.options["mode"]) == (10, {}, "DISTRIBUTED")
    async with engine_factory(tasks=calls.tasks), engine_factory(role="client") as client:
        while (await client.get_batch(handle.id)).status is BatchStatus.RUNNING:  # noqa: ASYNC110 -- storage is asked
            await asyncio.sleep(0.02)
        listed = await client.list_batch_results(handle.id)
        assert [(each.index, each.source_execution_id) for each in listed] == [(index, None) for index in range(10)]
        assert [each.index for each in await client.list_batch_results(handle.id, status=[ExecutionStatus.FAILED])] == [
            7
        ]
        names = {each.name for each in listed}
        assert names == {f"{stored.name_prefix}-{index}" for index in range(10)}
    assert sorted(calls.inputs) == list(range(10))


async def test_bulk_results_are_in_the_order_of_the_inputs(engine_factory: EngineFactory) -> None:
    async def inputs() -> AsyncIterator[int]:
        for number in range(600):  # several pages
            yield number

    calls = Calls(3)
    options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=50)
    async with engine_factory(tasks=calls.tasks) as engine:
        results = await (await target(engine)).execute_bulk(inputs(), options=options)
    assert [result.index for result in results] == list(range(600))
    assert [result.source_execution_id for result in results] == [None] * 600
    assert isinstance(results[3].error, ExecutionFailed)
    assert [result.output for result in results if not result.error] == [2 * n for n in range(600) if n != 3]


async def test_an_input_that_cannot_be_stored_is_an_item_that_failed(engine_factory: EngineFactory) -> None:
    calls = Calls()
    async with engine_factory(tasks=calls.tasks, limits=Limits(payload_bytes=100)) as engine:
        inputs: list[Any] = [0, "x" * 200, 2, {1, 2}]
        results = await (await target(engine)).execute_bulk(inputs, options=SHARED)
        (batch,) = await engine.list_batches()
        assert (batch.item_counts.succeeded, batch.item_counts.failed) == (2, 2)
    assert [type(result.error) for result in results] == [type(None), InvalidPayload, type(None), InvalidPayload]
    assert str(results[1].error).startswith("item 1: ")
    assert str(results[3].error).startswith("item 3: ")
    assert sorted(calls.inputs) == [0, 2]


async def test_of_inputs_that_raise_nothing_is_stored(engine_factory: EngineFactory) -> None:
    def inputs() -> Iterator[int]:
        yield from range(300)
        raise OSError("the file is gone")

    async with engine_factory(tasks=Calls().tasks) as engine:
        machine = await target(engine)
        with pytest.raises(OSError, match="the file is gone"):
            await machine.start_bulk(inputs())
        with pytest.raises(OSError, match="the file is gone"):
            await machine.execute_bulk(inputs(), options=SHARED)
        assert await engine.list_batches() == []
        if not isinstance(engine.repository, MemoryRepository):
            assert [each async for each in engine.repository.check()] == []  # type: ignore[attr-defined]


async def test_a_cancelled_caller_of_a_bulk_stops_it(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine:
        caller = asyncio.create_task((await target(engine)).execute_bulk(range(20), options=SHARED))
        while not calls.inputs:  # noqa: ASYNC110 -- it waits for a handler
            await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        (batch,) = await engine.list_batches()
        assert (batch.status, batch.item_counts.running) == (BatchStatus.ABORTED, 0)


async def test_a_bulk_with_the_same_prefix_runs_nothing_twice(engine_factory: EngineFactory) -> None:
    calls = Calls()
    options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=4, name_prefix="again")
    async with engine_factory(tasks=calls.tasks) as engine:
        machine = await target(engine)
        await machine.execute_bulk(range(5), options=options)
        results = await machine.execute_bulk([0, 1, 2, 3, 5], options=options)
    assert [result.error is None for result in results] == [True, True, True, True, False]
    assert isinstance(results[4].error, ExecutionAlreadyExists)
    assert sorted(calls.inputs) == list(range(5))


async def test_a_batch_of_nothing_ends(engine_factory: EngineFactory) -> None:
    async with engine_factory(tasks=Calls().tasks) as engine:
        nothing = ExecutionFilter(status=ExecutionStatus.TIMED_OUT)
        assert await (await target(engine)).execute_batch(nothing, options=SHARED) == []
        assert await (await target(engine)).execute_bulk([], options=SHARED) == []


async def test_callers_with_one_prefix_share_one_batch(engine_factory: EngineFactory) -> None:
    calls = Calls()
    options = attrs.evolve(SHARED, name_prefix="shared")
    async with engine_factory(tasks=calls.tasks) as one, engine_factory(tasks=calls.tasks) as two:
        found, machine = await sources(one), await target(one)
        again = await two.get_state_machine(machine.id)
        both = await asyncio.gather(*(each.execute_batch(found, options=options) for each in (machine, again)))
        assert len(await one.list_batches()) == 1
    assert [[result.output for result in results] for results in both] == [[2 * each for each in range(12)]] * 2
    assert sorted(calls.inputs) == list(range(12))


async def test_a_caller_that_joined_a_batch_does_not_stop_it(engine_factory: EngineFactory) -> None:
    calls = Calls()
    calls.gate.clear()
    async with engine_factory(tasks=calls.tasks) as engine:
        found, machine = await sources(engine), await target(engine)
        options = attrs.evolve(SHARED, name_prefix="shared")
        handle = await machine.start_batch(found, options=options)
        async with machine.stream_batch(found, options=options) as stream:
            calls.released.update(range(12))
            assert (await anext(stream)).error is None
        calls.gate.set()
        assert (await handle.wait()).item_counts.succeeded == 12
        assert [each.id for each in await engine.list_batches()] == [handle.id]


class Groups(MemoryRepository):
    """Keeps what was committed together."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[list[Any]] = []

    async def commit(self, writes: Sequence[Any]) -> Sequence[Any]:
        self.groups.append([*writes])
        return await super().commit(writes)


async def test_an_item_that_succeeded_is_ended_in_the_commit_that_starts_the_next() -> None:
    calls, storage = Calls(3), Groups()
    async with Engine(storage, tasks=calls.tasks) as engine:
        found, machine = await sources(engine, 6), await target(engine)
        options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=1, shard_size=6)
        await machine.execute_batch(found, options=options)
    started = [[each for each in group if isinstance(each, StartExecution)] for group in storage.groups]
    ended = [[each for each in group if isinstance(each, Advance) and each.end] for group in storage.groups]
    chained = [
        (ends[0].end.status, starts[0].execution.input_text)
        for starts, ends in zip(started, ended, strict=True)
        if starts and ends
    ]
    succeeded = ExecutionStatus.SUCCEEDED
    assert chained == [(succeeded, "1"), (succeeded, "2"), (succeeded, "3"), (succeeded, "5")], (
        "3 fails, 4 waits for it"
    )
    assert calls.peak == 1


async def test_how_far_a_batch_has_come_is_read_without_its_items(engine_factory: EngineFactory) -> None:
    calls = Calls(3, 5)
    async with engine_factory(tasks=calls.tasks) as engine:
        found, machine = await sources(engine), await target(engine)
        handle = await machine.start_batch(found, options=SHARED)
        batch = await handle.wait()
        totals = await engine.get_batch_totals(handle.id)
        assert totals == BatchTotals(status=batch.status, total=12, ended=12, failed=2)
        await machine.execute_batch(found, options=BatchExecutionOptions(concurrent_batches=4))
        (inline,) = [each for each in await engine.list_batches() if each.id != handle.id]
        totals = await engine.get_batch_totals(inline.id)
        assert totals == BatchTotals(status=inline.status, total=12, ended=None, failed=None)
        with pytest.raises(BatchNotFound):
            await engine.get_batch_totals("nowhere")
