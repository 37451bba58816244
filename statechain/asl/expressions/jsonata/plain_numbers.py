"""Numbers of JSON as JSONata has them: whole ones without a fraction, and doubles beyond 64 bits."""

from __future__ import annotations

import math
from operator import is_
from typing import Any, cast

from statechain.codec import JSONValue

__all__ = ["plain_number", "plain_numbers"]

EXACT = 2**53
LONG = 2**63
SPECIAL = {math.inf: "Infinity", -math.inf: "-Infinity"}


def plain_number(value: float) -> JSONValue:
    """Return a number as AWS writes it: whole where it is whole, in words where JSON has no number for it."""
    if isinstance(value, int):
        return value if -LONG <= value < LONG else _as_double(value)
    if value.is_integer() and abs(value) < EXACT:
        return int(value)
    if math.isfinite(value):
        return value
    return SPECIAL.get(value, "NaN")


def plain_numbers(value: Any) -> JSONValue:  # noqa: ANN401 -- JSON
    """Return JSON with its numbers as AWS writes them: itself where all are."""
    kind = type(value)
    if kind is dict:
        changed = {
            key: new
            for key, item in value.items()
            # Most members are strings or small whole numbers: they are passed over without a call.
            if (of := type(item)) is not str
            and (of is not int or not -LONG <= item < LONG)
            and (of is not float or item.is_integer())
            and (new := plain_numbers(item)) is not item
        }
        return {**value, **changed} if changed else cast("JSONValue", value)
    if kind is list:
        # In C, for long arrays of strings.
        if set(map(type, value)) <= {str, bool}:
            return cast("JSONValue", value)
        items = [plain_numbers(item) for item in value]
        return value if all(map(is_, items, value)) else items
    return plain_number(value) if kind is int or kind is float else cast("JSONValue", value)


def _as_double(value: int) -> JSONValue:
    try:
        return float(value)
    except OverflowError:
        return "Infinity" if value > 0 else "-Infinity"
