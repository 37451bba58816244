"""Matchers: regular expressions, and functions that answer as they do."""

from __future__ import annotations

from typing import Any

import pytest

EVERY_A = """(
    $matcher := function($text, $from) {(
        $place := $length($substringBefore($substring($text, $from), 'a')) + $from;
        $place < $length($text) ? {
            'match': 'a', 'start': $place, 'end': $place + 1, 'groups': [],
            'next': function() { $matcher($text, $place + 1) }
        }
    )};
    $find := function($text) { $matcher($text, 0) };
    %s
)"""


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$match('banana', $find).index", [1, 3, 5]),
        ("$split('banana', $find)", ["b", "n", "n", ""]),
        ("$replace('banana', $find, 'o')", "bonono"),
        ("$contains('banana', $find)", True),
        ("$contains('bonono', $find)", False),
    ],
)
def test_a_function_may_be_a_matcher(jsonata: Any, text: str, result: Any) -> None:
    assert jsonata(EVERY_A % text) == result


@pytest.mark.parametrize("call", ["$split('a', $uppercase)", "$contains('a', $length)", "$match('a', $string)"])
def test_a_matcher_that_answers_otherwise_is_refused(jsonata_fault: Any, call: str) -> None:
    name = call[1 : call.index("(")]
    assert jsonata_fault(call) == (
        f'T1010: The matcher function argument passed to function "{name}" does not return the correct object structure'
    )


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$split('a, b, c, d', ', ', 2.5)", ["a", "b"]),
        ("$split('a, b, c, d', /, /, 2.5)", ["a", "b", "c"]),
        ("$split('abc', '', 2)", ["a", "b"]),
        ("$replace('abc', /(b)/, '[$1$2$12]')", "a[bb2]c"),
        ("$replace('abc', /b/, '$a$')", "a$a$c"),
        ("$replace('abc', /b/, '<$1>')", "a<>c"),
        ("$replace('abc', 'b', '$$')", "a$$c"),
        ("$replace('aaa', 'a', 'b', 1.5)", "bba"),
    ],
)
def test_splits_and_replaces(jsonata: Any, text: str, result: Any) -> None:
    assert jsonata(text) == result
