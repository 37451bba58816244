"""Fields of a definition: one table of which part may have which, what each holds, and what its expressions read.

The reader, the checks, the reference and the JSON Schema for editors all go by it. Fields are data: what a field means
is in `plan`, and the messages of what needs more than one field are in `parse` and `distributed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cached_property
from typing import Final

import attrs

from statechain.asl.model import QueryLanguage

__all__ = [
    "BATCHER",
    "INPUT",
    "LABEL",
    "MAX_NAME",
    "PARTS",
    "READER_RESOURCES",
    "STATE_TYPES",
    "TOLERANCES",
    "WRITER_RESOURCES",
    "Field",
    "Holds",
    "Part",
]


class Holds(Enum):
    """What a field holds, in the words of the reference."""

    STRING = "a string"
    TRUE = "true"
    WHOLE = "a whole number"
    NUMBER = "a number"
    WORD = "a word"
    MOMENT = "a moment"
    STRINGS = "strings"
    VALUE = "any value"
    TEMPLATE = "a payload template"
    OBJECT = "an object, as a payload template"
    ITEMS = "an array or an object"
    CONDITION = "a boolean"
    PATH = "a path"
    ONE_PLACE = "a path to one place"
    PATH_OR_FUNCTION = "a path or an intrinsic function"
    REFERENCE = "a reference path"
    PART = "an object"
    PARTS = "an array of objects"
    STATES = "states by name"


INPUT: Final = frozenset({"input", "context"})
"""The fields of ``$states`` that every expression may read."""

RESULT: Final = INPUT | {"result"}
ERROR: Final = INPUT | {"errorOutput"}

# AWS's bounds on names, on seconds, and (a signed 64-bit integer) on counts.
MAX_NAME: Final = 80
MOST_SECONDS: Final = 99_999_999
MOST_DELAY: Final = 31_622_399
"""A Retrier's MaxDelaySeconds is less than 366 days."""

MOST_COUNT: Final = 2**63 - 1
# AWS's bounds on MaxItems, and on the input of one batch.
MOST_ITEMS: Final = 100_000_000
MOST_BATCH_BYTES: Final = 256 * 1024


@attrs.frozen
class Field:
    """A field of a part.

    Attributes:
        name: As it is written.

        holds: What its value is.

        language: The query language that has it; None where both have it.

        reads: The fields of ``$states`` that a JSONata expression in it may read; None where it has no expressions.

        part: The part that it holds, or an array of which it holds.

        words: The words that it takes.

        least: The least number.

        most: The greatest number.

        is_required: Whether the part has to have it.

        is_nullable: Whether it may be null.

        is_distributed: Whether only a distributed Map may have it.
    """

    name: str
    holds: Holds
    language: QueryLanguage | None = attrs.field(default=None, kw_only=True)
    reads: frozenset[str] | None = attrs.field(default=None, kw_only=True)
    part: str = attrs.field(default="", kw_only=True)
    words: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    least: int = attrs.field(default=0, kw_only=True)
    most: int = attrs.field(default=MOST_SECONDS, kw_only=True)
    is_required: bool = attrs.field(default=False, kw_only=True)
    is_nullable: bool = attrs.field(default=False, kw_only=True)
    is_distributed: bool = attrs.field(default=False, kw_only=True)

    def is_of(self, language: QueryLanguage) -> bool:
        """Return whether a part in this query language may have the field."""
        return self.language in (None, language)


@attrs.frozen(slots=False)
class Part:
    """A state of one type, or an object in one.

    Attributes:
        what: Its name in messages, with an article.

        members: Its fields.

        alternatives: Fields of which there may be one at most.

        needed: Fields of which there must be exactly one.
    """

    what: str
    members: tuple[Field, ...]
    alternatives: tuple[tuple[str, ...], ...] = ()
    needed: tuple[tuple[str, ...], ...] = ()

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """The fields by name."""
        return {field.name: field for field in self.members}

    def of(self, language: QueryLanguage) -> Mapping[str, Field]:
        """Return the fields that there are in a query language."""
        return {field.name: field for field in self.members if field.is_of(language)}


