"""AWS's dialect of JSONPath: a path's text → a function of (input, context); reference paths → get and set.

Definite paths are walked here; the rest (wildcards, slices, filters, descendants) goes through python-jsonpath,
which is imported only when such a path is met.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from statechain.asl.outcome import Context, Expression
from statechain.codec import JSONValue, encode
from statechain.errors import StateError
from statechain.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from jsonpath import JSONPath, JSONPathEnvironment

__all__ = ["PathNotFound", "PathSyntaxError", "ReferencePath", "compile_path", "compile_reference_path"]

Step = str | int
NAME = r"[^\W\d][\w-]*|\d[\w-]*[^\W\d][\w-]*"
STEP = re.compile(
    rf"\.(?P<name>{NAME})"
    r"|\[\s*(?:'(?P<single>(?:[^'\\]|\\.)*)'|\"(?P<double>(?:[^\"\\]|\\.)*)\"|(?P<index>-?\d+))\s*\]"
)
VARIABLE = re.compile(rf"\$(?P<name>{NAME})")
EXTENSIONS = re.compile(r"(?:^|[^\w'\"])[_^#](?:[.\[]|$)|~")


class PathSyntaxError(ValueError):
    """A text is no path; ``column`` is the offset of the fault in it, from 0."""

    def __init__(self, message: str, column: int = 0) -> None:
        self.column = column
        super().__init__(message)


class PathNotFound(StateError):
    """A definite path found nothing; whoever knows the field may tell it better."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__("States.Runtime", f"Invalid path '{path}' : {reason}")


def compile_path(text: str, *, limits: Limits = DEFAULT_LIMITS) -> Expression:
    """Compile ``$…`` (the input), ``$$…`` (the context object) or ``$name…`` (a variable).

    A definite path returns the value, and raises PathNotFound where there is none; an indefinite one returns the
    list of all matches (ASL, "Paths"). Raises PathSyntaxError for a text that is no path.
    """
    if not text.startswith("$"):
        raise PathSyntaxError(f"a path begins with '$', and {text!r} does not")
    if text.startswith("$$"):
        from_context = _compile("$" + text[2:], text, 1, limits)
        return lambda _value, context: from_context(context.object())
    variable = VARIABLE.match(text)
    if variable is None:
        from_input = _compile(text, text, 0, limits)
        return lambda value, _context: from_input(value)
    return _of_variable(variable["name"], _compile("$" + text[variable.end() :], text, variable.end() - 1, limits), text)


def _of_variable(name: str, find: Callable[[JSONValue], JSONValue], text: str) -> Expression:
    def evaluate(_value: JSONValue, context: Context) -> JSONValue:
        variables = context.variables
        if name not in variables:
            raise PathNotFound(text, f"the variable ${name} is not assigned")
        return find(variables[name])

    return evaluate


def _compile(path: str, text: str, shift: int, limits: Limits) -> Callable[[JSONValue], JSONValue]:
    steps = _definite_steps(path)
    if steps is not None:
        return _walk(steps, text)
    return _search(path, text, shift, limits)


def _definite_steps(path: str) -> tuple[Step, ...] | None:
    """Return the steps of a path that names one place, or None where it may name several."""
    steps: list[Step] = []
    place = 1
    while place < len(path):
        match = STEP.match(path, place)
        if match is None:
            return None
        if match["name"] is not None:
            steps.append(match["name"])
        elif match["index"] is not None:
            steps.append(int(match["index"]))
        else:
            steps.append(re.sub(r"\\(.)", r"\1", match["single"] if match["single"] is not None else match["double"]))
        place = match.end()
    return tuple(steps)


def _walk(steps: tuple[Step, ...], text: str) -> Callable[[JSONValue], JSONValue]:
    if not steps:
        return lambda value: value
    if len(steps) == 1 and isinstance(steps[0], str):
        name = steps[0]

        def member(value: JSONValue) -> JSONValue:
            if type(value) is dict and name in value:
                return value[name]
            raise PathNotFound(text, _reason(steps, 0))

        return member

    def walk(value: JSONValue) -> JSONValue:
        for place, step in enumerate(steps):
            if type(step) is str:
                if type(value) is not dict or step not in value:
                    raise PathNotFound(text, _reason(steps, place))
                value = value[step]
            else:
                if type(value) is not list or not -len(value) <= step < len(value):  # type: ignore[operator]
                    raise PathNotFound(text, _reason(steps, place))
                value = value[step]  # type: ignore[index]
        return value

    return walk


