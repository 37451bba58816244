"""JSON ↔ the library's values, and numbers as JavaScript writes them.

The library distinguishes null (a marker) from undefined (None). Values without a null in them go in
as they are, and parts of them come out as they are: nothing is copied that need not be, and nothing that came in is
ever changed in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from typing import Any, cast

from jsonata import jexception, utils

from statechain.asl.expressions.jsonata.budget import CHARACTERS_A_STEP, ITEMS_A_STEP, NUMBER_BYTES
from statechain.asl.expressions.jsonata.plain_numbers import plain_number
from statechain.codec import JSONValue

__all__ = ["NULL", "NotJSON", "TooLarge", "Walker", "number_text", "text_of", "to_json", "to_library"]

NULL: Any = utils.Utils.NULL_VALUE
"""The library's null."""


class NotJSON(Exception):
    """A result holds something that JSON does not have, such as a function."""


DEEPEST = 1_000
# AWS's bound on a value (`LARGEST_VALUE`) in numbers of 8 bytes, of which each character takes one.
MOST = 873_782
# As many parts as the text of a payload can have: of what is longer a cause shows nothing.
MOST_SHOWN = 1 << 17


class TooLarge(Exception):
    """A value has more parts, or nests deeper, than anything here may walk through."""


class Walker:
    """Counts the arrays and objects of a value that is walked; entered for each one of them.

    A value may share its parts, so that a small one unfolds into a huge one: each passing counts.
    """

    __slots__ = ("_charge", "_depth")

    def __init__(self, charge: Callable[[int], None]) -> None:
        self._charge = charge
        self._depth = 0

    def __enter__(self) -> None:
        self._charge(1)
        self._depth += 1
        if self._depth > DEEPEST:
            raise TooLarge

    def __exit__(self, *_: object) -> None:
        self._depth -= 1

    def pass_items(self, count: int) -> None:
        """Count what an array or an object holds, which costs less than its own array or object."""
        if count >= ITEMS_A_STEP:
            self._charge(count // ITEMS_A_STEP)

    def pass_text(self, value: object) -> None:
        """Count what is copied of a value where that is a string."""
        if isinstance(value, str) and len(value) >= CHARACTERS_A_STEP:
            self._charge(len(value) // CHARACTERS_A_STEP)


class _Count:
    """Counts the values of a result up to the most that one may have."""

    __slots__ = ("left",)

    def __init__(self, most: int = MOST) -> None:
        self.left = most

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise TooLarge


def to_library(value: Any) -> Any:  # noqa: ANN401 -- JSON, and inside the library anything
    """Return a JSON value as the library wants it: itself, or a copy of what holds a null."""
    kind = type(value)
    if kind is dict:
        # Only what holds a null is copied, along the way to it.
        changed = {
            key: new
            for key, item in value.items()
            if (item is None or type(item) is dict or type(item) is list) and (new := to_library(item)) is not item
        }
        return {**value, **changed} if changed else value
    if kind is list:
        items = [to_library(item) if item is None or type(item) in {dict, list} else item for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if value is None:
        return NULL
    return value


def to_json(value: Any) -> JSONValue:  # noqa: ANN401
    """Return a result of the library as JSON. Raises NotJSON for a function, however deep it is, and TooLarge."""
    count = _Count()
    return _to_json(value, Walker(count.take), count)


def _to_json(value: Any, walker: Walker, count: _Count) -> JSONValue:  # noqa: ANN401
    kind = type(value)
    if kind is str:
        # The result may have one string many times, which is one object here and so many texts in its JSON.
        if len(value) >= NUMBER_BYTES:
            count.take(len(value) // NUMBER_BYTES)
        return value  # type: ignore[no-any-return]
    if kind is bool:
        return value  # type: ignore[no-any-return]
    if kind is int or kind is float:
        return plain_number(value)
    if value is None or value is NULL:
        return None
    if isinstance(value, list):
        with walker:
            count.take(len(value))
            items = [_to_json(item, walker, count) for item in value]
        return value if kind is list and all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(value, Mapping):
        with walker:
            count.take(len(value) + sum(map(len, value)) // NUMBER_BYTES)
            changed = {key: new for key, item in value.items() if (new := _to_json(item, walker, count)) is not item}
        return {**value, **changed} if changed or kind is not dict else cast("JSONValue", value)
    raise NotJSON


def number_text(value: float, *, is_exact: bool = False) -> str:
    """Return a number as ``$string`` writes it: exponents from 1e21 and below 1e-6, 15 significant digits or all."""
    if isinstance(value, int) and abs(value) < 2**63:
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        return "null"
    if not number.is_integer() and not is_exact:
        # As jsonata.js: 15 significant digits hide what doubles add, as in 0.1 + 0.2.
        number = float(f"{number:.15g}")
    if number == 0:
        return "0"
    digits, _, exponent = f"{abs(number)!r}".partition("e")
    sign = "-" if number < 0 else ""
    return sign + _placed(*_significant(digits, int(exponent or 0)))


def _significant(digits: str, exponent: int) -> tuple[str, int]:
    """Return the significant digits, and the power of ten of the first."""
    whole, _, fraction = digits.partition(".")
    every = (whole + fraction).lstrip("0")
    leading = len(whole) if whole.strip("0") else len(every) - len(fraction)
    return every.rstrip("0"), exponent + leading - 1


def _placed(digits: str, power: int) -> str:
    if -7 < power < 21:
        if power < 0:
            return f"0.{'0' * (-power - 1)}{digits}"
        whole = digits[: power + 1].ljust(power + 1, "0")
        return f"{whole}.{digits[power + 1 :]}" if len(digits) > power + 1 else whole
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{mantissa}e{power:+d}"


def text_of(
    value: Any,  # noqa: ANN401
    walker: Walker | None = None,
    *,
    indent: int = 0,
    depth: int = 0,
    is_json: bool = False,
) -> str:
    """Return a value as JSON text in the manner of ``$string``: functions are empty texts, numbers are rounded.

    Without ``is_json`` numbers are exact, and one that JSON does not have is null, where it else raises JException
    (D1001): so causes show values.
    """
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        if is_json and not math.isfinite(value):
            raise jexception.JException("D1001", -1, value)
        return number_text(value, is_exact=not is_json)
    if value is None or value is NULL:
        return "null"
    if not isinstance(value, list | Mapping):
        return '""'
    walker = Walker(_Count(MOST_SHOWN).take) if walker is None else walker

    def member(key: str, item: object) -> str:
        walker.pass_text(key)
        return f"{encode_basestring(key)}:{space}{shown(item)}"

    def shown(item: object) -> str:  # a `partial` would nest calls in C, which Python 3.12 allows a few hundred of
        walker.pass_text(item)
        return text_of(item, walker, indent=indent, depth=depth + 1, is_json=is_json)

    space = " " if indent else ""
    with walker:
        walker.pass_items(len(value))
        if isinstance(value, list):
            return _enclosed("[", [shown(item) for item in value], "]", indent, depth)
        members = [member(key, item) for key, item in value.items()]
        return _enclosed("{", members, "}", indent, depth)


def _enclosed(left: str, members: list[str], right: str, indent: int, depth: int) -> str:
    if not indent or not members:
        return left + ",".join(members) + right
    inner = "\n" + " " * indent * (depth + 1)
    return left + inner + f",{inner}".join(members) + "\n" + " " * indent * depth + right
