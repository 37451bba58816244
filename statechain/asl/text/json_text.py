"""JSON text → value, and where in the text each place of the value is; duplicate keys are errors."""

from __future__ import annotations

import json
import re
from typing import Any

from statechain.asl.text.places import (
    MOST_DIGITS,
    Place,
    Positions,
    check_length,
    pointer_to,
    text_error,
    wrong_with_number,
)
from statechain.codec import JSONValue
from statechain.codec.hints import wrong_text
from statechain.errors import DefinitionError, Diagnostic
from statechain.limits import Limits

__all__ = ["read_json"]

SPACE = re.compile(r"[ \t\n\r]*")
STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"', re.DOTALL)
SCALAR = re.compile(r"[^\s,\]\}:]+")


def read_json(text: str, limits: Limits) -> tuple[JSONValue, Positions]:
    """Read JSON text, keeping the place of every value and key."""
    check_length(text, limits)
    reader = _JSONReader(text, limits)
    try:
        # The value is made in C; the walk after it only finds places, and repeated keys.
        value = json.loads(text, parse_constant=_refuse, parse_int=_whole)
    except RecursionError:
        raise text_error(
            "too-deep", f"the definition nests deeper than {limits.definition_depth} levels", (1, 1)
        ) from None
    except json.JSONDecodeError as error:
        raise text_error("syntax", f"not JSON: {wrong_text(error)}", (error.lineno, error.colno)) from error
    except ValueError as error:
        raise text_error("syntax", f"not JSON: {error}", (1, 1)) from error
    reader.read()
    if reader.diagnostics:
        raise DefinitionError(reader.diagnostics)
    return value, reader.positions


def _whole(digits: str) -> int:
    return int(digits) if len(digits) <= MOST_DIGITS else 0  # the walk over the text says where it is


def _refuse(name: str) -> Any:  # noqa: ANN401 -- the signature of json's hook
    raise ValueError(f"{name} is no JSON number")


class _JSONReader:
    """Walks a string that is known to be JSON, noting places and duplicate keys."""

    def __init__(self, text: str, limits: Limits) -> None:
        self._text = text
        self._limits = limits
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._line = 0
        self.positions: Positions = {}
        self.diagnostics: list[Diagnostic] = []

    def read(self) -> None:
        try:
            self._value(self._skip(0), "", 0)
        except _TooDeep:
            message = f"the definition nests deeper than {self._limits.definition_depth} levels"
            self.diagnostics.append(Diagnostic("too-deep", message, line=1, column=1))

    def _skip(self, place: int) -> int:
        match = SPACE.match(self._text, place)
        return place if match is None else match.end()

    def _place(self, offset: int) -> Place:
        # Offsets only grow, so that the lines are gone through once.
        while self._line + 1 < len(self._lines) and self._lines[self._line + 1] <= offset:
            self._line += 1
        return self._line + 1, offset - self._lines[self._line] + 1

    def _value(self, place: int, pointer: str, depth: int) -> int:
        self.positions[pointer] = self._place(place)
        character = self._text[place]
        if character in "{[" and depth >= self._limits.definition_depth:
            raise _TooDeep
        if character == "{":
            return self._object(place + 1, pointer, depth)
        if character == "[":
            return self._array(place + 1, pointer, depth)
        match = (STRING if character == '"' else SCALAR).match(self._text, place)
        if match is None:  # json read it, so this cannot be
            return place + 1
        if character in "-0123456789":
            self._number(match[0], pointer)
        return match.end()

    def _number(self, text: str, pointer: str) -> None:
        if problem := wrong_with_number(text):
            line, column = self.positions[pointer]
            self.diagnostics.append(Diagnostic("number", problem, pointer=pointer, line=line, column=column))

    def _object(self, place: int, pointer: str, depth: int) -> int:
        seen: set[str] = set()
        place = self._skip(place)
        while self._text[place] != "}":
            match = STRING.match(self._text, place)
            if match is None:  # json read it, so this cannot be
                return place + 1
            key = json.loads(match[0])
            child = pointer_to(pointer, key)
            at = self._place(place)
            if key in seen:
                message = f"the key {key!r} is here for the second time"
                self.diagnostics.append(Diagnostic("duplicate-key", message, pointer=child, line=at[0], column=at[1]))
            seen.add(key)
            place = self._skip(self._skip(match.end()) + 1)
            place = self._skip(self._value(place, child, depth + 1))
            self.positions[f"{child}#key"] = at
            if self._text[place] == ",":
                place = self._skip(place + 1)
        return place + 1

    def _array(self, place: int, pointer: str, depth: int) -> int:
        index = 0
        place = self._skip(place)
        while self._text[place] != "]":
            place = self._skip(self._value(place, pointer_to(pointer, index), depth + 1))
            index += 1
            if self._text[place] == ",":
                place = self._skip(place + 1)
        return place + 1


class _TooDeep(Exception):
    """The text nests too deep."""
