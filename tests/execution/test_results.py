"""What a distributed Map does with its results: transformed, put out or written to files."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from statechain import TaskError
from support.engine_harness import EngineHarness, machine, output, task
from support.item_files import DISTRIBUTED, failure

WRITE = "arn:aws:states:::s3:putObject"


@pytest.mark.parametrize(
    ("config", "outputs"),
    [({"Transformation": "COMPACT"}, [[1, 2], 3]), ({"Transformation": "FLATTEN"}, [1, 2, 3])],
)
async def test_results_are_transformed_without_being_written(
    quick: EngineHarness, config: dict[str, str], outputs: list[Any]
) -> None:
    processor = {"ProcessorConfig": DISTRIBUTED, **machine(Same={"Type": "Pass"})}
    state = {"Type": "Map", "ItemProcessor": processor, "ResultWriter": {"WriterConfig": config}}
    assert (await quick.run(machine(Each=state), [[1, 2], 3])).output == outputs


async def test_the_results_of_a_map_run_that_failed_are_written(quick: EngineHarness, bucket: Path) -> None:
    async def work(value: int) -> int:
        quick.calls["work"] += 1
        if quick.calls["well"]:
            return value
        if value == 1:
            await quick.reached("work", 3)
            raise TaskError("Odd")
        if value == 2:
            await asyncio.sleep(3600)
        return value

    quick.tasks.add("Work", work)
    processor = {"ProcessorConfig": DISTRIBUTED, **machine(Do={"Type": "Task", "Resource": "Work"})}
    writer = {"Resource": WRITE, "Parameters": {"Bucket": "data", "Prefix": "out"}}
    state = {"Type": "Map", "MaxConcurrency": 2, "ItemProcessor": processor, "ResultWriter": writer}
    failed = await quick.run(machine(**{"a/b": state}), [0, 1, 2, 3])
    assert failed.error == "States.ExceedToleratedFailureThreshold"
    (path,) = (bucket / "out").rglob("manifest.json")
    manifest = json.loads(path.read_text())
    assert manifest["MapRunArn"] == path.parent.relative_to(bucket / "out").as_posix()
    inputs = {}
    for status, files in manifest["ResultFiles"].items():
        (file,) = files
        entries = json.loads((bucket / file["Key"]).read_text())
        assert {entry["Status"] for entry in entries} == {status}
        inputs[status] = [json.loads(entry["Input"]) for entry in entries]
    assert inputs == {"FAILED": [1], "PENDING": [2], "SUCCEEDED": [0]}

    quick.calls["well"] = 1
    await (await quick.engine.redrive_execution(failed.id)).wait()
    files = json.loads(path.read_text())["ResultFiles"]
    assert (files["FAILED"], files["PENDING"]) == ([], [])
    assert {file.name for file in path.parent.iterdir()} == {"manifest.json", "SUCCEEDED_0.json"}


@pytest.mark.parametrize(
    ("arguments", "config"),
    [
        ({"Bucket": "data"}, {"Transformation": "{% 'SQUEEZE' %}"}),
        ({"Bucket": "data"}, {"OutputType": "{% 'XML' %}"}),
        ({"Bucket": "{% 1 %}"}, {}),
        ({"Bucket": "data", "Prefix": "{% 1 %}"}, {}),
        ({"Bucket": "data", "Prefix": "../other"}, {}),
    ],
)
async def test_a_writer_that_could_not_write_fails_before_the_items_run(
    quick: EngineHarness, bucket: Path, arguments: dict[str, str], config: dict[str, str]
) -> None:
    async def work(value: Any) -> Any:
        quick.calls["work"] += 1
        return value

    quick.tasks.add("Work", work)
    processor = {"ProcessorConfig": DISTRIBUTED, **machine(Do={"Type": "Task", "Resource": "Work"})}
    writer = {"Resource": WRITE, "Arguments": arguments, "WriterConfig": config}
    state = {"Type": "Map", "QueryLanguage": "JSONata", "ItemProcessor": processor, "ResultWriter": writer}
    error, _ = await failure(quick, machine(Each=state), [1])
    assert (error, quick.calls["work"]) == ("States.ResultWriterFailed", 0)


def writing(arguments: dict[str, Any], **config: Any) -> dict[str, Any]:
    """Return a machine that doubles its items, of which one may fail, and writes the results."""
    processor = {"ProcessorConfig": DISTRIBUTED, **machine(Do=task("Double"))}
    writer = {"Resource": WRITE, "Parameters": arguments, "WriterConfig": config}
    state = {"Type": "Map", "ItemProcessor": processor, "ToleratedFailureCount": 1}
    return machine(Each={**state, "ResultWriter": writer if arguments else {"WriterConfig": config}})


@pytest.fixture
def doubling(quick: EngineHarness) -> EngineHarness:
    """Have a handler that doubles, and refuses zero."""

    async def double(value: int) -> int:
        if not value:
            raise TaskError("Zero", cause="nothing to double")
        return value * 2

    quick.tasks.add("Double", double)
    return quick


@pytest.mark.parametrize("config", [{}, {"Transformation": "NONE"}, {"OutputType": "JSON"}])
async def test_a_result_that_is_not_transformed_says_what_is_known_of_its_item(
    doubling: EngineHarness, config: dict[str, str]
) -> None:
    ended = await doubling.run(writing({}, **config), [1, 0, 3])
    assert output(ended) == [
        {
            "ExecutionArn": f"{ended.id}/Each[{index}]",
            "Input": item,
            "InputDetails": {"Included": True},
            "Name": f"Each-{index}",
            "Output": doubled,
            "OutputDetails": {"Included": True},
            "StateMachineArn": ended.state_machine_id,
            "Status": "SUCCEEDED",
        }
        for index, item, doubled in ((0, "1", "2"), (2, "3", "6"))
    ]


@pytest.mark.parametrize(
    ("prefix", "folder"),
    [({}, ""), ({"Prefix": ""}, ""), ({"Prefix": "out"}, "out/"), ({"Prefix": "/X/out/"}, "X/out/")],
)
@pytest.mark.parametrize(
    ("suffix", "config"), [("json", {}), ("json", {"OutputType": "JSON"}), ("jsonl", {"OutputType": "JSONL"})]
)
async def test_a_manifest_lists_the_files_of_results(
    doubling: EngineHarness,
    bucket: Path,
    prefix: dict[str, str],
    folder: str,
    suffix: str,
    config: dict[str, str],
) -> None:
    ended = await doubling.run(writing({"Bucket": "data", **prefix}, **config), [1, 0, 3])
    put_out = output(ended)
    run = put_out["MapRunArn"]
    key = f"{folder}{run}"
    assert put_out == {
        "MapRunArn": run,
        "ResultWriterDetails": {"Bucket": "data", "Key": f"{key}/manifest.json"},
    }
    failed, succeeded = (f"{key}/{status}_0.{suffix}" for status in ("FAILED", "SUCCEEDED"))
    assert json.loads((bucket / key / "manifest.json").read_bytes()) == {
        "DestinationBucket": "data",
        "MapRunArn": run,
        "ResultFiles": {
            "FAILED": [{"Key": failed, "Size": (bucket / failed).stat().st_size}],
            "PENDING": [],
            "SUCCEEDED": [{"Key": succeeded, "Size": (bucket / succeeded).stat().st_size}],
        },
    }
    text = (bucket / failed).read_text()
    (entry,) = [json.loads(text)] if suffix == "jsonl" else json.loads(text)
    assert text.endswith("\n") == (suffix == "jsonl")
    assert entry == {
        "Cause": "nothing to double",
        "Error": "Zero",
        "ExecutionArn": f"{ended.id}/Each[1]",
        "Input": "0",
        "InputDetails": {"Included": True},
        "Name": "Each-1",
        "StateMachineArn": ended.state_machine_id,
        "Status": "FAILED",
    }


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
async def test_only_results_that_succeeded_are_transformed_in_files(
    doubling: EngineHarness, bucket: Path, suffix: str
) -> None:
    definition = writing({"Bucket": "data"}, Transformation="COMPACT", OutputType=suffix.upper())
    run = output(await doubling.run(definition, [1, 0, 3]))["MapRunArn"]
    text = {status: (bucket / run / f"{status}_0.{suffix}").read_text() for status in ("FAILED", "SUCCEEDED")}
    assert text["SUCCEEDED"] == ("[2,6]" if suffix == "json" else "2\n6\n")
    assert json.loads(text["FAILED"].strip("[]\n"))["Error"] == "Zero"


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"Bucket": "{% 1 %}"}, "Bucket must be a string"),
        ({"Bucket": ""}, "Bucket must be a string"),
        ({"Bucket": ".."}, "the bucket '..' is outside of the folder for files"),
        ({"Bucket": "data", "Prefix": "{% 1 %}"}, "Prefix must be a string"),
        ({"Bucket": "data", "Prefix": "../other"}, "the object '../other' is outside of its bucket"),
        ({"Bucket": "data", "Prefix": "a\0"}, r"the object 'a\x00' has a character that no file's name can have"),
    ],
)
async def test_why_a_writer_could_not_write_is_the_cause(
    quick: EngineHarness, bucket: Path, arguments: dict[str, str], cause: str
) -> None:
    processor = {"ProcessorConfig": DISTRIBUTED, **machine(Same={"Type": "Pass"})}
    writer = {"Resource": WRITE, "Arguments": arguments}
    state = {"Type": "Map", "QueryLanguage": "JSONata", "ItemProcessor": processor, "ResultWriter": writer}
    found = await failure(quick, machine(Each=state), [1])
    assert found == ("States.ResultWriterFailed", f"The results cannot be written: {cause}")


async def test_results_that_could_not_be_written_fail_the_map_without_the_path_of_this_machine(
    doubling: EngineHarness, bucket: Path
) -> None:
    (bucket / "out").write_text("a file where a folder must be")
    found = await failure(doubling, writing({"Bucket": "data", "Prefix": "out"}), [1])
    assert found == ("States.ResultWriterFailed", "The results could not be written: Not a directory")


async def test_an_item_that_had_failed_before_a_crash_is_listed_with_its_error(
    quick: EngineHarness, bucket: Path, tmp_path: Path
) -> None:
    async def work(value: int) -> int:
        quick.calls[str(value)] += 1
        if value == 0:
            raise TaskError("Zero", cause="nothing to double")
        if quick.calls[str(value)] == 1:
            await asyncio.sleep(3600)
        return value * 2

    quick.tasks.add("Double", work)
    definition = writing({"Bucket": "data"})
    definition["States"]["Each"]["MaxConcurrency"] = 1
    started = await quick.start(definition, [0, 1])
    await quick.reached("1")
    await quick.written(started, 2)  # the Map, and the item that failed
    await quick.reopen(files=tmp_path)
    run = output(await quick.ended(started.id))["MapRunArn"]
    (failed,) = json.loads((bucket / run / "FAILED_0.json").read_text())
    assert (failed["Error"], failed["Cause"], quick.calls) == ("Zero", "nothing to double", {"0": 1, "1": 2})
