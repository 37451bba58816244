"""A distributed Map's items from local files, and its results to local files, in the place of S3.

Files are read and written in worker threads. What is wrong with one is the Map's failure, in AWS's terms.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

import attrs

from statechain.asl.outcome import Transfer
from statechain.clock import Clock
from statechain.codec import JSONValue, encode_plain
from statechain.errors import StateError
from statechain.execution.files.buckets import Buckets
from statechain.execution.files.compression import describe, read_errors
from statechain.execution.files.readers import READER_FAILED, Item, choice, read_items

__all__ = ["Ended", "Files"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

WRITER_FAILED = "States.ResultWriterFailed"
WRITER = "putObject"
SUCCEEDED, FAILED, PENDING = STATUSES = ("SUCCEEDED", "FAILED", "PENDING")
ITEMS_AT_ONCE = 1_000
"""How many items are read between two looks at whether the Map was cancelled."""


@attrs.frozen(kw_only=True)
class Ended:
    """How an item of a Map Run ended, for its results.

    Attributes:
        status: SUCCEEDED, FAILED, or PENDING where the item was running when the Map Run failed.
    """

    id: str
    name: str
    machine: str
    input: JSONValue
    status: str
    output: JSONValue = None
    fault: StateError | None = None

    def describe(self) -> dict[str, JSONValue]:
        """Return the entry of an untransformed result."""
        entry: dict[str, JSONValue] = {
            "ExecutionArn": self.id,
            "Input": encode_plain(self.input),
            "InputDetails": {"Included": True},
            "Name": self.name,
            "StateMachineArn": self.machine,
            "Status": self.status,
        }
        if self.fault is not None:
            entry |= {"Error": self.fault.error, "Cause": self.fault.cause}
        elif self.status == SUCCEEDED:
            entry |= {"Output": encode_plain(self.output), "OutputDetails": {"Included": True}}
        return entry


class Files:
    """Local files in the place of S3: a bucket is a folder below the root."""

    def __init__(self, root: Path | None, clock: Clock) -> None:
        self._buckets = Buckets(root)
        self._clock = clock

    async def read(self, reader: Transfer) -> list[Item]:
        """Return the items that an ItemReader means, all in memory; raise StateError where they cannot be read."""
        items: list[Item] = []
        with _failing(READER_FAILED, "The items could not be read"):
            left = read_items(self._buckets, reader)
            # The generator is used by one thread at a time, though not always by the same one.
            while some := await self._in_thread(lambda: list(islice(left, ITEMS_AT_ONCE))):
                items += some
        return items

    def check(self, writer: Transfer) -> None:
        """Refuse a ResultWriter that could not write, before the items run; raise StateError."""
        with _failing(WRITER_FAILED, "The results cannot be written"):
            choice(writer.config, "Transformation", ("NONE", "COMPACT", "FLATTEN"))
            choice(writer.config, "OutputType", ("JSON", "JSONL"))
            if writer.arguments:
                if (writer.resource or "").rpartition(":")[2] != WRITER:
                    raise ValueError(f"the resource {writer.resource!r} is not {WRITER}")
                self._folder(writer, "")

    async def write(self, writer: Transfer, run: str, ended: Sequence[Ended]) -> JSONValue:
        """Write the results of a Map Run, and return what the Map puts out instead of them."""
        results = {status: [each for each in ended if each.status == status] for status in STATUSES}
        if not writer.arguments:
            return _transformed(results[SUCCEEDED], writer.config)
        with _failing(WRITER_FAILED, "The results could not be written"):
            bucket, key, folder = self._folder(writer, run)
            manifest = {"DestinationBucket": bucket, "MapRunArn": run}
            await self._in_thread(lambda: _write_all(folder, key, results, writer.config, manifest))
        location: dict[str, JSONValue] = {"Bucket": bucket, "Key": f"{key}/manifest.json"}
        return {"MapRunArn": run, "ResultWriterDetails": location}

    def _folder(self, writer: Transfer, run: str) -> tuple[str, str, Path]:
        """Return the bucket, the key and the folder of a Map Run's results."""
        prefix = writer.arguments.get("Prefix", "")
        if not isinstance(prefix, str):
            raise ValueError("Prefix must be a string")
        bucket, key = writer.arguments.get("Bucket"), f"{prefix.strip('/')}/{run}".strip("/")
        folder = self._buckets.file(bucket, key) if key else self._buckets.folder(bucket)
        return str(bucket), key, folder

    async def _in_thread(self, work: Callable[[], T]) -> T:
        from anyio import to_thread  # noqa: PLC0415 -- 30 ms that only files pay

        with self._clock.hold():
            # A cancellation waits for the thread, so that nothing reads or writes after its Map has ended.
            return await to_thread.run_sync(work)


@contextmanager
def _failing(error: str, what: str) -> Iterator[None]:
    """Raise what is wrong with a file or a setting as a state's error, without where this machine keeps the file."""
    try:
        yield
    except StateError:
        raise
    except read_errors() as wrong:
        raise StateError(error, f"{what}: {describe(wrong)}") from wrong
    # Such as one from a library for a damaged file: it is the Map's failure, and not the execution's end.
    except Exception as unexpected:
        logger.exception("%s: an unexpected %s", what, type(unexpected).__name__)
        raise StateError(error, f"{what}: an unexpected error, which the log shows") from unexpected


# Results


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
    folder: Path,
    key: str,
    results: Mapping[str, Sequence[Ended]],
    config: Mapping[str, JSONValue],
    manifest: Mapping[str, str],
) -> None:
    """Write one file for each status that occurs, and the manifest that lists them, last."""
    is_lines = config.get("OutputType") == "JSONL"
    listed: dict[str, list[dict[str, object]]] = {status: [] for status in sorted(STATUSES)}
    folder.mkdir(parents=True, exist_ok=True)
    for status, ended in results.items():
        file = folder / f"{status}_0.{'jsonl' if is_lines else 'json'}"
        if ended:
            entries = _transformed(ended, config if status == SUCCEEDED else {})
            text = "".join(f"{encode_plain(entry)}\n" for entry in entries) if is_lines else encode_plain(entries)
            size = file.write_bytes(text.encode())
            listed[status].append({"Key": f"{key}/{file.name}", "Size": size})
        else:  # a Map Run that is redriven writes again
            file.unlink(missing_ok=True)
    # Last, so that each file that a manifest lists is complete.
    (folder / "manifest.json").write_bytes(json.dumps({**manifest, "ResultFiles": listed}).encode())
