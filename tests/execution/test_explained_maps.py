"""What a distributed Map evaluates before and between its items: an error says where it was, in either way to run them.

Its items run in the process of their execution, or as executions of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from statechain import Engine

ITEMS = {
    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
    "StartAt": "Same",
    "States": {"Same": {"Type": "Pass", "End": True}},
}
PLACE = "An error occurred while executing the state 'Each item' (entered at the event id #2). "


def reader(**key: str) -> dict[str, Any]:
    return {
        "Resource": "arn:aws:states:::s3:getObject",
        "ReaderConfig": {"InputType": "JSON"},
        "Parameters": {"Bucket": "data", **key},
    }


def definition(**fields: Any) -> dict[str, Any]:
    state = {"Type": "Map", "ItemProcessor": ITEMS, "End": True, **fields}
    return {"StartAt": "Each item", "States": {"Each item": state}}


@pytest.mark.parametrize("map_runs", ["local", "shared"])
@pytest.mark.parametrize(
    "fields",
    [
        {"ToleratedFailureCountPath": "$.none"},
        {"ItemReader": reader(**{"Key.$": "$.none"})},
        {"ItemsPath": "$.items", "ItemSelector": {"of.$": "$.none"}},
        {"ItemReader": reader(Key="items.json"), "ItemBatcher": {"MaxItemsPerBatchPath": "$.none"}},
        {"ItemReader": reader(Key="items.json"), "ItemSelector": {"of.$": "$.none"}},
    ],
    ids=["the tolerance", "where the items are", "an item", "batches of what was read", "an item that was read"],
)
async def test_an_error_of_an_evaluation_says_where_it_was(
    tmp_path: Path, fields: dict[str, Any], map_runs: Any
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "items.json").write_text("[1, 2]")
    async with Engine("memory://", files=tmp_path, map_runs=map_runs) as engine:
        machine = await engine.create_state_machine("maps", definition(**fields))
        ended = await (await machine.start_execution({"items": [1]})).wait()
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert ended.cause is not None
    assert ended.cause.startswith(PLACE)
    assert "$.none" in ended.cause


async def test_the_id_of_a_map_run_that_is_shared_begins_with_what_is_safe_of_its_label() -> None:
    """The ids of its items' executions are made of it, and have to fit where names do."""
    async with Engine("memory://", map_runs="shared") as engine:
        machine = await engine.create_state_machine("maps", definition())
        assert (await machine.execute([1, 2])).output == [1, 2]
        (run,) = await engine.list_batches()
    assert run.id.startswith("Each-item-")
