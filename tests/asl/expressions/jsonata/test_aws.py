"""AWS's own functions: what it answers, and what it refuses in which words."""

from __future__ import annotations

import re
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$partition([1,2,3,4,5], 2)", [[1, 2], [3, 4], [5]]),
        ("$partition([1,2,3,4,5], 2.9)", [[1, 2], [3, 4], [5]]),
        ("$partition([1,2,3])", [[1, 2, 3]]),
        ("$partition(1, 2)", [[1]]),
        ("$range(0, 10, 2)", [0, 2, 4, 6, 8, 10]),
        ("$range(10, 0, -2)", [10, 8, 6, 4, 2, 0]),
        ("$range(1.7, 5, 1)", [1, 2, 3, 4, 5]),
        ("$range(-1.7, 2, 1)", [-1, 0, 1, 2]),
        ("$range(5, 1, -1.5)", [5, 4, 3, 2, 1]),
        ("$range(3, 3, 1)", 3),
        ("$range(1, 9, 9)", 1),
        ("$count($range(0, 1000, 1))", 1001),
        ("$count($range(-9223372036854775808, 9223372036854775807, 9223372036854775807))", 3),
        ("$hash('Hello', 'MD5')", "8b1a9953c4611296a827abf8c47804d7"),
        ("$hash('ñ', 'MD5')", "94e9342ecbb1458b6043ecd3bfcbc192"),
        ('$parse(\'{"b":1,"a":[null]}\')', {"b": 1, "a": [None]}),
        ("$parse('null')", None),
        ("$exists($parse('null'))", True),
        ("$parse('1.0')", 1),
        ("$parse('1e2')", 100),
        ("$parse('9223372036854775807')", 9223372036854775807),
        ("$parse('9223372036854775808')", 9.223372036854775808e18),
        ("$map(['{\"a\":1}', '{\"a\":2}'], $parse).a", [1, 2]),
        ("$random(42)", 0.7275636800328681),
        ("$random(0.9) = $random(0)", True),
        ("$random() = $random()", True),
        ("$now()", "2024-01-02T03:04:05.678Z"),
        ("$now('[Y0001]')", "2024"),
        ("$millis()", 1704164645678),
        ("$sort($shuffle([1, 2, 3]))", [1, 2, 3]),
    ],
)
def test_a_function_of_aws_has_the_value_that_aws_gives(jsonata: Any, text: str, result: Any) -> None:
    found = jsonata(text)
    assert found == result
    assert type(found) is type(result)


def test_uuids_are_of_version_four(jsonata: Any) -> None:
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", jsonata("$uuid()"))


@pytest.mark.parametrize(
    "text",
    ["$partition([], 2)", "$partition([1], 0)", "$partition([1], -0.5)", "$range(5, 1, 1)", "$range(1, 3, -1)",
     "$range(1, 5, 0)", "$range(1, 3, 0.9)", "$range(1, 5)", "$hash('a')", "$parse()"],
)  # fmt: skip
def test_a_function_without_a_result_returns_nothing(jsonata_fault: Any, text: str) -> None:
    assert jsonata_fault(text) == "returned nothing (undefined)."


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("$partition([1,2], -1)", "D3137: Second argument must be zero or greater"),
        ("$partition([1,2], 2, 'x')", 'T0410: Argument 3 of function "partition" does not match function signature'),
        ("$range('0', 4, 1)", 'T0410: Argument 1 of function "range" does not match function signature'),
        ("$range(1)", 'T0410: Argument 2 of function "range" does not match function signature'),
        ("$range(0, 4, 1, 2)", 'T0410: Argument 4 of function "range" does not match function signature'),
        ("$range(1, null, 1)", 'T0410: Argument 2 of function "range" does not match function signature'),
        ("$hash(42, 'MD5')", 'T0410: Argument 1 of function "hash" does not match function signature'),
        ("$hash('a', 5)", 'T0410: Argument 2 of function "hash" does not match function signature'),
        ("$uuid('seed')", 'T0410: Argument 1 of function "uuid" does not match function signature'),
        ("$random(1, 2)", 'T0410: Argument 2 of function "random" does not match function signature'),
        ("$parse(null)", 'T0410: Argument 1 of function "parse" does not match function signature'),
        ("$eval('1+1')", "T1006: Attempted to invoke a non-function"),
        ("$range(0, 1000000, 1)", "Expression evaluation memory limit exceeded: Check for excessive memory usage"),
    ],
)
def test_an_argument_that_does_not_fit_has_the_cause_of_aws(jsonata_fault: Any, text: str, cause: str) -> None:
    assert jsonata_fault(text) == cause


def test_a_range_has_as_many_numbers_as_on_aws(jsonata: Any, jsonata_fault: Any) -> None:
    assert jsonata("$count($range(1, 360145, 1))") == 360_145
    assert jsonata_fault("$count($range(1, 360146, 1))").endswith(
        "memory limit exceeded: Check for excessive memory usage"
    )


@pytest.mark.parametrize("algorithm", ["md5", "SHA3-256", "SHA256", ""])
def test_knows_five_algorithms(jsonata_fault: Any, algorithm: str) -> None:
    assert jsonata_fault(f"$hash('a', '{algorithm}')").startswith("D3137: Algorithm must be one of MD5, SHA-1, ")


@pytest.mark.parametrize("text", ["", "  ", "{", '{"a":1}{"b":2}', "[1] [2]", '{"a":1,"a":2}', "1e400", "NaN", "'a'"])
def test_parses_strict_json(jsonata_fault: Any, text: str) -> None:
    assert jsonata_fault("$parse($states.input)", text).startswith("D3137: Invalid JSON")


def test_says_where_a_text_is_not_json(jsonata_fault: Any) -> None:
    cause = "D3137: Invalid JSON: line 1, column 2: a key in double quotes is missing"
    assert jsonata_fault("$parse($states.input)", "{a: 1}") == cause


def test_deep_json_is_refused(jsonata_fault: Any) -> None:
    assert jsonata_fault("$parse($states.input)", "[" * 100_000).startswith("D3137: Invalid JSON")
