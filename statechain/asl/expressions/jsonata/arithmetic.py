"""JSONata's operators of numbers and strings, as JavaScript calculates and compares."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = ["ARITHMETIC", "COMPARISONS", "whole_if_whole"]

Value: TypeAlias = Any


def whole_if_whole(number: float) -> Value:
    """Return a number as an integer where it is one."""
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _divide(one: float, other: float) -> float:
    if other != 0:
        return one / other
    return math.nan if one == 0 or math.isnan(one) else math.copysign(math.inf, one) * math.copysign(1, other)


ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": float.__add__,
    "-": float.__sub__,
    "*": float.__mul__,
    "/": _divide,
    "%": lambda one, other: math.nan if other == 0 else math.fmod(one, other),
}
COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "<": lambda one, other: bool(one < other),
    "<=": lambda one, other: bool(one <= other),
    ">": lambda one, other: bool(one > other),
    ">=": lambda one, other: bool(one >= other),
}
