"""How a cause shows a value: in AWS's words, as compact JSON, not escaped to ASCII."""

from __future__ import annotations

import json

from statechain.codec import JSONValue

__all__ = ["shown", "type_name"]

TYPE_NAMES = {str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def shown(value: JSONValue) -> str:
    """Return a value as a cause shows it."""
    return _encode(value)


def type_name(value: JSONValue) -> str:
    """Return the JSON name of a value's type."""
    return TYPE_NAMES.get(type(value), "null")