def _reason(steps: Sequence[Step], place: int) -> str:
    """Tell which part of a definite path is missing."""
    if place == len(steps) - 1:
        return f"No results for path: {normalized(steps)}"
    return f"Missing property in path {normalized(steps[: place + 1])}"


def normalized(steps: Sequence[Step]) -> str:
    """Return steps in bracket notation."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f"['{step}']" for step in steps)


# Indefinite paths


@lru_cache(maxsize=1)
def _environment() -> JSONPathEnvironment:
    from jsonpath import JSONPathEnvironment

    class Environment(JSONPathEnvironment):
        """python-jsonpath without the notations that AWS does not have."""

        max_recursion_depth = 200

    return Environment()


def _search(path: str, text: str, shift: int, limits: Limits) -> Callable[[JSONValue], JSONValue]:
    from jsonpath import JSONPath
    from jsonpath.exceptions import JSONPathError

    if EXTENSIONS.search(re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "''", path)):
        raise PathSyntaxError(f"{text!r} is no path")
    try:
        query = _environment().compile(path)
    except (JSONPathError, RecursionError, ValueError) as fault:
        token = getattr(fault, "token", None)
        column = getattr(token, "index", 0) if token is not None else 0
        message = str(fault.args[0] if fault.args else fault).partition("\n")[0]
        raise PathSyntaxError(f"{text!r} is no path: {message}", max(0, column) + shift) from fault
    if not isinstance(query, JSONPath):
        raise PathSyntaxError(f"{text!r} joins several paths, which states do not have")
    singular = query.singular_query()

    def search(value: JSONValue) -> JSONValue:
        try:
            found = _matches(query, value, limits.path_nodes)
        except (JSONPathError, RecursionError, ValueError, TypeError, ArithmeticError) as fault:
            raise StateError("States.Runtime", f"Invalid path '{text}' : {fault}") from fault
        if not singular:
            return found
        if not found:
            raise PathNotFound(text, f"No results for path: {text}")
        return found[0]

    return search


def _matches(query: JSONPath, value: JSONValue, budget: int) -> list[JSONValue]:
    found: list[JSONValue] = []
    for match in query.finditer(value if isinstance(value, dict | list) else encode(value)):  # type: ignore[arg-type]
        found.append(match.obj)  # type: ignore[arg-type]
        if len(found) > budget:
            raise ValueError(f"more than {budget} matches")
    return found


# Reference paths


@attrs.frozen
class ReferencePath:
    """A path that names one place to read or to write (ASL, "Reference Paths")."""

    text: str
    steps: tuple[Step, ...]

    def get(self, value: JSONValue) -> JSONValue:
        """Return what is at the place; raise PathNotFound where nothing is."""
        return _walk(self.steps, self.text)(value)

    def set(self, value: JSONValue, new: JSONValue) -> JSONValue:
        """Return a copy of the value with something else at the place; objects on the way are made where missing.

        Raises StateError (States.ResultPathMatchFailure) where the value has no such place.
        """
        return self._set(value, new, 0)

    def _set(self, value: JSONValue, new: JSONValue, place: int) -> JSONValue:
        if place == len(self.steps):
            return new
        step = self.steps[place]
        if isinstance(step, str) and isinstance(value, Mapping):
            child: Any = value.get(step, {})
            if place + 1 < len(self.steps) and not isinstance(child, dict | list):
                raise self._mismatch(value)
            return {**value, step: self._set(child, new, place + 1)}
        if isinstance(step, int) and isinstance(value, list) and 0 <= step < len(value):
            return [*value[:step], self._set(value[step], new, place + 1), *value[step + 1 :]]
        raise self._mismatch(value)

    def _mismatch(self, value: JSONValue) -> StateError:
        return StateError(
            "States.ResultPathMatchFailure", f"Unable to apply ReferencePath {self.text} to input {encode(value)[:1000]}"
        )


def compile_reference_path(text: str) -> ReferencePath:
    """Compile a reference path: ``$`` and field and index steps only. Raises PathSyntaxError for anything else."""
    if not text.startswith("$") or text.startswith("$$"):
        raise PathSyntaxError(f"a reference path begins with a single '$', and {text!r} does not")
    steps = _definite_steps(text)
    if steps is None or any(isinstance(step, int) and step < 0 for step in steps):
        raise PathSyntaxError(f"{text!r} does not name one place: a reference path has only fields and indexes")
    return ReferencePath(text, steps)
