"""Single fields that hold a number or a string: as a literal, by a path, or by a JSONata expression."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias, cast

from statechain.asl import model
from statechain.asl.expressions.cause_text import format_unquoted, format_value, is_number, is_whole, type_name
from statechain.asl.expressions.jsonata import evaluation_failed
from statechain.asl.expressions.jsonpath import compile_path
from statechain.asl.expressions.payload import expression_in, jsonata_template, jsonpath_expression, states_of
from statechain.asl.model import ABSENT
from statechain.asl.outcome import Context, Expression
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.limits import Limits

__all__ = ["Number", "Text", "compile_number", "compile_number_at", "compile_text", "out_of_range", "unexpected"]

Number: TypeAlias = Callable[[JSONValue, Context], float]
Text: TypeAlias = Callable[[JSONValue, Context], "str | None"]


def compile_number(
    state: model.State,
    literal: model.Optional,
    path: str | None,
    field: str,
    limits: Limits,
    *,
    whole: bool = True,
) -> Number | None:
    """Compile a number that may be given as ``field``, as ``fieldPath``, or as JSONata; None where it is not given."""
    if path is not None:
        find = compile_path(path, limits=limits)
        return lambda raw, context: _integer_at(find(raw, context), path, field)
    if literal is ABSENT:
        return None
    expression = expression_in(literal) if state.query_language == "JSONata" else None
    if expression is None:
        value = cast("float", literal)
        return lambda _raw, _context: value
    evaluate = jsonata_template(literal, field, limits)

    def number(raw: JSONValue, context: Context) -> float:
        result = evaluate(states_of(raw, context), context)
        if not is_number(result):
            raise unexpected(expression, field, "number", result)
        # 5.0 is whole: JSON has one kind of number.
        if whole and not is_whole(result):
            raise evaluation_failed(f"The {field} field cannot be parsed as an integer: {format_value(result)}", field)
        return int(result) if whole else result

    return number


def _integer_at(value: JSONValue, path: str, field: str) -> float:
    if not is_whole(value):
        cause = f"The {field}Path parameter does not reference an integer value: {path} == {format_unquoted(value)}"
        raise StateError("States.Runtime", cause)
    return int(value)


def compile_number_at(path: str, field: str, find: Expression, *, whole: bool) -> Number:
    """Compile a number of a Map that a path finds, which may also be a string of its digits."""
    kind = "integer" if whole else "float"

    def number(value: JSONValue, context: Context) -> float:
        found = find(value, context)
        made = _as_number(found)
        if made is None or (whole and not made.is_integer()):
            cause = (
                f'The {field}Path field refers to value "{format_unquoted(found)}" which is not a valid {kind}: {path}'
            )
            raise StateError("States.Runtime", cause)
        return int(made) if whole else made

    return number


def _as_number(found: JSONValue) -> float | None:
    # To Python True is a number.
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        return None
    try:
        made = float(found)
    except (ValueError, OverflowError):
        return None
    return made if math.isfinite(made) else None


def compile_text(
    state: model.State,
    literal: model.Optional,
    path: str | None,
    field: str,
    limits: Limits,
    *,
    any_type: bool = False,
) -> Text:
    """Compile a string that may be given as ``field``, as ``fieldPath``, or as JSONata; None where it is not given.

    With ``any_type`` a path may find what it likes: the caller says what is wrong with it.
    """
    if path is not None:
        find = jsonpath_expression(path, f"{field}Path", limits)

        def text(raw: JSONValue, context: Context) -> str | None:
            value = find(raw, context)
            if not any_type and not isinstance(value, str):
                cause = f"The {field}Path parameter does not reference a string: {path} == {format_unquoted(value)}"
                raise StateError("States.Runtime", cause)
            return cast("str", value)

        return text
    if literal is ABSENT:
        return lambda _raw, _context: None
    expression = expression_in(literal) if state.query_language == "JSONata" else None
    if expression is None:
        value = cast("str", literal)
        return lambda _raw, _context: value
    evaluate = jsonata_template(literal, field, limits)

    def evaluated(raw: JSONValue, context: Context) -> str:
        result = evaluate(states_of(raw, context), context)
        if not isinstance(result, str):
            raise unexpected(expression, field, "string", result)
        return result

    return evaluated


def out_of_range(value: float, field: str, least: float, most: float | None = None) -> StateError:
    """Return the error of a JSONata expression whose result its field cannot take."""
    bounds = f"at least {least}" if most is None else f"between {least} and {most}"
    return evaluation_failed(f"The {field} field must be {bounds}, and was {format_value(value)}", field)


def unexpected(expression: str | None, field: str, expected: str, result: JSONValue) -> StateError:
    """Return the error of an expression whose result is of another type than its field wants."""
    return evaluation_failed(
        f"The JSONata expression '{expression}' specified for the field '{field}' returned an unexpected result type. "
        f"Expected '{expected}', but was '{type_name(result)}' for value: {format_value(result)}",
        field,
    )
