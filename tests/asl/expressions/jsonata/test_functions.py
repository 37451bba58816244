"""JSONata's functions: where the library was right, and where it is corrected."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.errors import StateError

VALUE: Any = {
    "items": [{"n": 1, "t": "a"}, {"n": 2, "t": None}],
    "one": [5],
    "none": None,
    "empty": [],
    "nulls": [None, 1],
    "obj": {"a": 1, "b": {"c": [1, 2]}},
}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        # texts
        ("$string($states.input.nulls)", "[null,1]"),
        ("$string({'é': 1/3})", '{"é":0.333333333333333}'),
        ("$string({'a': 1}, true)", '{\n  "a": 1\n}'),
        ("$string($sum)", ""),
        ("$lowercase('STRAẞE')", "straße"),
        ("$uppercase('é')", "É"),
        ("$length('😀')", 1),
        ("$trim('  a \\n b ')", "a b"),
        ("$pad('x', 5, '#-')", "x#-#-"),
        ("$pad('x', -3)", "  x"),
        ("$substring('hello', -3, 2)", "ll"),
        ("$substringBefore('a-b', '-')", "a"),
        ("$substringAfter('a-b', '-')", "b"),
        ("$contains('abracadabra', /a.*a/)", True),
        ("$match('ababb', /a(b+)/).groups", ["b", "bb"]),
        ("$match('ababb', /a(b+)/, 1)", {"match": "ab", "index": 0, "groups": ["b"]}),
        ("$split('a1b22c', /\\d+/)", ["a", "b", "c"]),
        ("$split('a1b', /(\\d)/)", ["a", "b"]),
        ("$split('a,b,c', ',', 2)", ["a", "b"]),
        ("$split('abc', '')", ["a", "b", "c"]),
        ("$join(['a', 'b'], ', ')", "a, b"),
        ("$replace('aaa', 'a', '$1', 2)", "$1$1a"),
        ("$replace('John Smith', /(\\w+)\\s(\\w+)/, '$2, $1')", "Smith, John"),
        ("$replace('abc', /b/, '$0$$x$1')", "ab$xc"),
        ("$replace('265USD', /([0-9]+)USD/, '$$$1')", "$265"),
        ("$replace('abab', /a/, function($m){$uppercase($m.match)})", "AbAb"),
        ("$base64decode($base64encode('é'))", "é"),
        ("$encodeUrlComponent('?x=é')", "%3Fx%3D%C3%A9"),
        ("$decodeUrl('%C3%A9')", "é"),
        # numbers
        ("$number('0x12') + $number('12.5') + $number(true)", 31.5),
        ("$number('-1e2')", -100),
        ("$number('007') + $number('-007.50')", -0.5),
        ("$formatBase(255, 16.4)", "ff"),
        ("$string(/a/)", ""),
        ("$reduce(36, /b/)", 36),
        ("$spread([{'a': 1}])", [{"a": 1}]),
        ("('AB' ~> ($lowercase ~> $uppercase))", "AB"),
        ("$power(2, 10)", 1024),
        ("[$round(2.5), $round(3.5), $round(123.456, 2)]", [2, 4, 123.46]),
        ("$formatBase(255, 16)", "ff"),
        ("$formatBase(-5, 2)", "-101"),
        ("$formatNumber(1234.5678, '#,##0.00')", "1,234.57"),
        ("$formatInteger(2789, 'w')", "two thousand, seven hundred and eighty-nine"),
        ("$parseInteger('twelve', 'w')", 12),
        ("$parseInteger('abc', '0')", "NaN"),
        ("$max([1, 3, 2]) - $min([1, 3, 2])", 2),
        ("$average([1, 2])", 1.5),
        # moments
        ("$toMillis('2017-11-07T15:07:54.972Z')", 1510067274972),
        ("$toMillis('2017-11-07T16:07:54.972+01:00')", 1510067274972),
        ("$toMillis('2017-11-07')", 1510012800000),
        ("$toMillis('2017')", 1483228800000),
        ("$toMillis('13.09.2012', '[D].[M].[Y]')", 1347494400000),
        ("$fromMillis(1510067557121)", "2017-11-07T15:12:37.121Z"),
        ("$fromMillis(1510067557121, '[Y0001]-[M01]')", "2017-11"),
        # sequences and objects
        ("$map([1, 2], $string)", ["1", "2"]),
        ("$map([1, 2], function($v, $i, $a){$v * $i + $count($a)})", [2, 4]),
        ("$filter([1, 2, 3], function($v){$v > 1})", [2, 3]),
        ("$single([1, 2], function($v){$v = 2})", 2),
        ("$reduce([1, 2, 3], function($a, $b){$a + $b}, 10)", 16),
        ("$each({'a': 1, 'b': 2}, function($v, $k){$k & $v})", ["a1", "b2"]),
        ("$sift({'a': 1, 'b': 2}, function($v){$v > 1})", {"b": 2}),
        ("$sort([3, 1, 2])", [1, 2, 3]),
        ("$sort(['b', 'a'])", ["a", "b"]),
        ("$sort($states.input.items, function($l, $r){$l.n < $r.n}).n", [2, 1]),
        ("$distinct([1, true, 1, '1', {'a': 1}, {'a': 1}])", [1, True, "1", {"a": 1}]),
        ("$spread([{'a': 1, 'b': 2}, {'c': 3}])", [{"a": 1}, {"b": 2}, {"c": 3}]),
        ("$merge([{'a': 1}, {'b': null}])", {"a": 1, "b": None}),
        ("$keys([{'a': 1}, {'b': 2}])", ["a", "b"]),
        ("$lookup($states.input, 'none')", None),
        ("$lookup($states.input.items, 't')", ["a", None]),
        ("$zip([1, 2, 3], [4, 5])", [[1, 4], [2, 5]]),
        ("$append([1], 2)", [1, 2]),
        ("$reverse([1, 2])", [2, 1]),
        ("$count($states.input.nulls)", 2),
        ("$exists($states.input.none)", True),
        ("$exists($states.input.nope)", False),
        ("$type($states.input.none)", "null"),
        ("$boolean([0, 0])", False),
        ("$not(null)", True),
        ("$clone($states.input.nulls)", [None, 1]),
    ],
)
def test_a_jsonata_function_has_its_documented_value(jsonata: Any, text: str, result: Any) -> None:
    before = repr(VALUE)
    assert jsonata(text, VALUE) == result
    assert repr(VALUE) == before


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("$length(null)", 'T0410: Argument 1 of function "length" does not match function signature'),
        ("$uppercase(1)", 'T0410: Argument 1 of function "uppercase" does not match function signature'),
        ("$map([1], $uppercase)", 'T0410: Argument 1 of function "uppercase" does not match function signature'),
        ("$each('x', function($v){$v})", 'T0410: Argument 1 of function "each" does not match function signature'),
        ("$sum(['a'])", 'T0412: Argument 1 of function "sum" must be an array of "numbers"'),
        ("$join([1])", 'T0412: Argument 1 of function "join" must be an array of "strings"'),
        ("$split('a', 'b', -1)", "D3020: Third argument of split function must evaluate to a positive number"),
        ("$replace('a', '', 'b')", "D3010: Second argument of replace function cannot be an empty string"),
        (
            "$replace('a', 'a', 'b', -1)",
            "D3011: Fourth argument of replace function must evaluate to a positive number",
        ),
        ("$replace('a', /a/, function(){1})", "D3012: Attempted to replace a matched string with a non-string value"),
        ("$match('a', /a/, -1)", "D3040: Third argument of match function must evaluate to a positive number"),
        ("$match('abc', /x*/)", "D1004: Regular expression matches zero length string"),
        ("$number('abc')", 'D3030: Unable to cast value to a number: "abc"'),
        ("$sum ~> '0'", "T2006: The right side of the function application operator ~> must be a function"),
        (
            "'5' <= 1/3",
            'T2009: The values "5" and 0.3333333333333333 either side of operator "<=" must be of the same data type',
        ),
        ("$number('1e999')", 'D3030: Unable to cast value to a number: "1e999"'),
        ("$sqrt(-1)", "D3060: The sqrt function cannot be applied to a negative number: -1"),
        (
            "$power(10, 400)",
            (
                "D3061: The power function has resulted in a value that cannot be represented as a JSON number: "
                "base=10, exponent=400"
            ),
        ),
        (
            "$formatBase(1, 99)",
            "D3100: The radix of the formatBase function must be between 2 and 36.  It was given 99",
        ),
        (
            "$toMillis('nope')",
            'D3110: The argument of the toMillis function must be an ISO 8601 formatted timestamp. Given "nope"',
        ),
        ("$decodeUrl('%E0%A4%A')", 'D3140: Malformed URL passed to $decodeUrl(): "%E0%A4%A"'),
        (
            "$reduce([1, 2], function($a){$a})",
            "D3050: The second argument of reduce function must be a function with at least two arguments",
        ),
        (
            "$single([1, 2], function($x){true})",
            "D3138: The $single() function expected exactly 1 matching result.  Instead it matched more.",
        ),
        (
            "$single([1, 2], function($x){false})",
            "D3139: The $single() function expected exactly 1 matching result.  Instead it matched 0.",
        ),
        ("$error('boo')", "D3137: boo"),
        ("$assert(false, 'no')", "D3141: no"),
    ],
)
def test_refuses_as_jsonata_does(jsonata_fault: Any, text: str, cause: str) -> None:
    assert jsonata_fault(text, VALUE) == cause


def test_strings_are_in_the_order_of_their_utf16_code_units(jsonata: Any) -> None:
    first, last = "\U0001f600", "\uff5e"  # by code points it were the other way round
    assert jsonata("$sort($states.input)", [last, first, "a"]) == ["a", first, last]
    assert jsonata("[$states.input[0] < $states.input[1], $states.input[0] >= $states.input[1]]", [first, last]) == [
        True,
        False,
    ]
    assert jsonata("$states.input^($)", [last, first, "a"]) == ["a", first, last]
    assert jsonata("$states.input^(>n).n", [{"n": first}, {"n": "a"}, {"n": last}]) == [last, first, "a"]
    assert jsonata("$states.input#$i^(n).$i", [{"n": last}, {"n": first}, {}]) == [1, 0, 2]


@pytest.mark.parametrize(("value", "code"), [([1, "a"], "T2007"), ([1, None], "T2008"), ([True, False], "T2008")])
def test_what_cannot_be_compared_has_no_order(jsonata_fault: Any, value: Any, code: str) -> None:
    assert jsonata_fault("$states.input^($)", value).startswith(code)


def test_sorting_needs_one_type(jsonata_fault: Any) -> None:
    assert jsonata_fault("$sort([3, 'a'])").startswith("D3070: The single argument form of the sort function")


@pytest.mark.parametrize(
    "text", ["$max([])", "$string()", "$keys({})", "$filter([1], function($v){false})", "$lookup({}, 'a')"]
)
def test_nothing_is_undefined(jsonata_fault: Any, text: str) -> None:
    assert jsonata_fault(text) == "returned nothing (undefined)."


def test_pictures_are_matched_in_linear_time(jsonata: Any) -> None:
    for text in ("$toMillis('1111111111111111111111x', '[f][f][f][f][f][f][f][f][f][f][f][f][f]')",
                 "$toMillis('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!', '(a+)+b[Y]')"):  # fmt: skip
        with pytest.raises(StateError, match="nothing"):
            jsonata(text)
