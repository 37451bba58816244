"""Texts: JSON and YAML with core types only, the place of everything, and what is refused where."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from statechain.asl.text import pointer_to, read_json, read_text, read_yaml
from statechain.errors import DefinitionError
from statechain.limits import DEFAULT_LIMITS, Limits
from support.calls import counted_calls


def fault_of(text: str, limits: Limits = DEFAULT_LIMITS) -> tuple[str, int | None, int | None]:
    with pytest.raises(DefinitionError) as caught:
        read_text(text, limits)
    first = caught.value.diagnostics[0]
    return first.code, first.line, first.column


def test_tells_json_from_yaml() -> None:
    assert read_text(' \n{"a": 1}', DEFAULT_LIMITS)[0] == {"a": 1}
    assert read_text("\ufeffa: 1", DEFAULT_LIMITS)[0] == {"a": 1}


def test_knows_where_everything_stands_in_json() -> None:
    _, places = read_json('{\n  "a": [1,\n    {"b/c": "x"}],\n  "d" : null }', DEFAULT_LIMITS)
    assert places == {
        "": (1, 1),
        "/a": (2, 8),
        "/a#key": (2, 3),
        "/a/0": (2, 9),
        "/a/1": (3, 5),
        "/a/1/b~1c": (3, 13),
        "/a/1/b~1c#key": (3, 6),
        "/d": (4, 9),
        "/d#key": (4, 3),
    }


def test_knows_where_everything_stands_in_yaml() -> None:
    _, places = read_yaml("a:\n  - 1\n  - b: x\n", DEFAULT_LIMITS)
    assert (places["/a/0"], places["/a/1/b"], places["/a/1/b#key"]) == ((2, 5), (3, 8), (3, 5))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("Yes", "Yes"), ("010", "010"), ("0x1F", "0x1F"), ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"), ("1_000", "1_000"), (".inf", ".inf"), (".nan", ".nan"), ("=", "="),
        ("1", 1), ("-0", 0), ("+2", 2), ("1.5", 1.5), ("1e3", 1000.0), ("~", None), ("null", None), ("", None),
        ("true", True), ("False", False), ("'1'", "1"), ('"true"', "true"), ("'2024-01-01'", "2024-01-01"),
        ("|\n  a\n  b\n", "a\nb\n"), ('"\\u00e4"', "ä"), ("[1, a]", [1, "a"]), ("{}", {}),
    ],
)  # fmt: skip
def test_yaml_has_the_core_types_alone(text: str, value: Any) -> None:
    found = read_yaml(f"v: {text}", DEFAULT_LIMITS)[0]
    assert found == {"v": value}
    assert type(found["v"]) is type(value)  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("", "syntax", 1, 1),
        ('{"a": 1,}', "syntax", 1, 8 if sys.version_info >= (3, 13) else 9),  # the comma, or what follows it
        ('{"a": 1} x', "syntax", 1, 10),
        ('{"a": NaN}', "syntax", 1, 1),
        ('{"a": 1,\n "a": 2}', "duplicate-key", 2, 2),
        ('{"a": 1e999}', "number", 1, 7),
        (f'{{"a": {"1" * 5_000}}}', "number", 1, 7),
        ("a: 1\na: 2", "duplicate-key", 2, 1),
        ("a: b: c", "syntax", 1, 5),
        ("a: &x 1\nb: *x", "alias", 1, 4),
        ("a: *x", "alias", 1, 4),
        ("a: !!str 1", "tag", 1, 4),
        ("!!python/object/apply:os.system ['true']", "tag", 1, 1),
        ("<<: {a: 1}", "merge-key", 1, 1),
        ("? [1]\n: 2", "key", 1, 3),
        ("? {a: [1, {b: 2}]}\n: [{c: 3}]", "key", 1, 3),
        ("1: 2", "key", 1, 1),
        ("a: 1\n---\nb: 2", "syntax", 2, 1),
        (f"a: {'1' * 5_000}", "number", 1, 4),
        ("a: 1e999", "number", 1, 4),
        ("a: \x00", "syntax", 1, 1),
    ],
)
def test_a_malformed_document_is_refused_at_its_line_and_column(text: str, code: str, line: int, column: int) -> None:
    assert fault_of(text) == (code, line, column)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' + "[" * 10_000 + "]" * 10_000 + "}",
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        "a: " + "[" * 10_000 + "]" * 10_000,
        "a: " + "{b: " * 900 + "1" + "}" * 900,
        "".join(f"{' ' * depth}a:\n" for depth in range(900)),
    ],
)
def test_ten_thousand_levels_are_read_to_the_limit_only(text: str) -> None:
    with counted_calls() as calls:
        assert fault_of(text)[0] == "too-deep"
    assert calls() <= 100 * DEFAULT_LIMITS.definition_depth


def test_a_bomb_of_aliases_never_unfolds() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    assert fault_of("\n".join(lines))[0] == "alias"


def test_a_long_text_is_refused_by_its_bytes() -> None:
    small = Limits(definition_bytes=20)
    assert fault_of('{"a": "ääääääää"}', small)[0] == "too-large"
    assert fault_of("x" * 2_000_000)[0] == "too-large"
    assert read_text('{"a": "aaaaaaaa"}', small)[0] == {"a": "aaaaaaaa"}


def test_every_error_of_a_yaml_text_is_reported_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        read_yaml('? [1e999]\n: {a: 1, a: [2e999]}\nb:\n  1: {<<: 2}\n  "1": 3\n', DEFAULT_LIMITS)
    assert [(found.code, found.line, found.column) for found in caught.value.diagnostics] == [
        ("number", 1, 4), ("key", 1, 3), ("duplicate-key", 2, 10), ("number", 2, 14),
        ("key", 4, 3), ("merge-key", 4, 7),
    ]  # fmt: skip


def test_yaml_is_read_without_a_tree_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for kind in (yaml.ScalarNode, yaml.SequenceNode, yaml.MappingNode):
        init = kind.__init__

        def noted(self: Any, *arguments: Any, init: Any = init, **options: Any) -> None:
            made.append(type(self).__name__)
            init(self, *arguments, **options)

        monkeypatch.setattr(kind, "__init__", noted)
    assert read_yaml("a: [1, {b: 2}]", DEFAULT_LIMITS)[0] == {"a": [1, {"b": 2}]}
    assert made == []


def test_a_second_document_is_refused_by_what_it_is() -> None:
    with pytest.raises(DefinitionError, match="a second document begins here"):
        read_yaml("a: 1\n---\nb: 2", DEFAULT_LIMITS)


def test_a_pointer_escapes_slashes_and_tildes() -> None:
    assert pointer_to("/a", "b/c~d") == "/a/b~1c~0d"
    assert pointer_to("", 0) == "/0"


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(DefinitionError):
        read_text(text, DEFAULT_LIMITS)


@given(st.text(alphabet="{}[]:,\"'-&*!|>%@# \n\tab01.<?~", max_size=40))
def test_any_markup_is_read_or_refused(text: str) -> None:
    with suppress(DefinitionError):
        read_yaml(text, DEFAULT_LIMITS)


NUMBERS = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.sampled_from([None, 1]))
def test_json_comes_back_as_it_went(value: Any, indent: int | None) -> None:
    assert read_text(json.dumps(value, indent=indent), DEFAULT_LIMITS)[0] == value


@given(st.dictionaries(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), JSON, max_size=5))
def test_both_readers_read_json_alike(value: Any) -> None:
    text = json.dumps(value)
    try:
        found, places = read_yaml(text, DEFAULT_LIMITS)
    except DefinitionError:
        return  # a surrogate on its own, which YAML has no way to write
    assert found == value
    assert places == read_json(text, DEFAULT_LIMITS)[1]


def test_the_parser_in_use_is_the_fast_one() -> None:
    assert hasattr(yaml, "CSafeLoader")
