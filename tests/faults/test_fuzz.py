"""With any input, the language, the filters and the codec answer with what they document, and in time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statechain import DefinitionError, ExecutionFilter, InvalidPayload, StateError
from statechain.asl import load
from statechain.asl.expressions.intrinsics import IntrinsicSyntaxError, compile_intrinsic
from statechain.asl.expressions.jsonata import JSONataSyntaxError, States, compile_jsonata
from statechain.asl.expressions.jsonpath import PathSyntaxError, compile_path
from statechain.codec import decode, encode
from support.faults.workload import TARGETS
from support.visit import Visit

pytestmark = pytest.mark.timeout(7200)

SLOWEST = 15.0
"""Seconds of the processor that no input may take: many times what the budgets allow, which count steps, not time."""

SMALL, FULL = 200, 100_000

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@contextmanager
def answers(*documented: type[Exception]) -> Iterator[None]:
    """The body returns, or raises one of what is documented, soon."""
    began = time.thread_time()
    with suppress(*documented):
        yield
    assert time.thread_time() - began < SLOWEST


def tried(full: bool, check: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> None:
    """Try a check on this many inputs."""
    count = FULL if full else SMALL
    health = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    settings(max_examples=count, deadline=None, suppress_health_check=health, database=None)(
        given(*strategies)(check)
    )()


FIELD_NAMES = """
    StartAt States Type Task Pass Choice Map Parallel Wait Succeed Fail Next End Default Choices Variable Retry Catch
    ErrorEquals ResultPath InputPath Parameters Arguments Output Assign QueryLanguage JSONata JSONPath ItemProcessor
    Branches Iterator ItemsPath Seconds Timestamp TimeoutSeconds MaxAttempts Comment And Not
    Credentials ToleratedFailureCount
""".split()  # noqa: SIM905 -- a list of words is read as one
MARKS = [
    *['"', "{", "}", "[", "]", ":", ",", "\\", "null", "true", "1e999", "-", "&a", "*a", "!!x", "|", ">", "\t", "\n  "],
    *["$", "$.a", "$$", "{%", "%}", "\ud800", "\x00", "\ufeff", "<<: ", "? ", "--- ", "%YAML 2"],
]
WORDS = [*FIELD_NAMES, *MARKS]
"""What faults of definitions are made of."""

YAML = "StartAt: A\nStates:\n  A:\n    Type: Pass\n    End: true\n"
TEXTS = [json.dumps(TARGETS), json.dumps(TARGETS, indent=1), YAML]

PATCHES = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 40), st.sampled_from(WORDS) | st.text(max_size=3)), max_size=4
)


def patched(text: str, patches: list[tuple[int, int, str]]) -> str:
    """Return a string with pieces of it replaced."""
    for place, length, piece in patches:
        start = place % (len(text) + 1)
        text = text[:start] + piece + text[start + length :]
    return text


def test_any_definition_text_loads_or_raises_a_definition_error(*, full: bool) -> None:
    def check(text: str, patches: list[tuple[int, int, str]]) -> None:
        with answers(DefinitionError):
            load(patched(text, patches))

    tried(full, check, st.sampled_from(TEXTS), PATCHES)


FIELDS = st.dictionaries(st.sampled_from(FIELD_NAMES), JSON, max_size=5)
STATES = st.fixed_dictionaries(
    {"Type": st.sampled_from(["Task", "Pass", "Choice", "Map", "Parallel", "Wait", "Succeed", "Fail"]) | JSON}
)


def test_any_definition_value_loads_or_raises_a_definition_error(*, full: bool) -> None:
    def check(states: dict[str, Any], more: dict[str, Any], around: dict[str, Any]) -> None:
        state = {**states, **more}
        with answers(DefinitionError):
            load({"StartAt": "A", "States": {"A": state, "B": {"Type": "Succeed"}}, **around})

    tried(full, check, STATES, FIELDS, st.just({}) | FIELDS)


def language(*pieces: str) -> st.SearchStrategy[str]:
    """Return texts made of these pieces, with any others between them now and then."""
    return st.lists(st.sampled_from(pieces) | st.text(max_size=2), max_size=14).map("".join)


PATHS = language(
    "$", "$$", ".", "..", "*", "[", "]", "[*]", "[0]", "[-1]", "[1:3]", "['a']", "['a','b']", "a", "b", "?(@.a>1)",
    "[?(@.a == 'b')]", "&&", "||", "!", "()", "@", ":", ",", "1e9", "\\", "'", "99999999999999999999",
    "9" * 5000,
)  # fmt: skip


def test_any_path_finds_something_or_raises_what_is_documented(*, full: bool) -> None:
    def check(text: str, value: Any) -> None:
        with answers(PathSyntaxError, StateError):
            compile_path(text)(value, Visit({"a": value}))

    tried(full, check, PATHS.map(lambda text: f"${text}") | PATHS, JSON)


FUNCTIONS = """
    Array ArrayPartition ArrayContains ArrayRange ArrayGetItem ArrayLength ArrayUnique Base64Encode Base64Decode Hash
    JsonMerge JsonToString StringToJson MathRandom MathAdd StringSplit UUID Format Nothing
