"""How an expression is read: escapes, comments, numbers, and what an unfinished one is refused with."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl.expressions.jsonata import JSONataSyntaxError, compile_jsonata


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (r'"\uD834\uDD1E"', "\U0001d11e"),
        (r'$length("a\uD834\uDD1Eb")', 3),
        (r"'\u00e4\n\/\"'", 'ä\n/"'),
        ("-5 ?: 99", -5),
        ("[1, 2, 3][-1] ?: 42", 3),
        ("[true][-1] ?: 'no'", True),
        ("[1, 2, 3][-1] ?? 42", 3),
        ("$nothing ?? -1", -1),
        ("'a'{'k': $} ?? 1", {"k": "a"}),
        ("/* a */ 1 /* b */", 1),
    ],
)
def test_a_token_is_read_as_jsonata_reads_it(jsonata: Any, text: str, result: Any) -> None:
    assert jsonata(text) == result


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r'"\y"', 'S0103: Unsupported escape sequence: \\"y"'),
        (r'"\u12"', "S0104: The escape sequence \\u must be followed by 4 hex digits"),
        ('"\\', "S0103: "),
        ('"abc', "S0101: String literal must be terminated by a matching quote"),
        ("`a", "S0105: Quoted property name must be terminated with a backquote (`)"),
        ("1 /* a", "S0106: Comment has no closing tag"),
        ("/*", "S0106: Comment has no closing tag"),
        ("1e400", 'S0102: Number out of range: "1e400"'),
        ("[1!2]", 'S0204: Unknown operator: "!"'),
        ("1 /", "S0207: Unexpected end of expression"),
        ("$f(", 'S0203: Expected ")" before end of expression'),
        ("λ($arg)<n<n>>{$arg}(5)", "S0401: Type parameters can only be applied to functions and arrays"),
        ("λ($arr)<(sa<n>)>>{$arr}([[1]])", "S0402: Choice groups containing parameterized types are not supported"),
    ],
)
def test_refuses_what_is_unfinished(text: str, said: str) -> None:
    with pytest.raises(JSONataSyntaxError) as caught:
        compile_jsonata(text)
    assert said in str(caught.value)


@pytest.mark.parametrize("operator", ["??", "?:"])
def test_an_operand_that_is_used_twice_is_read_once(jsonata: Any, operator: str) -> None:
    text = "1"
    for _ in range(40):  # read twice at each level, it would take time that doubles each time
        text = f"({text}) {operator} 2"
    compile_jsonata(text)
    assert jsonata(f"(1) {operator} 2") == 1