def _paths(names: Iterable[str], *, is_distributed: bool = False) -> tuple[Field, ...]:
    """Return the JSONPath twins of fields, which name the place of the value."""
    holds = Holds.ONE_PLACE
    return tuple(Field(f"{name}Path", holds, language="JSONPath", is_distributed=is_distributed) for name in names)


# Fields that several parts have

COMMENT: Final = Field("Comment", Holds.STRING)
LANGUAGE: Final = Field("QueryLanguage", Holds.WORD, words=("JSONPath", "JSONata"))
START_AT: Final = Field("StartAt", Holds.STRING, is_required=True)
STATES: Final = Field("States", Holds.STATES, is_required=True)
NEXT: Final = Field("Next", Holds.STRING)
REQUIRED_NEXT: Final = attrs.evolve(NEXT, is_required=True)
COMMON: Final = (Field("Type", Holds.WORD, is_required=True), COMMENT, LANGUAGE)
FLOW: Final = (NEXT, Field("End", Holds.TRUE))
INPUT_PATH: Final = Field("InputPath", Holds.PATH, language="JSONPath", is_nullable=True)
OUTPUT_PATH: Final = Field("OutputPath", Holds.PATH, language="JSONPath", is_nullable=True)
RESULT_PATH: Final = Field("ResultPath", Holds.REFERENCE, language="JSONPath", is_nullable=True)
PARAMETERS: Final = Field("Parameters", Holds.TEMPLATE, language="JSONPath")
ARGUMENTS: Final = Field("Arguments", Holds.TEMPLATE, language="JSONata", reads=INPUT)
OUTPUT: Final = Field("Output", Holds.TEMPLATE, language="JSONata", reads=INPUT)
ASSIGN: Final = Field("Assign", Holds.OBJECT, reads=INPUT)
ERROR_EQUALS: Final = Field("ErrorEquals", Holds.STRINGS, is_required=True)
SELECTED: Final = (Field("ResultSelector", Holds.TEMPLATE, language="JSONPath"), RESULT_PATH)
PLAIN: Final = (*COMMON, INPUT_PATH, OUTPUT_PATH, OUTPUT, ASSIGN)
WORKING: Final = (
    *COMMON,
    *FLOW,
    INPUT_PATH,
    OUTPUT_PATH,
    PARAMETERS,
    *SELECTED,
    attrs.evolve(OUTPUT, reads=RESULT),
    attrs.evolve(ASSIGN, reads=RESULT),
    Field("Retry", Holds.PARTS, part="Retrier"),
    Field("Catch", Holds.PARTS, part="Catcher"),
)
"""The fields of a state that has a result, and may fail."""

# What distributed Maps have

TOLERANCES: Final = ("ToleratedFailureCount", "ToleratedFailurePercentage")
BATCHER: Final = ("MaxItemsPerBatch", "MaxInputBytesPerBatch")
READER_RESOURCES: Final = ("s3:getObject", "s3:listObjectsV2")
WRITER_RESOURCES: Final = ("s3:putObject",)
LABEL: Final = re.compile(r'[^\s?*<>{}\[\]"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,40}')
"""A Label is part of an ARN: up to 40 characters, none of them white space, a control, a bracket or a sign."""

TRANSFER: Final = (
    Field("Parameters", Holds.OBJECT, language="JSONPath"),
    Field("Arguments", Holds.OBJECT, language="JSONata", reads=INPUT),
)


def _word(name: str, *words: str) -> Field:
    return Field(name, Holds.WORD, words=words, reads=INPUT)


# The table

