"""Which fields each part of a definition may have, as tables by state type and query language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = [
    "BATCHER",
    "BOTH",
    "BRANCH",
    "CATCHER",
    "DISTRIBUTED_ONLY",
    "JSONATA_ONLY",
    "JSONPATH_ONLY",
    "LABEL",
    "MACHINE",
    "MAX_NAME",
    "MOST_BATCH_BYTES",
    "MOST_COUNT",
    "MOST_DELAY",
    "MOST_ITEMS",
    "MOST_SECONDS",
    "PROCESSOR",
    "PROCESSORS",
    "READER_CONFIG",
    "READER_RESOURCES",
    "RETRIER",
    "TOLERANCES",
    "WRITER_CONFIG",
    "WRITER_RESOURCES",
]

COMMON: Final = frozenset({"Type", "Comment", "QueryLanguage"})
FLOWING: Final = COMMON | {"Next", "End"}
INPUT_OUTPUT: Final = frozenset({"InputPath", "OutputPath"})
TASK_TIMES: Final = frozenset({"TimeoutSeconds", "HeartbeatSeconds"})
TOLERANCES: Final = frozenset({"ToleratedFailureCount", "ToleratedFailurePercentage"})
RETRIES: Final = frozenset({"Retry", "Catch"})
MAP: Final = frozenset({"ItemProcessor", "Iterator", "ItemSelector", "MaxConcurrency", "Label", "ItemReader"}) | {
    "ItemBatcher",
    "ResultWriter",
}

JSONPATH_ONLY: Final = {
    "Task": INPUT_OUTPUT | {"Parameters", "ResultSelector", "ResultPath", "TimeoutSecondsPath", "HeartbeatSecondsPath"},
    "Pass": INPUT_OUTPUT | {"Parameters", "Result", "ResultPath"},
    "Choice": INPUT_OUTPUT,
    "Wait": INPUT_OUTPUT | {"SecondsPath", "TimestampPath"},
    "Succeed": INPUT_OUTPUT,
    "Fail": frozenset({"ErrorPath", "CausePath"}),
    "Parallel": INPUT_OUTPUT | {"Parameters", "ResultSelector", "ResultPath"},
    "Map": INPUT_OUTPUT
    | {"Parameters", "ResultSelector", "ResultPath", "ItemsPath", "MaxConcurrencyPath"}
    | {f"{name}Path" for name in TOLERANCES},
}
"""The fields that only a JSONPath state has."""

JSONATA_ONLY: Final = {
    "Task": frozenset({"Arguments", "Output"}),
    "Pass": frozenset({"Output"}),
    "Choice": frozenset({"Output"}),
    "Wait": frozenset({"Output"}),
    "Succeed": frozenset({"Output"}),
    "Fail": frozenset[str](),
    "Parallel": frozenset({"Arguments", "Output"}),
    "Map": frozenset({"Output", "Items"}),
}
"""The fields that only a JSONata state has."""

BOTH: Final = {
    "Task": FLOWING | RETRIES | TASK_TIMES | {"Resource", "Credentials", "Assign"},
    "Pass": FLOWING | {"Assign"},
    "Choice": COMMON | {"Choices", "Default", "Assign"},
    "Wait": FLOWING | {"Seconds", "Timestamp", "Assign"},
    "Succeed": COMMON,
    "Fail": COMMON | {"Error", "Cause"},
    "Parallel": FLOWING | RETRIES | {"Branches", "Assign"},
    "Map": FLOWING | RETRIES | MAP | TOLERANCES | {"Assign"},
}
MACHINE: Final = frozenset({"StartAt", "States", "Comment", "Version", "TimeoutSeconds", "QueryLanguage"})
BRANCH: Final = frozenset({"StartAt", "States", "Comment"})
PROCESSORS: Final = ("/ItemProcessor", "/Iterator")
PROCESSOR: Final = BRANCH | {"ProcessorConfig"}
RETRIER: Final = frozenset(
    {"ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds", "JitterStrategy", "Comment"}
)
CATCHER: Final = frozenset({"ErrorEquals", "Next", "Assign", "Comment"})
MAX_NAME: Final = 80
MOST_SECONDS: Final = 99_999_999
MOST_DELAY: Final = 31_622_399
"""A Retrier's MaxDelaySeconds is less than 366 days."""

MOST_COUNT: Final = 2**63 - 1

# What only a distributed Map has

DISTRIBUTED_ONLY: Final = (
    "ItemReader",
    "ItemBatcher",
    "ResultWriter",
    "Label",
    *sorted(TOLERANCES),
    *(f"{name}Path" for name in sorted(TOLERANCES)),
)
READER_RESOURCES: Final = ("s3:getObject", "s3:listObjectsV2")
WRITER_RESOURCES: Final = ("s3:putObject",)

READER_CONFIG: Final[Mapping[str, tuple[str, ...]]] = {
    "InputType": ("CSV", "JSON", "JSONL", "PARQUET", "MANIFEST"),
    "Transformation": ("NONE", "LOAD_AND_FLATTEN"),
    "ManifestType": ("ATHENA_DATA", "S3_INVENTORY"),
    "CSVDelimiter": ("COMMA", "PIPE", "SEMICOLON", "SPACE", "TAB"),
    "CSVHeaderLocation": ("FIRST_ROW", "GIVEN"),
    "CSVHeaders": (),
    "ItemsPointer": (),
    "MaxItems": (),
}
"""The fields of a ReaderConfig, each with the words that it takes, where it takes words."""

WRITER_CONFIG: Final[Mapping[str, tuple[str, ...]]] = {
    "Transformation": ("NONE", "COMPACT", "FLATTEN"),
    "OutputType": ("JSON", "JSONL"),
}
BATCHER: Final = ("MaxItemsPerBatch", "MaxInputBytesPerBatch")
MOST_ITEMS: Final = 100_000_000
MOST_BATCH_BYTES: Final = 256 * 1024
LABEL: Final = re.compile(r"[^\s?*<>{}\[\]\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,40}")
"""A Label is part of an ARN: up to 40 characters, none of them white space, a control, a bracket or a sign."""
