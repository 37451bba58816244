"""JSON is kept exactly, or refused with the place."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import functools
import gc
import json
import math
import types
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction
from json import encoder
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any
from unittest import mock

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain import InvalidPayload
from statechain.codec import decode, encode, encoding, fits, isolate, require_fit, same_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


@given(json_values)
def test_every_json_value_comes_back_exactly(value: Any) -> None:
    text = encode(value)
    assert text.isascii()
    assert same(decode(text), value)
    assert encode(decode(text)) == text
    assert json.loads(text) == value


@given(json_values)
def test_a_copy_shares_nothing_with_the_original(value: Any) -> None:
    before = encode(value)
    _, copy = isolate(value)
    assert same(copy, value)
    spoil(copy)
    assert encode(value) == before


def spoil(value: Any) -> None:
    """Change a value wherever it can be changed."""
    if isinstance(value, list):
        for item in value:
            spoil(item)
        value.append("spoiled")
    elif isinstance(value, dict):
        for item in value.values():
            spoil(item)
        value["spoiled"] = True


@pytest.mark.parametrize(
    "value",
    ["\x00", "\ud800", "\udfff\ud800", "\u2028", "é", "😀", 2**70, -(2**70), 1e308, 5e-324, -0.0, 0.1, {"": ""}],
)
def test_what_databases_stumble_over_comes_back(value: Any) -> None:
    assert same(decode(encode(value)), value)


def test_keys_keep_their_order_and_tuples_are_arrays() -> None:
    assert encode({"b": 1, "a": 2}) == '{"b":1,"a":2}'
    assert decode(encode((1, (2,)))) == [1, [2]]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (float("nan"), "the value"),
        ({"a": [1, float("inf")]}, "/a/1"),
        ({"a": {1: 2}}, "/a"),
        ({"a/b": {"c~d": {3}}}, "/a~1b/c~0d"),
        ([b"bytes"], "/0"),
        ([object()], "/0"),
        ({None: 1}, "the value"),
        ({"a": 1, 2: 3}, "the value"),
        ({True: 1}, "the value"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_the_place(value: Any, place: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        encode(value)
    assert str(refused.value).startswith(f"{place}: ")
    assert not refused.value.is_too_large


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int


@attrs.define
class Line:
    x: int


@pytest.mark.parametrize(
    ("value", "instead"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "datetime is not JSON: give its isoformat()"),
        (date(2026, 1, 1), "date is not JSON: give its isoformat()"),
        (timedelta(1), "timedelta is not JSON: give its total_seconds()"),
        (Decimal("1.5"), "Decimal is not JSON: give str() of it, or float() where digits may be lost"),
        (uuid.UUID(int=1), "UUID is not JSON: give str() of it"),
        (PurePosixPath("x"), "PurePosixPath is not JSON: give str() of it"),
        (b"x", "bytes is not JSON: give a text, such as base64 of it"),
        (Colour.RED, "Colour is not JSON: give its value"),
        (Point(1), "Point is not JSON: give dataclasses.asdict() of it"),
        (Line(1), "Line is not JSON: give attrs.asdict() of it"),
        ({1}, "set is not JSON: give a list"),
        (range(2), "range is not JSON: give a list"),
        (MappingProxyType({"a": 1}), "mappingproxy is not JSON: give dict() of it"),
        (print, "builtin_function_or_method is not JSON"),
        pytest.param(10**5000, "a number of so many digits cannot be read back: give a text", id="digits"),
    ],
)
def test_a_refusal_says_what_to_give_instead(value: Any, instead: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        isolate({"a": [value]})
    assert str(refused.value) == f"/a/0: {instead}"


async def test_what_is_not_awaited_yet_is_told_to_be() -> None:
    async def price() -> int:
        return 5

    coroutine, future = price(), asyncio.get_running_loop().create_future()
    for value in (coroutine, future):
        with pytest.raises(InvalidPayload, match=r"is not JSON: give what it returns, by await$"):
            isolate(value)
    coroutine.close()


def test_a_model_of_pydantic_is_dumped_by_its_method() -> None:
    model = pytest.importorskip("pydantic").create_model("Order", n=int)(n=1)
    with pytest.raises(InvalidPayload, match=r"the value: Order is not JSON: give its model_dump\(mode='json'\)"):
        isolate(model)


def test_a_refusal_does_not_tell_the_value() -> None:
    with pytest.raises(InvalidPayload) as refused:
        encode({"password": {"hunter2"}})
    assert "hunter2" not in str(refused.value)


def test_a_cycle_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidPayload):
        encode(loop)
    nested: dict[str, Any] = {}
    nested["self"] = [nested]
    with pytest.raises(InvalidPayload):
        encode(nested)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_nesting_is_bounded_and_braces_in_texts_do_not_count() -> None:
    assert decode(encode(deep(50), max_depth=50)) == deep(50)
    with pytest.raises(InvalidPayload, match="deeper than 50") as refused:
        encode(deep(51), max_depth=50)
    assert refused.value.is_too_large
    with pytest.raises(InvalidPayload):
        encode(deep(100_000))
    assert decode(encode("[" * 1000, max_depth=50)) == "[" * 1000


def test_the_size_is_bounded_in_bytes_of_utf8() -> None:
    assert encode("é" * 10, max_bytes=22)
    for value, limit in [("é" * 10, 21), ("a" * 10, 11), ("😀", 5)]:
        with pytest.raises(InvalidPayload, match=f"the limit is {limit}") as refused:
            encode(value, max_bytes=limit)
        assert refused.value.is_too_large


@pytest.mark.parametrize(
    "text", ["", "{", "nul", "NaN", "[Infinity]", "-Infinity", "1e999", "[1,]", "'a'", b"\xff", "1 2"]
)
def test_what_is_not_strict_json_is_not_read(text: str | bytes) -> None:
    with pytest.raises(InvalidPayload):
        decode(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1, column 1: it ends where a value is missing"),
        ("[1, ", "line 1, column 5: it ends where a value is missing"),
        ("tru", "line 1, column 1: no value of JSON begins here"),
        ("[1\n2]", "line 2, column 1: a comma or a closing bracket is missing"),
        ("{a: 1}", "line 1, column 2: a key in double quotes is missing"),
        ('{"a" 1}', "line 1, column 6: a colon is missing"),
        ("1 2", "line 1, column 3: something follows the value"),
        ('"abc', "line 1, column 1: a string does not end"),
        ('"a\tb"', "line 1, column 3: a control character in a string has no escape"),
        ('"\\x"', "line 1, column 2: a backslash begins no escape of JSON"),
        ('"\\u12"', "line 1, column 3: \\u is not followed by four hexadecimal digits"),
        (b'"\xff"', "it is not encoded in UTF-8"),
    ],
)
def test_a_text_that_is_not_json_is_refused_in_plain_words(text: str | bytes, why: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        decode(text)
    assert str(refused.value) == f"not JSON: {why}"


def test_a_number_of_more_digits_than_python_reads_is_refused() -> None:
    with pytest.raises(InvalidPayload, match="a number has too many digits: use a string"):
        decode("1" * 5_000)


def test_a_text_that_is_nested_too_deep_is_refused_not_crashed_on() -> None:
    with pytest.raises(InvalidPayload):
        decode("[" * 200_000 + "]" * 200_000)


# The parts of the standard library's encoder are private to it


def _other_arguments(*_arguments: object) -> Any:
    raise TypeError("make_encoder() takes 8 arguments")


def _other_text(*_arguments: object) -> Any:
    return lambda _value, _level: ('{"text": 1}',)


WITHOUT = [
    types.SimpleNamespace(),
    types.SimpleNamespace(c_make_encoder=None, encode_basestring_ascii=encoder.encode_basestring_ascii),
    types.SimpleNamespace(c_make_encoder=_other_arguments, encode_basestring_ascii=encoder.encode_basestring_ascii),
    types.SimpleNamespace(c_make_encoder=_other_text, encode_basestring_ascii=encoder.encode_basestring_ascii),
]


@pytest.mark.parametrize("module", WITHOUT, ids=["none", "not-in-c", "other-arguments", "other-text"])
def test_texts_are_the_same_without_the_private_encoder(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [{"a": [1, 2.5, None, True, "é\n\ud800"]}, "x", 10**30, [], {}, (1, 2)]
    texts = [encode(value) for value in values]
    monkeypatch.setattr(encoding, "_encode", encoding._make_encode(module))
    assert encoding._encode == encoding._canonical.encode
    assert [encode(value) for value in values] == texts
    cycle: list[Any] = []
    cycle.append(cycle)
    for wrong in (float("nan"), {1: 2}, object(), cycle):
        with pytest.raises(InvalidPayload):
            encode(wrong)


def test_the_private_encoder_is_used_where_it_is_there() -> None:
    assert (encoding._make_encode() == encoding._canonical.encode) is (getattr(encoder, "c_make_encoder", None) is None)


# With msgspec and without it


class Shade(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@attrs.frozen
class Order:
    id: int


ODD: list[Any] = [
    *(2**power + one for power in (53, 63, 64, 200) for one in (-1, 0, 1)),
    *(-(2**power) + one for power in (53, 63, 64, 200) for one in (-1, 0, 1)),
    *(10**4299, 10**4400),
    *(0.0, -0.0, 1e15, 1e16, 1e-5, 1e22, 1.7976931348623157e308, 5e-324, 0.1, 1 / 3, math.nan, math.inf, -math.inf),
    *("\x00", "\x1e\x1f", "\x7f", "\x80", "é", "\u2028", "\ufdd0", "\ud800", "\udc00", "\ud83d\ude00", "😀"),
    *({"é": 1}, {"\ud800": 1}, {"\x7f": "\x7f"}, {"": {}}, {1: 2}, {None: 1}, {True: 1}, {1.5: 1}, {("a",): 1}),
    *((1, (2,)), [(), []], {1, 2}, frozenset(), b"a", bytearray(b"a"), datetime(2025, 1, 1), timedelta(1)),  # noqa: DTZ001
    *(Decimal("1.5"), Fraction(1, 2), uuid.UUID(int=1), Shade.RED, Level.HIGH, {Shade.RED: Level.HIGH}, Order(1)),
    *(OrderedDict(a=1), Counter("aab"), types.MappingProxyType({"a": 1}), range(3), iter([1]), object(), mock.ANY),
    *(float, [[]] * 3, {"deep": functools.reduce(lambda inner, _: [inner], range(150), 0)}),
    *(functools.reduce(lambda inner, _: [inner], range(depth), 0) for depth in (199, 200, 201, 5000)),
]
TEXTS = [
    *("-0", "-0.0", "1E400", "-1e999", "1e-400", "01", "1.", ".5", "+1", "NaN", "Infinity", "9" * 4300, "9" * 4301),
    *(" 1 ", "1 2", "", " ", "[1,]", '{"a":1,"a":2}', "tru", "\ufeff1", "\u00a01", "/**/1", "[1]\x00", "1\n"),
    *('"\\ud800"', '"\\ud83d\\ude00"', '"\\ude00\\ud83d"', '"\t"', '"\x7f"', '"\\x"', '"é"', '"\ud800"', '"\\u0000"'),
    *("18446744073709551616", "123456789012345678901234567890.5", "1e5", "0e9999999999", "[" * 300 + "]" * 300),
    *("[" * 100_000, '{"a":' * 5000, b"\xff", b'"\xc3\xa9"', b"\xef\xbb\xbf1", '"\\/\\b\\f"', "[1 ,\t2\r\n]"),
]


def outcome(work: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return work(*arguments)
    except InvalidPayload as refusal:
        return str(refusal), refusal.is_too_large


def alike(work: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """Return what comes out with msgspec and without it."""
    assert encoding._msgspec() is not None
    quick = outcome(work, *arguments)
    with mock.patch.object(encoding, "_msgspec", return_value=None):
        return quick, outcome(work, *arguments)


def test_what_fits_is_what_isolate_takes_of_plain_values() -> None:
    """A number that is not finite is written as null by msgspec, and must be refused all the same."""
    whole: list[Any] = [None, [None, 1.5], {"a": None}, "é", [[[]]], "x" * 90, math.nan, [math.inf], {"a": -math.inf}]
    for value in whole:
        bounds = {"max_bytes": 80, "max_depth": 2}
        taken = outcome(lambda each, bounds=bounds: isolate(each, **bounds) and None, value)
        assert alike(lambda each, bounds=bounds: require_fit(each, **bounds), value) == (taken, taken)
        assert alike(lambda each, bounds=bounds: fits(each, **bounds), value) == (taken is None, taken is None)


def check_value(value: Any) -> None:
    quick, exact = alike(isolate, value)
    assert same(quick[1], exact[1])
    if quick[0] != exact[0]:
        assert quick[0].isascii()
        assert same(json.loads(quick[0]), json.loads(exact[0]))
        assert same_json(quick[0], exact[0])


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_msgspec_changes_nothing_of_an_odd_value(value: Any) -> None:
    check_value(value)


@given(json_values)
def test_msgspec_changes_nothing_of_a_value(value: Any) -> None:
    check_value(value)


@given(st.floats() | st.integers() | st.floats(allow_nan=False).map(lambda number: [number, {"a": number}]))
def test_msgspec_changes_nothing_of_a_number(value: Any) -> None:
    check_value(value)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_msgspec_reads_an_odd_text_alike(text: str | bytes) -> None:
    quick, exact = alike(decode, text)
    assert same(quick, exact) or quick == exact


@given(json_values, st.booleans(), st.sampled_from([None, 1]))
def test_msgspec_reads_every_text_alike(value: Any, escaped: bool, indent: int | None) -> None:
    quick, exact = alike(decode, json.dumps(value, ensure_ascii=escaped, indent=indent))
    assert same(quick, exact)


@given(st.text(alphabet="0123456789-+.eE", min_size=1, max_size=40))
def test_msgspec_reads_every_number_alike(text: str) -> None:
    quick, exact = alike(decode, text)
    assert same(quick, exact) or quick == exact


def test_a_limit_of_bytes_is_the_same_with_msgspec() -> None:
    for value in ({"a": "x" * 20}, "é" * 20, [1.5] * 10):
        for limit in range(1, 60):
            quick, exact = alike(lambda value=value, limit=limit: isolate(value, max_bytes=limit))
            assert quick == exact


@pytest.mark.parametrize("text", ["[" + "[1],[2]," * 20_000 + "0]", "[" + "[1],[2]," * 20_000 + "]"])
def test_no_garbage_is_collected_in_the_middle_of_a_large_text(text: str) -> None:
    collections: list[str] = []

    def note(phase: str, _info: object) -> None:
        collections.append(phase)

    gc.callbacks.append(note)
    try:
        with contextlib.suppress(InvalidPayload):
            decode(text)
        assert collections.count("start") <= 2
        assert gc.isenabled()
        gc.disable()
        with contextlib.suppress(InvalidPayload):
            decode(text)
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.callbacks.remove(note)
