"""Distributed Maps with ``map_runs="shared"``: items are executions of their own, which all workers share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statechain import Engine, ExecutionFilter, StatechainError, TaskRegistry
from statechain.dispatchers.local import LocalDispatcher
from statechain.records.batches import BatchStatus
from support.chaining.dispatchers import RecordingDispatcher
from support.chaining.map_items import Items, created, distributed, events, map_run_of

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
