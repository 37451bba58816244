"""The intrinsic functions of JSONPath states: one table of small functions (ASL, "Intrinsic Functions").

Each takes what a call may use, and its arguments, evaluated.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Callable
from typing import TypeAlias

import attrs

from statechain.asl.effort import STEPS_ON_LOOP, need_time
from statechain.asl.expressions.cause_text import format_value, is_number
from statechain.asl.expressions.java_random import JavaRandom
from statechain.asl.outcome import Context
from statechain.codec import JSONValue, decode
from statechain.errors import InvalidPayload
from statechain.limits import Limits

__all__ = ["FUNCTIONS", "Call", "Function", "IntrinsicArgumentError"]


@attrs.frozen
class Call:
    """What a function may use besides its arguments."""

    context: Context
    limits: Limits


Function: TypeAlias = Callable[..., JSONValue]


class IntrinsicArgumentError(Exception):
    """A function's word that its arguments do not fit."""


def _text(value: JSONValue, what: str = "the argument") -> str:
    if not isinstance(value, str):
        raise IntrinsicArgumentError(f"{what} must be a string")
    return value


def _array(value: JSONValue) -> list[JSONValue]:
    if not isinstance(value, list):
        raise IntrinsicArgumentError("the first argument must be an array")
    # An array of that many items is worked on in a thread.
    if len(value) > STEPS_ON_LOOP:
        need_time()
    return value


def _number(value: JSONValue) -> float:
    if not is_number(value):
        raise IntrinsicArgumentError("the argument must be a number")
    return value


def _integer(value: JSONValue) -> int:
    """Return a number, rounded half up as AWS does."""
    number = _number(value)
    return number if isinstance(number, int) else math.floor(number + 0.5)


def _bounded(call: Call, value: JSONValue) -> str:
    text = _text(value)
    if len(text) > call.limits.intrinsic_text:
        raise IntrinsicArgumentError(f"a string may have at most {call.limits.intrinsic_text} characters")
    return text


ESCAPES = {"\\{", "\\}", "\\\\"}


def _formatted(value: JSONValue) -> str:
    """Return a value as States.Format puts it into a string."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_formatted(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_formatted(item) for item in value) + "]"
    if isinstance(value, float) and "e" in (text := repr(value)):
        # As Java writes it, which AWS's objects and arrays follow, too: 1.0E-5.
        mantissa, _, exponent = text.partition("e")
        return f"{mantissa}{'' if '.' in mantissa else '.0'}E{int(exponent)}"
    return format_value(value)


def _format(call: Call, template: JSONValue, *arguments: JSONValue) -> JSONValue:
    parts = re.split(r"(\\[{}\\]|\{\})", _text(template, "the template"))
    left = iter(arguments)
    if parts.count("{}") != len(arguments):
        raise IntrinsicArgumentError("the template has not as many places as there are arguments")
    made: list[str] = []
    size = 0
    for part in parts:
        if part != "{}" and part[:1] != "\\" and ("{" in part or "}" in part):
            raise IntrinsicArgumentError(
                "a brace that is no place for an argument is written with a backslash before it"
            )
        made.append(_formatted(next(left)) if part == "{}" else part[1:] if part in ESCAPES else part)
        size += len(made[-1])
        # Stopped while it grows: an argument may be repeated any number of times.
        if size > call.limits.payload_bytes:
            raise IntrinsicArgumentError(f"the text would have more than {call.limits.payload_bytes} characters")
    return "".join(made)


def _string_to_json(_call: Call, text: JSONValue) -> JSONValue:
    if not _text(text).strip():
        return None
    try:
        return decode(_text(text))
    except InvalidPayload as error:
        raise IntrinsicArgumentError(str(error)) from error


def _json_to_string(_call: Call, value: JSONValue) -> JSONValue:
    return format_value(value)


def _partition(_call: Call, array: JSONValue, size: JSONValue) -> JSONValue:
    items, width = _array(array), _integer(size)
    if width < 1:
        raise IntrinsicArgumentError("the size of a part must be at least 1")
    return [items[place : place + width] for place in range(0, len(items), width)]


# Sorted, so that the order of members does not count.
_identity = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""A string that two values have in common exactly where they are equal."""


def _contains(_call: Call, array: JSONValue, value: JSONValue) -> JSONValue:
    wanted = _identity(value)
    return any(_identity(item) == wanted for item in _array(array))


