"""Results of shared Map Runs that are written to files: also of items that had no execution."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from statechain import Engine, TaskRegistry
from statechain.chaining import map_runs
from support.chaining.map_items import Items, created, distributed, map_run_of, refusing

EngineFactory = Callable[..., Engine]


async def test_an_item_that_was_refused_is_written_with_its_cause(
    engine_factory: EngineFactory, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    writer = {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "data", "Prefix": "out"}}
    definition, value, limits = refusing(ResultWriter=writer)
    async with engine_factory(map_runs="shared", limits=limits, files=tmp_path) as engine:
        execution = await (await created(engine, definition)).execute(value)
        run = await map_run_of(engine, execution)
        (refused, _) = await engine.list_batch_results(run.id)
        (failed,) = json.loads((tmp_path / "data" / "out" / run.id / "FAILED_0.json").read_text())
    assert refused.execution_id is None
    assert refused.cause is not None
    assert failed == {
        "ExecutionArn": "",
        "Name": refused.name,
        "StateMachineArn": "",
        "Input": "null",
        "InputDetails": {"Included": True},
        "Status": "FAILED",
        "Error": refused.error,
        "Cause": refused.cause,
    }


async def test_the_entries_of_items_that_ended_have_all_that_their_executions_have(
    engine_factory: EngineFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_runs, "PAGE", 1)
    (tmp_path / "data").mkdir()
    writer = {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "data", "Prefix": "out"}}
    definition = distributed(ResultWriter=writer, ToleratedFailureCount=1)
    async with engine_factory(tasks=Items(1).tasks, map_runs="shared", files=tmp_path) as engine:
        execution = await (await created(engine, definition)).execute([0, 1])
        run = await map_run_of(engine, execution)
        folder = tmp_path / "data" / "out" / run.id
        (succeeded,) = json.loads((folder / "SUCCEEDED_0.json").read_text())
        (failed,) = json.loads((folder / "FAILED_0.json").read_text())
        ids = [each.execution_id or "" for each in await engine.list_batch_results(run.id)]
        first, second = [await engine.get_execution(id_) for id_ in ids]
    assert succeeded["StateMachineArn"] == failed["StateMachineArn"] == run.state_machine_id
    assert (succeeded["ExecutionArn"], succeeded["Status"], succeeded["Output"]) == (first.id, "SUCCEEDED", "0")
    assert "Error" not in succeeded
    assert (failed["ExecutionArn"], failed["Status"]) == (second.id, "FAILED")
    assert (failed["Error"], failed["Cause"]) == (second.error, second.cause) == ("ValueError", "1")
    assert "Output" not in failed


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_items_that_ran_when_their_map_run_ended_are_pending(
    engine_factory: EngineFactory, tmp_path: Path, *, is_stopped: bool
) -> None:
    """Also where one was stopped by itself before."""
    (tmp_path / "data").mkdir()
    writer = {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "data", "Prefix": "out"}}
    tolerated = 2 if is_stopped else 0
    definition = distributed(ResultWriter=writer, ToleratedFailureCount=tolerated, MaxConcurrency=2)
    items = Items(1)
    tasks = TaskRegistry()

    @tasks.register("Item")
    async def item(value: int) -> int:
        if value == 1 and not is_stopped:
            await items.reached(1)
            raise ValueError(value)
        return await items.item(value)

    items.gate.clear()
    async with engine_factory(tasks=tasks, map_runs="shared", files=tmp_path) as engine:
        handle = await (await created(engine, definition)).start_execution([0, 1])
        await items.reached(2 if is_stopped else 1)
        run = await map_run_of(engine, handle.execution)
        if is_stopped:
            await engine.stop_batch(run.id)
        assert (await handle.wait()).status == "FAILED"
        folder = tmp_path / "data" / "out" / run.id
        pending = json.loads((folder / "PENDING_0.json").read_text())
        assert [(each["Name"], each["Status"], "Output" in each) for each in pending] == [
            (f"{run.id}-{number}", "PENDING", False) for number in ((0, 1) if is_stopped else (0,))
        ]
        assert (folder / "FAILED_0.json").exists() is not is_stopped


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
