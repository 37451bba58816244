"""A distributed Map's items from local files, and its results to local files: S3's buckets are folders under a root.

Reads and writes happen in worker threads. What is wrong with a file is the Map's failure, in AWS's terms.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import attrs

from statechain.asl.outcome import Transfer
from statechain.codec import JSONValue, decode, encode
from statechain.errors import StateError

__all__ = ["Ended", "Files"]

Item: TypeAlias = "tuple[str | None, JSONValue]"

READER_FAILED = "States.ItemReaderFailed"
WRITER_FAILED = "States.ResultWriterFailed"
DELIMITERS = {"COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "SPACE": " ", "TAB": "\t"}
TYPES_BY_SUFFIX = {".json": "JSON", ".jsonl": "JSONL", ".csv": "CSV"}


@attrs.frozen(kw_only=True)
class Ended:
    """How an item of a Map Run ended, as its results tell it."""

    id: str
    name: str
    machine: str
    input: JSONValue
    output: JSONValue = None
    fault: StateError | None = None

    def describe(self) -> dict[str, JSONValue]:
        """Return the entry of an untransformed result."""
        told: dict[str, JSONValue] = {
            "ExecutionArn": self.id,
            "Input": encode(self.input),
            "InputDetails": {"Included": True},
            "Name": self.name,
            "StateMachineArn": self.machine,
        }
        if self.fault is None:
            output: dict[str, JSONValue] = {"Output": encode(self.output), "OutputDetails": {"Included": True}}
            return told | output | {"Status": "SUCCEEDED"}
        return told | {"Error": self.fault.error, "Cause": self.fault.cause, "Status": "FAILED"}


class Files:
    """Local files in the place of S3: the object ``Key`` of a ``Bucket`` is the file ``root/Bucket/Key``."""

    def __init__(self, root: Path | None) -> None:
        self._root = None if root is None else root.resolve()

    async def read(self, reader: Transfer) -> list[Item]:
        """Return the items that an ItemReader means, all in memory; raise StateError where they cannot be read."""
        read = READERS.get((reader.resource or "").rpartition(":")[2])
        if read is None:
            raise StateError(READER_FAILED, f"The ItemReader's resource {reader.resource!r} is not supported.")
        from anyio import to_thread  # noqa: PLC0415 -- 30 ms that only files pay

        bucket = self._bucket(reader, READER_FAILED)
        try:
            return await to_thread.run_sync(lambda: list(_first(read(bucket, reader), reader.config)))
        except (OSError, ValueError, csv.Error) as fault:
            raise StateError(READER_FAILED, f"The items could not be read: {_told(fault)}") from fault

    async def write(self, writer: Transfer, run: str, ended: Sequence[Ended]) -> JSONValue:
        """Write the results of a Map Run, and return what the Map puts out instead of them."""
        results = {
            "SUCCEEDED": [each for each in ended if each.fault is None],
            "FAILED": [each for each in ended if each.fault is not None],
        }
        if not writer.arguments:
            return _transformed(results["SUCCEEDED"], writer.config)
        from anyio import to_thread  # noqa: PLC0415

        bucket = self._bucket(writer, WRITER_FAILED)
        key = f"{str(writer.arguments.get('Prefix', '')).strip('/')}/{run}".lstrip("/")
        try:
            await to_thread.run_sync(lambda: _write_all(bucket, key, results, writer.config))
        except (OSError, ValueError) as fault:
            raise StateError(WRITER_FAILED, f"The results could not be written: {_told(fault)}") from fault
        manifest: dict[str, JSONValue] = {"Bucket": bucket.name, "Key": f"{key}/manifest.json"}
        return {"MapRunArn": run, "ResultWriterDetails": manifest}

    def _bucket(self, transfer: Transfer, error: str) -> Path:
        """Return the folder of a bucket, which lies directly below the root."""
        if self._root is None:
            raise StateError(error, "The engine was given no folder for files.")
        bucket = transfer.arguments.get("Bucket")
        if not isinstance(bucket, str) or not bucket:
            raise StateError(error, "Bucket must be a string.")
        folder = self._root / bucket
        if folder.parent != self._root or folder.resolve().parent != self._root:
            raise StateError(error, f"The bucket '{bucket}' is outside of the folder for files.")
        return folder


def _told(fault: Exception) -> str:
    """Return what is wrong with a file, without where this machine keeps it."""
    return fault.strerror or type(fault).__name__ if isinstance(fault, OSError) else str(fault)


def _first(items: Iterable[Item], config: Mapping[str, JSONValue]) -> Iterator[Item]:
    most = config.get("MaxItems")
    if most is None or most == 0:
        return iter(items)
    if isinstance(most, bool) or not isinstance(most, int) or most < 0:
        raise ValueError(f"MaxItems is {encode(most)}, and must be a positive integer")
    return islice(items, most)


def _object(bucket: Path, key: JSONValue) -> Path:
    """Return the file of an object, which stays inside its bucket."""
    if not isinstance(key, str) or not key:
        raise ValueError("Key must be a string")
    path = (bucket / key.lstrip("/")).resolve()
    if not path.is_relative_to(bucket.resolve()):
        raise ValueError(f"the object '{key}' is outside of its bucket")
    return path


# Readers


def _read_object(bucket: Path, reader: Transfer) -> Iterator[Item]:
    path = _object(bucket, reader.arguments.get("Key"))
    type_ = reader.config.get("InputType") or TYPES_BY_SUFFIX.get(path.suffix)
    parse = PARSERS.get(str(type_))
    if parse is None:
        raise ValueError(f"the InputType {type_!r} is not one of {', '.join(PARSERS)}")
    return parse(path, reader.config)


def _read_json(path: Path, config: Mapping[str, JSONValue]) -> Iterator[Item]:
    value = decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    pointer = config.get("ItemsPointer", "")
    for step in str(pointer).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            raise ValueError(f"the ItemsPointer {pointer!r} leads nowhere")
    if isinstance(value, dict):
        return ((key, {"Key": key, "Value": item}) for key, item in value.items())
    if not isinstance(value, list):
        raise ValueError("the file must hold an array or an object")
    return ((None, item) for item in value)


def _read_jsonl(path: Path, _config: Mapping[str, JSONValue]) -> Iterator[Item]:
    with path.open(encoding="utf-8-sig") as lines:
        for line in lines:
            if line.strip():
                yield None, decode(line)


def _read_csv(path: Path, config: Mapping[str, JSONValue]) -> Iterator[Item]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines, delimiter=DELIMITERS[str(config.get("CSVDelimiter", "COMMA"))], strict=True)
        headers = config.get("CSVHeaders") if config.get("CSVHeaderLocation") == "GIVEN" else next(rows, [])
        if not isinstance(headers, list):
            raise ValueError("CSVHeaders must be an array of strings")
        names = [str(header) for header in headers]
        for row in rows:
            if row:
                yield None, dict(zip(names, [*row, *[""] * (len(names) - len(row))], strict=False))


def _list_objects(bucket: Path, reader: Transfer) -> Iterator[Item]:
    """Yield what S3 tells of each object whose key begins with a prefix."""
    prefix = str(reader.arguments.get("Prefix", ""))
    for file in sorted(bucket.rglob("*")):
        key = file.relative_to(bucket).as_posix()
        if key.startswith(prefix) and file.is_file():
            stat = file.stat()
            yield None, {"Key": key, "LastModified": int(stat.st_mtime), "Size": stat.st_size}


READERS: dict[str, Callable[[Path, Transfer], Iterator[Item]]] = {
    "getObject": _read_object,
    "listObjectsV2": _list_objects,
}
PARSERS: dict[str, Callable[[Path, Mapping[str, JSONValue]], Iterator[Item]]] = {
    "JSON": _read_json,
    "JSONL": _read_jsonl,
    "CSV": _read_csv,
}


# The writer


def _transformed(ended: Sequence[Ended], config: Mapping[str, JSONValue]) -> list[JSONValue]:
    """Return results as the writer's Transformation wants them."""
    transformation = config.get("Transformation", "NONE")
    if transformation == "NONE":
        return [each.describe() for each in ended]
    outputs = [each.output for each in ended]
    if transformation == "COMPACT":
        return outputs
    return [part for output in outputs for part in (output if isinstance(output, list) else [output])]


def _write_all(
    bucket: Path, key: str, results: Mapping[str, Sequence[Ended]], config: Mapping[str, JSONValue]
) -> None:
    """Write one file for each status that occurs, and the manifest that lists them, last."""
    is_lines = config.get("OutputType") == "JSONL"
    listed: dict[str, list[dict[str, object]]] = {"FAILED": [], "PENDING": [], "SUCCEEDED": []}
    folder = _object(bucket, key)
    folder.mkdir(parents=True, exist_ok=True)
    for status, ended in results.items():
        if ended:
            entries = _transformed(ended, config if status == "SUCCEEDED" else {})
            text = "".join(f"{encode(entry)}\n" for entry in entries) if is_lines else encode(entries)
            file = folder / f"{status}_0.{'jsonl' if is_lines else 'json'}"
            file.write_text(text)
            listed[status].append({"Key": f"{key}/{file.name}", "Size": len(text)})
    manifest = {"DestinationBucket": bucket.name, "MapRunArn": folder.name, "ResultFiles": listed}
    (folder / "manifest.json").write_text(json.dumps(manifest))
