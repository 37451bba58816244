"""YAML text → value, and where in the text each place of the value is.

YAML is read event by event, with the core types of YAML 1.2 only, so that ``on``, ``010``, ``12:30`` and dates stay
strings. Anchors, aliases, tags, merge keys and duplicate keys are errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from statechain.asl.text.places import (
    Place,
    Positions,
    check_length,
    pointer_to,
    text_error,
    wrong_with_number,
)
from statechain.codec import JSONValue
from statechain.errors import DefinitionError, Diagnostic
from statechain.limits import Limits

__all__ = ["YAMLReader", "read_yaml", "read_yaml_with"]

NUMBER = re.compile(r"[-+]?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][-+]?\d+)?", re.ASCII)
WORDS: dict[str, JSONValue] = {
    "null": None, "Null": None, "NULL": None, "~": None, "": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def read_yaml(text: str, limits: Limits) -> tuple[JSONValue, Positions]:
    """Read YAML text with core types only, keeping the place of every value and key."""
    return read_yaml_with(text, limits, YAMLReader)


def read_yaml_with(
    text: str, limits: Limits, make_reader: Callable[[Any, Any, Limits], YAMLReader]
) -> tuple[JSONValue, Positions]:
    """Read YAML text with a reader of one's own, which is made from the module `yaml`, its parser and limits."""
    check_length(text, limits)
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
        raise text_error("syntax", f"not YAML: {str(error).partition(chr(10))[0]}", (1, 1)) from error
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
        raise text_error("syntax", "not YAML: a lone surrogate, which is no character", at) from error


def _yaml_error(error: Any) -> DefinitionError:  # noqa: ANN401 -- PyYAML has no types here
    mark = error.problem_mark or error.context_mark
    at = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
    problem = error.problem or error.context
    return text_error("too-deep" if "nesting depth" in problem else "syntax", f"not YAML: {problem}", at)


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
            raise text_error("syntax", "the definition is empty", (1, 1))
        value = self._value(self._next(), "", 0)
        self._next()  # the document ends
        if not isinstance(event := self._next(), self._yaml.StreamEndEvent):
            raise text_error("syntax", "not YAML: a second document begins here", _at(event))
        return value

    def _next(self) -> Any:  # noqa: ANN401
        event = self._parser.get_event()
        self._check_event(event)
        return event

    def _check_event(self, event: Any) -> None:  # noqa: ANN401
        if getattr(event, "anchor", None):  # an alias has the anchor that it means
            raise text_error("alias", "anchors and aliases are not supported: write the value out", _at(event))
        if tag := getattr(event, "tag", None):
            raise text_error("tag", f"the tag {tag} is not supported: definitions have JSON's types", _at(event))

    def _value(self, event: Any, pointer: str, depth: int) -> JSONValue:  # noqa: ANN401
        at = self.positions[pointer] = _at(event)
        if isinstance(event, self._yaml.ScalarEvent):
            return self._scalar(event, pointer)
        if depth >= self._limits.definition_depth:
            raise text_error("too-deep", f"the definition nests deeper than {self._limits.definition_depth} levels", at)
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
        if problem := wrong_with_number(text):
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
