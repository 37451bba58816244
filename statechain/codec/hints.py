"""Why a value or a string is not JSON, and what to give instead, in the words of an error message."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Awaitable, Iterable
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from uuid import UUID

__all__ = ["wrong_place", "wrong_text", "wrong_with"]

# The binary logarithm of 10.
BITS_A_DIGIT = 3.3219
INSTEAD: tuple[tuple[tuple[type, ...], str], ...] = (
    ((date, time), "give its isoformat()"),
    ((timedelta,), "give its total_seconds()"),
    ((Decimal,), "give str() of it, or float() where digits may be lost"),
    ((UUID, PurePath), "give str() of it"),
    ((bytes, bytearray, memoryview), "give a text, such as base64 of it"),
    ((Enum,), "give its value"),
)


MISSING_VALUE = "Expecting value"
WRONG_TEXTS: dict[str, str] = {
    MISSING_VALUE: "no value of JSON begins here",
    "Expecting property name enclosed in double quotes": "a key in double quotes is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting ',' delimiter": "a comma or a closing bracket is missing",
    "Illegal trailing comma before end of object": "a comma is followed by nothing",
    "Illegal trailing comma before end of array": "a comma is followed by nothing",
    "Extra data": "something follows the value",
    "Unterminated string starting at": "a string does not end",
    "Invalid control character at": "a control character in a string has no escape",
    "Invalid \\escape": "a backslash begins no escape of JSON",
    "Invalid \\uXXXX escape": "\\u is not followed by four hexadecimal digits",
    "Unexpected UTF-8 BOM (decode using utf-8-sig)": "a byte order mark is in the way",
}
"""The standard library's messages about JSON, by how they begin, and what is said in their place."""


def wrong_text(error: json.JSONDecodeError) -> str:
    """Return why a string is not JSON, without the place."""
    if error.msg == MISSING_VALUE and not error.doc[error.pos :].strip():
        return "it ends where a value is missing"
    return next((said for begin, said in WRONG_TEXTS.items() if error.msg.startswith(begin)), "it cannot be read")


def wrong_place(error: json.JSONDecodeError) -> str:
    """Return where a string is not JSON, and why."""
    return f"line {error.lineno}, column {error.colno}: {wrong_text(error)}"


def wrong_with(value: object) -> str | None:
    """Return why a value that is no text, array or object is not JSON, and what to give instead; None where it is."""
    if isinstance(value, int):  # True and False, too
        return "a number of so many digits cannot be read back: give a text" if _is_too_long(value) else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is not JSON: use null or a string"
    return None if value is None else f"{type(value).__name__} is not JSON{_hint(value)}"


def _hint(value: object) -> str:
    """Return what to give instead, after a colon; nothing for a value of which that is not known."""
    for types, instead in INSTEAD:
        if isinstance(value, types):
            return f": {instead}"
    if isinstance(value, type) or callable(value):
        return ""
    if isinstance(value, Awaitable):  # a future is iterable, too
        return ": give what it returns, by await"
    if hasattr(value, "model_dump"):  # pydantic's
        return ": give its model_dump(mode='json')"
    if hasattr(value, "__dataclass_fields__"):
        return ": give dataclasses.asdict() of it"
    if hasattr(value, "__attrs_attrs__"):
        return ": give attrs.asdict() of it"
    return ": give a list" if isinstance(value, Iterable) else ""


def _is_too_long(number: int) -> bool:
    """Return whether a whole number has more digits than Python reads back."""
    most = sys.get_int_max_str_digits()
    return most > 0 and number.bit_length() > most * BITS_A_DIGIT
