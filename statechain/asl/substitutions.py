"""DefinitionSubstitutions: ``${Name}`` in a definition → its value, as CloudFormation puts it in.

In text a value is put in as it is, before the text is read: ``"TimeoutSeconds": ${Seconds}`` becomes a number. Places
that are found in the new text lead back to the text that was written.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import accumulate
from typing import Final, TypeAlias

import attrs

from statechain.asl.text import Place, Positions, pointer_to
from statechain.codec import JSONValue
from statechain.errors import DefinitionError, Diagnostic

__all__ = ["Substituted", "Substitutions", "substitute_text", "substitute_value"]

Substitutions: TypeAlias = Mapping[str, str | int | float | bool]
NAME: Final = re.compile(r"\$\{(?P<name>[\w.:-]+)\}", re.ASCII)


@attrs.frozen(slots=False)
class Substituted:
    """A string in which names were replaced.

    Attributes:
        text: The new text.
    """

    text: str
    _written: str
    _steps: tuple[tuple[int, int], ...]
    """Where each piece begins in the new text and in the one that was written: text and values by turns."""

    @cached_property
    def _lines(self) -> list[int]:
        return _line_starts(self.text)

    @cached_property
    def _written_lines(self) -> list[int]:
        return _line_starts(self._written)

    def written(self, place: Place) -> Place:
        """Return the place in the text that was written; a place within a value is that of its name."""
        line, column = place
        offset = self._lines[line - 1] + column - 1
        # The last piece that begins here: after an empty value the text goes on at the same offset.
        index = bisect_right(self._steps, (offset, len(self._written))) - 1
        begin, written = self._steps[index]
        is_value = index % 2 == 1
        # A value has no places of its own in what was written: all of it is at its name.
        found = written if is_value else written + offset - begin
        number = bisect_right(self._written_lines, found)
        return number, found - self._written_lines[number - 1] + 1

    def positions(self, found: Positions) -> Positions:
        """Return positions in the text that was written."""
        return {pointer: self.written(place) for pointer, place in found.items()}

    def diagnostic(self, found: Diagnostic) -> Diagnostic:
        """Return a diagnostic with its place in the text that was written."""
        if found.line is None or found.column is None:
            return found
        line, column = self.written((found.line, found.column))
        return attrs.evolve(found, line=line, column=column)


def substitute_text(text: str, values: Substitutions) -> Substituted:
    """Replace names in text. Raises DefinitionError for names that have no value, each once."""
    pieces: list[str] = []
    steps: list[tuple[int, int]] = []
    missing: dict[str, Diagnostic] = {}
    place = size = 0
    for found in NAME.finditer(text):
        name = found["name"]
        if name in missing:
            continue
        if name not in values:
            line = text.count("\n", 0, found.start()) + 1
            column = found.start() - text.rfind("\n", 0, found.start())
            missing[name] = attrs.evolve(_missing(name), line=line, column=column)
            continue
        before, value = text[place : found.start()], _text_of(values[name])
        steps += [(size, place), (size + len(before), found.start())]
        pieces += [before, value]
        place, size = found.end(), size + len(before) + len(value)
    if missing:
        raise DefinitionError(list(missing.values()))
    return Substituted("".join([*pieces, text[place:]]), text, (*steps, (size, place)))


def substitute_value(value: JSONValue, values: Substitutions) -> JSONValue:
    """Replace names in the strings and keys of a JSON value. Raises DefinitionError for names that have no value."""
    missing: dict[str, Diagnostic] = {}
    for pointer, text in _strings(value):
        for name in NAME.findall(text):
            if name not in values:
                missing.setdefault(name, attrs.evolve(_missing(name), pointer=pointer))
    if missing:
        raise DefinitionError(list(missing.values()))
    return _replaced(value, values)


def _missing(name: str) -> Diagnostic:
    return Diagnostic("missing-substitution", f"no value was given for ${{{name}}}: add {name!r} to the substitutions")


def _strings(value: JSONValue, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Yield each string and key with its pointer."""
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, pointer_to(pointer, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield pointer_to(pointer, key), key
            yield from _strings(item, pointer_to(pointer, key))


def _replaced(value: JSONValue, values: Substitutions) -> JSONValue:
    if isinstance(value, str):
        return NAME.sub(lambda found: _text_of(values[found["name"]]), value)
    if isinstance(value, list):
        return [_replaced(item, values) for item in value]
    if isinstance(value, dict):
        return {str(_replaced(key, values)): _replaced(item, values) for key, item in value.items()}
    return value


def _text_of(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _line_starts(text: str) -> list[int]:
    return list(accumulate((len(line) + 1 for line in text.split("\n")), initial=0))[:-1]
