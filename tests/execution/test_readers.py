"""Where a distributed Map's items come from: files of each type, compressed or not, listings and manifests."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from support.engine_harness import EngineHarness, output, types
from support.item_files import LIST, READ, each, failure, reading, zstd

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


async def test_a_timestamp_is_cut_off_at_the_microsecond(quick: EngineHarness, bucket: Path) -> None:
    nanoseconds = 1_767_323_045_123_456_789
    table = pa.table(
        {
            "fine": pa.array([nanoseconds], pa.timestamp("ns")),
            "zoned": pa.array([nanoseconds], pa.timestamp("ns", tz="Asia/Tokyo")),
            "coarse": pa.array([1_767_323_045], pa.timestamp("s")),
        }
    )
    parquet.write_table(table, bucket / "a.parquet")
    (row,) = output(await quick.run(reading("a.parquet")))
    assert row == {
        "fine": "2026-01-02T03:04:05.123456",
        "zoned": "2026-01-02T03:04:05.123456Z",
        "coarse": "2026-01-02T03:04:05",
    }


async def test_a_timestamp_of_an_older_writer_may_have_any_year(quick: EngineHarness, bucket: Path) -> None:
    moments = [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)]  # noqa: DTZ001 -- such timestamps have no zone
    table = pa.table({"at": pa.array(moments, pa.timestamp("us"))})
    parquet.write_table(table, bucket / "a.parquet", use_deprecated_int96_timestamps=True)
    rows = output(await quick.run(reading("a.parquet")))
    assert [row["at"] for row in rows] == ["0001-01-01T00:00:00", "9999-12-31T00:00:00"]


async def test_a_whole_decimal_is_an_exact_integer(quick: EngineHarness, bucket: Path) -> None:
    number = 12_345_678_901_234_567_890
    parquet.write_table(pa.table({"n": [decimal.Decimal(f"{number}.00")]}), bucket / "a.parquet")
    assert (await quick.run(reading("a.parquet"))).output == [{"n": number}]


# JSON


async def test_json_may_begin_with_a_byte_order_mark(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert (await quick.run(reading("a.json"))).output == [1]


NESTED = {"a/b": {"~1": [[1], [2, 3]]}, "": [4], "1": [5]}


@pytest.mark.parametrize(
    ("pointer", "items"),
    [("/a~1b/~01/1", [2, 3]), ("/a~1b/~01/0", [1]), ("/", [4]), ("/1", [5])],
)
async def test_an_items_pointer_leads_into_objects_and_arrays(
    quick: EngineHarness, bucket: Path, pointer: str, items: list[int]
) -> None:
    (bucket / "a.json").write_text(json.dumps(NESTED))
    assert (await quick.run(reading("a.json", ItemsPointer=pointer))).output == items


@pytest.mark.parametrize("pointer", ["/b", "/a~1b/~01/2", "/a~1b/~01/-1", "/a~1b/~01/x", "/1/0/0"])
async def test_an_items_pointer_that_leads_nowhere_fails_the_reader(
    quick: EngineHarness, bucket: Path, pointer: str
) -> None:
    (bucket / "a.json").write_text(json.dumps(NESTED))
    cause = f'The items could not be read: the ItemsPointer "{pointer}" leads nowhere'
    assert await failure(quick, reading("a.json", ItemsPointer=pointer)) == ("States.ItemReaderFailed", cause)


async def test_all_items_of_a_large_file_are_read(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "a.jsonl").write_text("".join(f"{number}\n" for number in range(1_001)))
    assert (await quick.run(reading("a.jsonl"))).output == list(range(1_001))


# Delimited text


async def test_a_line_end_within_quotes_is_kept(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "a.csv").write_bytes(b'a,b\r\n"one\r\ntwo",3\r\n')
    assert (await quick.run(reading("a.csv"))).output == [{"a": "one\r\ntwo", "b": "3"}]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("a,b\n", []),
        ("a,b\n1\n", [{"a": "1", "b": ""}]),
        ("a,b\n1,2,3\n", [{"a": "1", "b": "2"}]),
    ],
)
async def test_a_row_has_the_fields_of_the_header(
    quick: EngineHarness, bucket: Path, text: str, items: list[dict[str, str]]
) -> None:
    (bucket / "a.csv").write_text(text)
    assert (await quick.run(reading("a.csv"))).output == items


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
        ("a.csv", zstd(b"")[:4] + b"\xff" * 20, DAMAGED),
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


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"Bucket": 1, "Key": "a"}, "Bucket must be a string"),
        ({"Bucket": "", "Key": "a"}, "Bucket must be a string"),
        ({"Bucket": "data", "Key": 1}, "Key must be a string"),
        ({"Bucket": "data", "Key": ""}, "Key must be a string"),
        ({"Bucket": "..", "Key": "secret.json"}, "the bucket '..' is outside of the folder for files"),
        ({"Bucket": "link", "Key": "secret.json"}, "the bucket 'link' is outside of the folder for files"),
        ({"Bucket": "data", "Key": "link.json"}, "the object 'link.json' is outside of its bucket"),
        ({"Bucket": "data", "Key": "../data.json"}, "the object '../data.json' is outside of its bucket"),
    ],
)
async def test_no_place_leads_out_of_the_folder_for_files(
    quick: EngineHarness, bucket: Path, tmp_path: Path, arguments: dict[str, Any], cause: str
) -> None:
    outside = tmp_path.parent / "secret.json"
    outside.write_text("[1]")
    (tmp_path / "link").symlink_to(tmp_path.parent)
    (bucket / "link.json").symlink_to(outside)
    reader = {"Resource": READ, "Parameters": arguments, "ReaderConfig": {"InputType": "JSON"}}
    assert await failure(quick, each(reader)) == ("States.ItemReaderFailed", f"The items could not be read: {cause}")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"Bucket": "da\0ta", "Key": "a"}, r"the bucket 'da\x00ta'"),
        ({"Bucket": "\ud800", "Key": "a"}, r"the bucket '\ud800'"),
        ({"Bucket": "data", "Key": "a\0"}, r"the object 'a\x00'"),
        ({"Bucket": "data", "Key": "in/\ud800"}, r"the object 'in/\ud800'"),
    ],
)
async def test_a_name_that_no_file_can_have_is_named_in_the_cause(
    quick: EngineHarness, bucket: Path, arguments: dict[str, Any], name: str
) -> None:
    reader = {"Resource": READ, "Parameters": arguments, "ReaderConfig": {"InputType": "JSON"}}
    cause = f"The items could not be read: {name} has a character that no file's name can have"
    assert await failure(quick, each(reader)) == ("States.ItemReaderFailed", cause)


async def test_a_prefix_that_no_file_can_have_is_named_in_the_cause(quick: EngineHarness, bucket: Path) -> None:
    reader = {"Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": {"Bucket": "data", "Prefix": "a\0/"}}
    cause = r"The items could not be read: the prefix 'a\x00/' has a character that no file's name can have"
    assert await failure(quick, each(reader)) == ("States.ItemReaderFailed", cause)


@pytest.mark.parametrize("key", ["/in/a.json", "in/a.json", "X/in.json"])
async def test_a_key_may_begin_with_a_slash(quick: EngineHarness, bucket: Path, key: str) -> None:
    path = bucket / key.removeprefix("/")
    path.parent.mkdir()
    path.write_text("[1]")
    definition = reading(key)
    definition["States"]["Each"]["ItemSelector"] = {"from.$": "$$.Map.Item.Source"}
    assert (await quick.run(definition)).output == [{"from": f"S3://data/{key.removeprefix('/')}"}]


@pytest.mark.parametrize("key", ["a.json/", "in//a.json", "./a.json", "in/../a.json", "in/./a.json", "//a.json/."])
async def test_a_key_that_is_written_in_another_way_is_another_object(
    quick: EngineHarness, bucket: Path, key: str
) -> None:
    for path in (bucket / "a.json", bucket / "in" / "a.json"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("[1]")
    reader = {"Resource": READ, "Parameters": {"Bucket": "data", "Key": key}, "ReaderConfig": {"InputType": "JSON"}}
    cause = f"The items could not be read: the bucket 'data' has no object '{key}'"
    assert await failure(quick, each(reader)) == ("States.ItemReaderFailed", cause)


@pytest.mark.parametrize("key", ["a", "a.txt", "json", "a.gz"])
async def test_a_file_whose_type_nothing_says_fails_the_reader(quick: EngineHarness, bucket: Path, key: str) -> None:
    (bucket / key).write_text("[1]")
    found = await failure(quick, each({"Resource": READ, "Parameters": {"Bucket": "data", "Key": key}}))
    cause = "the InputType is none of JSON, JSONL, CSV, PARQUET, and the Key does not say it"
    assert found == ("States.ItemReaderFailed", f"The items could not be read: {cause}")


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