PARTS: Final[Mapping[str, Part]] = {
    "Machine": Part(
        "a state machine",
        (
            START_AT,
            STATES,
            COMMENT,
            LANGUAGE,
            Field("Version", Holds.STRING),
            Field("TimeoutSeconds", Holds.WHOLE, least=1),
        ),
    ),
    "Branch": Part("a state machine in a state", (START_AT, STATES, COMMENT)),
    "Processor": Part(
        "a state machine in a state",
        (START_AT, STATES, COMMENT, Field("ProcessorConfig", Holds.PART, part="ProcessorConfig")),
    ),
    "ProcessorConfig": Part(
        "a ProcessorConfig",
        (
            Field("Mode", Holds.WORD, words=("INLINE", "DISTRIBUTED")),
            Field("ExecutionType", Holds.WORD, words=("STANDARD", "EXPRESS"), is_distributed=True),
        ),
    ),
    "Task": Part(
        "a Task state",
        (
            *WORKING,
            ARGUMENTS,
            Field("Resource", Holds.STRING, is_required=True),
            Field("Credentials", Holds.OBJECT, reads=INPUT),
            Field("TimeoutSeconds", Holds.WHOLE, least=1, reads=INPUT),
            Field("HeartbeatSeconds", Holds.WHOLE, least=1, reads=INPUT),
            *_paths(["TimeoutSeconds", "HeartbeatSeconds"]),
        ),
        alternatives=(("TimeoutSeconds", "TimeoutSecondsPath"), ("HeartbeatSeconds", "HeartbeatSecondsPath")),
    ),
    "Pass": Part(
        "a Pass state",
        (*PLAIN, *FLOW, PARAMETERS, Field("Result", Holds.VALUE, language="JSONPath"), RESULT_PATH),
    ),
    "Choice": Part(
        "a Choice state",
        (*PLAIN, Field("Choices", Holds.PARTS, part="Rule", is_required=True), Field("Default", Holds.STRING)),
    ),
    "Wait": Part(
        "a Wait state",
        (
            *PLAIN,
            *FLOW,
            Field("Seconds", Holds.WHOLE, reads=INPUT),
            Field("Timestamp", Holds.MOMENT, reads=INPUT),
            *_paths(["Seconds", "Timestamp"]),
        ),
        needed=(("Seconds", "SecondsPath", "Timestamp", "TimestampPath"),),
    ),
    "Succeed": Part("a Succeed state", (*COMMON, INPUT_PATH, OUTPUT_PATH, OUTPUT)),
    "Fail": Part(
        "a Fail state",
        (
            *COMMON,
            Field("Error", Holds.STRING, reads=INPUT),
            Field("Cause", Holds.STRING, reads=INPUT),
            Field("ErrorPath", Holds.PATH_OR_FUNCTION, language="JSONPath"),
            Field("CausePath", Holds.PATH_OR_FUNCTION, language="JSONPath"),
        ),
        alternatives=(("Error", "ErrorPath"), ("Cause", "CausePath")),
    ),
    "Parallel": Part(
        "a Parallel state",
        (*WORKING, ARGUMENTS, Field("Branches", Holds.PARTS, part="Branch", is_required=True)),
    ),
    "Map": Part(
        "a Map state",
        (
            *WORKING,
            Field("ItemProcessor", Holds.PART, part="Processor"),
            Field("Iterator", Holds.PART, part="Processor"),
            Field("ItemsPath", Holds.PATH, language="JSONPath"),
            Field("Items", Holds.ITEMS, language="JSONata", reads=INPUT),
            Field("ItemSelector", Holds.TEMPLATE, reads=INPUT),
            Field("MaxConcurrency", Holds.WHOLE, most=MOST_COUNT, reads=INPUT),
            *_paths(["MaxConcurrency"]),
            Field("ToleratedFailureCount", Holds.WHOLE, most=MOST_COUNT, reads=INPUT, is_distributed=True),
            Field("ToleratedFailurePercentage", Holds.NUMBER, most=100, reads=INPUT, is_distributed=True),
            *_paths(TOLERANCES, is_distributed=True),
            Field("Label", Holds.STRING, is_distributed=True),
            Field("ItemReader", Holds.PART, part="ItemReader", is_distributed=True),
            Field("ItemBatcher", Holds.PART, part="ItemBatcher", is_distributed=True),
            Field("ResultWriter", Holds.PART, part="ResultWriter", is_distributed=True),
        ),
        alternatives=(
            ("ItemSelector", "Parameters"),
            *((name, f"{name}Path") for name in ("MaxConcurrency", *TOLERANCES)),
        ),
        needed=(("ItemProcessor", "Iterator"),),
    ),
    "Retrier": Part(
        "a Retrier",
        (
            ERROR_EQUALS,
            Field("IntervalSeconds", Holds.WHOLE, least=1),
            Field("MaxAttempts", Holds.WHOLE),
            Field("BackoffRate", Holds.NUMBER, least=1),
            Field("MaxDelaySeconds", Holds.WHOLE, least=1, most=MOST_DELAY),
            Field("JitterStrategy", Holds.WORD, words=("FULL", "NONE")),
            COMMENT,
        ),
    ),
    "Catcher": Part(
        "a Catcher",
        (
            ERROR_EQUALS,
            REQUIRED_NEXT,
            RESULT_PATH,
            attrs.evolve(OUTPUT, reads=ERROR),
            attrs.evolve(ASSIGN, reads=ERROR),
            COMMENT,
        ),
    ),
    # A rule in JSONPath has a comparison, And, Or or Not besides: `rules` knows them by the operators that there are.
    "Rule": Part(
        "a rule",
        (
            REQUIRED_NEXT,
            Field("Condition", Holds.CONDITION, language="JSONata", reads=INPUT, is_required=True),
            OUTPUT,
            ASSIGN,
            COMMENT,
        ),
    ),
    "ItemReader": Part(
        "an ItemReader",
        (
            Field("Resource", Holds.STRING, is_required=True),
            Field("ReaderConfig", Holds.PART, part="ReaderConfig", reads=INPUT),
            *TRANSFER,
        ),
    ),
    "ReaderConfig": Part(
        "a ReaderConfig",
        (
            _word("InputType", "CSV", "JSON", "JSONL", "PARQUET", "MANIFEST"),
            _word("Transformation", "NONE", "LOAD_AND_FLATTEN"),
            _word("ManifestType", "ATHENA_DATA", "S3_INVENTORY"),
            _word("CSVDelimiter", "COMMA", "PIPE", "SEMICOLON", "SPACE", "TAB"),
            _word("CSVHeaderLocation", "FIRST_ROW", "GIVEN"),
            Field("CSVHeaders", Holds.STRINGS, reads=INPUT),
            Field("ItemsPointer", Holds.STRING, reads=INPUT),
            Field("MaxItems", Holds.WHOLE, most=MOST_ITEMS, reads=INPUT),
            *_paths(["MaxItems"]),
        ),
        alternatives=(("MaxItems", "MaxItemsPath"),),
    ),
    "ItemBatcher": Part(
        "an ItemBatcher",
        (
            Field("BatchInput", Holds.OBJECT, reads=INPUT),
            Field("MaxItemsPerBatch", Holds.WHOLE, least=1, reads=INPUT),
            Field("MaxInputBytesPerBatch", Holds.WHOLE, least=1, most=MOST_BATCH_BYTES, reads=INPUT),
            *_paths(BATCHER),
        ),
        alternatives=tuple((name, f"{name}Path") for name in BATCHER),
    ),
    "ResultWriter": Part(
        "a ResultWriter",
        (
            Field("Resource", Holds.STRING),
            Field("WriterConfig", Holds.PART, part="WriterConfig", reads=INPUT),
            *TRANSFER,
        ),
    ),
    "WriterConfig": Part(
        "a WriterConfig",
        (_word("Transformation", "NONE", "COMPACT", "FLATTEN"), _word("OutputType", "JSON", "JSONL")),
    ),
}
"""Every part of a definition with its fields; a state is under its type."""

STATE_TYPES: Final = ("Task", "Pass", "Choice", "Wait", "Succeed", "Fail", "Parallel", "Map")
