"""The items that a distributed Map's ItemReader means, read from local files: item by item, in bounded memory.

A JSON file alone is held whole while its items are taken. Generators read files, so they belong in a worker thread.
Raises ValueError where a file or a setting is not as it must be, and OSError as the file system does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import attrs

from statechain.asl.outcome import Transfer
from statechain.codec import JSONValue, decode, encode
from statechain.errors import InvalidPayload, StateError
from statechain.execution.files.buckets import Buckets
from statechain.execution.files.compression import SUFFIXES, open_text, open_uncompressed
from statechain.execution.files.csv_rows import csv_rows
from statechain.execution.files.parquet import parquet_rows

__all__ = ["READER_FAILED", "Item", "choice", "read_items"]

Item: TypeAlias = "tuple[str | None, JSONValue, str | None]"
"""An item with its key, None where it comes from an array, and the S3 URI of where it comes from."""

Member: TypeAlias = "tuple[str | None, JSONValue]"

READER_FAILED = "States.ItemReaderFailed"
DELIMITERS = {"COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "SPACE": " ", "TAB": "\t"}
TYPES_BY_SUFFIX = {".json": "JSON", ".jsonl": "JSONL", ".csv": "CSV", ".parquet": "PARQUET"}
MOST_ITEMS = 100_000_000
"""AWS's bound on MaxItems, which it keeps to where there is none."""

LARGEST_PART = 8 * 1024 * 1024
"""Bytes that S3's clients put in one part: the Etag of an object of one part is the MD5 digest of its content."""


@attrs.frozen(kw_only=True)
class ReaderConfig:
    """A ReaderConfig as it was evaluated.

    Attributes:
        input_type: What a file holds, or None where its name must say it.

        manifest_type: What a manifest lists, or None where the file is no manifest.

        flattens: Whether the contents of listed objects are the items, not what is known of the objects.

        delimiter: What separates the fields of delimited text.

        headers: The names of the columns of delimited text, or None where the first row has them.

        pointer: Leads to the items within a JSON file.

        most: How many items there may be at most.
    """

    input_type: str | None
    manifest_type: str | None
    flattens: bool
    delimiter: str
    headers: list[str] | None
    pointer: str
    most: int

    @classmethod
    def of(cls, config: Mapping[str, JSONValue]) -> ReaderConfig:
        """Return the settings of an evaluated configuration; raise ValueError where one is not as it must be."""
        input_type = choice(config, "InputType", (*PARSERS, "MANIFEST"))
        manifest = choice(config, "ManifestType", ("S3_INVENTORY", "ATHENA_DATA"))
        if input_type == "MANIFEST":
            input_type, manifest = None, manifest or "S3_INVENTORY"
        is_given = choice(config, "CSVHeaderLocation", ("FIRST_ROW", "GIVEN")) == "GIVEN"
        return cls(
            input_type=input_type,
            manifest_type=manifest,
            flattens=choice(config, "Transformation", ("NONE", "LOAD_AND_FLATTEN")) == "LOAD_AND_FLATTEN",
            delimiter=DELIMITERS[choice(config, "CSVDelimiter", DELIMITERS) or "COMMA"],
            headers=_headers(config.get("CSVHeaders")) if is_given else None,
            pointer=_pointer(config.get("ItemsPointer", "")),
            most=_most(config.get("MaxItems")),
        )


def choice(config: Mapping[str, JSONValue], field: str, values: Mapping[str, object] | tuple[str, ...]) -> str | None:
    """Return a setting that is one of some values, or None where it is not set."""
    found = config.get(field)
    if found is None or (isinstance(found, str) and found in values):
        return found
    raise ValueError(f"the {field} {encode(found)} is not one of {', '.join(values)}")


def _headers(headers: JSONValue) -> list[str]:
    if not isinstance(headers, list) or not all(isinstance(each, str) for each in headers):
        raise ValueError("CSVHeaders must be an array of strings")
    return [str(each) for each in headers]


def _pointer(pointer: JSONValue) -> str:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise ValueError(f"the ItemsPointer {encode(pointer)} is no JSON pointer")
    return pointer


def _most(most: JSONValue) -> int:
    if most is None or most == 0:
        return MOST_ITEMS
    if isinstance(most, bool) or not isinstance(most, int):
        raise ValueError(f"MaxItems is {encode(most)}, and must be a positive integer")
    if most < 0:
        raise StateError(READER_FAILED, "field MaxItems must be positive")
    return min(most, MOST_ITEMS)


def read_items(buckets: Buckets, reader: Transfer) -> Iterator[Item]:
    """Return the items that an ItemReader means; the files are opened as the items are taken."""
    config = ReaderConfig.of(reader.config)
    read = READERS.get((reader.resource or "").rpartition(":")[2])
    if read is None:
        raise ValueError(f"the resource {reader.resource!r} is not one of {', '.join(READERS)}")
    return islice(read(buckets, reader.arguments, config), config.most)


# Where the items are


def _read_object(buckets: Buckets, arguments: Mapping[str, JSONValue], config: ReaderConfig) -> Iterator[Item]:
    bucket = arguments.get("Bucket")
    path = buckets.existing(bucket, arguments.get("Key"))
    match config.manifest_type:
        case "S3_INVENTORY":
            return _read_inventory(buckets, bucket, path, config)
        case "ATHENA_DATA":
            return _read_listed(buckets, path, config)
        case _:
            return _parse(path, _uri(bucket, arguments.get("Key")), config)


