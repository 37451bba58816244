"""JSONata's operators of numbers and strings, as JavaScript calculates and compares."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from statechain.asl.expressions.jsonata.library import Value
from statechain.asl.expressions.utf16 import as_utf16

__all__ = ["ARITHMETIC", "COMPARISONS", "whole_if_whole"]


def whole_if_whole(number: float) -> Value:
    """Return a number as an integer where it is one."""
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _divide(one: float, other: float) -> float:
    if other != 0:
        return one / other
    # The sign of a zero counts: 1 / -0 is -Infinity.
    return math.nan if one == 0 or math.isnan(one) else math.copysign(math.inf, one) * math.copysign(1, other)


ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": float.__add__,
    "-": float.__sub__,
    "*": float.__mul__,
    "/": _divide,
    # With the sign of the dividend, as in JavaScript; Python's `%` has that of the divisor.
    "%": lambda one, other: math.nan if other == 0 else math.fmod(one, other),
}


def _ordered(compare: Callable[[Value, Value], bool]) -> Callable[[Value, Value], bool]:
    """Return a comparison of two numbers, or of two strings in JavaScript's order."""
    return lambda one, other: compare(*as_utf16(one, other)) if isinstance(one, str) else compare(one, other)


COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
}
