"""The comparison operators as a table, and Choice rules → predicates (ASL, "Choice State").

Strings are matched by a linear matcher; no pattern ever becomes a regular expression.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from statechain.asl import model
from statechain.asl.expressions.cause_text import is_number
from statechain.asl.expressions.fields import unexpected
from statechain.asl.expressions.jsonpath import PathNotFound, compile_path
from statechain.asl.expressions.payload import expression_in, jsonata_template, states_of
from statechain.asl.expressions.utf16 import as_utf16
from statechain.asl.outcome import Context, Expression
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.limits import Limits

__all__ = ["OPERATORS", "Predicate", "compile_rule", "matches_pattern", "parse_timestamp"]

Predicate: TypeAlias = Callable[[JSONValue, Context], bool]
Compare: TypeAlias = Callable[[JSONValue, JSONValue], bool]

TIMESTAMP = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2})(:\d{2})?(?:\.(\d{1,9}))?(Z|[+-]\d{2}(?::?\d{2})?)", re.ASCII)


def parse_timestamp(value: JSONValue) -> datetime | None:
    """Return the moment of an RFC 3339 timestamp (ASL, "Timestamps"), or None where a value is none."""
    instant = _instant(value)
    return None if instant is None else instant[0]


def _instant(value: JSONValue) -> tuple[datetime, str] | None:
    """Return a moment to the microsecond, and the nanoseconds after it: three digits."""
    match = TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    day, minute, second, fraction, zone = match.groups()
    # Nanoseconds: Python's datetime has microseconds, so that the last three digits are compared apart.
    digits = (fraction or "").ljust(9, "0")
    try:
        return datetime.fromisoformat(f"{day}T{minute}{second or ':00'}.{digits[:6]}{zone}"), digits[6:]
    except ValueError:
        return None


def matches_pattern(text: str, pattern: str) -> bool:
    r"""Return whether a string matches a pattern in which ``*`` matches anything; ``\*`` and ``\\`` are literal."""
    return _matches(text, _parts_of(pattern))


PIECE = re.compile(r"[^*\\]+|\*|\\[*\\]|\\")


def _parts_of(pattern: str) -> list[str]:
    """Return the literal strings between the ``*`` of a pattern."""
    parts: list[list[str]] = [[]]
    for piece in PIECE.findall(pattern):
        if piece == "*":
            parts.append([])
        else:
            parts[-1].append(piece[1:] if piece in {"\\*", "\\\\"} else piece)
    return ["".join(part) for part in parts]


def _matches(text: str, parts: Sequence[str]) -> bool:
    """Return whether a string is some parts in their order, with anything between two of them."""
    if len(parts) == 1:
        return text == parts[0]
    first, *middle, last = parts
    # The two ends may not overlap in the text.
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    start, end = len(first), len(text) - len(last)
    # The first place for each part leaves most room for the rest, so that nothing is tried twice.
    for part in middle:
        found = text.find(part, start, end)
        if found < 0:
            return False
        start = found + len(part)
    return True


def _of_strings(compare: Callable[[Any, Any], bool]) -> Compare:
    return lambda value, operand: isinstance(value, str) and isinstance(operand, str) and compare(value, operand)


def _in_order(compare: Callable[[Any, Any], bool]) -> Compare:
    return _of_strings(lambda value, operand: compare(*as_utf16(value, operand)))


def _of_numbers(compare: Callable[[Any, Any], bool]) -> Compare:
    return lambda value, operand: is_number(value) and is_number(operand) and compare(value, operand)


def _of_booleans(compare: Callable[[Any, Any], bool]) -> Compare:
    return lambda value, operand: isinstance(value, bool) and isinstance(operand, bool) and compare(value, operand)


def _of_timestamps(compare: Callable[[Any, Any], bool]) -> Compare:
    def evaluate(value: JSONValue, operand: JSONValue) -> bool:
        one, other = _instant(value), _instant(operand)
        return one is not None and other is not None and compare(one, other)

    return evaluate


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "GreaterThan": operator.gt,
    "LessThanEquals": operator.le,
    "GreaterThanEquals": operator.ge,
}

OPERATORS: dict[str, Compare] = {
    **{f"String{name}": _in_order(compare) for name, compare in COMPARISONS.items()},
    **{f"Numeric{name}": _of_numbers(compare) for name, compare in COMPARISONS.items()},
    **{f"Timestamp{name}": _of_timestamps(compare) for name, compare in COMPARISONS.items()},
    "BooleanEquals": _of_booleans(operator.eq),
    "StringMatches": _of_strings(matches_pattern),
    "IsNull": lambda value, wanted: (value is None) is wanted,
    "IsString": lambda value, wanted: isinstance(value, str) is wanted,
    "IsNumeric": lambda value, wanted: is_number(value) is wanted,
    "IsBoolean": lambda value, wanted: isinstance(value, bool) is wanted,
    "IsTimestamp": lambda value, wanted: (parse_timestamp(value) is not None) is wanted,
}
"""Every operator on a value and a literal; ``…Path`` variants take their operand from a path, IsPresent is apart."""


def compile_rule(rule: model.Rule, limits: Limits) -> Predicate:
    """Compile a rule to a predicate; it raises StateError where a path finds nothing."""
    match rule:
        case model.Comparison():
            return _compile_comparison(rule, limits)
        case model.Negation(inner):
            predicate = compile_rule(inner, limits)
            return lambda value, context: not predicate(value, context)
        case model.Junction("And", rules):
            every = [compile_rule(each, limits) for each in rules]
            return lambda value, context: all(predicate(value, context) for predicate in every)
        case model.Junction(_, rules):
            either = [compile_rule(each, limits) for each in rules]
            return lambda value, context: any(predicate(value, context) for predicate in either)
        case model.Condition(condition):
            return _compile_condition(condition, limits)


def _compile_comparison(rule: model.Comparison, limits: Limits) -> Predicate:
    find = compile_path(rule.variable, limits=limits)
    if rule.operator == "IsPresent":
        return _presence(find, wanted=rule.operand is True)
    name = rule.operator
    if name not in OPERATORS:
        return _against_path(_found(find, rule.variable), OPERATORS[name.removesuffix("Path")], rule, limits)
    compare, operand, find_variable = OPERATORS[name], rule.operand, _found(find, rule.variable)
    if name == "StringMatches":
        parts = _parts_of(str(operand))  # read once, and not for each string
        compare = _of_strings(lambda value, _: _matches(value, parts))
    return lambda value, context: compare(find_variable(value, context), operand)


def _against_path(find: Expression, compare: Compare, rule: model.Comparison, limits: Limits) -> Predicate:
    path = str(rule.operand)
    find_operand = _found(compile_path(path, limits=limits), path)
    return lambda value, context: compare(find(value, context), find_operand(value, context))


def _presence(find: Expression, *, wanted: bool) -> Predicate:
    def evaluate(value: JSONValue, context: Context) -> bool:
        try:
            find(value, context)
        except PathNotFound:
            return not wanted
        return wanted

    return evaluate


def _found(find: Expression, path: str) -> Expression:
    def evaluate(value: JSONValue, context: Context) -> JSONValue:
        try:
            return find(value, context)
        except PathNotFound as error:
            raise StateError(
                "States.Runtime",
                f"Invalid path '{path}': The choice state's condition path references an invalid value.",
            ) from error

    return evaluate


def _compile_condition(condition: str | bool, limits: Limits) -> Predicate:
    if isinstance(condition, bool):
        return lambda _value, _context: condition
    text = expression_in(condition) or condition
    evaluate = jsonata_template(condition, "Condition", limits)

    def holds(value: JSONValue, context: Context) -> bool:
        result = evaluate(states_of(value, context), context)
        if not isinstance(result, bool):
            raise unexpected(text, "Condition", "boolean", result)
        return result

    return holds
