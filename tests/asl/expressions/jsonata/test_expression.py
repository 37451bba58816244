"""Expressions: what they see, what they are refused for, and plain paths that need no library."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain.asl.expressions.jsonata import JSONataSyntaxError, States, compile_jsonata, states_fields_in
from statechain.errors import StateError
from support.visit import Visit

VALUE: Any = {"a": {"b": [{"c": 1}, {"c": 2}]}, "nil": None}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$states.input", VALUE),
        ("$states.input.a.b", [{"c": 1}, {"c": 2}]),
        ("$states.input.a.b.c", [1, 2]),
        ("$states.input.nil", None),
        ("$states.context.State.Name", "A"),
        ("$v", [1]),
        ("$v[0] + $w.x", 3),
        ("$größe", 1),
        ("$states", {"input": VALUE, "context": Visit().object()}),
    ],
)
def test_an_expression_sees_states_and_variables(jsonata: Any, text: str, result: Any) -> None:
    assert jsonata(text, VALUE, v=[1], w={"x": 2}, größe=1) == result


@pytest.mark.parametrize(
    "text",
    ["$none", "$states.result", "$states.errorOutput.Error", "$states.input.nil.x", "$states.input.a.b.c.d", "$v.x.y"],
)
def test_what_is_not_there_is_an_error(jsonata_fault: Any, text: str) -> None:
    assert jsonata_fault(text, VALUE, v=5) == "returned nothing (undefined)."


@pytest.mark.parametrize("text", ["$states.input", "$states.input ~> function($x){$x}", "$v"])
@pytest.mark.parametrize(
    ("value", "number"),
    [(1.0, 1), (-0.0, 0), (1.5, 1.5), (2**63 - 1, 2**63 - 1), (2**63, 9.223372036854776e18), (1e20, 1e20)],
)
def test_a_number_of_the_input_is_whole_where_it_is_and_a_double_beyond_64_bits(
    jsonata: Any, text: str, value: Any, number: Any
) -> None:
    found = jsonata(text, {"n": [value], "s": "1.0"}, v={"n": [value], "s": "1.0"})
    assert repr(found) == repr({"n": [number], "s": "1.0"})


def test_a_value_without_such_numbers_is_not_copied(jsonata: Any) -> None:
    value: Any = {"a": [1, "x", None, {"b": [1.5, True]}], "c": {"d": -3}}
    assert jsonata("$states.input", value) is value


@pytest.mark.parametrize("text", ["$sum", "function($x){$x}", "[1, $sum]", "{'f': function(){1}}", "/ab/"])
def test_a_function_is_no_result(jsonata_fault: Any, text: str) -> None:
    assert jsonata_fault(text) == "returned an unsupported result type."


def test_a_result_is_seen_where_there_is_one() -> None:
    visit = Visit()
    states = States(visit, {"input": 1, "result": {"n": [None]}})
    assert compile_jsonata("$states.result.n")(states, visit) == [None]
    assert compile_jsonata("$count($states.result.n) + $states.input")(states, visit) == 2


def test_variables_hide_functions_and_inner_ones_hide_them(jsonata: Any) -> None:
    assert jsonata("$sum", sum=3) == 3
    assert jsonata("($v := 2; $v)", v=1) == 2


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("$", 0),
        ("$$", 1),
        ("$$.a", 1),
        ("foo", 0),
        ("foo.bar", 0),
        ("1 + foo", 4),
        ("[$states.input, foo]", 16),
        ("{'a': foo}", 6),
        ("{foo: 1}", 1),
        ("$sum(foo)", 5),
        ("foo ~> $sum", 0),
        ("true ? foo : 1", 7),
        ("($x := foo; $x)", 7),
        ("function($x){ foo }", 14),
        ("$map($states.input.a, function($x){ b })", 36),
        ("-foo", 1),
    ],
)
def test_there_is_no_input_document(text: str, column: int) -> None:
    with pytest.raises(JSONataSyntaxError, match="refers to an input document") as caught:
        compile_jsonata(text)
    assert caught.value.column == column


@pytest.mark.parametrize(
    "text",
    [
        "$states.input.a[b > 3]",
        "$states.input.a^(c)",
        "$states.input.a{b: $sum(c)}",
        "$states.input.a.(b + $.c)",
        "$states.input.a.$",
        "$states.input ~> |a|{'b': c}|",
        "$states.input.a.`weird name`",
        "$nope",
    ],
)
def test_inside_a_context_names_are_fine(text: str) -> None:
    compile_jsonata(text)


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("", "S0207: Unexpected end of expression", 0),
        ("1 +", "S0207: Unexpected end of expression", 2),
        ("a[1,2)", 'S0202: Expected "]", got ","', 3),
        ("'unterminated", "S0101: String literal must be terminated by a matching quote", 12),
        ("{'a':}", 'S0211: The symbol "}" cannot be used as a unary operator', 5),
        ("$match('a', /abc", "S0302: No terminating / in regular expression", 15),
        ("/a(?=b)/", "the regular expression", 0),
        (r"/(a)\1/", "the regular expression", 0),
        ("$states.input.null.true", "S0213: The literal value", 17),
    ],
)
def test_refuses_what_does_not_parse(text: str, message: str, column: int) -> None:
    with pytest.raises(JSONataSyntaxError) as caught:
        compile_jsonata(text)
    assert message in str(caught.value)
    assert abs(caught.value.column - column) <= 1


def test_a_text_that_nests_or_goes_on_for_ever_is_refused() -> None:
    for text in ("(" * 50_000, "1+" * 60_000 + "1"):
        with pytest.raises(JSONataSyntaxError):
            compile_jsonata(text)


def test_tells_which_fields_of_states_it_uses() -> None:
    assert states_fields_in("$states.result.a") == {"result"}
    assert states_fields_in("$states.input.a & $states.context.b") == {"input", "context"}
    assert states_fields_in("$sum($map($states.result, function($x){ $x + $states.input.n }))") == {"result", "input"}
    assert states_fields_in("$states") == frozenset()
    assert states_fields_in("$v + 1") == frozenset()


def test_plain_paths_load_no_library() -> None:
    program = (
        "import sys; from statechain.asl import load;"
        "load({'QueryLanguage': 'JSONata', 'StartAt': 'A', 'States': {'A': {'Type': 'Pass', 'End': True,"
        " 'Output': '{% $states.input.a %}'}}}).plan; assert 'jsonata' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_each_thread_has_an_engine_of_its_own() -> None:
    evaluate = compile_jsonata("$sum([1..200].($ * $states.input))")
    results: dict[int, Any] = {}

    def work(factor: int) -> None:
        visit = Visit()
        results[factor] = [evaluate(States(visit, {"input": factor}), visit) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(factor,)) for factor in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {factor: [20_100 * factor] * 20 for factor in range(4)}


TOKENS = st.sampled_from(
    ["$states.input", "$states.input.a", "1", "'x'", "null", "true", "+", "-", "&", "=", "<", ".", "[", "]", "(", ")",
     "{", "}", ":", ",", "?", "~>", "$sum", "$map", "$string", "function($x)", "$x", "$", "*", "**", "%", "^", "|",
     ":=", ";",
     "..", "in", "and", "/a/", "@$i", "#$p", "b", "`c`", "$merge", "$keys", "$each", "$sort", "$split", "$number"]
)  # fmt: skip


@given(st.lists(TOKENS, max_size=12).map(" ".join))
def test_no_text_breaks_the_evaluator(text: str) -> None:
    visit = Visit({"x": [1, None]})
    with suppress(JSONataSyntaxError):
        evaluate = compile_jsonata(text)
        error = "States.QueryEvaluationError"
        try:
            evaluate(States(visit, {"input": VALUE}), visit)
        except StateError as fault:
            error = fault.error or ""
        assert error == "States.QueryEvaluationError"
