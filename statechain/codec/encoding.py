"""JSON text ↔ value, exactly or refused with the place.

The text is strict JSON (RFC 8259), ASCII-escaped, without spaces: what is stored comes back equal on every backend.

Where the extra ``speed`` is installed, msgspec makes and reads the texts of payloads, in a third of the time. Its
result is taken only where it is surely the same value; else the standard library makes it, or finds what is wrong. The
two write some numbers differently (``1e16``, ``1e+16``), so that texts are compared with `same_json`.
"""

from __future__ import annotations

import gc
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from json import encoder
from typing import Any, NoReturn, TypeAlias, TypeVar

from statechain.codec.faults import check_size, is_deeper, raise_fault
from statechain.codec.hints import wrong_place
from statechain.errors import InvalidPayload

__all__ = [
    "MAX_DEPTH",
    "JSONInput",
    "JSONValue",
    "decode",
    "encode",
    "encode_plain",
    "fits",
    "is_surely_shallow",
    "isolate",
    "private",
    "require_fit",
    "same_json",
    "size_of",
]

JSONValue: TypeAlias = "bool | int | float | str | list[JSONValue] | dict[str, JSONValue] | None"
JSONInput: TypeAlias = "bool | int | float | str | Sequence[JSONInput] | Mapping[str, JSONInput] | None"
"""A JSON value that is only read: a `dict[str, int]` is one, which is no `JSONValue`, since that may be added to."""

Text = TypeVar("Text", bound=str | bytes)
Value = TypeVar("Value")

MAX_DEPTH = 200

_canonical = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_SAMPLE: dict[str, Any] = {"text": "\u00e9\n", "list": [1, -0.5, True, None, {}]}


def _make_encode(module: object = encoder) -> Callable[[object], str]:
    """Return the function that makes texts: the encoder in C that `JSONEncoder.encode` makes for each value, made once.

    Its parts are private to the standard library. Where one is missing, takes other arguments or makes another text,
    the public encoder makes the same texts in more time.
    """
    try:
        make: Any = module.c_make_encoder  # type: ignore[attr-defined]
        escape: Any = module.encode_basestring_ascii  # type: ignore[attr-defined]
        chunks = make(None, _canonical.default, escape, None, ":", ",", False, False, False)
        if "".join(chunks(_SAMPLE, 0)) == _canonical.encode(_SAMPLE):
            return lambda value: "".join(chunks(value, 0))
    except (AttributeError, TypeError, ValueError):
        pass
    return _canonical.encode


LONG_TEXT = 32 * 1024
_COLLECTS_IN_CALLS = sys.version_info < (3, 12)


def _read(make: Callable[[Text], Value], text: Text) -> Value:
    """Make the value of a JSON text in one call of C, and collect garbage afterwards.

    Up to Python 3.11 the collector also runs in the middle of such a call, several times for a large value, and each
    time through all objects of the process: the event loop waits for all of that. Later versions put it off themselves.
    """
    # Where the process has turned the collector off itself, it stays off afterwards.
    if not _COLLECTS_IN_CALLS or len(text) < LONG_TEXT or not gc.isenabled():
        return make(text)
    gc.disable()
    try:
        return make(text)
    finally:
        gc.enable()


_encode = _make_encode()
_exactly = json.JSONDecoder().raw_decode
"""Decodes a string of `_encode`'s, which needs no second look."""


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidPayload(f"{name} is not JSON: use null or a string")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise InvalidPayload("a number is beyond the range of a double: use a string")
    return number


_decode = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite).decode


@cache
def _msgspec() -> tuple[Callable[[object], bytes], Callable[[str | bytes], JSONValue]] | None:
    """Return msgspec's functions, or None without it; it is loaded with the first payload, not with the library."""
    try:
        from msgspec import json as quick  # noqa: PLC0415
    except ImportError:
        return None
    return quick.Encoder().encode, quick.Decoder().decode


