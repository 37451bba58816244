"""Reads single fields of a definition, noting what is wrong with them and where, and going on."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeAlias, TypeVar

from statechain.asl import model
from statechain.asl.grammar import MAX_NAME, Field, Holds, Part
from statechain.asl.model import ABSENT, QueryLanguage
from statechain.asl.text import pointer_to
from statechain.codec import JSONValue
from statechain.errors import Diagnostic

__all__ = ["Hints", "Obj", "Reader", "hint", "is_expression"]

T = TypeVar("T")
Obj: TypeAlias = Mapping[str, JSONValue]


def hint(name: str, names: Iterable[str]) -> str:
    """Return the question whether a near name was meant, or nothing where none is near."""
    if len(name) > MAX_NAME:  # comparing takes time that grows with the square of the length
        return ""
    near = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


class Hints:
    """Near names for many missing ones, in bounded time: once the comparisons are used up, there are no more hints."""

    def __init__(self, most_comparisons: int = 10_000) -> None:
        self._left = most_comparisons
        self._found: dict[tuple[str, str], str] = {}

    def near(self, name: str, names: Collection[str], scope: str) -> str:
        """Return the hint for a name; ``scope`` identifies the names that it is compared with."""
        if (scope, name) not in self._found:
            # Nothing for the rest: a definition with thousands of wrong names is refused as quickly.
            if self._left < len(names):
                return ""
            self._left -= len(names)
            self._found[scope, name] = hint(name, names)
        return self._found[scope, name]


def is_expression(text: str) -> bool:
    """Return whether a string is a JSONata expression in ``{% %}``."""
    return text.startswith("{%") and text.endswith("%}") and len(text) >= len("{%%}")


class Reader:
    """Reads fields, noting what is wrong with them and where."""

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []
        self.hints = Hints()

    def report(self, code: str, message: str, pointer: str) -> None:
        """Note an error."""
        self.diagnostics.append(Diagnostic(code, message, pointer=pointer))

    # Fields

    def part(
        self, value: Obj, part: Part, language: QueryLanguage, pointer: str, foreign: Collection[str] = ()
    ) -> None:
        """Note the fields that a part does not have, and those that it may not have together.

        Arguments:
            value: The part as it was written.

            part: Its fields.

            language: The query language in force.

            pointer: Its place.

            foreign: Names of the other query language beside those in ``part``.
        """
        own, known = part.of(language), {**part.fields, **dict.fromkeys(foreign)}
        for key in value:
            at = pointer_to(pointer, key)
            if key not in known:
                near = self.hints.near(key, known, part.what)
                self.report("unknown-field", f"{part.what} has no field {key!r}{near}", at)
            elif key not in own:
                message = f"{key} is not for a state whose QueryLanguage is {language}"
                self.report("mixed-query-languages", message, at)
        for keys in (*part.alternatives, *part.needed):
            here = [key for key in keys if key in own]
            self._alternatives(value, here, pointer, part.what, is_needed=keys in part.needed)

    def _alternatives(self, value: Obj, keys: list[str], pointer: str, what: str, *, is_needed: bool) -> None:
        present = [key for key in keys if key in value]
        if len(present) > 1:
            self.report("exclusive-fields", f"{what} may have only one of {', '.join(present)}", pointer)
        elif is_needed and not present:
            self.report("missing-field", f"{what} needs one of {', '.join(keys)}", pointer)

    def only(self, value: Obj, allowed: Collection[str], pointer: str, what: str) -> None:
        """Note fields other than these."""
        for key in value:
            if key not in allowed:
                near = self.hints.near(key, allowed, what)
                self.report("unknown-field", f"{what} has no field {key!r}{near}", pointer_to(pointer, key))

    def assign(self, value: Obj, pointer: str) -> model.Optional:
        """Return Assign, an object of variables."""
        return ABSENT if "Assign" not in value else self.typed(value, "Assign", dict, pointer, "an object") or {}

    def typed(self, value: Obj, key: str, kind: type[T] | tuple[type[T], ...], pointer: str, name: str) -> T | None:
        """Return a field of the right type, or note what it is instead."""
        if key not in value:
            return None
        found = value[key]
        # To Python True is an integer; in JSON it is none.
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            self.report("wrong-type", f"{key} must be {name}", pointer_to(pointer, key))
            return None
        return found

    def text(self, value: Obj, key: str, pointer: str) -> str | None:
        """Return a field that holds a string."""
        return self.typed(value, key, str, pointer, "a string")

    def required_text(self, value: Obj, key: str, pointer: str, what: str) -> str:
        """Return a field that must be there and hold a string."""
        if key not in value:
            self.report("missing-field", f"{what} needs the field {key!r}", pointer)
        return self.text(value, key, pointer) or ""

    def path(self, value: Obj, key: str, pointer: str) -> model.Optional:
        """Return a field that holds a path or null."""
        if key not in value:
            return ABSENT
        found = value[key]
        if found is not None and not isinstance(found, str):
            self.report("wrong-type", f"{key} must be a path or null", pointer_to(pointer, key))
            return ABSENT
        return found

    def number(self, value: Obj, field: Field, pointer: str, language: QueryLanguage) -> model.Optional:
        """Return a field that holds a number, or in JSONata an expression."""
        if field.name not in value:
            return ABSENT
        found = value[field.name]
        may_be_expression = language == "JSONata" and field.reads is not None
        if isinstance(found, str) and may_be_expression and is_expression(found):
            return found
        at = pointer_to(pointer, field.name)
        kinds = int if field.holds is Holds.WHOLE else (int, float)
        if isinstance(found, bool) or not isinstance(found, kinds):
            self.report("wrong-type", f"{field.name} must be {field.holds.value}", at)
            return ABSENT
        if not field.least <= found <= field.most:
            self.report("out-of-range", f"{field.name} must be between {field.least} and {field.most}", at)
            return ABSENT
        return found

    def each(self, value: Obj, key: str, pointer: str, make: Callable[[Obj, str], T]) -> tuple[T, ...]:
        """Return the members of an array of objects."""
        items = self.typed(value, key, list, pointer, "an array") or []
        made: list[T] = []
        for index, item in enumerate(items):
            at = pointer_to(pointer_to(pointer, key), index)
            if isinstance(item, dict):
                made.append(make(item, at))
            else:
                self.report("wrong-type", f"each of {key} is an object", at)
        return tuple(made)
