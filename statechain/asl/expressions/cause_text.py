"""How a cause shows a value: in AWS's words, as compact JSON, not escaped to ASCII."""

from __future__ import annotations

import json
from typing import TypeGuard

from statechain.codec import JSONValue

__all__ = ["format_unquoted", "format_value", "is_number", "is_whole", "type_name"]

TYPE_NAMES = {str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def format_value(value: JSONValue) -> str:
    """Return a value as a cause shows it."""
    return _encode(value)


def type_name(value: JSONValue) -> str:
    """Return the JSON name of a value's type."""
    return TYPE_NAMES.get(type(value), "null")


def format_unquoted(value: JSONValue) -> str:
    """Return a value as a cause shows it, a string without quotes."""
    return value if isinstance(value, str) else format_value(value)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number (which booleans are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[float]:
    """Return whether a value is a number without a fraction: 5 or 5.0."""
    # Not by way of `float`, which an integer of hundreds of digits does not fit into.
    return is_number(value) and (isinstance(value, int) or value.is_integer())