def _list_objects(buckets: Buckets, arguments: Mapping[str, JSONValue], config: ReaderConfig) -> Iterator[Item]:
    """Yield what S3 says of each object whose key begins with a prefix, or the items in those objects."""
    bucket = arguments.get("Bucket")
    for key, path in buckets.objects(bucket, arguments.get("Prefix", "")):
        if config.flattens:
            yield from _parse(buckets.existing(bucket, key), _uri(bucket, key), config)
        else:
            yield None, _described(key, path), f"S3://{bucket}"


def _uri(bucket: JSONValue, key: JSONValue) -> str:
    """Return an object's name as the context object has it."""
    return f"S3://{bucket}/{str(key).lstrip('/')}"


def _described(key: str, path: Path) -> JSONValue:
    stat = path.stat()
    return {
        "Etag": _etag(path, stat.st_size, stat.st_mtime_ns),
        "Key": key,
        "LastModified": int(stat.st_mtime),
        "Size": stat.st_size,
        "StorageClass": "STANDARD",
    }


def _etag(path: Path, size: int, changed: int) -> str:
    """Return an Etag, quotes included; a large file is not read for it, and has one as an object of many parts has."""
    if size <= LARGEST_PART:
        return f'"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"'
    digest = hashlib.md5(f"{size}:{changed}".encode(), usedforsecurity=False)
    return f'"{digest.hexdigest()}-{-(-size // LARGEST_PART)}"'


def _read_inventory(buckets: Buckets, bucket: JSONValue, path: Path, config: ReaderConfig) -> Iterator[Item]:
    """Yield the rows of an S3 inventory, whose manifest names its files, their bucket and their columns."""
    manifest = _decoded(path)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or not isinstance(files, list):
        raise ValueError("the manifest is no S3 inventory: it has no array of files")
    destination = manifest.get("destinationBucket")
    bucket = destination.rpartition(":")[2] if isinstance(destination, str) else bucket
    schema, type_ = manifest.get("fileSchema"), str(manifest.get("fileFormat", "CSV")).upper()
    if type_ not in {"CSV", "PARQUET"}:
        raise ValueError(f"an inventory in the format {type_} cannot be read: make it CSV")
    if not isinstance(schema, str):
        raise ValueError("the manifest is no S3 inventory: it has no fileSchema")
    config = attrs.evolve(config, input_type=type_, headers=[name.strip() for name in schema.split(",")])
    for file in files:
        key = file.get("key") if isinstance(file, dict) else None
        yield from _parse(buckets.existing(bucket, key), _uri(bucket, key), config)


def _read_listed(buckets: Buckets, path: Path, config: ReaderConfig) -> Iterator[Item]:
    """Yield the items of the files that an Athena manifest lists, one S3 URI a line."""
    with open_text(path) as lines:
        for line in lines:
            uri = line.strip().strip('"')
            if uri:
                bucket, _, key = uri.removeprefix("s3://").partition("/")
                yield from _parse(buckets.existing(bucket, key), _uri(bucket, key), config)


READERS: dict[str, Callable[[Buckets, Mapping[str, JSONValue], ReaderConfig], Iterator[Item]]] = {
    "getObject": _read_object,
    "listObjectsV2": _list_objects,
}


# What a file holds


def _parse(path: Path, uri: str, config: ReaderConfig) -> Iterator[Item]:
    suffixes = [suffix for suffix in path.suffixes if suffix not in SUFFIXES]
    type_ = config.input_type or TYPES_BY_SUFFIX.get(suffixes[-1] if suffixes else "")
    if type_ is None:
        raise ValueError(f"the InputType is none of {', '.join(PARSERS)}, and the Key does not say it")
    return ((key, value, uri) for key, value in PARSERS[type_](path, config))


def _decoded(path: Path) -> JSONValue:
    with open_uncompressed(path) as file:
        # A byte order mark, which JSON does not allow.
        return decode(file.read().removeprefix(b"\xef\xbb\xbf"))


def _parse_json(path: Path, config: ReaderConfig) -> Iterator[Member]:
    value = _at(config.pointer, _decoded(path))
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, {"Key": key, "Value": item}
    elif isinstance(value, list):
        for item in value:
            yield None, item
    else:
        raise ValueError("the file must hold an array or an object")


def _at(pointer: str, value: JSONValue) -> JSONValue:
    for step in pointer.split("/")[1:]:
        # In this order (RFC 6901), so that `~01` means `~1`.
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            raise ValueError(f"the ItemsPointer {encode(pointer)} leads nowhere")
    return value


def _parse_jsonl(path: Path, _config: ReaderConfig) -> Iterator[Member]:
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield None, _decoded_line(line.rstrip(), number)


def _decoded_line(line: str, number: int) -> JSONValue:
    try:
        return decode(line)
    except InvalidPayload as error:
        raise ValueError(f"line {number} of the file: {error}") from error


def _parse_csv(path: Path, config: ReaderConfig) -> Iterator[Member]:
    with open_text(path) as lines:
        rows = csv_rows(lines, config.delimiter)
        names = next(rows, []) if config.headers is None else config.headers
        if len(set(names)) < len(names):
            raise StateError(READER_FAILED, "CSV headers cannot contain duplicates.")
        for row in rows:
            # As on AWS, missing fields are empty strings, and fields beyond the header are skipped.
            yield None, dict(zip(names, [*row, *[""] * (len(names) - len(row))], strict=False))


def _parse_parquet(path: Path, _config: ReaderConfig) -> Iterator[Member]:
    return ((None, row) for row in parquet_rows(path))


PARSERS: dict[str, Callable[[Path, ReaderConfig], Iterator[Member]]] = {
    "JSON": _parse_json,
    "JSONL": _parse_jsonl,
    "CSV": _parse_csv,
    "PARQUET": _parse_parquet,
}
