"""Distributed Maps with ``map_runs="shared"``: items are executions of their own, which all workers share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from statechain import Engine, ExecutionFilter, StatechainError, TaskRegistry
from statechain.dispatchers.local import LocalDispatcher
from statechain.records.batches import BatchItem, BatchStatus
from statechain.storage.repository import AddBatchItems, CreateBatch
from support.chaining.dispatchers import RecordingDispatcher
from support.chaining.map_items import RUNNING, Items, created, distributed, events, map_run_of, refusing, settled
from support.engine_harness import EngineHarness

EngineFactory = Callable[..., Engine]
JSON = Any


async def test_items_are_executions_and_outputs_are_in_order(engine_factory: EngineFactory) -> None:
    items = Items()
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        execution = await (await created(engine)).execute(list(range(30)))
        assert execution.output == [2 * number for number in range(30)]
        run = await map_run_of(engine, execution)
        assert (run.status, run.item_counts.succeeded) == (BatchStatus.SUCCEEDED, 30)
        found = await engine.list_executions(ExecutionFilter(state_machine_id="orders/Each", order="oldest_first"))
        assert {(each.name, each.output) for each in found} == {(f"{run.id}-{n}", 2 * n) for n in range(30)}
        assert await events(engine, execution) == [
            "MapStateEntered",
            "MapStateStarted",
            "MapRunStarted",
            "MapRunSucceeded",
            "MapStateSucceeded",
            "MapStateExited",
        ]
        started = (await engine.get_execution_history(execution.id))[3]
        assert started["mapRunStartedEventDetails"] == {"mapRunArn": run.id}
        assert "TaskSucceeded" in await events(engine, found[0])
    assert sorted(items.inputs) == list(range(30))


async def test_by_default_items_are_a_part_of_their_execution(engine_factory: EngineFactory) -> None:
    items = Items()
    async with engine_factory(tasks=items.tasks) as engine:
        execution = await (await created(engine)).execute([1, 2])
        assert execution.output == [2, 4]
        assert await engine.list_batches() == []
        assert await engine.count_executions(ExecutionFilter()) == 1


async def test_two_workers_share_the_items_of_one_map(engine_factory: EngineFactory) -> None:
    one, two = Items(), Items()
    async with (
        engine_factory(tasks=one.tasks, map_runs="shared"),
        engine_factory(tasks=two.tasks, map_runs="shared"),
        engine_factory(role="client") as client,
    ):
        one.gate.clear()
        two.gate.clear()
        machine = await created(client, distributed(MaxConcurrency=4))
        handle = await machine.start_execution(list(range(40)))
        while not (one.inputs and two.inputs):  # noqa: ASYNC110 -- it waits for two engines
            await asyncio.sleep(0.01)
        one.gate.set()
        two.gate.set()
        assert await handle.result() == [2 * number for number in range(40)]
    assert sorted([*one.inputs, *two.inputs]) == list(range(40))
    assert one.peak + two.peak <= 4


async def test_express_items_have_no_history(engine_factory: EngineFactory) -> None:
    async with engine_factory(tasks=Items().tasks, map_runs="shared") as engine:
        execution = await (await created(engine, distributed("EXPRESS"))).execute([1, 2])
        assert execution.output == [2, 4]
        items = await engine.get_state_machine("orders/Each")
        assert items.type == "EXPRESS"
        (first, _) = await engine.list_executions(ExecutionFilter(state_machine_id=items.id))
        assert list(await engine.repository.visits(first.id)) == []


async def test_inputs_are_selected_and_batched_before_they_are_stored(engine_factory: EngineFactory) -> None:
    definition = distributed(
        ItemSelector={"value.$": "$$.Map.Item.Value", "of.$": "$.of"},
        ItemsPath="$.all",
        ItemBatcher={"MaxItemsPerBatch": 2, "BatchInput": {"of.$": "$.of"}},
        Label="some",
    )
    async with engine_factory(tasks=Items().tasks, map_runs="shared") as engine:
        execution = await (await created(engine, definition)).execute({"all": [1, 2, 3], "of": "x"})
        assert execution.output == [
            {"Items": [{"value": 1, "of": "x"}, {"value": 2, "of": "x"}], "BatchInput": {"of": "x"}},
            {"Items": [{"value": 3, "of": "x"}], "BatchInput": {"of": "x"}},
        ]
        assert (await map_run_of(engine, execution)).id.startswith("some-")
        assert (await engine.get_state_machine("orders/some")).type == "STANDARD"


async def test_items_take_the_query_language_of_the_definition(engine_factory: EngineFactory) -> None:
    double = {"StartAt": "Double", "States": {"Double": {"Type": "Pass", "Output": "{% $states.input * 2 %}"}}}
    double["States"]["Double"]["End"] = True  # type: ignore[index]
    definition = distributed("STANDARD", double, Items="{% [1, 2, 3] %}") | {"QueryLanguage": "JSONata"}
    async with engine_factory(map_runs="shared") as engine:
        execution = await (await created(engine, definition)).execute()
        assert execution.output == [2, 4, 6]


async def test_a_map_in_a_branch_and_a_map_in_its_items(engine_factory: EngineFactory) -> None:
    """The shards of the outer Map take all slots: those of the inner ones run beyond them."""
    inner = distributed()
    inner["States"]["Inner"] = inner["States"].pop("Each")
    outer = distributed("STANDARD", {"StartAt": "Inner", "States": inner["States"]})
    definition = {"StartAt": "Both", "States": {"Both": {"Type": "Parallel", "Branches": [outer], "End": True}}}
    async with engine_factory(tasks=Items().tasks, map_runs="shared", slots=1) as engine:
        execution = await (await created(engine, definition)).execute([[1, 2], [3], []])
        assert execution.output == [[[2, 4], [6], []]]
        names = [each.name for each in await engine.list_state_machines()]
        assert names == ["orders", "orders/Each", "orders/Each/Inner"]


async def test_a_map_in_items_of_a_map_with_a_dispatcher(engine_factory: EngineFactory) -> None:
    """Tickets wait for slots; the worker of an execution claims its share of the Map Run itself."""
    inner = distributed()
    inner["States"]["Inner"] = inner["States"].pop("Each")
    definition = distributed("STANDARD", {"StartAt": "Inner", "States": inner["States"]})
    options: dict[str, JSON] = {"map_runs": "shared", "slots": 1, "lease": 3600, "dispatcher": LocalDispatcher()}
    async with engine_factory(tasks=Items().tasks, **options) as engine:
        assert (await (await created(engine, definition)).execute([[1, 2], [3]])).output == [[2, 4], [6]]


async def test_the_machine_of_the_items_may_have_limits(engine_factory: EngineFactory) -> None:
    items = Items()
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        machine = await created(engine)
        assert (await machine.execute([1, 2])).output == [2, 4]
        await engine.set_machine_limits("orders/Each", max_concurrency=1)
        items.peak = 0
        assert (await machine.execute([1, 2, 3])).output == [2, 4, 6]
        assert items.peak == 1


async def test_as_many_executions_as_may_run_at_once_wait_for_their_items(engine_factory: EngineFactory) -> None:
    options: dict[str, JSON] = {"map_runs": "shared", "max_concurrent_executions": 1}
    async with engine_factory(tasks=Items().tasks, **options) as engine:
        machine = await created(engine)
        assert [(await machine.execute([n], name=str(n))).output for n in range(2)] == [[0], [2]]


@pytest.mark.parametrize(
    ("tolerance", "succeeds"),
    [
        ({}, False),
        ({"ToleratedFailureCount": 1}, False),
        ({"ToleratedFailureCount": 2}, True),
        ({"ToleratedFailurePercentage": 19}, False),
        ({"ToleratedFailurePercentage": 20}, True),
    ],
)
async def test_as_many_items_may_fail_as_are_tolerated(
    engine_factory: EngineFactory, tolerance: dict[str, int], succeeds: bool
) -> None:
    items = Items(2, 5)
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        machine = await created(engine, distributed(MaxConcurrency=4, **tolerance))
        execution = await (await machine.start_execution(list(range(10)))).wait()
        run = await map_run_of(engine, execution)
        if succeeds:
            assert execution.output == [2 * number for number in range(10) if number not in items.failing]
            assert (run.status, run.item_counts.failed) == (BatchStatus.SUCCEEDED, 2)
            return
        assert (execution.error, execution.cause) == (
            "States.ExceedToleratedFailureThreshold",
            "The specified tolerated failure threshold was exceeded",
        )
        assert (run.status, run.item_counts.running) == (BatchStatus.FAILED, 0)
        assert (await events(engine, execution))[3:] == ["MapRunFailed", "MapStateFailed"]


async def test_an_input_that_is_too_large_is_an_item_that_failed(engine_factory: EngineFactory) -> None:
    definition, value, limits = refusing(ResultSelector={"n.$": "$[*].n"})
    async with engine_factory(map_runs="shared", limits=limits) as engine:
        execution = await (await created(engine, definition)).execute(value)
        assert execution.output == {"n": ["y"]}
        failed, _ = await engine.list_batch_results((await map_run_of(engine, execution)).id)
        assert (failed.execution_id, failed.error) == (None, "InvalidPayload")


async def test_results_are_written_with_the_executions_of_the_items(
    engine_factory: EngineFactory, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    writer = {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "data", "Prefix": "out"}}
    definition = distributed(ResultWriter=writer, ToleratedFailureCount=1)
    async with engine_factory(tasks=Items(1).tasks, map_runs="shared", files=tmp_path) as engine:
        execution = await (await created(engine, definition)).execute([0, 1, 2])
        run = await map_run_of(engine, execution)
        assert execution.output["MapRunArn"] == run.id
        folder = tmp_path / "data" / "out" / run.id
        succeeded = json.loads((folder / "SUCCEEDED_0.json").read_text())
        (failed,) = json.loads((folder / "FAILED_0.json").read_text())
        results = await engine.list_batch_results(run.id)
        assert [each["ExecutionArn"] for each in succeeded] == [results[0].execution_id, results[2].execution_id]
        assert [(each["Name"], each["Output"]) for each in succeeded] == [(f"{run.id}-0", "0"), (f"{run.id}-2", "4")]
        assert (failed["ExecutionArn"], failed["Input"], failed["Error"]) == (
            results[1].execution_id,
            "1",
            "ValueError",
        )


async def test_a_stop_of_the_execution_stops_its_items(engine_factory: EngineFactory) -> None:
    items = Items()
    items.gate.clear()
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        handle = await (await created(engine)).start_execution(list(range(6)))
        await items.reached(6)
        stopped = await handle.stop()
        run = await map_run_of(engine, stopped)
        assert (run.status, run.item_counts.aborted) == (BatchStatus.ABORTED, 6)
        assert await engine.count_executions(RUNNING) == 0
        assert "MapRunAborted" in await events(engine, stopped)


async def test_a_stop_from_elsewhere_stops_the_items(engine_factory: EngineFactory) -> None:
    """Also where the worker of the execution cannot notice it: the next count finds that the execution has ended."""
    items = Items()
    items.gate.clear()
    async with (
        engine_factory(tasks=items.tasks, map_runs="shared", lease=3600),
        engine_factory(role="client") as client,
    ):
        handle = await (await created(client)).start_execution(list(range(6)))
        await items.reached(6)
        await client.stop_execution(handle.id)
        await settled(client)
        run = await map_run_of(client, handle.execution)
        assert (run.status, run.item_counts.aborted) == (BatchStatus.ABORTED, 6)


async def test_a_timeout_of_the_execution_stops_the_items(engine_factory: EngineFactory) -> None:
    items = Items()
    items.gate.clear()
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        machine = await created(engine, distributed() | {"TimeoutSeconds": 1})
        ended = await (await machine.start_execution([1, 2])).wait()
        assert ended.status == "TIMED_OUT"
        assert (await map_run_of(engine, ended)).status is BatchStatus.ABORTED
        assert await engine.count_executions(RUNNING) == 0


async def test_a_map_run_that_is_stopped_fails_its_map(engine_factory: EngineFactory) -> None:
    items = Items()
    items.gate.clear()
    catch = [{"ErrorEquals": ["States.TaskFailed"], "ResultPath": "$[0]", "Next": "Caught"}]
    definition = distributed(Catch=catch)
    definition["States"]["Caught"] = {"Type": "Succeed"}
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        handle = await (await created(engine, definition)).start_execution([1, 2])
        await items.reached(2)
        await engine.stop_batch((await map_run_of(engine, handle.execution)).id)
        ended = await handle.wait()
        assert ended.status == "SUCCEEDED"
        assert "was stopped" in ended.output[0]["Cause"]


async def test_a_map_run_is_resumed_with_its_execution_alone(engine_factory: EngineFactory) -> None:
    async with engine_factory(tasks=Items(1).tasks, map_runs="shared") as engine:
        failed = await (await (await created(engine)).start_execution([1, 2])).wait()
        run = await map_run_of(engine, failed)
        for resume in (engine.resume_batch, engine.continue_batch, engine.join_batch):
            with pytest.raises(ValueError, match=rf"is a Map Run: redrive its execution '{failed.id}'"):
                await resume(run.id)


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
async def test_a_redrive_redrives_what_did_not_succeed(engine_factory: EngineFactory, type_: str) -> None:
    items = Items(3)
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        machine = await created(engine, distributed(type_, MaxConcurrency=2))
        failed = await (await machine.start_execution(list(range(8)))).wait()
        assert failed.status == "FAILED"
        run = await map_run_of(engine, failed)
        succeeded = [item.index for item in await engine.list_batch_results(run.id, status=["SUCCEEDED"])]
        items.failing.clear()
        redriven = await (await engine.redrive_execution(failed.id)).wait()
        assert redriven.output == [2 * number for number in range(8)]
        again = await map_run_of(engine, redriven)
        assert (again.id, again.status) == (run.id, BatchStatus.SUCCEEDED)
        results = await engine.list_batch_results(run.id)
        redrives = [(await engine.get_execution(item.execution_id or "")).redrive_count for item in results]
        assert redrives[3] == 1
        assert all(redrives[index] == 0 for index in succeeded)
        types = [event["type"] for event in await engine.get_execution_history(redriven.id)]
        assert [each for each in types if each.startswith("MapRun")] == [
            "MapRunStarted",
            "MapRunFailed",
            "MapRunRedriven",
            "MapRunSucceeded",
        ]
    assert all(items.inputs.count(index) == 1 for index in succeeded)


async def test_a_redrive_of_what_was_stopped_from_elsewhere(engine_factory: EngineFactory) -> None:
    items = Items()
    items.gate.clear()
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        handle = await (await created(engine)).start_execution([1, 2, 3])
        await items.reached(3)
        await engine.stop_execution(handle.id)
        items.gate.set()
        redriven = await (await engine.redrive_execution(handle.id)).wait()
        assert redriven.output == [2, 4, 6]


async def test_a_retry_begins_another_map_run(engine_factory: EngineFactory) -> None:
    items = Items(1)
    retry = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        handle = await (await created(engine, distributed(Retry=retry))).start_execution([1])
        while not await engine.list_batches(status=BatchStatus.FAILED):  # noqa: ASYNC110 -- storage is asked
            await asyncio.sleep(0.01)
        items.failing.clear()
        assert await handle.result() == [2]
        runs = await engine.list_batches(parent_execution_id=handle.id)
        assert [each.status for each in runs] == [BatchStatus.SUCCEEDED, BatchStatus.FAILED]


async def crash(engine: Engine) -> None:
    """Leave an engine as one that is killed: what runs stays RUNNING, for other workers."""
    await engine.__aexit__(RuntimeError, RuntimeError("struck"), None)


@pytest.mark.parametrize("other", ["shared", "local"])
async def test_another_worker_goes_on_with_the_same_map_run(engine_factory: EngineFactory, other: str) -> None:
    one, two = Items(), Items()
    one.gate.clear()
    first = engine_factory(tasks=one.tasks, map_runs="shared")
    await first.__aenter__()
    handle = await (await created(first, distributed(MaxConcurrency=3))).start_execution(list(range(9)))
    await one.reached(3)
    await crash(first)
    async with engine_factory(tasks=two.tasks, map_runs=other) as second:
        ended = await (await second.get_handle(handle.id)).wait()
        assert ended.output == [2 * number for number in range(9)]
        run = await map_run_of(second, ended)
        assert run.item_counts.succeeded == 9
        assert await second.count_executions(ExecutionFilter(state_machine_id=run.state_machine_id)) == 9
    assert sorted(two.inputs) == list(range(9)), "those that had begun are run again, under their own executions"


async def test_items_that_failed_are_not_redriven_by_the_worker_that_takes_over(engine_factory: EngineFactory) -> None:
    one, two = Items(0), Items(0)
    one.gate.clear()
    first = engine_factory(tasks=one.tasks, map_runs="shared")
    await first.__aenter__()
    definition = distributed(MaxConcurrency=1, ToleratedFailureCount=1)
    handle = await (await created(first, definition)).start_execution([0, 1, 2])
    await one.reached(1)
    one.gate.set()  # the first item alone goes on, and fails
    one.gate.clear()
    await one.reached(2)
    options = (await map_run_of(first, handle.execution)).options
    await crash(first)
    async with engine_factory(tasks=two.tasks, map_runs="shared") as second:
        ended = await (await second.get_handle(handle.id)).wait()
        assert ended.output == [2, 4]
        assert (await map_run_of(second, ended)).options == options
    assert sorted(two.inputs) == [1, 2]


async def test_a_worker_that_lost_the_execution_leaves_the_map_run_to_the_next(engine_factory: EngineFactory) -> None:
    one, two = Items(), Items()
    one.gate.clear()
    two.gate.clear()
    async with engine_factory(tasks=one.tasks, map_runs="shared", lease=0.9, recovery=False) as first:
        handle = await (await created(first)).start_execution([1, 2])
        await one.reached(2)
        async with engine_factory(tasks=two.tasks, map_runs="shared") as second:
            await second.repository.release(first.worker.id)
            await two.reached(2)
            while first.worker.running_here(handle.id) is not None:  # noqa: ASYNC110 -- it learns of its loss when it renews its lease
                await asyncio.sleep(0.01)
            assert (await map_run_of(second, handle.execution)).status is BatchStatus.RUNNING
            two.gate.set()
            assert (await (await second.get_handle(handle.id)).wait()).output == [2, 4]


async def test_items_that_were_stored_in_part_are_stored_anew(harness: EngineHarness) -> None:
    """A worker that dies while it stores the items leaves some, which belong to no batch."""
    items = Items()
    harness.tasks.add("Item", items.item)
    await harness.close()
    await harness.open(map_runs="shared")
    held, gate = harness.hold(lambda write: isinstance(write, CreateBatch))
    handle = await harness.start(distributed(), [3, 4, 5])
    await held.wait()
    (begun,) = [
        each for each in await harness.engine.get_execution_history(handle.id) if each["type"] == "MapRunStarted"
    ]
    run_id = begun["mapRunStartedEventDetails"]["mapRunArn"]
    # Left over from a worker that had read more items, before the file was shortened.
    left = BatchItem(index=3, source_execution_id=None, name=f"{run_id}-3", input_text="6")
    await harness.repository.commit([AddBatchItems(batch_id=run_id, items=[left])])
    harness.crash_at_commit(1, keeps_last=False)
    gate.set()
    await harness.reopen()
    ended = await harness.ended(handle.id)
    assert ended.output == [6, 8, 10]
    (run,) = await harness.engine.list_batches()
    assert run.item_counts.succeeded == run.item_counts.total == 3
    assert [item.name for item in await harness.engine.list_batch_results(run.id)] == [
        f"{run.id}-{n}" for n in range(3)
    ]
    assert sorted(items.inputs) == [3, 4, 5]


async def test_an_engine_that_is_left_finishes_a_map_that_begins_then(engine_factory: EngineFactory) -> None:
    items, gate = Items(), asyncio.Event()

    async def first(value: JSON) -> JSON:
        await gate.wait()
        return value

    items.tasks.add("First", first)
    definition = distributed()
    definition["States"]["First"] = {"Type": "Task", "Resource": "First", "Next": "Each"}
    definition["StartAt"] = "First"
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        handle = await (await created(engine, definition)).start_execution([1, 2, 3])
        asyncio.get_running_loop().call_later(0.5, gate.set)
    async with engine_factory() as engine:
        assert (await engine.get_execution(handle.id)).output == [2, 4, 6]


async def test_a_worker_without_the_handlers_leaves_the_items_to_others(engine_factory: EngineFactory) -> None:
    items, parents = Items(), TaskRegistry()
    definition = distributed()
    async with engine_factory(role="client") as client:
        machine = await created(client, definition)
        async with (
            engine_factory(tasks=items.tasks, map_runs="shared"),
            engine_factory(tasks=parents, map_runs="shared"),
        ):
            assert await (await machine.start_execution([1, 2, 3])).result() == [2, 4, 6]


async def test_a_machine_that_has_the_name_is_not_touched(engine_factory: EngineFactory) -> None:
    items = Items()
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        own = await engine.create_state_machine("orders/Each", distributed(MaxConcurrency=7))
        execution = await (await created(engine)).execute([1])
        assert execution.output == [2]
        assert (await engine.get_state_machine("orders/Each")).revision == own.revision == 1
        made = (await map_run_of(engine, execution)).state_machine_id
        assert (await engine.get_state_machine(made)).revision == 1
        assert (await map_run_of(engine, execution)).state_machine_id != own.id


async def test_a_revision_of_the_machine_has_a_revision_of_its_items(engine_factory: EngineFactory) -> None:
    items = Items()
    same = {"StartAt": "Same", "States": {"Same": {"Type": "Pass", "End": True}}}
    async with engine_factory(tasks=items.tasks, map_runs="shared") as engine:
        assert (await (await created(engine)).execute([1])).output == [2]
        assert (await (await created(engine, distributed("STANDARD", same))).execute([1])).output == [1]
        assert (await (await created(engine)).execute([1])).output == [2]
        machine = await engine.get_state_machine("orders/Each")
        revisions = [each.state_machine_revision for each in await engine.list_batches()]
    assert machine.revision == max(revisions)
    assert len(set(revisions)) == 2 or len(set(revisions)) == 3


async def test_no_items_are_an_empty_array(engine_factory: EngineFactory) -> None:
    async with engine_factory(tasks=Items().tasks, map_runs="shared") as engine:
        execution = await (await created(engine)).execute([])
        assert execution.output == []
        assert (await map_run_of(engine, execution)).status is BatchStatus.SUCCEEDED


async def test_the_map_runs_of_an_execution_that_does_not_exist(engine_factory: EngineFactory) -> None:
    async with engine_factory() as engine:
        with pytest.raises(StatechainError, match="parent_execution_id is 'no-execution'"):
            await engine.list_batches(parent_execution_id="no-execution")


async def test_the_tickets_of_a_map_run_are_sent_as_it_begins(engine_factory: EngineFactory) -> None:
    """The next sweep of so long a lease would come in twenty minutes."""
    items, dispatcher = Items(), RecordingDispatcher()
    async with engine_factory(tasks=items.tasks, map_runs="shared", dispatcher=dispatcher, lease=3600) as engine:
        execution = await (await created(engine, distributed(MaxConcurrency=2))).execute([1, 2])
        run = await map_run_of(engine, execution)
    assert {ticket.batch_id for ticket in dispatcher.sent} == {run.id}
