"""An expression's text → a function of (``$states``, context), compiled once; what goes wrong is worded as AWS does.

A plain path such as ``$states.input.order.id`` is walked here, without the library: it is what most expressions are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, TypeAlias, cast

from statechain.asl.expressions.jsonata.plain_numbers import plain_numbers
from statechain.asl.outcome import Context
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.limits import DEFAULT_LIMITS, Limits

__all__ = ["Evaluate", "JSONataSyntaxError", "States", "compile_jsonata", "evaluation_failed", "states_fields_in"]

PLAIN = re.compile(r"\$([^\W\d]\w*)((?:\.[^\W\d]\w*)*)")
NOT_NAMES = frozenset({"true", "false", "null"})


class JSONataSyntaxError(ValueError):
    """A string is no JSONata that a state may use; ``column`` is the offset of the error in it, from 0."""

    def __init__(self, message: str, column: int = 0) -> None:
        self.column = column
        super().__init__(message)


class States:
    """The reserved variable ``$states`` of one moment of a visit; what nothing asks for is not built."""

    __slots__ = ("_context", "_native", "fields")

    def __init__(self, context: Context, fields: Mapping[str, JSONValue]) -> None:
        self._context = context
        self._native: dict[str, Any] = {}
        self.fields = fields

    def find(self, name: str) -> tuple[bool, JSONValue]:
        """Return whether there is a field of this name now, and its value."""
        if name == "context":
            return True, self._context.object()
        return name in self.fields, self.fields.get(name)

    def native(self, convert: Callable[[Any], Any], names: frozenset[str] | None) -> dict[str, Any]:
        """Return the fields of these names, or all, as the library wants them."""
        for name in (*self.fields, "context") if names is None else names:
            is_there, value = self.find(name)
            if is_there and name not in self._native:
                self._native[name] = convert(value)
        return self._native


Evaluate: TypeAlias = Callable[[States, Context], JSONValue]


def compile_jsonata(text: str, field: str = "", *, limits: Limits = DEFAULT_LIMITS) -> Evaluate:
    """Compile an expression; ``field`` is where it is, such as ``"Output/total"``, for causes.

    The compiled expression raises StateError (States.QueryEvaluationError). Raises JSONataSyntaxError.
    """
    failure = f"The JSONata expression '{text}' specified for the field '{field}'"
    plain = PLAIN.fullmatch(text)
    names = plain[2].split(".")[1:] if plain is not None else []
    compile_whole = partial(_compile_whole, text, failure, field, limits)
    # After a dot, too, these are values, and no names.
    if plain is None or not NOT_NAMES.isdisjoint(names) or (plain[1] == "states" and not names):
        return compile_whole()
    return _walk(plain[1], names, failure, field, compile_whole)


def _compiled() -> ModuleType:
    """Import what is on the library: only expressions that are more than a plain path pay for it."""
    from statechain.asl.expressions.jsonata import compiled  # noqa: PLC0415

    return compiled


def _compile_whole(text: str, failure: str, field: str, limits: Limits) -> Evaluate:
    evaluate: Evaluate = _compiled().compile_expression(text, failure, field, limits)
    return evaluate


def states_fields_in(text: str) -> frozenset[str]:
    """Return which fields of ``$states`` an expression names; none where it is no expression."""
    plain = PLAIN.fullmatch(text)
    if plain is not None:
        return frozenset(plain[2].split(".")[1:2]) if plain[1] == "states" else frozenset()
    fields: frozenset[str] = _compiled().fields_in(text)
    return fields


# Plain paths


def _walk(root: str, names: list[str], failure: str, field: str, compile_whole: Callable[[], Evaluate]) -> Evaluate:
    """Compile a path of names from a variable; where an array is on the way the library takes over."""
    whole: list[Evaluate] = []

    def evaluate(states: States, context: Context) -> JSONValue:
        rest = iter(names)
        if root == "states":
            is_there, value = states.find(next(rest))
        else:
            is_there, value = root in context.variables, context.variables.get(root)
        for name in rest:
            # JSONata goes into each item of an array: that is left to the library.
            if type(value) is list:
                if not whole:
                    whole.append(compile_whole())
                # Compiled at the first array: most paths never meet one.
                return whole[0](states, context)
            is_there = is_there and type(value) is dict and name in value
            if not is_there:
                break
            value = cast("dict[str, JSONValue]", value)[name]
        if not is_there:
            if not names:
                return compile_whole()(states, context)  # a function's name, perhaps
            raise evaluation_failed(f"{failure} returned nothing (undefined).", field)
        return plain_numbers(value)

    return evaluate


def evaluation_failed(cause: str, field: str) -> StateError:
    """Return the error of an expression that cannot be evaluated."""
    return StateError("States.QueryEvaluationError", cause, location=field)
