"""Paths: what they find, what they say where they find nothing, and where a reference path writes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain.asl.expressions.jsonpath import (
    PathNotFound,
    PathSyntaxError,
    compile_path,
    compile_reference_path,
    names_one_place,
    variable_of,
)
from statechain.errors import StateError
from statechain.limits import Limits
from support.visit import Visit

VALUE: Any = {
    "a": {"b": [1, 2, {"c": "x"}], "": 0, "ä-ö": 1, "x y": 2, "o'k": 3},
    "null": None,
    "items": [{"n": 1, "t": "a"}, {"n": 2, "t": "b"}, {"n": 3}],
    "matrix": [[1, 2], [3]],
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$", VALUE),
        ("$.a.b", [1, 2, {"c": "x"}]),
        ("$.a.b[2].c", "x"),
        ("$['a']['b'][0]", 1),
        ('$["a"].b[-1].c', "x"),
        ("$.a['x y']", 2),
        (r"$.a['o\'k']", 3),
        ("$.a.ä-ö", 1),
        ("$.a['']", 0),
        ("$.null", None),
        ("$.items[*].n", [1, 2, 3]),
        ("$.items[1:].n", [2, 3]),
        ("$.items[:1].n", [1]),
        ("$.items[0,2].n", [1, 3]),
        ("$.items[5:].n", []),
        ("$.items[?(@.n > 1)].n", [2, 3]),
        ("$.items[?(@.t)].t", ["a", "b"]),
        ("$.items[?(@.t == 'b' || @.n == 3)].n", [2, 3]),
        ("$..n", [1, 2, 3]),
        ("$.none[*].n", []),
        ("$.matrix[*][*]", [1, 2, 3]),
        ("$.a['x y','none']", {"x y": 2}),
    ],
)
def test_a_path_finds_the_nodes_that_it_names(path: Any, text: str, found: Any) -> None:
    assert path(text, VALUE) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$.items.[0].n", 1),
        ("$.a.['b'].[2].['c']", "x"),
        ("$.[*]", list(VALUE.values())),
        ("$.items.[*].n", [1, 2, 3]),
        ("$.items.[1:].n", [2, 3]),
        ("$.items.[?(@.n > 1)].n", [2, 3]),
        ("$.items.[*].['n', 't']", [{"n": 1, "t": "a"}, {"n": 2, "t": "b"}, {"n": 3}]),
        ("$.a.['x y', 'none']", {"x y": 2}),
        ("$..['n','t']", [{"n": 1, "t": "a"}, {"n": 2, "t": "b"}]),
        ("$..[0].n", [1]),
    ],
)
def test_a_dot_may_stand_before_a_bracket(path: Any, text: str, found: Any) -> None:
    assert path(text, VALUE) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$.items[?(@.t==b)].n", [2]),
        ("$.items[?(@.t == b || @.t == a)].n", [1, 2]),
        ("$.items[?(@['t'] != b && @.t)].n", [1]),
        ("$.items[?(b == @.t)].n", [2]),
        ("$.items[?(@.t == nothing)].n", []),
        ("$..items[?(@.t==b)].n", [2]),
    ],
)
def test_a_bare_word_in_a_filter_is_a_string(path: Any, text: str, found: Any) -> None:
    assert path(text, VALUE) == found


@pytest.mark.parametrize("word", ["my-stack", "us-east-1", "v1.2", "2024-05-06", "A_b", "50%", "größe", "t:rue"])
def test_a_bare_word_has_more_than_letters(path: Any, word: str) -> None:
    assert path(f"$[?(@.k=={word})].n", [{"k": word, "n": 1}, {"k": "other"}]) == [1]


def test_a_bare_number_or_literal_is_no_string(path: Any) -> None:
    items: Any = [{"k": 1}, {"k": "1"}, {"k": True}, {"k": "true"}, {"k": None}, {"k": "null"}]
    assert path("$[?(@.k==1)].k", items) == [1]
    assert path("$[?(@.k==true)].k", items) == [True]
    assert path("$[?(@.k==null)].k", items) == [None]
    assert path("$[?(@.k=='1')].k", items) == ["1"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$.items[(@.length-1)].n", 3),
        ("$.items[ ( @.length - 2 ) ].n", 2),
        ("$.matrix.[(@.length-1)][0]", 3),
        ("$.matrix[*][(@.length-1)]", [2, 3]),
    ],
)
def test_an_index_may_count_from_the_length(path: Any, text: str, found: Any) -> None:
    assert path(text, VALUE) == found


@pytest.mark.parametrize("text", ["$[?(@ > 1)]", "$[?(@ == 'b')]", "$[?(@)]", "$[?(!@.n)]", "$[?(@[0] == 1)]"])
def test_a_filter_matches_objects_only(path: Any, text: str) -> None:
    assert path(text, [1, 2, "b", None, [1]]) == []


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        (r"$.store\.book", {"store.book": 1}, 1),
        (r"$.\stor\e.boo\k", {"store": {"book": 1}}, 1),
        (r"$.foo\@bar.baz\[\[.\?pretty", {"foo@bar": {"baz[[": {"?pretty": 1}}}, 1),
        (r"$.&Ж中.\uD800\uDF46", {"&Ж中": {"\U00010346": 1}}, 1),
        ("$.$schema.#id.50%", {"$schema": {"#id": {"50%": 1}}}, 1),
        ("$.a&b[*].c", {"a&b": [{"c": 1}]}, [1]),
    ],
)
def test_a_dotted_name_may_have_escapes_and_other_characters(path: Any, text: str, value: Any, found: Any) -> None:
    assert path(text, value) == found


@pytest.mark.parametrize("text", ["$.a.b[0]", "$", "$.items[*].n", "$['a','null']"])
def test_white_space_after_a_path_is_no_part_of_it(path: Any, text: str) -> None:
    assert path(f"{text} \t", VALUE) == path(text, VALUE)
    assert names_one_place(f"{text} ") is names_one_place(text)
    assert compile_reference_path("$.x ").set({}, 1) == {"x": 1}


def test_a_filter_may_compare_with_the_whole_input(path: Any) -> None:
    assert path("$.items[?(@.n > $.least)].n", {"least": 1, "items": [{"n": 1}, {"n": 2}]}) == [2]


def test_the_context_object_and_variables_have_paths_too(path: Any) -> None:
    assert path("$$.Execution.Input.n") == 1
    assert path("$$")["State"] == {"Name": "A"}
    assert path("$order.lines[0]", None, order={"lines": ["x"]}) == "x"
    assert path("$größe", None, größe=1) == 1


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("$.x", "Invalid path '$.x' : No results for path: $['x']"),
        ("$.x.y", "Invalid path '$.x.y' : Missing property in path $['x']"),
        (
            "$.null.y",
            (
                "Invalid path '$.null.y' : Expected to find an object with property ['y'] in path $['null'] but found "
                "'null'."
            ),
        ),
        ("$.a.b[3]", "Invalid path '$.a.b[3]' : No results for path: $['a']['b'][3]"),
        ("$.a[0]", "Invalid path '$.a[0]' : Filter: [0] can only be applied to arrays. Current context is: "),
        ("$.null[0]", "Invalid path '$.null[0]' : The path $['null'] is null"),
        ("$gone.a", "Invalid path '$gone.a' : No variable is assigned with the name: gone"),
        ("$.a.b[99999999999999999999]", "Invalid path "),
    ],
)
def test_tells_what_is_missing(path: Any, text: str, cause: str) -> None:
    with pytest.raises(PathNotFound) as caught:
        path(text, VALUE)
    assert caught.value.error == "States.Runtime"
    assert (caught.value.cause or "").startswith(cause)


def test_knows_an_index_past_the_end(path: Any) -> None:
    for text, is_past_end in (("$.a.b[3]", True), ("$.a.b[3].c", False), ("$.x", False)):
        with pytest.raises(PathNotFound) as caught:
            path(text, VALUE)
        assert caught.value.is_past_end is is_past_end


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "$.", "$x y", "$.a[", "$.a[?(@.n > )]", "$.a b", "$..", "$.a[0", "$.f(1)", "$[?]"),
        *("$...[0]", "$..a..", "$.a.", "$.[", "$[?(word)]", "$[(@.length)]", "$[(@.length+1)]"),
    ],
)
def test_refuses_what_is_no_path(text: str) -> None:
    with pytest.raises(PathSyntaxError) as caught:
        compile_path(text)
    assert 0 <= caught.value.column <= len(text)


def test_says_at_which_character_it_is_wrong() -> None:
    with pytest.raises(PathSyntaxError) as caught:
        compile_path("$.items[?(@.n > )]")
    assert caught.value.column == len("$.items[?(@.n > ")


def test_the_character_is_that_of_the_path_as_it_is_written() -> None:
    with pytest.raises(PathSyntaxError) as caught:
        compile_path("$.items[?(@.t == b && @.n > )]")
    assert caught.value.column == len("$.items[?(@.t == b && @.n > ")


def test_a_path_that_passes_too_many_nodes_is_an_error(path: Any) -> None:
    deep: Any = 1
    for _ in range(180):
        deep = {"a": deep, "b": [deep]}
    with pytest.raises(StateError, match="passes too many nodes") as caught:
        path("$..*", deep, limits=Limits(path_nodes=1_000))
    assert caught.value.error == "States.Runtime"


def test_names_one_place() -> None:
    for text in ("$", "$.a", "$$.a[0]", "$v", "$v['a']"):
        assert names_one_place(text)
    for text in ("$.a[*]", "$..a", "$.a[0,1]", "$.a[?(@.b)]", "$v[1:]"):
        assert not names_one_place(text)


def test_knows_the_variable_that_a_path_begins_with() -> None:
    assert variable_of("$order.id") == "order"
    assert variable_of("$.order") is None
    assert variable_of("$$.Execution") is None


class TestReferencePath:
    @pytest.mark.parametrize(
        ("text", "value", "after"),
        [
            ("$", {"a": 1}, "new"),
            ("$.b", {"a": 1}, {"a": 1, "b": "new"}),
            ("$.a.b.c", {"a": {}}, {"a": {"b": {"c": "new"}}}),
            ("$.a[1]", {"a": [1, 2, 3]}, {"a": [1, "new", 3]}),
            ("$['x y']", {}, {"x y": "new"}),
            ("$.['x y']", {}, {"x y": "new"}),
            ("$.a.[1]", {"a": [1, 2]}, {"a": [1, "new"]}),
            (r"$.x\.y", {}, {"x.y": "new"}),
        ],
    )
    def test_sets_in_a_copy(self, text: str, value: Any, after: Any) -> None:
        before = repr(value)
        assert compile_reference_path(text).set(value, "new") == after
        assert repr(value) == before

    @pytest.mark.parametrize(("text", "value"), [("$.a", 5), ("$.a", [1]), ("$.a.b", {"a": 5}), ("$.a[3]", {"a": [1]})])
    def test_where_it_cannot_set(self, text: str, value: Any) -> None:
        with pytest.raises(StateError, match="Unable to apply ReferencePath") as caught:
            compile_reference_path(text).set(value, "new")
        assert caught.value.error == "States.ResultPathMatchFailure"

    @pytest.mark.parametrize(
        "text", ["a", "$$.a", "$.a[*]", "$..a", "$.a[-1]", "$.a[(@.length-1)]", "$.a[0,1]", "$.a[?(@.b)]"]
    )
    def test_names_one_place_from_the_front(self, text: str) -> None:
        with pytest.raises(PathSyntaxError):
            compile_reference_path(text)

    def test_a_reference_path_gets_the_value_at_its_place(self) -> None:
        assert compile_reference_path("$.a.b[0]").get(VALUE) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
STEPS = st.sampled_from(
    [".a", ".b", "[0]", "[-1]", "[*]", "..a", "['c']", "[1:]", ".*", "[?(@.a)]", "[?(@.a > 1)]", "[0,1]"]
)


@given(st.lists(STEPS, max_size=5).map("".join), JSON)
def test_no_value_breaks_a_path(steps: str, value: Any) -> None:
    find = compile_path(f"$.a{steps}")
    error = "States.Runtime"
    try:
        find(value, Visit())
    except StateError as fault:
        error = fault.error or ""
    assert error == "States.Runtime"


@given(st.text("$.[]'\"ab*?@()0-1:,<=&| \\", max_size=12))
def test_any_text_is_a_path_or_a_syntax_error(text: str) -> None:
    with suppress(PathSyntaxError):
        compile_path(f"${text}")


def test_a_function_is_a_name_as_on_aws(path: Any) -> None:
    assert path("$.list.length()", {"list": {"length()": 3}}) == 3
    with pytest.raises(PathNotFound, match=r"\['length\(\)'\]"):
        path("$.list.length()", {"list": [1]})
    with pytest.raises(PathSyntaxError):
        compile_reference_path("$.list.length()")
    with pytest.raises(PathSyntaxError):
        compile_path("$.list.index(1)")
