"""JSON or YAML text → value, and where in the text each place of the value is.

JSON is read by a JSON parser; YAML event by event, with the core types of YAML 1.2 only, so that ``on``, ``010``,
``12:30`` and dates stay strings. Anchors, aliases, tags, merge keys and duplicate keys are errors.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from statechain.codec import JSONValue
from statechain.codec.hints import wrong_text
from statechain.errors import DefinitionError, Diagnostic
from statechain.limits import Limits

__all__ = ["Place", "Positions", "YAMLReader", "pointer_to", "read_json", "read_text", "read_yaml", "read_yaml_with"]

Place: TypeAlias = tuple[int, int]
Positions: TypeAlias = dict[str, Place]
"""JSON pointer → (line, column), both from 1, of the value; a key's own place is under ``pointer#key``."""

NUMBER = re.compile(r"[-+]?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][-+]?\d+)?", re.ASCII)
WORDS: dict[str, JSONValue] = {
    "null": None, "Null": None, "NULL": None, "~": None, "": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def read_text(text: str, limits: Limits) -> tuple[JSONValue, Positions]:
    """Read a definition: JSON where it begins with a brace, YAML otherwise. Raises DefinitionError."""
    text = text.removeprefix("\ufeff")
    return read_json(text, limits) if text.lstrip().startswith("{") else read_yaml(text, limits)


def _check_length(text: str, limits: Limits) -> None:
    # Characters first: a string that has too many is not encoded only to be refused.
    if len(text) > limits.definition_bytes or len(text.encode(errors="replace")) > limits.definition_bytes:
        raise _error("too-large", f"the definition is longer than {limits.definition_bytes} bytes", (1, 1))


def pointer_to(parent: str, key: str | int) -> str:
    """Return the JSON pointer of a member (RFC 6901)."""
    return f"{parent}/{str(key).replace('~', '~0').replace('/', '~1')}"


def _error(code: str, message: str, place: Place, pointer: str = "") -> DefinitionError:
    return DefinitionError([Diagnostic(code, message, pointer=pointer, line=place[0], column=place[1])])


# JSON

SPACE = re.compile(r"[ \t\n\r]*")
STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"', re.DOTALL)
SCALAR = re.compile(r"[^\s,\]\}:]+")


def read_json(text: str, limits: Limits) -> tuple[JSONValue, Positions]:
    """Read JSON text, keeping the place of every value and key."""
    _check_length(text, limits)
    reader = _JSONReader(text, limits)
    try:
        # The value is made in C; the walk after it only finds places, and repeated keys.
        value = json.loads(text, parse_constant=_refuse, parse_int=_whole)
    except RecursionError:
        raise _error("too-deep", f"the definition nests deeper than {limits.definition_depth} levels", (1, 1)) from None
    except json.JSONDecodeError as error:
        raise _error("syntax", f"not JSON: {wrong_text(error)}", (error.lineno, error.colno)) from error
    except ValueError as error:
        raise _error("syntax", f"not JSON: {error}", (1, 1)) from error
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
        if problem := _wrong_with_number(text):
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


# Python's own bound on digits that become an integer.
MOST_DIGITS = 4_300


def _wrong_with_number(text: str) -> str:
    """Return what is wrong with a number; nothing where it can be kept."""
    if len(text) > MOST_DIGITS:
        return "the number has too many digits"
    return "" if math.isfinite(float(text)) else "the number is beyond the range of a double"


class _TooDeep(Exception):
    """The text nests too deep."""


# YAML


def read_yaml(text: str, limits: Limits) -> tuple[JSONValue, Positions]:
    """Read YAML text with core types only, keeping the place of every value and key."""
    return read_yaml_with(text, limits, YAMLReader)


def read_yaml_with(
    text: str, limits: Limits, make_reader: Callable[[Any, Any, Limits], YAMLReader]
) -> tuple[JSONValue, Positions]:
    """Read YAML text with a reader of one's own, which is made from the module `yaml`, its parser and limits."""
    _check_length(text, limits)
    _check_surrogates(text)
    import yaml  # noqa: PLC0415 -- JSON definitions do not pay for it

    # libyaml, where PyYAML was built with it: much faster than its parser in Python.
    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    try:
        reader = make_reader(yaml, loader(text), limits)
        value = reader.read()
    except yaml.MarkedYAMLError as error:
        raise _yaml_error(error) from error
    except yaml.YAMLError as error:
        raise _error("syntax", f"not YAML: {str(error).partition(chr(10))[0]}", (1, 1)) from error
    if reader.diagnostics:
        raise DefinitionError(reader.diagnostics)
    return value, reader.positions


def _check_surrogates(text: str) -> None:
    """Refuse what UTF-8 has no form for, before the parser stumbles over it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        before = text[: error.start]
        at = (before.count("\n") + 1, error.start - before.rfind("\n"))
        raise _error("syntax", "not YAML: a lone surrogate, which is no character", at) from error


def _yaml_error(error: Any) -> DefinitionError:  # noqa: ANN401 -- PyYAML has no types here
    mark = error.problem_mark or error.context_mark
    at = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
    problem = error.problem or error.context
    return _error("too-deep" if "nesting depth" in problem else "syntax", f"not YAML: {problem}", at)


class YAMLReader:
    """Builds a value from the events of the parser, each of which is freed once it is read.

    A tree of nodes would be some ten objects for each value. The garbage collector visits all of them in one piece, in
    which no other thread runs.
    """

    def __init__(self, yaml: Any, parser: Any, limits: Limits) -> None:  # noqa: ANN401
        self._yaml = yaml
        self._parser = parser
        self._limits = limits
        self.positions: Positions = {}
        self.diagnostics: list[Diagnostic] = []

    def read(self) -> JSONValue:
        """Return the value of the one document."""
        self._next()  # the stream begins
        if isinstance(self._next(), self._yaml.StreamEndEvent):
            raise _error("syntax", "the definition is empty", (1, 1))
        value = self._value(self._next(), "", 0)
        self._next()  # the document ends
        if not isinstance(event := self._next(), self._yaml.StreamEndEvent):
            raise _error("syntax", "not YAML: a second document begins here", _at(event))
        return value

    def _next(self) -> Any:  # noqa: ANN401
        event = self._parser.get_event()
        self._check_event(event)
        return event

    def _check_event(self, event: Any) -> None:  # noqa: ANN401
        if getattr(event, "anchor", None):  # an alias has the anchor that it means
            raise _error("alias", "anchors and aliases are not supported: write the value out", _at(event))
        if tag := getattr(event, "tag", None):
            raise _error("tag", f"the tag {tag} is not supported: definitions have JSON's types", _at(event))

    def _value(self, event: Any, pointer: str, depth: int) -> JSONValue:  # noqa: ANN401
        at = self.positions[pointer] = _at(event)
        if isinstance(event, self._yaml.ScalarEvent):
            return self._scalar(event, pointer)
        if depth >= self._limits.definition_depth:
            raise _error("too-deep", f"the definition nests deeper than {self._limits.definition_depth} levels", at)
        is_mapping = isinstance(event, self._yaml.MappingStartEvent)
        return (self._mapping if is_mapping else self._sequence)(pointer, depth + 1)

    def _mapping(self, pointer: str, depth: int) -> JSONValue:
        members: dict[str, JSONValue] = {}
        seen: set[str] = set()
        while not isinstance(event := self._next(), self._yaml.MappingEndEvent):
            child = pointer_to(pointer, getattr(event, "value", ""))
            key = self._key(event, pointer, depth)
            if key in seen:
                self._report("duplicate-key", f"the key {key!r} is here for the second time", event, child)
            value = self._value(self._next(), child, depth)
            self.positions[f"{child}#key"] = _at(event)
            # In quotes `<<` is a member's name.
            if key == "<<" and not event.style:
                self._merge(members, value, event, child)
            elif key is not None:
                seen.add(key)
                members[key] = value
        return members

    def _key(self, event: Any, pointer: str, depth: int) -> str | None:  # noqa: ANN401
        key = self._value(event, pointer_to(pointer, getattr(event, "value", "")), depth)
        if isinstance(key, str):
            return key
        self._report("key", "a key is a string: put it in quotes", event, pointer)
        return None

    def _merge(self, members: dict[str, JSONValue], value: JSONValue, event: Any, pointer: str) -> None:  # noqa: ANN401, ARG002
        self._report("merge-key", "merge keys are not supported: write the members out", event, pointer)

    def _sequence(self, pointer: str, depth: int) -> JSONValue:
        items: list[JSONValue] = []
        while not isinstance(event := self._next(), self._yaml.SequenceEndEvent):
            items.append(self._value(event, pointer_to(pointer, len(items)), depth))
        return items

    def _scalar(self, event: Any, pointer: str) -> JSONValue:  # noqa: ANN401
        text: str = event.value
        if event.style or not (text in WORDS or NUMBER.fullmatch(text)):  # plain: None, or "" from the parser in C
            return text
        if text in WORDS:
            return WORDS[text]
        if problem := _wrong_with_number(text):
            self._report("number", problem, event, pointer)
            return 0
        return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)

    def _place(self, event: Any) -> Place:  # noqa: ANN401
        return _at(event)

    def _report(self, code: str, message: str, event: Any, pointer: str) -> None:  # noqa: ANN401
        line, column = _at(event)
        self.diagnostics.append(Diagnostic(code, message, pointer=pointer, line=line, column=column))


def _at(event: Any) -> Place:  # noqa: ANN401
    return event.start_mark.line + 1, event.start_mark.column + 1
