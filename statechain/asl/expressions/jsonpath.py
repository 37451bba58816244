"""JSONPath as the States Language has it: a path's text → a function of (input, context), or a place to write to.

A path that names one place is walked here; any other goes through `indefinite`, which is imported only when such a path
is met. Nothing here knows fields or states: the caller completes the cause.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import reduce
from operator import getitem
from typing import Any, TypeAlias, cast

import attrs

from statechain.asl.expressions.cause_text import format_value, type_name
from statechain.asl.outcome import Context, Expression
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.limits import DEFAULT_LIMITS, Limits

__all__ = [
    "PathNotFound",
    "PathSyntaxError",
    "ReferencePath",
    "compile_path",
    "compile_reference_path",
    "names_one_place",
    "variable_of",
]

Step: TypeAlias = str | int
Find: TypeAlias = Callable[[JSONValue], JSONValue]

QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
FROM_LENGTH = r"\(\s*@\.length\s*-\s*(?P<from_end>\d{1,20})\s*\)"
# Possessive, so that a long name that leads to no match is not tried again from each of its characters.
STEP = re.compile(
    r"\.(?P<name>(?:[^\s.\[\]()'\",*?\\]|\\\S)++(?:\(\))?)(?![(])"  # AWS knows no functions: length() is a name
    rf"|\.?\[\s*(?:(?P<quoted>{QUOTED})|(?P<index>-?\d{{1,20}})|{FROM_LENGTH})\s*\]"
)
"""One field or index. As in Jayway JsonPath, which AWS uses, a dot may precede a bracket."""

SEVERAL_NAMES = re.compile(rf"\.?\[\s*(?:{QUOTED})(?:\s*,\s*(?:{QUOTED}))+\s*\]\Z")
ESCAPE = re.compile(r"((?:\\u[0-9A-Fa-f]{4})+)|\\(.)")
VARIABLE = re.compile(r"\$(?P<name>[^\W\d]\w*)")


class PathSyntaxError(ValueError):
    """Raised for a string that is no path; ``column`` is the offset of the error in it, from 0."""

    def __init__(self, message: str, column: int = 0) -> None:
        self.column = column
        super().__init__(message)


class PathNotFound(StateError):
    """Raised where a path that names one place finds nothing there.

    Its own cause is that of InputPath and OutputPath: ``Invalid path '$.a' : No results for path: $['a']``. A field
    that words it otherwise, such as a payload template's, makes its own from ``path``.

    Attributes:
        path: The path as it is written.

        reason: What is missing.

        is_past_end: Whether the path ends in an index past the end of its array. The service puts null there in a
            payload template, while an intrinsic function takes it as missing.
    """

    def __init__(self, path: str, reason: str, *, is_past_end: bool = False) -> None:
        self.path = path
        self.reason = reason
        self.is_past_end = is_past_end
        super().__init__("States.Runtime", f"Invalid path '{path}' : {reason}")


def compile_path(text: str, *, limits: Limits = DEFAULT_LIMITS) -> Expression:
    """Compile ``$…`` (the input), ``$$…`` (the context object) or ``$name…`` (a variable). ASL, "Paths".

    A path that names one place answers the value there, or raises PathNotFound; any other answers the list of all
    that it finds, which may be empty. Raises PathSyntaxError for a string that is no path; the expression raises
    StateError (States.Runtime) where it passes more than ``limits.path_nodes`` nodes.
    """
    if not text.startswith("$"):
        raise PathSyntaxError(f"a path begins with '$', and {text!r} does not")
    if text.startswith("$$"):
        from_context = _compile(text, 1, limits)
        return lambda _value, context: from_context(context.object())
    variable = VARIABLE.match(text)
    if variable is None:
        from_input = _compile(text, 0, limits)
        return lambda value, _context: from_input(value)
    return _of_variable(variable["name"], _compile(text, variable.end() - 1, limits), text)


def variable_of(text: str) -> str | None:
    """Return the name of the variable that a path begins with, or None where it begins elsewhere."""
    variable = VARIABLE.match(text)
    return None if variable is None else variable["name"]


def names_one_place(text: str) -> bool:
    """Return whether a path that compiles names one place: fields and indexes only."""
    return _steps(text, _root(text))[1] == len(text.rstrip())


def _root(text: str) -> int:
    """Return where the steps of a path begin."""
    variable = VARIABLE.match(text)
    return variable.end() if variable is not None else 2 if text.startswith("$$") else 1


def _of_variable(name: str, find: Find, text: str) -> Expression:
    def evaluate(_value: JSONValue, context: Context) -> JSONValue:
        variables = context.variables
        if name not in variables:
            raise PathNotFound(text, f"No variable is assigned with the name: {name}")
        return find(variables[name])

    return evaluate


def _compile(text: str, start: int, limits: Limits) -> Find:
    """Compile what follows the root, whose last character is at ``start``. White space at the end is no part of it."""
    steps, end = _steps(text, start + 1)
    # Like Jayway JsonPath, which takes white space at the end.
    if end == len(text.rstrip()):
        return _walk(steps, text)
    several = SEVERAL_NAMES.match(text.rstrip(), end)
    if several is not None:
        return _pick(_walk(steps, text), re.findall(QUOTED, several[0]))
    return _search(text, steps, end, limits)


def _steps(text: str, start: int) -> tuple[tuple[Step, ...], int]:
    """Return the leading fields and indexes of a path, and where they end."""
    steps: list[Step] = []
    while match := STEP.match(text, start):
        if match["name"] is not None:
            steps.append(_unescaped(match["name"]))
        elif match["index"] is not None:
            steps.append(int(match["index"]))
        elif match["from_end"] is not None:
            steps.append(-int(match["from_end"]))
        else:
            steps.append(_unquoted(match["quoted"]))
        start = match.end()
    return tuple(steps), start


def _unescaped(name: str) -> str:
    r"""Return a dotted name without its escapes: ``\uXXXX`` is that character, and any other ``\c`` is c."""

    def character(escape: re.Match[str]) -> str:
        if escape[1] is None:
            return escape[2]
        units = bytes.fromhex(escape[1].replace("\\u", ""))
        return units.decode("utf-16-be", errors="surrogatepass")  # two escapes may be one character

    return ESCAPE.sub(character, name) if "\\" in name else name


def _unquoted(quoted: str) -> str:
    """Return the name in quotes: a backslash escapes the quote and itself, and is literal anywhere else."""
    quote = quoted[0]
    return re.sub(rf"\\([{quote}\\])", r"\1", quoted[1:-1])


# One place


def _walk(steps: tuple[Step, ...], text: str) -> Find:
    if not steps:
        return lambda value: value
    if all(isinstance(step, str) for step in steps):
        return _walk_fields(steps, text)

    def walk(value: Any) -> JSONValue:  # noqa: ANN401 -- each step narrows it
        found: Any = value
        for step in steps:
            # A string has indexes, too, but is no array.
            if type(found) is not (dict if type(step) is str else list):
                raise _not_found(steps, text, value)
            try:
                found = found[cast("Any", step)]
            except (KeyError, IndexError):
                raise _not_found(steps, text, value) from None
        return cast("JSONValue", found)

    return walk


def _walk_fields(steps: tuple[Step, ...], text: str) -> Find:
    def walk(value: Any) -> JSONValue:  # noqa: ANN401
        try:
            # In C. Arrays and strings refuse a name by TypeError.
            return cast("JSONValue", reduce(getitem, steps, value))
        except (KeyError, TypeError):
            raise _not_found(steps, text, value) from None

    return walk


def _pick(find: Find, quoted: Sequence[str]) -> Find:
    """Compile a choice of fields at the end of a path: an object of those that are there."""
    names = [_unquoted(each) for each in quoted]

    def pick(value: JSONValue) -> JSONValue:
        found = find(value)
        return {name: found[name] for name in names if name in found} if isinstance(found, dict) else {}

    return pick


def _not_found(steps: tuple[Step, ...], text: str, value: JSONValue) -> PathNotFound:
    """Walk once more to say what is missing, in the words of the service's own library."""
    for place, step in enumerate(steps):
        before, is_last = normalized(steps[:place]), place == len(steps) - 1
        if isinstance(step, str):
            if not isinstance(value, dict):
                kind = type_name(value)
                reason = f"Expected to find an object with property ['{step}'] in path {before} but found '{kind}'."
                return PathNotFound(text, reason)
            if step not in value:
                missing = "No results for path: " if is_last else "Missing property in path "
                return PathNotFound(text, missing + normalized(steps[: place + 1]))
            value = value[step]
        elif value is None:
            return PathNotFound(text, f"The path {before} is null")
        elif not isinstance(value, list):
            rest = normalized(steps[place:])[1:]
            reason = f"Filter: {rest} can only be applied to arrays. Current context is: {format_value(value)}"
            return PathNotFound(text, reason)
        elif not -len(value) <= step < len(value):
            return PathNotFound(text, f"No results for path: {normalized(steps)}", is_past_end=is_last)
        else:
            value = value[step]
    return PathNotFound(text, f"No results for path: {normalized(steps)}")


