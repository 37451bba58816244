"""Paths that may find several nodes: the dialect, and its bounds."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain.asl.expressions.indefinite import Search, SearchFailed
from statechain.limits import DEFAULT_LIMITS

BOOKS: Any = [{"n": 1, "t": "ab", "x": None}, {"n": 2, "t": "b"}, {"n": 3}]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$[*].n", [1, 2, 3]),
        ("$[?(@.n >= 2 && @.t)].n", [2]),
        ("$[?(@.t =~ /^A.*/i)].n", [1]),
        ("$[?(@.n in [1, 3])].n", [1, 3]),
        ("$[?(@.x == null)].n", [1]),
        ("$[?(!@.x)].n", [1, 2, 3]),
        ("$[::2].n", [1, 3]),
        ("$[-1:].n", [3]),
        ("$..t", ["ab", "b"]),
        ("$[5:]", []),
        ("$[*].none", []),
    ],
)
def test_an_indefinite_path_finds_every_node_in_order(path: str, found: Any) -> None:
    assert Search(path, DEFAULT_LIMITS)(BOOKS) == found


def test_a_filter_of_an_object_tests_the_object_itself() -> None:
    assert Search("$[?(@.n == 1)].n", DEFAULT_LIMITS)({"n": 1}) == [1]
    assert Search("$..[?(@.n)].n", DEFAULT_LIMITS)({"a": [{"n": 1}, {"b": {"n": 2}}]}) == [1, 2]


@pytest.mark.parametrize("value", [None, 1, "text", True])
def test_nothing_is_in_a_scalar(value: Any) -> None:
    assert Search("$..*", DEFAULT_LIMITS)(value) == []


@pytest.mark.parametrize(
    "path",
    [
        "$[?]",
        "$[?(@.n",
        "$.*.",
        "$[?count(@.*) > 1]",
        "$[?(@.n contains 1)]",
        "$[~'n']",
        "$.* | $.n",
        "$[?(@.t =~ /(/)]",
    ],
)
def test_a_path_outside_the_dialect_is_refused(path: str) -> None:
    with pytest.raises(SearchFailed):
        Search(path, DEFAULT_LIMITS)


def test_visits_no_more_nodes_than_it_may() -> None:
    search = Search("$..*", attrs.evolve(DEFAULT_LIMITS, path_nodes=10))
    assert len(search([[1, 2]])) == 3
    with pytest.raises(SearchFailed, match="too many nodes"):
        search([[1, 2]] * 10)


def test_a_regular_expression_counts_by_what_it_reads() -> None:
    search = Search("$[?(@.t =~ /(a|b)*c/)]", attrs.evolve(DEFAULT_LIMITS, path_nodes=100))
    assert search([{"t": "abc"}, {"t": "ab"}]) == [{"t": "abc"}]
    with pytest.raises(SearchFailed, match="too many nodes"):
        search([{"t": "ab" * 10_000}])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abn"), inner, max_size=3),
    max_leaves=8,
)
PATHS = ["$..a", "$[*][?(@.n > 1)]", "$.a[*]", "$..*", "$[?(@.a == @.b)]", "$[1:-1]", "$..[?(!@.n)].a", "$['a','n'][0]"]


@given(path=st.sampled_from(PATHS), value=JSON)
def test_any_value_can_be_searched(path: str, value: Any) -> None:
    assert isinstance(Search(path, DEFAULT_LIMITS)(value), list)
