"""Where a distributed Map's items come from: files of each type, compressed or not, listings and manifests."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from support.engine_harness import EngineHarness, output, types
from support.item_files import LIST, READ, each, failure, listing, reading, zstd

# Compressed files


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
@pytest.mark.parametrize(
    ("name", "content", "items"),
    [
        ("a.json", '[1, {"é": 2}]', [1, {"é": 2}]),
        ("a.jsonl", '{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ("a.csv", "\ufeffa,b\n1,é\n", [{"a": "1", "b": "é"}]),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
async def test_a_file_may_be_compressed(
    quick: EngineHarness,
    bucket: Path,
    compress: Callable[[bytes], bytes],
    name: str,
    content: str,
    items: list[Any],
    suffix: str,
) -> None:
    (bucket / (name + suffix)).write_bytes(compress(content.encode()))
    assert (await quick.run(reading(name + suffix))).output == items


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
async def test_a_damaged_compressed_file_fails_the_reader(
    quick: EngineHarness, bucket: Path, compress: Callable[[bytes], bytes]
) -> None:
    whole = compress(b"".join(b'{"a": %d}\n' % each for each in range(1000)))
    (bucket / "a.jsonl").write_bytes(whole[: len(whole) // 2])
    assert (await failure(quick, reading("a.jsonl")))[0] == "States.ItemReaderFailed"
    (bucket / "b.jsonl").write_bytes(whole[:20] + bytes(20) + whole[40:])
    assert (await failure(quick, reading("b.jsonl")))[0] == "States.ItemReaderFailed"


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes a package one that is not installed."""
    return lambda name: monkeypatch.setitem(sys.modules, name, None)


async def test_zstandard_that_is_not_installed_names_the_extra(
    quick: EngineHarness, bucket: Path, missing: Callable[[str], None]
) -> None:
    (bucket / "a.jsonl").write_bytes(zstd(b"1\n"))
    missing("backports.zstd")
    missing("compression.zstd")
    error, cause = await failure(quick, reading("a.jsonl"))
    assert (error, "statechain[zstd]" in str(cause)) == ("States.ItemReaderFailed", True)


# Parquet