def _range(call: Call, first: JSONValue, last: JSONValue, step: JSONValue) -> JSONValue:
    low, high, width = _integer(first), _integer(last), _integer(step)
    if width == 0:
        raise IntrinsicArgumentError("the step must not be 0")
    count = max(0, (high - low) // width + 1)
    if count > call.limits.array_range:
        raise IntrinsicArgumentError(f"the range would have {count} items, and the limit is {call.limits.array_range}")
    return [low + place * width for place in range(count)]


def _get_item(_call: Call, array: JSONValue, index: JSONValue) -> JSONValue:
    items, place = _array(array), _integer(index)
    if not 0 <= place < len(items):
        raise IntrinsicArgumentError(f"there is no item {place} in an array of {len(items)}")
    return items[place]


def _unique(_call: Call, array: JSONValue) -> JSONValue:
    seen: dict[str, JSONValue] = {}
    for item in _array(array):
        seen.setdefault(_identity(item), item)
    return list(seen.values())


def _base64_encode(call: Call, text: JSONValue) -> JSONValue:
    return base64.b64encode(_bounded(call, text).encode(errors="surrogatepass")).decode()


def _base64_decode(call: Call, text: JSONValue) -> JSONValue:
    try:
        # Without it, Python would leave out what is no Base64.
        return base64.b64decode(_bounded(call, text), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise IntrinsicArgumentError("the argument is no Base64 of a text") from error


HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}


def _hash(call: Call, data: JSONValue, algorithm: JSONValue) -> JSONValue:
    name = HASHES.get(_text(algorithm, "the algorithm"))
    if name is None:
        raise IntrinsicArgumentError(f"the algorithm must be one of {', '.join(HASHES)}")
    text = _bounded(call, data if isinstance(data, str) else format_value(data))
    digest = hashlib.new(name, text.encode(errors="surrogatepass"), usedforsecurity=False)
    return digest.hexdigest()


def _merge(_call: Call, one: JSONValue, other: JSONValue, deep: JSONValue) -> JSONValue:
    if deep is not False:
        raise IntrinsicArgumentError("only the shallow merge is supported: the third argument must be false")
    if not isinstance(one, dict) or not isinstance(other, dict):
        raise IntrinsicArgumentError("the first two arguments must be objects")
    return {**one, **other}


WIDEST_DRAW = 2**31


def _random(call: Call, first: JSONValue, last: JSONValue, seed: JSONValue = None) -> JSONValue:
    low, high = _integer(first), _integer(last)
    if high <= low:
        raise IntrinsicArgumentError("the end must be greater than the start")
    if seed is None:
        # The visit's own source: the same after a crash.
        return call.context.random().randrange(low, high)
    if high - low >= WIDEST_DRAW:
        raise IntrinsicArgumentError(f"with a seed the end must be less than {WIDEST_DRAW} after the start")
    return low + JavaRandom(_integer(seed)).below(high - low)


def _add(_call: Call, one: JSONValue, other: JSONValue) -> JSONValue:
    return _integer(one) + _integer(other)


def _split(_call: Call, text: JSONValue, separators: JSONValue) -> JSONValue:
    among = _text(separators)
    if not among:
        return [_text(text)] if text else []
    # All separators become the first: one split, however many there are.
    same = _text(text).translate(dict.fromkeys(map(ord, among), among[0]))
    return [part for part in same.split(among[0]) if part]


def _uuid(call: Call) -> JSONValue:
    # The version (4) and the variant of RFC 9562; the rest is drawn.
    bits = call.context.random().getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | 4 << 76 | 2 << 62
    digits = f"{bits:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


FUNCTIONS: dict[str, tuple[Function, int, int | None]] = {
    "States.Format": (_format, 1, None),
    "States.StringToJson": (_string_to_json, 1, 1),
    "States.JsonToString": (_json_to_string, 1, 1),
    "States.Array": (lambda _call, *items: list(items), 0, None),
    "States.ArrayPartition": (_partition, 2, 2),
    "States.ArrayContains": (_contains, 2, 2),
    "States.ArrayRange": (_range, 3, 3),
    "States.ArrayGetItem": (_get_item, 2, 2),
    "States.ArrayLength": (lambda _call, array: len(_array(array)), 1, 1),
    "States.ArrayUnique": (_unique, 1, 1),
    "States.Base64Encode": (_base64_encode, 1, 1),
    "States.Base64Decode": (_base64_decode, 1, 1),
    "States.Hash": (_hash, 2, 2),
    "States.JsonMerge": (_merge, 3, 3),
    "States.MathRandom": (_random, 2, 3),
    "States.MathAdd": (_add, 2, 2),
    "States.StringSplit": (_split, 2, 2),
    "States.UUID": (_uuid, 0, 0),
}
"""Each function with the fewest and the most arguments that it takes."""
