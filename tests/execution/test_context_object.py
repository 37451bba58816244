"""The context object: what it holds in which state, and what a redrive or a distributed Map adds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from statechain import TaskError
from statechain.testing.clock import VirtualClock
from support.engine_harness import EngineHarness, machine, output, task
from support.item_files import DISTRIBUTED

EXECUTION = {"Id", "Input", "Name", "RoleArn", "StartTime", "RedriveCount"}
PASS = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}


def distributed(**more: Any) -> dict[str, Any]:
    processor = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, **PASS}
    return {"Type": "Map", "ItemProcessor": processor, "ItemSelector": {"s.$": "$$.Map.Item.Source"}, **more}


def echoing(harness: EngineHarness, *, fails: int = 0) -> None:
    left = [True] * fails

    async def echo(value: Any) -> Any:
        if left:
            left.pop()
            raise TaskError("Broken")
        return value

    harness.tasks.add("Echo", echo)


async def test_a_state_that_cannot_be_retried_has_no_retry_count(quick: EngineHarness) -> None:
    ended = await quick.run(machine(See={"Type": "Pass", "InputPath": "$$"}), {"n": 1})
    seen = output(ended)
    assert set(seen) == {"Execution", "StateMachine", "State"}
    assert set(seen["Execution"]) == EXECUTION
    assert set(seen["State"]) == {"Name", "EnteredTime"}


@pytest.mark.parametrize("kind", ["Task", "Parallel", "Map"])
async def test_a_state_that_can_be_retried_counts_its_retries(quick: EngineHarness, kind: str) -> None:
    echoing(quick, fails=2)
    retry = [{"ErrorEquals": ["Broken"], "MaxAttempts": 2, "IntervalSeconds": 1}]
    see = {"c.$": "$$.State"}
    inner = machine(Echo=task("Echo"))
    states: dict[str, Any] = {
        "Task": task("Echo", Parameters=see, Retry=retry),
        "Parallel": {"Type": "Parallel", "Branches": [inner], "Parameters": see, "Retry": retry},
        "Map": {"Type": "Map", "ItemProcessor": inner, "ItemSelector": see, "Retry": retry},
    }
    ended = await quick.run(machine(See=states[kind]), [1])
    found = output(ended) if kind == "Task" else output(ended)[0]
    assert found["c"]["RetryCount"] == 2


async def test_a_whole_second_has_no_fraction(quick: EngineHarness) -> None:
    assert isinstance(quick.clock, VirtualClock)
    see = {"Type": "Pass", "Parameters": {"at.$": "$$.State.EnteredTime", "began.$": "$$.Execution.StartTime"}}
    definition = machine(Wait={"Type": "Wait", "Seconds": 61, "Next": "See"}, See=see)
    assert output(await quick.run(definition)) == {"at": "2025-01-01T00:01:01Z", "began": "2025-01-01T00:00:00Z"}


async def test_a_redriven_execution_knows_when_it_was_last_redriven(harness: EngineHarness) -> None:
    echoing(harness, fails=3)
    see = {"c.$": "$$.Execution"}
    wait = {"Type": "Wait", "Seconds": 10, "Next": "Work"}
    failed = await harness.run(machine(Wait=wait, Work=task("Echo", Parameters=see)))
    for count in (1, 2, 3):
        ended = await (await harness.engine.redrive_execution(failed.id)).wait()
        history = await harness.engine.get_execution_history(failed.id)
        redriven = [event for event in history if event["type"] == "ExecutionRedriven"]
        assert len(redriven) == count
    seen = output(ended)["c"]
    assert set(seen) == EXECUTION | {"RedriveTime"}
    assert seen["RedriveCount"] == 3
    assert seen["RedriveTime"] == redriven[-1]["timestamp"].strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_an_item_knows_the_object_that_it_comes_from(quick: EngineHarness, tmp_path: Path) -> None:
    await quick.close()
    await quick.open(files=tmp_path)
    bucket = tmp_path / "b"
    (bucket / "in").mkdir(parents=True)
    (bucket / "in" / "one.json").write_text("[1]")
    (bucket / "in" / "two.json").write_text("[2]")
    get = {"Resource": "arn:aws:states:::s3:getObject", "Parameters": {"Bucket": "b", "Key": "in/one.json"}}
    listing = {"Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": {"Bucket": "b", "Prefix": "in/"}}
    config = {"Transformation": "LOAD_AND_FLATTEN", "InputType": "JSON"}
    flattened = {**listing, "ReaderConfig": config}
    sources: dict[str, list[str]] = {}
    for name, reader in (("get", get), ("list", listing), ("flatten", flattened)):
        ended = await quick.run(machine(Each=distributed(ItemReader=reader)))
        sources[name] = [item["s"] for item in output(ended)]
    assert sources == {
        "get": ["S3://b/in/one.json"],
        "list": ["S3://b", "S3://b"],
        "flatten": ["S3://b/in/one.json", "S3://b/in/two.json"],
    }


async def test_an_item_of_the_input_knows_that_too(quick: EngineHarness) -> None:
    assert output(await quick.run(machine(Each=distributed()), ["a"])) == [{"s": "STATE_DATA"}]
    inline = {"Type": "Map", "ItemProcessor": PASS, "ItemSelector": {"i.$": "$$.Map.Item"}}
    assert output(await quick.run(machine(Each=inline), ["a"])) == [{"i": {"Index": 0, "Value": "a"}}]


async def test_a_state_within_branches_of_an_iteration_knows_the_item(quick: EngineHarness) -> None:
    see = {"Type": "Pass", "Parameters": {"item.$": "$$.Map.Item"}}
    inner = {"Type": "Map", "ItemProcessor": machine(Inmost=see)}
    fork = {"Type": "Parallel", "Branches": [machine(See=see), machine(Inner=inner)]}
    outer = {"Type": "Map", "ItemProcessor": machine(Fork=fork)}
    assert output(await quick.run(machine(Outer=outer), [["a"], ["b"]])) == [
        [{"item": {"Index": index, "Value": [letter]}}, [{"item": {"Index": 0, "Value": letter}}]]
        for index, letter in enumerate("ab")
    ]


async def test_it_names_the_execution_and_its_machine(quick: EngineHarness) -> None:
    ended = await quick.run(machine(See={"Type": "Pass", "InputPath": "$$"}), {"n": 1})
    began = "2025-01-01T00:00:00Z"
    assert output(ended) == {
        "Execution": {
            "Id": ended.id,
            "Input": {"n": 1},
            "Name": ended.name,
            "RoleArn": "",
            "StartTime": began,
            "RedriveCount": 0,
        },
        "StateMachine": {"Id": ended.state_machine_id, "Name": "played"},
        "State": {"Name": "See", "EnteredTime": began},
    }


@pytest.mark.parametrize(("label", "shown"), [({}, "Each"), ({"Label": "every"}, "every")])
async def test_an_item_of_a_distributed_map_is_an_execution_of_its_own(
    quick: EngineHarness, label: dict[str, str], shown: str
) -> None:
    echoing(quick)
    missing = task(
        "Echo",
        Parameters={"x.$": "States.StringToJson($.text)"},
        Catch=[{"ErrorEquals": ["States.ALL"], "Next": "See"}],
    )
    see = {"Type": "Pass", "Parameters": {"context.$": "$$", "cause.$": "$.Cause", "kept.$": "$kept"}}
    states = machine(Keep={"Type": "Pass", "Assign": {"kept": "it"}, "Next": "Miss"}, Miss=missing, See=see)
    processor = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, **states}
    each = {"Type": "Map", "ItemProcessor": processor, "ItemsPath": "$.items", **label}
    wait = {"Type": "Wait", "Seconds": 61, "Next": "Each"}
    ended = await quick.run(machine(Wait=wait, Each=each), {"items": [{"text": "{"}]})
    (seen,) = output(ended)
    execution, states_machine = seen["context"]["Execution"], seen["context"]["StateMachine"]
    assert execution["Id"] == f"{ended.id}/{execution['Name']}"
    assert (execution["Input"], execution["StartTime"]) == ({"text": "{"}, "2025-01-01T00:01:01Z")
    assert states_machine == {"Id": f"{ended.state_machine_id}/{shown}", "Name": f"played/{shown}"}
    assert "the state 'Miss' (entered at the event id #4)" in seen["cause"]
    assert seen["kept"] == "it"


async def test_a_state_of_a_distributed_maps_item_knows_the_item(quick: EngineHarness) -> None:
    processor = machine(See={"Type": "Pass", "Parameters": {"item.$": "$$.Map.Item"}})
    state = distributed(ItemProcessor={"ProcessorConfig": DISTRIBUTED, **processor})
    seen = [each["item"] for each in output(await quick.run(machine(Each=state), ["a", "b"]))]
    assert [(item["Index"], item["Value"]) for item in seen] == [(0, "a"), (1, "b")]


async def test_an_item_that_was_begun_before_a_crash_keeps_its_start_time(harness: EngineHarness) -> None:
    async def block(_: Any) -> None:
        harness.calls["block"] += 1
        if harness.calls["block"] == 1:
            await asyncio.sleep(3600)

    harness.tasks.add("Block", block)
    see = {"Type": "Pass", "Parameters": {"began.$": "$$.Execution.StartTime", "now.$": "$$.State.EnteredTime"}}
    pause = {"Type": "Wait", "Seconds": 10, "Next": "Block"}
    processor = machine(Pause=pause, Block=task("Block", Next="See"), See=see)
    state = distributed(ItemProcessor={"ProcessorConfig": DISTRIBUTED, **processor})
    started = await harness.start(machine(Each=state), [1])
    await harness.reached("block")
    await harness.reopen()
    (seen,) = output(await harness.ended(started.id))
    assert seen == {"began": "2025-01-01T00:00:00Z", "now": "2025-01-01T00:00:10Z"}