def encode(value: object, *, max_bytes: int | None = None, max_depth: int = MAX_DEPTH) -> str:
    """Return the canonical JSON text of a value; see `isolate` for what is refused."""
    return isolate(value, max_bytes=max_bytes, max_depth=max_depth)[0]


def encode_plain(value: JSONValue) -> str:
    """Return the canonical JSON text of a value that the library itself has made; nothing is checked."""
    quick = _msgspec()
    if quick is not None:
        try:
            data = quick[0](value)
            # The canonical text is ASCII with escapes; msgspec writes UTF-8, so only an ASCII result is the same.
            if data.isascii():
                return data.decode()
        except Exception:  # noqa: BLE001, S110 -- such as a split surrogate in a cause, which has an escape
            pass
    return _encode(value)


def size_of(value: JSONValue) -> int:
    """Return how many bytes the text of a JSON value has as UTF-8; nothing is checked."""
    text = _encode(value)  # it has escapes for all that is not ASCII
    if "\\u" in text:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode(errors="surrogatepass"))


def fits(value: JSONValue, *, max_bytes: int, max_depth: int) -> bool:
    """Return whether a value that expressions have made is one that `require_fit` takes."""
    try:
        require_fit(value, max_bytes=max_bytes, max_depth=max_depth)
    except InvalidPayload:
        return False
    return True


def require_fit(value: JSONValue, *, max_bytes: int, max_depth: int) -> None:
    """Raise InvalidPayload, as `isolate` does, for what expressions have made; a plain value is only looked at."""
    quick = _msgspec()
    if quick is not None:
        try:
            data = quick[0](value)
        except Exception:  # noqa: BLE001, S110 -- such as a split surrogate, which has an escape
            pass
        else:
            # A null may be one, or a number that is not finite: msgspec writes both the same.
            is_plain = len(data) <= max_bytes and b"null" not in data
            if is_plain and data.count(b"[") + data.count(b"{") <= max_depth:
                return
    private(value, max_bytes=max_bytes, max_depth=max_depth)


def decode(text: str | bytes) -> JSONValue:
    """Return the value of a JSON text; raise InvalidPayload where it is not strict JSON."""
    quick = _msgspec()
    if quick is not None:
        try:
            return _read(quick[1], text)
        except Exception:  # noqa: BLE001, S110 -- the standard library reads it, or says in our words what is wrong
            pass
    try:
        value: JSONValue = _read(_decode, text if isinstance(text, str) else text.decode())
    except InvalidPayload:
        raise
    except json.JSONDecodeError as error:
        raise InvalidPayload(f"not JSON: {wrong_place(error)}") from error
    except UnicodeDecodeError as error:
        raise InvalidPayload("not JSON: it is not encoded in UTF-8") from error
    except RecursionError as error:
        raise InvalidPayload("not JSON: it nests too deep") from error
    except ValueError as error:
        raise InvalidPayload("a number has too many digits: use a string") from error
    return value


def isolate(value: object, *, max_bytes: int | None = None, max_depth: int = MAX_DEPTH) -> tuple[str, JSONValue]:
    """Return a value's canonical text and a private copy of it that shares nothing with the original.

    Tuples count as arrays. Raises InvalidPayload, naming the place as a JSON pointer, for what JSON cannot
    hold exactly: NaN and infinities, keys that are not strings, other types, cycles, nesting past ``max_depth``,
    or a string of more than ``max_bytes``.
    """
    quick = _isolate_quickly(value, max_bytes)
    if quick is None:
        try:
            text = _encode(value)
        except (TypeError, ValueError, RecursionError) as fault:
            raise_fault(value, max_depth)
            raise InvalidPayload(f"not JSON: {fault}") from fault
    else:
        text = quick[0]
    if max_bytes is not None and len(text) > max_bytes:
        check_size(text, max_bytes)
    if not is_surely_shallow(text, max_depth) and is_deeper(value, max_depth):
        raise_fault(value, max_depth)
    if quick is not None:
        return quick
    copy: JSONValue = _read(_exactly, text)[0]
    # Not equal is not wrong yet: a tuple comes back as a list. The walk finds out.
    if copy != value:
        raise_fault(value, max_depth)
    return text, copy