async def test_the_rows_of_a_parquet_file_are_items(quick: EngineHarness, bucket: Path) -> None:
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    table = pa.table(
        {
            "id": [1, 2],
            "name": ["Ann", None],
            "price": pa.array([decimal.Decimal("12.50"), decimal.Decimal("3.00")]),
            "share": [0.5, float("nan")],
            "at": pa.array([moment, None], pa.timestamp("ns", tz="UTC")),
            "day": pa.array([moment.date(), None]),
            "took": pa.array([dt.timedelta(seconds=1.5), None]),
            "raw": pa.array([b"\xff", None]),
            "tags": [["a", "b"], []],
            "nested": [{"x": 1}, None],
            "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        }
    )
    parquet.write_table(table, bucket / "a.parquet", row_group_size=1)
    first, second = output(await quick.run(reading("a.parquet")))
    assert first == {
        "id": 1,
        "name": "Ann",
        "price": 12.5,
        "share": 0.5,
        "at": "2026-01-02T03:04:05Z",
        "day": "2026-01-02",
        "took": 1.5,
        "raw": "/w==",
        "tags": ["a", "b"],
        "nested": {"x": 1},
        "map": {"k": 1},
    }
    assert (second["price"], second["share"], second["map"], second["name"]) == (3, None, {}, None)
    assert (await quick.run(reading("a.parquet", MaxItems=1))).output == [first]


async def test_what_is_no_parquet_file_fails_the_reader(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "a.parquet").write_bytes(b"no parquet")
    assert (await failure(quick, reading("a.parquet")))[0] == "States.ItemReaderFailed"


async def test_parquet_that_is_not_installed_names_the_extra(
    quick: EngineHarness, bucket: Path, missing: Callable[[str], None]
) -> None:
    (bucket / "a.parquet").write_bytes(b"")
    missing("pyarrow")
    error, cause = await failure(quick, reading("a.parquet"))
    assert (error, "statechain[parquet]" in str(cause)) == ("States.ItemReaderFailed", True)


# Delimited text


async def test_a_row_of_any_length_is_read(quick: EngineHarness, bucket: Path) -> None:
    long = "x" * 140_000
    (bucket / "a.csv").write_text(f"a,b\n{long},1\n")
    ended = await quick.run(reading("a.csv"))
    assert ended.output == [{"a": long, "b": "1"}]


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ({"CSVDelimiter": "{% ';' %}"}, 'the CSVDelimiter ";" is not one of COMMA, PIPE, SEMICOLON, SPACE, TAB'),
        ({"CSVDelimiter": "{% 1 %}"}, "the CSVDelimiter 1 is not one of COMMA, PIPE, SEMICOLON, SPACE, TAB"),
        ({"CSVDelimiter": "{% {} %}"}, "the CSVDelimiter {} is not one of COMMA, PIPE, SEMICOLON, SPACE, TAB"),
        ({"CSVHeaderLocation": "{% 'TOP' %}"}, 'the CSVHeaderLocation "TOP" is not one of FIRST_ROW, GIVEN'),
        ({"CSVHeaderLocation": "GIVEN", "CSVHeaders": "{% [1] %}"}, "CSVHeaders must be an array of strings"),
        ({"InputType": "{% 'XML' %}"}, 'the InputType "XML" is not one of JSON, JSONL, CSV, PARQUET, MANIFEST'),
        ({"InputType": "JSON", "ItemsPointer": "{% 'a' %}"}, 'the ItemsPointer "a" is no JSON pointer'),
        ({"Transformation": "{% 'ZIP' %}"}, 'the Transformation "ZIP" is not one of NONE, LOAD_AND_FLATTEN'),
        ({"ManifestType": "{% 'S4' %}"}, 'the ManifestType "S4" is not one of S3_INVENTORY, ATHENA_DATA'),
    ],
)
async def test_a_setting_that_evaluates_to_nonsense_is_the_readers_failure(
    quick: EngineHarness, bucket: Path, config: dict[str, Any], cause: str
) -> None:
    (bucket / "a.csv").write_text("a\n1\n")
    arguments = {"Bucket": "data", "Key": "a.csv"}
    config = {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW", **config}
    reader = {"Resource": READ, "Arguments": arguments, "ReaderConfig": config}
    catch = [{"ErrorEquals": ["States.ItemReaderFailed"], "Output": "{% $states.errorOutput %}", "Next": "Caught"}]
    definition = each(reader, Catch=catch, QueryLanguage="JSONata")
    definition["States"]["Caught"] = {"Type": "Pass", "End": True}
    caught = output(await quick.run(definition))
    assert caught == {"Error": "States.ItemReaderFailed", "Cause": f"The items could not be read: {cause}"}


DAMAGED = "it is damaged: what is compressed in it cannot be read"


@pytest.mark.parametrize(
    ("key", "content", "cause"),
    [
        ("a.json", b"[1,", "not JSON: line 1, column 4: it ends where a value is missing"),
        ("a.json", b"", "not JSON: line 1, column 1: it ends where a value is missing"),
        ("a.json", b'["\xff"]', "not JSON: it is not encoded in UTF-8"),
        ("a.json", b"[" + b"1" * 5_000 + b"]", "a number has too many digits: use a string"),
        (
            "a.jsonl",
            b"1\n\n{'a': 1}\n",
            "line 3 of the file: not JSON: line 1, column 2: a key in double quotes is missing",
        ),
        (
            "a.jsonl",
            b'1\n{"a":\n',
            "line 2 of the file: not JSON: line 1, column 6: it ends where a value is missing",
        ),
        ("a.jsonl", b"\xff\n", "it is not encoded in UTF-8"),
        ("a.csv", b"a\n\xff\n", "it is not encoded in UTF-8"),
        ("a.csv", b"\x1f\x8b\x08garbage of ten bytes", DAMAGED),
        ("a.csv", gzip.compress(b"a\n1\n", mtime=0)[:-9], DAMAGED),
        ("a.csv", gzip.compress(b"a\n1\n", mtime=0)[:-8] + bytes(8), DAMAGED),
        ("a.csv", zstd(b"a\n1\n")[:-3], DAMAGED),
        ("a.parquet", b"PAR1 and nothing else PAR1", "it is no Parquet file, or it is damaged"),
        ("a.parquet", b"", "it is no Parquet file, or it is damaged"),
    ],
)
async def test_a_cause_tells_what_is_wrong_with_a_file_in_plain_words(
    quick: EngineHarness, bucket: Path, key: str, content: bytes, cause: str
) -> None:
    (bucket / key).write_bytes(content)
    found = await failure(quick, reading(key))
    assert found == ("States.ItemReaderFailed", f"The items could not be read: {cause}")


@pytest.mark.parametrize("arguments", [{"Bucket": 1, "Key": "a"}, {"Bucket": "data"}, {"Bucket": "..", "Key": "a"}])
@pytest.mark.parametrize("resource", [READ, LIST])
async def test_a_place_that_is_none_fails_the_reader(
    quick: EngineHarness, bucket: Path, arguments: dict[str, Any], resource: str
) -> None:
    if resource == LIST:
        arguments = {**arguments, "Prefix": 5}
    error, _ = await failure(quick, each({"Resource": resource, "Parameters": arguments}))
    assert error == "States.ItemReaderFailed"


# MaxItems


@pytest.mark.parametrize("value", [2, "2"])
async def test_max_items_path_finds_a_number_or_its_digits(quick: EngineHarness, bucket: Path, value: Any) -> None:
    (bucket / "a.json").write_text("[1, 2, 3]")
    assert (await quick.run(reading("a.json", MaxItemsPath="$.n"), {"n": value})).output == [1, 2]


@pytest.mark.parametrize("value", [1.5, "x", None, True, [1]])
async def test_max_items_path_that_finds_no_integer_ends_the_execution(
    quick: EngineHarness, bucket: Path, value: Any
) -> None:
    (bucket / "a.json").write_text("[1, 2, 3]")
    ended = await quick.run(reading("a.json", MaxItemsPath="$.n"), {"n": value})
    shown = value if isinstance(value, str) else json.dumps(value)
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert ended.cause == (
        "An error occurred while executing the state 'Each' (entered at the event id #2). "
        f'The MaxItemsPath field refers to value "{shown}" which is not a valid integer: $.n'
    )
    assert types(await quick.history(ended))[1:] == ["MapStateEntered", "MapStateStarted", "ExecutionFailed"]


async def test_a_negative_max_items_fails_the_reader(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "a.json").write_text("[1]")
    found = await failure(quick, reading("a.json", MaxItemsPath="$.n"), {"n": -1})
    assert found == ("States.ItemReaderFailed", "field MaxItems must be positive")


@pytest.mark.parametrize("value", ["'x'", "1.5", "[]"])
async def test_an_expression_for_max_items_must_give_an_integer(quick: EngineHarness, bucket: Path, value: str) -> None:
    (bucket / "a.json").write_text("[1]")
    config = {"InputType": "JSON", "MaxItems": f"{{% {value} %}}"}
    reader = {"Resource": READ, "Arguments": {"Bucket": "data", "Key": "a.json"}, "ReaderConfig": config}
    error, _ = await failure(quick, each(reader, QueryLanguage="JSONata"))
    assert error == "States.QueryEvaluationError"


async def test_no_more_is_read_than_max_items(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "a.jsonl").write_text("1\n2\nthis is no JSON\n")
    assert (await quick.run(reading("a.jsonl", MaxItems=2))).output == [1, 2]


# Listings


async def test_listed_objects_are_described_as_s3_does(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "in").mkdir()
    (bucket / "in" / "a.txt").write_bytes(b"text")
    (item,) = output(await quick.run(listing("in/")))
    digest = hashlib.md5(b"text").hexdigest()
    changed = int((bucket / "in" / "a.txt").stat().st_mtime)
    assert item == {
        "Etag": f'"{digest}"',
        "Key": "in/a.txt",
        "LastModified": changed,
        "Size": 4,
        "StorageClass": "STANDARD",
    }


async def test_objects_are_listed_in_the_order_of_their_keys(quick: EngineHarness, bucket: Path) -> None:
    for key in ("a/b", "a-b", "a.b", "b/é", "b/z"):
        (bucket / key).parent.mkdir(exist_ok=True)
        (bucket / key).write_text("")
    items = output(await quick.run(listing("")))
    assert [item["Key"] for item in items] == ["a-b", "a.b", "a/b", "b/z", "b/é"]


async def test_a_prefix_leads_nowhere_outside_its_bucket(quick: EngineHarness, bucket: Path) -> None:
    (bucket.parent / "other").mkdir()
    (bucket.parent / "other" / "secret").write_text("")
    for prefix in ("../other/", str(bucket.parent / "other") + "/"):
        assert (await quick.run(listing(prefix))).output == []


async def test_a_bucket_that_does_not_exist_fails_the_reader(quick: EngineHarness, bucket: Path) -> None:
    reader = {"Resource": LIST, "Parameters": {"Bucket": "nowhere"}}
    found = await failure(quick, each(reader))
    assert found == ("States.ItemReaderFailed", "The items could not be read: the bucket 'nowhere' does not exist")


@pytest.mark.parametrize("key", ["missing.json", "folder.json"])
async def test_an_object_that_does_not_exist_is_named(quick: EngineHarness, bucket: Path, key: str) -> None:
    (bucket / "folder.json").mkdir()
    found = await failure(quick, reading(key))
    assert found == ("States.ItemReaderFailed", f"The items could not be read: the bucket 'data' has no object '{key}'")
    bucket.rename(bucket.parent / "elsewhere")  # noqa: ASYNC240
    found = await failure(quick, reading(key))
    assert found == ("States.ItemReaderFailed", "The items could not be read: the bucket 'data' does not exist")


async def test_load_and_flatten_reads_the_listed_objects(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "in").mkdir()
    (bucket / "in" / "a.json").write_text("[1, 2]")
    (bucket / "in" / "b.json").write_bytes(gzip.compress(b"[3]"))
    (bucket / "other.json").write_text("[9]")
    config = {"InputType": "JSON", "Transformation": "LOAD_AND_FLATTEN"}
    assert (await quick.run(listing("in/", **config))).output == [1, 2, 3]
    assert (await quick.run(listing("in/", MaxItems=2, **config))).output == [1, 2]


async def test_each_flattened_table_has_its_own_header(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "a.csv").write_text("x,y\n1,2\n")
    (bucket / "b.csv").write_text("y,x\n3,4\n")
    config = {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW", "Transformation": "LOAD_AND_FLATTEN"}
    assert (await quick.run(listing("", **config))).output == [{"x": "1", "y": "2"}, {"y": "3", "x": "4"}]


# Manifests

INVENTORY = {
    "sourceBucket": "source",
    "destinationBucket": "arn:aws:s3:::lists",
    "fileFormat": "CSV",
    "fileSchema": "Bucket, Key, Size",
    "files": [{"key": "one.csv.gz"}, {"key": "two.csv"}],
}


@pytest.mark.parametrize("config", [{"InputType": "MANIFEST"}, {"ManifestType": "S3_INVENTORY"}])
async def test_the_rows_of_an_inventory_are_items(quick: EngineHarness, bucket: Path, config: dict[str, str]) -> None:
    lists = bucket.parent / "lists"
    lists.mkdir()
    (lists / "one.csv.gz").write_bytes(gzip.compress(b'"source","a","1"\n"source","b","2"\n'))
    (lists / "two.csv").write_text('"source","c","3"\n')
    (bucket / "manifest.json").write_text(json.dumps(INVENTORY))
    items = output(await quick.run(reading("manifest.json", **config)))
    assert [(item["Bucket"], item["Key"], item["Size"]) for item in items] == [
        ("source", "a", "1"),
        ("source", "b", "2"),
        ("source", "c", "3"),
    ]


@pytest.mark.parametrize(
    "manifest",
    [[], {}, {"files": 1}, {**INVENTORY, "fileFormat": "ORC"}, {**INVENTORY, "files": [{}]}],
    ids=["an array", "no files", "files that are none", "ORC", "a file without key"],
)
async def test_a_manifest_that_is_none_fails_the_reader(quick: EngineHarness, bucket: Path, manifest: Any) -> None:
    (bucket / "manifest.json").write_text(json.dumps(manifest))
    error, _ = await failure(quick, reading("manifest.json", InputType="MANIFEST"))
    assert error == "States.ItemReaderFailed"


async def test_the_files_of_an_athena_manifest_are_read(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "one.gz").write_bytes(gzip.compress(b'{"a": 1}\n{"a": 2}\n'))
    (bucket / "two").write_text('{"a": 3}\n')
    (bucket / "manifest.csv").write_text("s3://data/one.gz\ns3://data/two\n")
    config = {"ManifestType": "ATHENA_DATA", "InputType": "JSONL"}
    assert (await quick.run(reading("manifest.csv", **config))).output == [{"a": 1}, {"a": 2}, {"a": 3}]
