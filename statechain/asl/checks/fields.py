"""Paths and expressions in a state's fields → diagnostics: whether each compiles, and may be where it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, TypeAlias

import attrs

from statechain.asl import model
from statechain.asl.expressions.intrinsics import compile_intrinsic, is_intrinsic
from statechain.asl.expressions.jsonata import compile_jsonata, states_fields_in
from statechain.asl.expressions.jsonpath import compile_path, compile_reference_path, names_one_place
from statechain.asl.expressions.payload import expression_in
from statechain.asl.grammar import PARTS, Field, Holds, Part
from statechain.asl.model import QueryLanguage
from statechain.asl.text import pointer_to
from statechain.codec import JSONValue
from statechain.errors import Diagnostic
from statechain.limits import Limits

__all__ = ["check_fields"]

Obj: TypeAlias = Mapping[str, JSONValue]
Faults: TypeAlias = Iterator[Diagnostic]

MACHINES: Final = ("Branch", "Processor")
TEMPLATES: Final = (Holds.TEMPLATE, Holds.OBJECT)
PATHS: Final = (Holds.PATH, Holds.ONE_PLACE)

WHERE: Final = {
    "result": "only Output and Assign of a Task, Parallel or Map state have it",
    "errorOutput": "only Output and Assign of a Catcher have it",
}


def check_fields(state: model.State, value: Obj, limits: Limits) -> Faults:
    """Yield a diagnostic for each path and expression that a state's fields may not hold.

    Arguments:
        state: The state.

        value: What the state was made from.

        limits: What an expression may need.
    """
    check = _Check(state.query_language, limits)
    yield from check.part(PARTS[type(state).__name__], value, state.pointer)


@attrs.frozen
class _Check:
    """Checks the parts of a state by the table of fields."""

    language: QueryLanguage
    limits: Limits

    def part(self, part: Part, value: Obj, pointer: str) -> Faults:
        """Check the fields of a part, and of the parts in it."""
        if part is PARTS["Rule"] and self.language == "JSONPath":
            yield from _check_rule({**value}, pointer, self.limits)
            return
        for name, field in part.of(self.language).items():
            if name in value:
                yield from self._field(field, value[name], pointer_to(pointer, name))

    def _field(self, field: Field, value: JSONValue, pointer: str) -> Faults:
        if field.part in MACHINES:
            return  # its states are checked as states
        if field.part and isinstance(value, dict):
            yield from self.part(PARTS[field.part], value, pointer)
        elif field.holds is Holds.PARTS and isinstance(value, list):
            for place, member in enumerate(value):
                if isinstance(member, dict):
                    yield from self.part(PARTS[field.part], member, pointer_to(pointer, place))
        elif self.language == "JSONPath":
            yield from _check_path_field(field, value, pointer, self.limits)
        elif field.reads is not None:
            yield from _check_expressions(value, pointer, WHERE.keys() - field.reads, self.limits)


# JSONata


def _check_expressions(value: JSONValue, pointer: str, absent: Collection[str], limits: Limits) -> Faults:
    """Check the expressions in a value, where some fields of ``$states`` are absent."""
    pending = [(value, pointer)]
    while pending:
        item, at = pending.pop()
        if isinstance(item, dict):
            pending.extend((each, pointer_to(at, key)) for key, each in item.items())
        elif isinstance(item, list):
            pending.extend((each, pointer_to(at, place)) for place, each in enumerate(item))
        elif (expression := expression_in(item)) is not None:
            yield from _check_expression(expression, at, absent, limits)


def _check_expression(expression: str, pointer: str, absent: Collection[str], limits: Limits) -> Faults:
    try:
        # Compiled only to be refused in time: the plan compiles it again.
        compile_jsonata(expression, limits=limits)
        used = states_fields_in(expression).intersection(absent)
    except ValueError as error:
        yield _bad("bad-expression", error, pointer)
        return
    for name in sorted(used):
        yield Diagnostic("states-field", f"there is no $states.{name} here: {WHERE[name]}", pointer=pointer)


# JSONPath


def _check_path_field(field: Field, value: JSONValue, pointer: str, limits: Limits) -> Faults:
    if field.holds in TEMPLATES:
        yield from _check_template(value, pointer, limits)
    elif field.holds is Holds.REFERENCE:
        yield from _check_reference(value, pointer)
    elif field.holds is Holds.PATH_OR_FUNCTION:
        yield from _check_text(value, pointer, limits)
    elif field.holds in PATHS:
        yield from _check_path(value, pointer, limits, single=field.holds is Holds.ONE_PLACE)


def _check_rule(rule: JSONValue, pointer: str, limits: Limits) -> Faults:
    pending = [(rule, pointer)]
    while pending:
        each, at = pending.pop()
        if not isinstance(each, dict):
            continue
        for key, item in each.items():
            here = pointer_to(at, key)
            if key in {"And", "Or"} and isinstance(item, list):
                pending.extend((inner, pointer_to(here, index)) for index, inner in enumerate(item))
            elif key == "Not":
                pending.append((item, here))
            elif key == "Assign":
                yield from _check_template(item, here, limits)
            elif key == "Variable" or key.endswith("Path"):
                yield from _check_path(item, here, limits)


def _check_template(template: JSONValue, pointer: str, limits: Limits) -> Faults:
    pending = [(template, pointer)]
    while pending:
        item, at = pending.pop()
        if isinstance(item, list):
            pending.extend((each, pointer_to(at, index)) for index, each in enumerate(item))
        elif isinstance(item, dict):
            for key, each in item.items():
                here = pointer_to(at, key)
                if key.endswith(".$"):
                    yield from _check_dynamic(key, each, item, here, limits)
                else:
                    pending.append((each, here))


def _check_dynamic(key: str, value: JSONValue, siblings: Obj, pointer: str, limits: Limits) -> Faults:
    if isinstance(value, str):
        yield from _check_text(value, pointer, limits)
    else:
        message = "the value of a key that ends in .$ is a path or an intrinsic function, as a string"
        yield Diagnostic("wrong-type", message, pointer=pointer)
    # Both would make the same member of the value.
    if key[:-2] in siblings:
        yield Diagnostic("exclusive-fields", f"{key[:-2]!r} is given twice, with and without .$", pointer=pointer)


def _check_text(text: JSONValue, pointer: str, limits: Limits) -> Faults:
    if not isinstance(text, str) or not is_intrinsic(text):
        yield from _check_path(text, pointer, limits)
        return
    try:
        compile_intrinsic(text, limits=limits)
    except ValueError as error:
        yield _bad("bad-function", error, pointer)


def _check_path(path: JSONValue, pointer: str, limits: Limits, *, single: bool = False) -> Faults:
    if not isinstance(path, str):
        return
    try:
        compile_path(path, limits=limits)
    except ValueError as error:
        yield _bad("bad-path", error, pointer)
        return
    if single and not names_one_place(path):
        yield Diagnostic("bad-path", f"{path!r} may find several values, and this field wants one", pointer=pointer)


def _check_reference(path: JSONValue, pointer: str) -> Faults:
    if isinstance(path, str):
        try:
            compile_reference_path(path)
        except ValueError as error:
            yield _bad("bad-path", error, pointer)


def _bad(code: str, error: ValueError, pointer: str) -> Diagnostic:
    column = getattr(error, "column", 0)
    return Diagnostic(code, f"{error} (at character {column + 1} of it)", pointer=pointer)
