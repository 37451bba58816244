"""Where a distributed Map's items come from: objects that are listed, and manifests that list files."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from statechain.execution.files.readers import LARGEST_PART
from support.engine_harness import EngineHarness, output
from support.item_files import LIST, each, failure, listing, reading

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


async def test_without_a_prefix_all_objects_are_listed(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "a").write_text("")
    items = output(await quick.run(each({"Resource": LIST, "Parameters": {"Bucket": "data"}})))
    assert [item["Key"] for item in items] == ["a"]


@pytest.mark.parametrize(("size", "parts"), [(LARGEST_PART + 1, 2), (2 * LARGEST_PART, 2), (2 * LARGEST_PART + 1, 3)])
async def test_the_etag_of_a_large_object_changes_with_its_size_and_its_time(
    quick: EngineHarness, bucket: Path, size: int, parts: int
) -> None:
    async def etag(bytes_: int, changed: int) -> str:
        with (bucket / "large").open("wb") as file:
            file.truncate(bytes_)
        os.utime(bucket / "large", ns=(changed, changed))
        (item,) = output(await quick.run(listing("large")))
        return str(item["Etag"])

    first = await etag(size, 1_000)
    assert re.fullmatch(rf'"[0-9a-f]{{32}}-{parts}"', first)
    assert await etag(size, 1_000) == first
    assert len({first, await etag(size, 2_000), await etag(size - LARGEST_PART // 2, 1_000)}) == 3


async def test_the_etag_of_an_object_of_one_part_is_the_digest_of_its_content(
    quick: EngineHarness, bucket: Path
) -> None:
    content = bytes(LARGEST_PART)
    (bucket / "a").write_bytes(content)
    (item,) = output(await quick.run(listing("a")))
    assert item["Etag"] == f'"{hashlib.md5(content).hexdigest()}"'


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


@pytest.mark.parametrize(
    ("manifest", "cause"),
    [
        ([], "the manifest is no S3 inventory: it has no array of files"),
        ({"files": 1}, "the manifest is no S3 inventory: it has no array of files"),
        ({"files": [{"key": "one"}]}, "the manifest is no S3 inventory: it has no fileSchema"),
        ({**INVENTORY, "fileFormat": "ORC"}, "an inventory in the format ORC cannot be read: make it CSV"),
        ({**INVENTORY, "files": ["one"]}, "Key must be a string"),
    ],
)
async def test_what_is_wrong_with_a_manifest_is_the_cause(
    quick: EngineHarness, bucket: Path, manifest: Any, cause: str
) -> None:
    (bucket / "manifest.json").write_text(json.dumps(manifest))
    found = await failure(quick, reading("manifest.json", InputType="MANIFEST"))
    assert found == ("States.ItemReaderFailed", f"The items could not be read: {cause}")


async def test_an_inventory_may_be_in_the_bucket_of_its_manifest(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "lists").mkdir()
    (bucket / "lists" / "one").write_text('"source","a"\n')
    manifest = {"fileSchema": "Bucket, Key", "files": [{"key": "lists/one"}]}
    (bucket / "manifest.json").write_text(json.dumps(manifest))
    definition = reading("manifest.json", InputType="MANIFEST")
    definition["States"]["Each"]["ItemSelector"] = {"item.$": "$$.Map.Item.Value", "from.$": "$$.Map.Item.Source"}
    assert (await quick.run(definition)).output == [
        {"item": {"Bucket": "source", "Key": "a"}, "from": "S3://data/lists/one"}
    ]


async def test_the_files_of_an_inventory_may_be_parquet(quick: EngineHarness, bucket: Path) -> None:
    parquet.write_table(pa.table({"key": ["a", "b"]}), bucket / "one")
    manifest = {"fileFormat": "Parquet", "fileSchema": "message s3.inventory {}", "files": [{"key": "one"}]}
    (bucket / "manifest.json").write_text(json.dumps(manifest))
    items = (await quick.run(reading("manifest.json", InputType="MANIFEST"))).output
    assert items == [{"key": "a"}, {"key": "b"}]


async def test_the_files_of_an_athena_manifest_may_be_quoted_and_in_other_buckets(
    quick: EngineHarness, bucket: Path
) -> None:
    other = bucket.parent / "other"
    (other / "in").mkdir(parents=True)
    (other / "in" / "one.json").write_text("[1]")
    (bucket / "two.json").write_text("[2]")
    (bucket / "manifest.csv").write_text('"s3://other/in/one.json"\n\n"s3://data/two.json"\n')
    definition = reading("manifest.csv", ManifestType="ATHENA_DATA", InputType="JSON")
    definition["States"]["Each"]["ItemSelector"] = {"item.$": "$$.Map.Item.Value", "from.$": "$$.Map.Item.Source"}
    assert (await quick.run(definition)).output == [
        {"item": 1, "from": "S3://other/in/one.json"},
        {"item": 2, "from": "S3://data/two.json"},
    ]


async def test_the_files_of_an_athena_manifest_are_read(quick: EngineHarness, bucket: Path) -> None:
    (bucket / "one.gz").write_bytes(gzip.compress(b'{"a": 1}\n{"a": 2}\n'))
    (bucket / "two").write_text('{"a": 3}\n')
    (bucket / "manifest.csv").write_text("s3://data/one.gz\ns3://data/two\n")
    config = {"ManifestType": "ATHENA_DATA", "InputType": "JSONL"}
    assert (await quick.run(reading("manifest.csv", **config))).output == [{"a": 1}, {"a": 2}, {"a": 3}]