""".split()  # noqa: SIM905
ARGUMENTS = language(
    "$", "$.a", "'", "'text'", "'{}{}'", "\\'", "\\", "1", "-1", "1.5", "1e308", "null", "true", ",", ", ", "(", ")",
    "States.Array(", "'SHA-1'", "'{\"a\": 1e999}'", "9007199254740993",
)  # fmt: skip


def test_any_intrinsic_call_has_a_value_or_raises_what_is_documented(*, full: bool) -> None:
    def check(name: str, arguments: str, value: Any) -> None:
        with answers(IntrinsicSyntaxError, PathSyntaxError, StateError):
            compile_intrinsic(f"States.{name}({arguments})")(value, Visit())

    tried(full, check, st.sampled_from(FUNCTIONS), ARGUMENTS, JSON)


JSONATA = language(
    "$", "$states", ".input", "$x", ":=", ";", "(", ")", "{", "}", "[", "]", "[0..9]", "[0..999999999]", "~>", "|",
    "^(",
    "<", ">", "=", "!=", "&", "+", "-", "*", "/", "%", "?", ":", "**", "in ", "and ", "or ", "function($a){$a}", "λ",
    "$map(", "$sum(", "$string(", "$parse(", "$range(1,", "$match('aaa', /(a+)+$/)", "$eval('1')", "$sort(",
    "$partition(",
    "'a'", '"b"', "1", "1e308", "true", "null", ",", "\n", "/* x */", "`", "#$i", "@$v", "$reduce(", "$spread(",
)  # fmt: skip


def test_any_jsonata_text_has_a_value_or_raises_what_is_documented(*, full: bool) -> None:
    def check(text: str, value: Any) -> None:
        visit = Visit({"x": value})
        with answers(JSONataSyntaxError, StateError):
            compile_jsonata(text, "Output")(States(visit, {"input": value}), visit)

    check("1 + 1", None)  # the library raises the interpreter's limit of recursion at its first use
    tried(full, check, JSONATA, JSON)


LATEST = datetime.max  # noqa: DTZ901 -- a naive one is to be refused
ODD = [math.nan, 2**64, LATEST, LATEST.replace(tzinfo=UTC), "RUNNING", "oldest_first"]
ANYTHING = JSON | st.datetimes() | st.binary(max_size=4) | st.sampled_from(ODD)
KEYS = st.text(max_size=4) | st.integers() | st.none() | st.floats() | st.binary(max_size=2)
NESTED = st.recursive(ANYTHING, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner))


def test_any_filter_fields_make_a_filter_or_a_value_error(*, full: bool) -> None:
    names = ["status", "state_machine_id", "name", "current_state", "start_after", "start_before", "limit", "offset"]

    def check(fields: dict[str, Any]) -> None:
        with answers(ValueError):
            ExecutionFilter(**fields)

    tried(full, check, st.dictionaries(st.sampled_from([*names, "order", "unchained_to"]), ANYTHING, max_size=3))


def test_any_payload_comes_back_equal_or_is_refused(*, full: bool) -> None:
    """What is encoded comes back equal, or was refused."""

    def check(value: Any) -> None:
        with answers(InvalidPayload):
            text = encode(value)
            assert text.isascii()
            assert decode(text) == value
            assert encode(decode(text)) == text

    tried(full, check, JSON | NESTED)


def test_any_json_text_is_decoded_or_refused(*, full: bool) -> None:
    pieces = language(*'{}[]":,1 ', "1e999", "-0.0", "NaN", "\\ud800", "\\", "null", "\x00")

    def check(text: str) -> None:
        with answers(InvalidPayload):
            value = decode(text)
            assert decode(encode(value)) == value

    tried(full, check, pieces)
