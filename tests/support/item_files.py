"""Machines whose distributed Map reads its items from files, and writes its results to files."""

from __future__ import annotations

import sys
from typing import Any

from support.engine_harness import EngineHarness, machine

__all__ = ["DISTRIBUTED", "LIST", "READ", "each", "failure", "listing", "reading", "zstd"]

READ = "arn:aws:states:::s3:getObject"
LIST = "arn:aws:states:::s3:listObjectsV2"
DISTRIBUTED = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}


def each(reader: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a machine whose Map puts out the items that a reader means."""
    processor = {"ProcessorConfig": DISTRIBUTED, **machine(Same={"Type": "Pass"})}
    return machine(Each={"Type": "Map", "ItemProcessor": processor, "ItemReader": reader, **more})


def reading(key: str, **config: Any) -> dict[str, Any]:
    """Return a machine that reads an object, of the type that its name says unless another is given."""
    if "ManifestType" not in config:
        config.setdefault("InputType", key.split(".")[1].upper())
    if config.get("InputType") == "CSV":
        config.setdefault("CSVHeaderLocation", "FIRST_ROW")
    return each({"Resource": READ, "Parameters": {"Bucket": "data", "Key": key}, "ReaderConfig": config})


def listing(prefix: str, **config: Any) -> dict[str, Any]:
    """Return a machine that lists objects."""
    return each({"Resource": LIST, "Parameters": {"Bucket": "data", "Prefix": prefix}, "ReaderConfig": config})


def zstd(content: bytes) -> bytes:
    """Compress with Zstandard."""
    if sys.version_info >= (3, 14):
        from compression.zstd import compress
    else:
        from backports.zstd import compress
    return compress(content)


async def failure(
    harness: EngineHarness, definition: dict[str, Any], value: Any = None
) -> tuple[str | None, str | None]:
    """Return the error and the cause that an execution failed with."""
    ended = await harness.run(definition, value)
    assert ended.status == "FAILED"
    return ended.error, ended.cause