def normalized(steps: Sequence[Step]) -> str:
    """Return steps in bracket notation."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f"['{step}']" for step in steps)


# Several places


def _search(text: str, steps: tuple[Step, ...], end: int, limits: Limits) -> Find:
    """Compile a path whose first steps, up to ``end``, name one place; what follows may find any number in it."""
    from statechain.asl.expressions.indefinite import Search, SearchFailed  # noqa: PLC0415 -- only such a path pays for the library

    try:
        find = Search("$" + text[end:].rstrip(), limits)
    except SearchFailed as error:
        raise PathSyntaxError(f"{text!r} is no path: {error}", end - 1 + error.column) from error
    walk = _walk(steps, text)

    def search(value: JSONValue) -> JSONValue:
        try:
            return find(walk(value), root=value)
        except PathNotFound:
            # Where a path may find several, nothing found is an empty list, and no error.
            return []
        except SearchFailed as error:
            raise StateError("States.Runtime", f"Invalid path '{text}' : {error}") from error

    return search


# Reference paths


@attrs.frozen
class ReferencePath:
    """A path that names one place to read or to write (ASL, "Reference Paths").

    Attributes:
        text: The path as it is written.

        steps: Its fields and indexes.
    """

    text: str
    steps: tuple[Step, ...]
    _find: Find = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_find", _walk(self.steps, self.text))

    def get(self, value: JSONValue) -> JSONValue:
        """Return what is at the place. Raises PathNotFound where nothing is."""
        return self._find(value)

    def set(self, value: JSONValue, new: JSONValue) -> JSONValue:
        """Return a copy of the value with something else at the place; the value itself stays as it is.

        Objects on the way are made where they are missing (ASL, "ResultPath"). Raises StateError
        (States.ResultPathMatchFailure) where the value cannot have such a place.
        """
        return self._set(value, new, 0, value)

    def _set(self, value: JSONValue, new: JSONValue, place: int, whole: JSONValue) -> JSONValue:
        if place == len(self.steps):
            return new
        step = self.steps[place]
        if isinstance(step, str) and isinstance(value, dict):
            # Copied along the path alone: the rest is shared with the value that stays as it is.
            return {**value, step: self._set(value.get(step, {}), new, place + 1, whole)}
        if isinstance(step, int) and isinstance(value, list) and step < len(value):
            return [*value[:step], self._set(value[step], new, place + 1, whole), *value[step + 1 :]]
        raise StateError(
            "States.ResultPathMatchFailure", f"Unable to apply ReferencePath {self.text} to input {format_value(whole)}"
        )


def compile_reference_path(text: str) -> ReferencePath:
    """Compile a reference path: ``$``, then fields and indexes from 0. Raises PathSyntaxError for anything else."""
    if not text.startswith("$") or text.startswith("$$"):
        raise PathSyntaxError(f"a reference path begins with a single '$', and {text!r} does not")
    steps, end = _steps(text, 1)
    if end != len(text.rstrip()):
        raise PathSyntaxError(f"{text!r} does not name one place: a reference path has only fields and indexes", end)
    if any(isinstance(step, str) and step.endswith("()") for step in steps):
        raise PathSyntaxError(f"{text!r} calls a function, which a reference path cannot")
    if any(isinstance(step, int) and step < 0 for step in steps):
        raise PathSyntaxError(f"{text!r} counts from the end, which a reference path cannot")
    return ReferencePath(text, steps)
