"""The engine: JSONata's semantics where the library strays from them, and expressions that try to run away."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.errors import StateError
from statechain.limits import Limits
from support.calls import counted_calls

VALUE: Any = {
    "items": [{"n": 1, "t": "a"}, {"n": 2, "t": None}],
    "one": [5],
    "empty": [],
    "nulls": [None, 1],
    "obj": {"a": 1, "b": {"c": [1, 2]}},
    "nest": [[1], [2, [3]]],
}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        # numbers are JavaScript's
        ("5.5 % 2", 1.5),
        ("-7 % 3", -1),
        ("7 % 0", "NaN"),
        ("1 / 0", "Infinity"),
        ("-1 / 0", "-Infinity"),
        ("0 / 0", "NaN"),
        ("[1 / 0]", ["Infinity"]),
        ("{'k': 1 / 0}", {"k": "Infinity"}),
        ("1e308 * 10", "Infinity"),
        ("7 / 2", 3.5),
        ("6 / 2", 3),
        ("0.1 + 0.2", 0.30000000000000004),
        ("$string(0.1 + 0.2)", "0.3"),
        # equality and membership know types
        ("1 in [true]", False),
        ("true = 1", False),
        ("[1, true] = [1, 1]", False),
        ("{'a': [1]} = {'a': [1]}", True),
        ("$states.input.obj = $states.input.obj", True),
        ("'a' in ['a', 'b']", True),
        # nulls are values
        ("$states.input.nulls[0]", None),
        ("$states.input.items.t", ["a", None]),
        ("$states.input.items[t = null].n", 2),
        ("null = null", True),
        # sequences
        ("$states.input.items.n", [1, 2]),
        ("$states.input.items[n > 1].n", 2),
        ("$states.input.items[-1].n", 2),
        ("$states.input.one", [5]),
        ("$states.input.one[]", [5]),
        ("$states.input.empty", []),
        ("$exists($states.input.empty)", True),
        ("[1..3]", [1, 2, 3]),
        ("[1..3].($ * 2)", [2, 4, 6]),
        ("[[1, 2], 3, [4]]", [[1, 2], 3, [4]]),
        ("$states.input.nest.$", [1, 2, [3]]),
        ("$states.input.*[0]", {"n": 1, "t": "a"}),
        ("$states.input.obj.**.c", [1, 2]),
        ("$states.input.items^(>n).n", [2, 1]),
        # groups and objects
        ("$states.input.items{$string(t): n}", {"a": 1, "null": 2}),
        ("$states.input.empty{'a': 1}", {"a": 1}),
        ("[{'k': 'x', 'v': 1}, {'k': 'x', 'v': 2}]{k: v}", {"x": [1, 2]}),
        ("$states.input.items@$i.{'k': $i.n}", [{"k": 1}, {"k": 2}]),
        ("$states.input.items#$p.{'p': $p, 'n': n}", [{"p": 0, "n": 1}, {"p": 1, "n": 2}]),
        ("$states.input.obj.b.c.(%.%.a)", [1, 1]),
        ("$states.input.obj ~> |$|{'x': null}, 'a'|", {"b": {"c": [1, 2]}, "x": None}),
        ("$states.input.obj ~> |b|{'c': 1.123456789012345678}|", {"a": 1, "b": {"c": 1.1234567890123457}}),
        # functions
        ("($f := function($x){$x * 2}; $f(4))", 8),
        ("($add := function($x, $y){$x + $y}; $inc := $add(1, ?); $inc(2))", 3),
        ("($up := $substring(?, 1); $up('abc'))", "bc"),
        ("$map([1, 2], function($x){$x > 1 ? 'big' : 'small'})", ["small", "big"]),
        ("'a' ~> $uppercase ~> $lowercase", "a"),
        ("($f := $uppercase ~> $trim; $f(' a '))", "A"),
        ("'a' & null & 1 & true & [1, 2]", "anull1true[1,2]"),
        ("$states.input.nope ?? 'd'", "d"),
        ("$states.input.nope ?: 'd'", "d"),
        ("true and ($x := 1; false)", False),
    ],
)
def test_an_expression_has_the_value_that_jsonata_js_gives(jsonata: Any, text: str, result: Any) -> None:
    before = repr(VALUE)
    found = jsonata(text, VALUE)
    assert found == result
    assert repr(found) == repr(result)
    assert repr(VALUE) == before


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("1 < 'a'", 'T2009: The values 1 and "a" either side of operator "<" must be of the same data type'),
        ("null < 1", 'T2010: The expressions either side of operator "<" must evaluate to numeric or string values'),
        ("'a' + 1", 'T2001: The left side of the "+" operator must evaluate to a number'),
        ("1 + {}", 'T2002: The right side of the "+" operator must evaluate to a number'),
        ("-'a'", 'D1002: Cannot negate a non-numeric value: "a"'),
        ("['a'..2]", "T2003: The left side of the range operator (..) must evaluate to an integer"),
        ("[1..2.5]", "T2004: The right side of the range operator (..) must evaluate to an integer"),
        ("1 / 0 + 1", "D1001: Number out of range: null"),
        ("$string(1 / 0)", "D3001: Attempting to invoke string function on Infinity or NaN"),
        ("$states.input.items{t: n}", "T1003: Key in object structure must evaluate to a string; got: null"),
        ("{'a': 1, 'a': 2}", 'D1009: Multiple key definitions evaluate to same key: "a"'),
        ("$nope(1)", "T1006: Attempted to invoke a non-function"),
        ("1 ~> 2", "T2006: The right side of the function application operator ~> must be a function"),
        (
            "$states.input.obj ~> |$|5|",
            "T2011: The insert/update clause of the transform expression must evaluate to an object: 5",
        ),
    ],
)
def test_operands_that_do_not_fit_have_the_error_of_jsonata_js(jsonata_fault: Any, text: str, cause: str) -> None:
    assert jsonata_fault(text, VALUE) == cause


NESTED = "($f := function($a, $n){ $n = 0 ? $a : $f(%s, $n - 1) }; "
TIME = "Expression evaluation timeout: Check for infinite loop"
DEPTH = "Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive."
SPACE = "Expression evaluation memory limit exceeded: Check for excessive memory usage"


RUNAWAYS = [
    ("($f := function($x){ $f($x + 1) }; $f(1))", TIME),
    ("($f := function($x){ 1 + $f($x) }; $f(1))", DEPTH),
    ("($f := function($x){ $x <= 0 ? 0 : 1 + $f($x - 1) }; $f(32))", DEPTH),
    ("[0..9999999]", SPACE),
    ("[1..873783] ~> $count()", SPACE),
    ("$range(0, 9999999, 1)", SPACE),
    (NESTED % "$a & $a" + "$length($f('x', 23)))", SPACE),
    ("$pad('x', 1000000000)", SPACE),
    ("$join($map([1..1000], function($x){ $pad('x', 100000) }))", SPACE),
    ("($s := $pad('x', 6000000); [1..800000].$s)", TIME),
    ("$replace($pad('', 100000, 'a'), 'a', $pad('', 100000, 'b'))", SPACE),
    ("$reduce([1..800000], $append)", TIME),
    ("$map([1..100000], function($x){ [1..100000] })", TIME),
    ("($a := [1..1000]; $a@$x.$a@$y.{'z': $x})", TIME),
    ("[1..800000].($ = $)", TIME),
    ("[1..800000][$ % 2 = 0]", TIME),
    ("$sort([1..200000], function($a, $b){ $a < $b })", TIME),
    ("($x := [1..800000]; [$x, $x, $x, $x, $x, $x, $x, $x])", TIME),
    (NESTED % "[$a, $a]" + "$f([1], 100))", SPACE),
    (NESTED % "[[$a], [$a]]" + "$string($f([1], 60)))", TIME),
    (NESTED % "{'a': $a, 'b': $a}" + "$f(1, 60))", SPACE),
    (NESTED % "{'a': $a, 'b': $a}" + "$f(1, 60) = $f(1, 60))", TIME),
    (NESTED % "{'a': $a, 'b': $a}" + "$distinct([$f(1, 60), 2]))", TIME),
    (NESTED % "{'a': $a, 'b': $a}" + "$clone($f(1, 60)))", TIME),
    (NESTED % "{'a': $a, 'b': $a}" + "$count($f(1, 40).**))", TIME),
    (NESTED % "{'a': $a}" + "$f(1, 3000))", SPACE),
    (NESTED % "{'a': $a}" + "$string($f(1, 3000)))", SPACE),
]
A_STEP, THE_REST = 30, 5_000_000
"""How many functions a step may call, and how many the rest: a value may be large before it is refused by its size."""


@pytest.mark.slow
@pytest.mark.parametrize(("text", "cause"), RUNAWAYS)
def test_what_runs_away_is_stopped(jsonata_fault: Any, text: str, cause: str) -> None:
    assert jsonata_fault(text) == cause


@pytest.mark.slow
@pytest.mark.parametrize("text", [text for text, _ in RUNAWAYS])
def test_what_runs_away_is_stopped_soon(jsonata_fault: Any, text: str) -> None:
    steps = 10_000
    with counted_calls() as calls:
        assert jsonata_fault(text, limits=Limits(jsonata_steps=steps)) in {TIME, DEPTH, SPACE}
    assert calls() <= steps * A_STEP + THE_REST


def test_a_catastrophic_pattern_is_harmless(jsonata: Any) -> None:
    for pattern in ("(a+)+$", "^(a|aa)+$", "(.*a){20}$"):
        assert jsonata(f"$contains($states.input, /{pattern}/)", "a" * 5_000 + "!") is False


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("[1..873782] ~> $count()", 873_782),
        (NESTED % "$a & $a" + "$length($f('x', 22)))", 4_194_304),
        ("($f := function($x){ $x <= 0 ? 0 : 1 + $f($x - 1) }; $f(31))", 31),
        ("1" + "+1" * 99, 100),
        ("(" * 99 + "1" + ")" * 99, 1),
        ("1" + "~>$string" * 99, "1"),
        ("($f := function($n, $s){ $n = 0 ? $s : $f($n - 1, $s + $n) }; $f(20000, 0))", 200_010_000),
    ],
)
def test_what_aws_still_evaluates_is_evaluated(jsonata: Any, text: str, result: Any) -> None:
    assert jsonata(text) == result


@pytest.mark.parametrize("text", ["1" + "+1" * 100, "(" * 100 + "1" + ")" * 100, "[" * 100 + "1" + "]" * 100])
def test_it_nests_a_hundred_deep(jsonata_fault: Any, text: str) -> None:
    assert jsonata_fault(text) == DEPTH


def test_budgets_are_settings(jsonata: Any) -> None:
    assert jsonata("$sum([1, 2].($ + 1))", limits=Limits(jsonata_steps=50)) == 5
    for limits in (Limits(jsonata_steps=5), Limits(jsonata_depth=2)):
        with pytest.raises(StateError):
            jsonata("$sum([1, 2].($ + 1))", limits=limits)


@pytest.mark.slow
def test_one_evaluation_leaves_nothing_behind_for_the_next(jsonata: Any) -> None:
    with pytest.raises(StateError):
        jsonata("($x := 5; $f := function($n){ $f($n) }; $f(1))")
    with pytest.raises(StateError, match=r"returned nothing \(undefined\)"):
        jsonata("$x")
    assert jsonata("1 + 1") == 2
