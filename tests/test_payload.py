"""A payload has its text and its value, each made of the other once, and gives away only what nothing else holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain.codec import encode
from statechain.errors import InvalidPayload
from statechain.payload import Payload

BOUNDS = {"max_bytes": 10_000, "max_depth": 20}
SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))


@given(VALUES)
def test_value_and_text_are_made_of_each_other(value: Any) -> None:
    isolated = Payload.isolated(value)
    assert isolated.value == value
    assert isolated.text == encode(value)
    read = Payload.of_text(encode(value))
    assert read.value == value
    assert Payload(value).encoded() == encode(value)


def made(make: Callable[..., Payload], of: Any, **bounds: int) -> tuple[object, ...]:
    try:
        payload = make(of, **bounds)
    except InvalidPayload as refused:
        return (str(refused),)
    return payload.text, payload.value


@given(VALUES, st.integers(1, 60), st.integers(0, 3))
def test_a_text_that_is_passed_on_is_taken_or_refused_as_its_value_is(value: Any, most: int, depth: int) -> None:
    bounds = {"max_bytes": most, "max_depth": depth}
    assert made(Payload.passed_on, encode(value), **bounds) == made(Payload.isolated, value, **bounds)


def test_a_damaged_text_is_not_passed_on() -> None:
    with pytest.raises(InvalidPayload, match="not JSON"):
        Payload.passed_on("{", **BOUNDS)


def test_an_owned_value_is_given_away_once_and_made_again_from_its_text() -> None:
    payload = Payload.isolated({"list": [1]})
    first: Any = payload.copied(**BOUNDS)
    first["list"].append(2)
    second: Any = payload.copied(**BOUNDS)
    assert second == {"list": [1]}
    assert payload.value == {"list": [1]}
    assert payload.value is not second


@pytest.mark.parametrize("text", [None, '{"list":[1]}'])
def test_what_others_hold_is_copied(text: str | None) -> None:
    value: Any = {"list": [1]}
    payload = Payload(value, text)
    for given_away in (payload.copied(**BOUNDS), payload.taken(**BOUNDS)):
        assert given_away == value
        assert given_away is not value
        assert given_away["list"] is not value["list"]  # type: ignore[index,call-overload]


def test_a_payload_that_is_over_gives_its_own_value_away() -> None:
    value: Any = {"list": [1]}
    assert Payload.owned(value).taken(**BOUNDS) is value


def test_what_is_too_large_is_refused_and_shown_nowhere() -> None:
    payload = Payload(["secret" * 10])
    with pytest.raises(InvalidPayload):
        payload.encoded(max_bytes=20)
    assert payload.text is None
    assert "secret" not in repr(payload)
    assert "secret" not in repr(Payload.isolated(["secret"]))
