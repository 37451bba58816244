"""Which fields each part of a definition may have, as tables by state type and query language."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BOTH",
    "BRANCH",
    "CATCHER",
    "JSONATA_ONLY",
    "JSONPATH_ONLY",
    "MACHINE",
    "MAX_NAME",
    "MOST_COUNT",
    "MOST_SECONDS",
    "PROCESSOR",
    "PROCESSORS",
    "RETRIER",
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
    "Task": INPUT_OUTPUT
    | {"Parameters", "ResultSelector", "ResultPath", "TimeoutSecondsPath", "HeartbeatSecondsPath"},
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
    "Succeed": COMMON | {"Assign"},
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
MOST_COUNT: Final = 2**63 - 1
