"""Places in a text, by JSON pointer, and what is refused in JSON and YAML alike."""

from __future__ import annotations

import math
from typing import TypeAlias

from statechain.errors import DefinitionError, Diagnostic
from statechain.limits import Limits

__all__ = ["MOST_DIGITS", "Place", "Positions", "check_length", "pointer_to", "text_error", "wrong_with_number"]

Place: TypeAlias = tuple[int, int]
Positions: TypeAlias = dict[str, Place]
"""JSON pointer → (line, column), both from 1, of the value; a key's own place is under ``pointer#key``."""

# Python's own bound on digits that become an integer.
MOST_DIGITS = 4_300


def check_length(text: str, limits: Limits) -> None:
    """Refuse a definition that is too long."""
    # Characters first: a string that has too many is not encoded only to be refused.
    if len(text) > limits.definition_bytes or len(text.encode(errors="replace")) > limits.definition_bytes:
        raise text_error("too-large", f"the definition is longer than {limits.definition_bytes} bytes", (1, 1))


def pointer_to(parent: str, key: str | int) -> str:
    """Return the JSON pointer of a member (RFC 6901)."""
    return f"{parent}/{str(key).replace('~', '~0').replace('/', '~1')}"


def text_error(code: str, message: str, place: Place, pointer: str = "") -> DefinitionError:
    """Return the error of a text that is wrong at a place."""
    return DefinitionError([Diagnostic(code, message, pointer=pointer, line=place[0], column=place[1])])


def wrong_with_number(text: str) -> str:
    """Return what is wrong with a number; nothing where it can be kept."""
    if len(text) > MOST_DIGITS:
        return "the number has too many digits"
    return "" if math.isfinite(float(text)) else "the number is beyond the range of a double"
