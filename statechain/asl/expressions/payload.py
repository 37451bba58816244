"""Templates and paths of a state's fields → functions of (input, context).

JSONPath: ``.$`` keys, InputPath, ResultPath, OutputPath. JSONata: strings in ``{% %}`` anywhere in a value. A template
without any of them is a constant, which nothing may change in place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from statechain.asl.expressions.cause_text import format_value
from statechain.asl.expressions.intrinsics import compile_intrinsic, is_intrinsic
from statechain.asl.expressions.jsonata import Evaluate, States, compile_jsonata
from statechain.asl.expressions.jsonpath import PathNotFound, compile_path, compile_reference_path
from statechain.asl.expressions.repeating import bounded, counted
from statechain.asl.model import ABSENT, Absent
from statechain.asl.outcome import Context, Expression
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.limits import Limits

__all__ = [
    "Evaluate",
    "expression_in",
    "input_filter",
    "jsonata_template",
    "jsonpath_expression",
    "jsonpath_template",
    "output_filter",
    "result_merger",
    "states_of",
]

Merge: TypeAlias = Callable[[JSONValue, JSONValue], JSONValue]
EMPTY: JSONValue = {}
EXPRESSION = re.compile(r"\{%(.*)%\}", re.DOTALL)


# JSONPath


def jsonpath_expression(text: str, field: str, limits: Limits, *, is_template: bool = False) -> Expression:
    """Compile a path or an intrinsic function that a field holds; a path that finds nothing names the field.

    With ``is_template``, an index past the end of its array finds null, as it does in a payload template.
    """
    if is_intrinsic(text):
        return compile_intrinsic(text, limits=limits)
    find = compile_path(text, limits=limits)
    is_of_context = text.startswith("$$")

    def evaluate(value: JSONValue, context: Context) -> JSONValue:
        try:
            return find(value, context)
        except PathNotFound as error:
            if error.is_past_end and is_template:
                return None
            searched = context.object() if is_of_context else value
            raise StateError(
                "States.Runtime",
                f"The JSONPath '{text}' specified for the field '{field}' could not be found in the input "
                f"'{format_value(searched)}'",
            ) from error

    return evaluate


def jsonpath_template(template: JSONValue, limits: Limits) -> Expression:
    """Compile a payload template (ASL, "Payload Template"): keys that end in ``.$`` are evaluated, the rest stays."""
    return bounded(template, _template(template, limits), limits)


def _template(template: JSONValue, limits: Limits) -> Expression:
    if isinstance(template, dict):
        return _object_template(template, limits)
    if isinstance(template, list):
        items = [_template(item, limits) for item in template]
        # Made once, and shared by all visits.
        if all(getattr(item, "is_constant", False) for item in items):
            return _constant(template)
        return lambda value, context: [item(value, context) for item in items]
    return _constant(template)


def _object_template(template: Mapping[str, JSONValue], limits: Limits) -> Expression:
    members: list[tuple[str, Expression]] = []
    for key, value in template.items():
        if key.endswith(".$") and isinstance(value, str):
            expression = jsonpath_expression(value, key, limits, is_template=True)
            # A path finds texts that are there; only a function makes more of them.
            members.append((key[:-2], counted(expression, limits) if is_intrinsic(value) else expression))
        else:
            members.append((key, _template(value, limits)))
    if all(getattr(member, "is_constant", False) for _, member in members):
        return _constant(dict(template))
    return lambda value, context: {name: member(value, context) for name, member in members}


def _constant(value: JSONValue) -> Expression:
    def constant(_value: JSONValue, _context: Context) -> JSONValue:
        return value

    # Asked by the templates around it: one without expressions is a constant as a whole.
    constant.is_constant = True  # type: ignore[attr-defined]
    return constant


def input_filter(path: JSONValue | Absent, limits: Limits) -> Expression | None:
    """Compile InputPath; None where the input passes as it is."""
    if path is ABSENT or path == "$":
        return None
    if path is None:
        return _constant(EMPTY)
    return bounded(path, compile_path(str(path), limits=limits), limits)


def output_filter(path: JSONValue | Absent, limits: Limits) -> Expression | None:
    """Compile OutputPath; None where the output passes as it is."""
    return input_filter(path, limits)


def result_merger(path: JSONValue | Absent) -> Merge | None:
    """Compile ResultPath: (raw input, result) → output; None where the result replaces the input."""
    if path is ABSENT or path == "$":
        return None
    if path is None:
        return lambda value, _result: value
    return compile_reference_path(str(path)).set


# JSONata


def expression_in(value: JSONValue | Absent) -> str | None:
    """Return the JSONata expression of a string in ``{% %}``, or None for any other value."""
    if not isinstance(value, str):
        return None
    match = EXPRESSION.fullmatch(value)
    return None if match is None else match[1].strip()


def jsonata_template(template: JSONValue, field: str, limits: Limits) -> Evaluate:
    """Compile a value in which strings in ``{% %}`` are expressions (ASL, "Using JSONata Expressions")."""
    return bounded(template, _jsonata(template, field, limits), limits)


def _jsonata(template: JSONValue, field: str, limits: Limits) -> Evaluate:
    expression = expression_in(template)
    if expression is not None:
        return counted(compile_jsonata(expression, field, limits=limits), limits)
    if isinstance(template, dict):
        members = {key: _jsonata(value, f"{field}/{key}", limits) for key, value in template.items()}
        return lambda states, context: {key: member(states, context) for key, member in members.items()}
    if isinstance(template, list):
        items = [_jsonata(item, f"{field}[{place}]", limits) for place, item in enumerate(template)]
        return lambda states, context: [item(states, context) for item in items]
    return lambda _states, _context: template


def states_of(value: JSONValue, context: Context, **more: JSONValue) -> States:
    """Return ``$states`` (ASL, "Reserved variable: $states")."""
    return States(context, {"input": value, **more})
