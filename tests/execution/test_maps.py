"""Distributed Maps: items from files, batches, tolerated failures, results in files; and how wide a Map runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from statechain import TaskError
from support.engine_harness import EngineHarness, machine, output, task, types

READ = "arn:aws:states:::s3:getObject"
LIST = "arn:aws:states:::s3:listObjectsV2"
WRITE = "arn:aws:states:::s3:putObject"
DISTRIBUTED = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
SAME = machine(Same={"Type": "Pass"})


def distributed(processor: dict[str, Any] = SAME, **more: Any) -> dict[str, Any]:
    return {"Type": "Map", "ItemProcessor": {**DISTRIBUTED, **processor}, **more}


def read(key: str, **config: Any) -> dict[str, Any]:
    return {"Resource": READ, "Parameters": {"Bucket": "data", "Key": key}, "ReaderConfig": config}


@pytest.mark.parametrize(
    ("name", "text", "config", "items"),
    [
        ("a.json", '[1, {"b": 2}]', {"InputType": "JSON"}, [1, {"b": 2}]),
        ("a.json", '{"x": 1}', {"InputType": "JSON"}, [{"Key": "x", "Value": 1}]),
        ("a.json", '{"deep": {"er": [7]}}', {"InputType": "JSON", "ItemsPointer": "/deep/er"}, [7]),
        ("a.jsonl", '{"a": 1}\n\n{"a": 2}\n', {"InputType": "JSONL"}, [{"a": 1}, {"a": 2}]),
        ("a.csv", "id,name\n1,Ann\n2,\n", {"InputType": "CSV"}, [{"id": "1", "name": "Ann"}, {"id": "2", "name": ""}]),
        (
            "a.csv",
            '1|"x|y"\n2\n',
            {"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["a", "b"], "CSVDelimiter": "PIPE"},
            [{"a": "1", "b": "x|y"}, {"a": "2", "b": ""}],
        ),
        ("a.json", "[1, 2, 3, 4]", {"InputType": "JSON", "MaxItems": 2}, [1, 2]),
        ("a.json", "[1, 2, 3, 4]", {"InputType": "JSON", "MaxItemsPath": "$.most"}, [1, 2, 3]),
    ],
)
async def test_items_are_read_from_a_file(
    quick: EngineHarness, bucket: Path, name: str, text: str, config: dict[str, Any], items: list[Any]
) -> None:
    (bucket / name).write_text(text)
    ended = await quick.run(machine(Each=distributed(ItemReader=read(name, **config))), {"most": 3})
    assert ended.output == items, ended.cause
    assert types(await quick.history(ended)) == [
        "ExecutionStarted",
        "MapStateEntered",
        "MapStateStarted",
        "MapRunStarted",
        "MapRunSucceeded",
        "MapStateSucceeded",
        "MapStateExited",
        "ExecutionSucceeded",
    ]


async def test_the_objects_of_a_bucket_are_items(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "in").mkdir()
    for name in ("in/b.txt", "in/a.txt", "other.txt"):
        (bucket / name).write_text("text")
    reader = {"Resource": LIST, "Parameters": {"Bucket": "data", "Prefix": "in/"}}
    ended = await quick.run(machine(Each=distributed(ItemReader=reader)))
    assert [(item["Key"], item["Size"]) for item in output(ended)] == [("in/a.txt", 4), ("in/b.txt", 4)]


@pytest.mark.parametrize("key", ["missing.json", "../secret.json", "bad.json"])
async def test_what_cannot_be_read_fails_the_map(quick: EngineHarness, bucket: Path, key: str) -> None:
    (bucket.parent / "secret.json").write_text("[1]")
    (bucket / "bad.json").write_text("[1,")
    catch = [{"ErrorEquals": ["States.ItemReaderFailed"], "Next": "Caught"}]
    definition = machine(Each=distributed(ItemReader=read(key, InputType="JSON"), Catch=catch), Caught={"Type": "Pass"})
    ended = await quick.run(definition)
    assert output(ended)["Error"] == "States.ItemReaderFailed"
    assert str(bucket.parent) not in output(ended)["Cause"]
    told = types(await quick.history(ended))
    assert told[2:6] == ["MapStateStarted", "MapRunStarted", "MapRunFailed", "MapStateFailed"]


async def test_items_are_batched_by_number_and_size(quick: EngineHarness) -> None:
    batcher = {"MaxItemsPerBatch": 2, "BatchInput": {"of.$": "$.name"}}
    ended = await quick.run(
        machine(Each=distributed(ItemsPath="$.items", ItemBatcher=batcher)), {"name": "n", "items": [1, 2, 3]}
    )
    assert ended.output == [
        {"BatchInput": {"of": "n"}, "Items": [1, 2]},
        {"BatchInput": {"of": "n"}, "Items": [3]},
    ]
    small = {"MaxInputBytesPerBatch": 36}
    ended = await quick.run(machine(Each=distributed(ItemBatcher=small)), ["x" * 20, "y" * 2, "z" * 3])
    assert ended.output == [{"Items": ["x" * 20]}, {"Items": ["yy", "zzz"]}]


def picky(harness: EngineHarness) -> dict[str, Any]:
    """Return a processor that fails for items below 0."""

    async def check(value: int) -> int:
        if value < 0:
            raise TaskError("Negative", cause=str(value))
        return value

    harness.tasks.add("Check", check)
    return machine(Check=task("Check"))


@pytest.mark.parametrize(
    ("tolerated", "items", "status"),
    [
        ({}, [1, -1], "FAILED"),
        ({"ToleratedFailureCount": 1}, [1, -1], "SUCCEEDED"),
        ({"ToleratedFailureCount": 1}, [1, -1, -2], "FAILED"),
        ({"ToleratedFailurePercentage": 50}, [1, -1], "SUCCEEDED"),
        ({"ToleratedFailurePercentage": 49}, [1, -1], "FAILED"),
        ({"ToleratedFailureCount": 0, "ToleratedFailurePercentage": 100}, [1, -1], "FAILED"),
    ],
)
async def test_failures_are_tolerated_up_to_a_bound(
    quick: EngineHarness, tolerated: dict[str, int], items: list[int], status: str
) -> None:
    ended = await quick.run(machine(Each=distributed(picky(quick), **tolerated)), items)
    assert ended.status == status
    if status == "SUCCEEDED":
        assert ended.output == [1]
    else:
        assert ended.error == "States.ExceedToleratedFailureThreshold"
        assert types(await quick.history(ended))[-3:] == ["MapRunFailed", "MapStateFailed", "ExecutionFailed"]


async def test_a_map_run_that_failed_says_why_in_the_history(quick: EngineHarness) -> None:
    ended = await quick.run(machine(Each=distributed(machine(No={"Type": "Fail", "Error": "No"}))), [1])
    (failed,) = [event for event in await quick.history(ended) if event["type"] == "MapRunFailed"]
    assert failed["mapRunFailedEventDetails"] == {
        "error": "States.ExceedToleratedFailureThreshold",
        "cause": "The specified tolerated failure threshold was exceeded",
    }


async def test_results_are_written_to_files(quick: EngineHarness, bucket: Path) -> None:
    writer = {"Resource": WRITE, "Parameters": {"Bucket": "data", "Prefix": "out"}}
    definition = machine(Each=distributed(picky(quick), ToleratedFailureCount=1, ResultWriter=writer))
    ended = await quick.run(definition, [1, -1, 2])
    details = output(ended)["ResultWriterDetails"]
    manifest = json.loads((bucket / details["Key"]).read_text())
    files = manifest["ResultFiles"]
    (succeeded,), (failed,) = files["SUCCEEDED"], files["FAILED"]
    good = json.loads((bucket / succeeded["Key"]).read_text())
    assert [(entry["Status"], json.loads(entry["Output"])) for entry in good] == [("SUCCEEDED", 1), ("SUCCEEDED", 2)]
    (bad,) = json.loads((bucket / failed["Key"]).read_text())
    assert (bad["Error"], bad["Cause"], json.loads(bad["Input"])) == ("Negative", "-1", -1)
    assert succeeded["Size"] == (bucket / succeeded["Key"]).stat().st_size


async def test_results_are_written_as_the_writer_says(quick: EngineHarness, bucket: Path) -> None:
    config = {"Transformation": "FLATTEN", "OutputType": "JSONL"}
    writer = {"Resource": WRITE, "Parameters": {"Bucket": "data"}, "WriterConfig": config}
    ended = await quick.run(machine(Each=distributed(ResultWriter=writer)), [[1, 2], 3])
    manifest = json.loads((bucket / output(ended)["ResultWriterDetails"]["Key"]).read_text())
    (succeeded,) = manifest["ResultFiles"]["SUCCEEDED"]
    assert (bucket / succeeded["Key"]).read_text() == "1\n2\n3\n"


@pytest.mark.parametrize("transformation", ["NONE", "COMPACT"])
@pytest.mark.parametrize(("levels", "failed"), [(2, 0), (3, 1)])
async def test_results_that_nest_as_deep_as_a_payload_are_written(
    quick: EngineHarness, bucket: Path, transformation: str, levels: int, failed: int
) -> None:
    """With three levels around it the first item is too deep, and has failed."""
    deep: Any = 1
    for _ in range(198):
        deep = [deep]
    selector: Any = {"in.$": "$$.Map.Item.Value"}
    for _ in range(levels - 1):
        selector = {"in": selector}
    writer = {"Resource": WRITE, "Parameters": {"Bucket": "data"}, "WriterConfig": {"Transformation": transformation}}
    each = distributed(ItemsPath="$.items", ItemSelector=selector, ToleratedFailureCount=1, ResultWriter=writer)
    ended = await quick.run(machine(Each=each), {"items": [deep, 1]})
    manifest = json.loads((bucket / output(ended)["ResultWriterDetails"]["Key"]).read_text())
    bad = [json.loads((bucket / file["Key"]).read_text()) for file in manifest["ResultFiles"]["FAILED"]]
    assert [entry["Error"] for entries in bad for entry in entries] == ["States.DataLimitExceeded"] * failed
    (good,) = [json.loads((bucket / file["Key"]).read_text()) for file in manifest["ResultFiles"]["SUCCEEDED"]]
    assert len(good) == 2 - failed


async def test_a_distributed_map_that_crashed_does_not_repeat_its_items(harness: EngineHarness) -> None:
    async def work(value: int) -> int:
        harness.calls[str(value)] += 1
        if value == 3 and harness.calls["3"] == 1:
            await asyncio.sleep(3600)
        if value == 1:
            raise TaskError("Odd")
        return value * 2

    harness.tasks.add("Work", work)
    processor = machine(Do=task("Work", Next="After"), After={"Type": "Pass"})
    definition = machine(Each=distributed(processor, MaxConcurrency=1, ToleratedFailureCount=1))
    started = await harness.start(definition, [0, 1, 2, 3, 4])
    await harness.reached("3")
    await harness.reopen()
    assert (await harness.ended(started.id)).output == [0, 4, 6, 8]
    assert harness.calls == {"0": 1, "1": 1, "2": 1, "3": 2, "4": 1}


@pytest.mark.parametrize("is_nested", [False, True])
async def test_after_a_crash_the_events_of_items_do_not_count_among_the_executions(
    harness: EngineHarness, *, is_nested: bool
) -> None:
    async def work(value: int) -> int:
        harness.calls["work"] += 1
        if harness.calls["work"] == 2:
            await asyncio.sleep(3600)
        return value

    harness.tasks.add("Work", work)
    steps = {f"P{number}": {"Type": "Pass", "Next": f"P{number + 1}"} for number in range(9)}
    inner = {"Type": "Map", "ItemProcessor": machine(**steps, P9=task("Work"))}
    each = distributed(machine(Inner=inner), MaxConcurrency=1)
    fork = {"Type": "Parallel", "Branches": [machine(Each=each)], "OutputPath": "$[0]"}
    started = await harness.start(machine(Fork=fork) if is_nested else machine(Each=each), [[1], [2], [3]])
    await harness.reached("work", 2)
    await harness.reopen()
    assert (await harness.ended(started.id)).output == [[1], [2], [3]]
    history = await harness.history(started)
    assert [event["id"] for event in history] == list(range(1, len(history) + 1))


@pytest.mark.parametrize(("bound", "widest"), [({}, 40), ({"MaxConcurrency": 3}, 3), ({"MaxConcurrency": 1}, 1)])
@pytest.mark.parametrize("is_distributed", [False, True])
async def test_a_map_runs_as_wide_as_it_may(
    quick: EngineHarness, bound: dict[str, int], widest: int, *, is_distributed: bool
) -> None:
    running: list[int] = [0, 0]

    async def work(value: Any) -> Any:
        running[0] += 1
        running[1] = max(running)
        while running[1] < widest:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        running[0] -= 1
        return value

    quick.tasks.add("Work", work)
    work_on = machine(Do=task("Work"))
    each = distributed(work_on, **bound) if is_distributed else {"Type": "Map", "ItemProcessor": work_on, **bound}
    ended = await quick.run(machine(Each=each), list(range(50)))
    assert ended.output == list(range(50))
    assert running[1] == widest


async def test_all_branches_of_a_parallel_run_at_once(quick: EngineHarness) -> None:
    async def work(value: Any) -> Any:
        quick.calls["work"] += 1
        await quick.reached("work", 41)
        return value

    quick.tasks.add("Work", work)
    fork = {"Type": "Parallel", "Branches": [machine(**{f"Do{number}": task("Work")}) for number in range(41)]}
    assert (await quick.run(machine(Fork=fork), 1)).output == [1] * 41


async def test_an_item_sees_an_execution_of_its_own(quick: EngineHarness) -> None:
    look = machine(Look={"Type": "Pass", "Parameters": {"context.$": "$$"}})
    definition = machine(Each=distributed(look, ItemSelector={"n.$": "$$.Map.Item.Value"}, Label="Spread"))
    ended = await quick.run(definition, [7, 8])
    contexts = [item["context"] for item in output(ended)]
    assert [context["Execution"]["Input"] for context in contexts] == [{"n": 7}, {"n": 8}]
    assert len({context["Execution"]["Id"] for context in contexts} | {ended.id}) == 3
    assert {context["StateMachine"]["Name"] for context in contexts} == {"played/Spread"}
