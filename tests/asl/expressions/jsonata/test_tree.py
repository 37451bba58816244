"""What an expression refers to, found in its syntax tree."""

from __future__ import annotations

import pytest

from statechain.asl.expressions.jsonata.engine import parse
from statechain.asl.expressions.jsonata.tree import BareReference, refuse_bare, states_fields, variables


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1", set()),
        ("$a + $sum($b.c[$d > 1])", {"a", "sum", "b", "d"}),
        ("($x := $y; $x)", {"x", "y"}),
        ("$states.input ~> |$|{'n': $v}|", {"states", "", "v"}),
        ("$o{$k: $w}", {"o", "k", "w"}),
        ("$o^($s)", {"o", "s"}),
    ],
)
def test_the_free_variables_of_an_expression_are_found(text: str, names: set[str]) -> None:
    assert variables(parse(text)) == names


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("1", set()),
        ("$states.input.result", {"input"}),
        ("$f($states.result) + $states.context.a", {"result", "context"}),
        ("$states.'input'", {"input"}),
        ("$states", None),
        ("$keys($states)", None),
        ("$states.*", None),
        ("$states.input & $string($states)", None),
        ("$states[0].input", None),
    ],
)
def test_fields_of_states(text: str, fields: set[str] | None) -> None:
    assert states_fields(parse(text)) == fields


@pytest.mark.parametrize(
    ("text", "column"),
    [("name", 0), ("1 + name", 4), ("$", 0), ("$$.a", 1), ("$f(name)", 3), ("{'a': name}", 6), ("true ? name : 1", 7)],
)
def test_refuses_an_input_document(text: str, column: int) -> None:
    with pytest.raises(BareReference, match="refers to an input document") as caught:
        refuse_bare(parse(text))
    assert caught.value.column == column


@pytest.mark.parametrize(
    "text",
    ["$a.name", "$a[name = 1]", "$a.($ + name)", "$a{name: $}", "$a ~> |x|{'n': name}|", "$a^(name)", "$map($a, $f).b"],
)
def test_names_within_a_context_are_none(text: str) -> None:
    refuse_bare(parse(text))
