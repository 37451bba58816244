"""Faults of the library in JSONata's words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from jsonata.jexception import JException

from statechain.asl.expressions.jsonata.messages import sentence


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (JException("T0410", -1, 1, "each"), 'T0410: Argument 1 of function "each" does not match function signature'),
        (JException("D1004", -1), "D1004: Regular expression matches zero length string"),
        (JException("T9999", -1), "T9999"),
        (ValueError("so"), "so"),
        (KeyError(), "KeyError"),
    ],
)
def test_an_error_of_the_evaluator_has_the_sentence_of_aws(fault: Exception, said: str) -> None:
    assert sentence(fault) == said


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("-function($x){1}", "D1002: Cannot negate a non-numeric value: function"),
        ("{function($x){1}: 2}", "T1003: Key in object structure must evaluate to a string; got: function"),
        ("[function($x){1}].$decodeUrl()", "T0411: Context value is not a compatible type with argument 1 of function"),
        ("$error('')", "D3137: $error() function evaluated"),
        ("$assert(false, '')", "D3141: $assert() statement failed"),
        ("$substring('a', 1/0)", "D1001: Number out of range"),
        ("$pad('a', 1/0)", "Expression evaluation memory limit exceeded"),
        ("$string({'a': 1/0})", "D1001: Number out of range: null"),
        ("[1..10000001]", "D2014: The size of the sequence allocated by the range operator (..) must not exceed 1e7."),
        ("$base64decode('é')", "D3137: The argument of base64decode is no Base64 of a text"),
    ],
)
def test_no_cause_shows_python(jsonata_fault: Callable[..., str], text: str, cause: str) -> None:
    assert jsonata_fault(text).startswith(cause)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$ceil(1/0)", "Infinity"),
        ("$floor(-1/0)", "-Infinity"),
        ("$round(2.5, 0.5)", "NaN"),
        ("$round(1e21, 2)", 1e21),
        ("$split('a,b', ',', 1/0)", ["a", "b"]),
        ("$replace('aa', 'a', 'b', 1/0)", "bb"),
        ("$match('a', /a/, 1e21).match", "a"),
        ("$type(/a/)", "function"),
        ("$fromMillis(0, '[Y0001,*-999]') ~> $length()", 999),
    ],
)
def test_numbers_beyond_what_is_counted(jsonata: Callable[..., object], text: str, result: object) -> None:
    assert jsonata(text) == result