def _isolate_quickly(value: object, max_bytes: int | None) -> tuple[str, JSONValue] | None:
    """Return what msgspec makes of a value, where its text is ASCII and comes back as an equal value; else None.

    It takes types that are not JSON, as texts, but those are not equal to what they were made from. A string that is
    too long is not read back: to copy a large value takes long, most of all by the garbage collections that it causes.
    """
    quick = _msgspec()
    if quick is None:
        return None
    encode_quickly, decode_quickly = quick
    try:
        data = encode_quickly(value)
        if data.isascii() and (max_bytes is None or len(data) <= max_bytes):
            copy = decode_quickly(data) if len(data) < LONG_TEXT else _read(decode_quickly, data)
            if copy == value:
                return data.decode(), copy
    except Exception:  # noqa: BLE001, S110 -- the standard library finds what is wrong, and where
        pass
    return None


def is_surely_shallow(text: str, max_depth: int) -> bool:
    """Return whether a JSON text is seen at once to nest no deeper; else `is_deeper` looks at its value."""
    # Each level takes two characters, and one bracket at least: brackets in strings only count too many.
    return len(text) <= 2 * max_depth or text.count("[") + text.count("{") <= max_depth


def same_json(one: str, other: str) -> bool:
    """Return whether two JSON texts have the same value, in any order of the members of objects."""
    # Dumped again, since 1, 1.0 and true are equal in Python, and are different texts.
    return one == other or json.dumps(json.loads(one), sort_keys=True) == json.dumps(json.loads(other), sort_keys=True)


def private(value: object, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> JSONValue:
    """Return a value's private copy, as `isolate` does; without msgspec no text is made of a small and plain value."""
    if _msgspec() is None:  # which makes JSON and reads it in less time than Python copies a value
        try:
            return _plain_copy(value, [max_bytes], max_depth)
        except _NotPlainError:
            pass
    return isolate(value, max_bytes=max_bytes, max_depth=max_depth)[1]


class _NotPlainError(Exception):
    """A value is not small and plain: it may be legal all the same."""


WORST_CHARACTER = 6
"""Bytes that one ASCII character takes at most as JSON."""
WORST_MEMBER = 32
"""Bytes that a plain number, its comma, quotes and brackets take at most."""
INT64 = 2**63


def _is_plain_number(kind: type, value: Any) -> bool:  # noqa: ANN401
    return (kind is int and -INT64 < value < INT64) or (kind is float and math.isfinite(value))


def _plain_copy(value: Any, room: list[int], depth: int) -> JSONValue:  # noqa: ANN401 -- that is the question
    """Copy what needs no second look; ``room`` holds how many bytes the text may still have, at worst.

    ``depth`` is how deep it may still be nested: deeper ones, and cycles, are looked at again.
    """
    kind = type(value)
    if kind is str and value.isascii():
        room[0] -= WORST_CHARACTER * len(value)
        copy: Any = value
    elif depth <= 0 and kind in {dict, list}:
        raise _NotPlainError
    elif kind is dict:
        copy = {}
        for key, item in value.items():
            if type(key) is not str or not key.isascii():
                raise _NotPlainError
            room[0] -= WORST_CHARACTER * len(key)
            copy[key] = None if item is None else _plain_copy(item, room, depth - 1)
        room[0] -= WORST_MEMBER * len(copy)
    elif kind is list:
        room[0] -= WORST_MEMBER * len(value)
        copy = [_plain_copy(item, room, depth - 1) for item in value]
    elif kind is bool or value is None or _is_plain_number(kind, value):
        copy = value
    else:
        raise _NotPlainError
    if room[0] < 0:
        raise _NotPlainError
    return copy  # type: ignore[no-any-return]
