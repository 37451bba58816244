"""JSONata's functions of numbers, and of moments as numbers: those of the library that are wrong, or have no bound."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from jsonata import functions as library_functions
from jsonata import jexception

from statechain.asl.expressions.cause_text import is_number
from statechain.asl.expressions.jsonata.engine import Engine
from statechain.asl.expressions.jsonata.functions.aws import millis
from statechain.asl.expressions.jsonata.library import Value
from statechain.asl.expressions.jsonata.messages import argument_error
from statechain.asl.expressions.jsonata.pictures.integers import LONGEST_PICTURE, IntegerPicture, read_integer_picture
from statechain.asl.expressions.jsonata.pictures.moments import format_moment, iso_millis, parse_moment
from statechain.asl.expressions.jsonata.pictures.numbers import format_number, rounded
from statechain.asl.expressions.jsonata.values import number_text
from statechain.asl.expressions.regex import Match, compile_regex

__all__ = ["NUMBER_FUNCTIONS"]

Library = library_functions.Functions
DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([Ee][-+]?[0-9]+)?", re.ASCII)
PREFIXED = re.compile(r"0(?:[xX][0-9A-Fa-f]+|[oO][0-7]+|[bB][01]+)", re.ASCII)
LONGEST_PREFIXED = 256


def _number(_engine: Engine, value: Value) -> Value:
    if value is None or is_number(value):
        return value
    if isinstance(value, bool):
        return int(value)
    if DECIMAL.fullmatch(value):
        number = float(value)
        if math.isfinite(number):
            return number
    elif PREFIXED.fullmatch(value) and len(value) <= LONGEST_PREFIXED:
        return float(int(value, 0))
    raise jexception.JException("D3030", -1, value)


def _round(_engine: Engine, value: Value, places: Value) -> Value:
    if value is None:
        return None
    return math.nan if places is not None and places % 1 else rounded(value, int(places or 0))


def _whole(to_whole: Callable[[float], int]) -> Callable[..., Value]:
    """Return one of the functions that make numbers whole; what is infinite stays so."""
    return lambda _engine, value: value if value is None or not math.isfinite(value) else to_whole(value)


def _power(_engine: Engine, base: Value, exponent: Value) -> Value:
    if base is None or exponent is None:
        return None
    try:
        return math.pow(base, exponent)
    except (OverflowError, ValueError):
        raise jexception.JException("D3061", -1, base, exponent) from None


def _integer_picture(picture: str) -> IntegerPicture:
    if len(picture) > LONGEST_PICTURE:
        raise argument_error(f"A picture string has at most {LONGEST_PICTURE} characters")
    return read_integer_picture(picture)


def _parse_integer(_engine: Engine, text: Value, picture: Value) -> Value:
    return None if text is None or picture is None else _integer_picture(picture).parse(text)


def _format_integer(engine: Engine, value: Value, picture: Value) -> Value:
    if value is None or picture is None:
        return None
    whole = math.floor(value) if math.isfinite(value) else value
    return _integer_picture(picture).format(whole, engine.allow)


def _format_number(_engine: Engine, value: Value, picture: Value, options: Value) -> Value:
    return None if value is None or picture is None else format_number(value, picture, options or {})


def _format_base(_engine: Engine, value: Value, radix: Value) -> Value:
    if value is None:
        return None
    base = 10 if radix is None else round(radix)
    if not 2 <= base <= 36:
        raise jexception.JException("D3100", -1, base)
    return number_text(round(value)) if base == 10 else Library.base_repr(round(value), base).lower()


# Moments


def _to_millis(engine: Engine, text: Value, picture: Value) -> Value:
    if text is None:
        return None
    return iso_millis(text) if picture is None else parse_moment(text, picture, millis(engine), _matching)


def _matching(pattern: str, text: str) -> Match | None:
    return compile_regex(pattern, ignore_case=True).search(text)


def _from_millis(engine: Engine, number: Value, picture: Value, timezone: Value) -> Value:
    return None if number is None else format_moment(number, picture, timezone, engine.allow)


NUMBER_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "number": _number,
    "power": _power,
    "round": _round,
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "formatBase": _format_base,
    "formatInteger": _format_integer,
    "formatNumber": _format_number,
    "fromMillis": _from_millis,
    "parseInteger": _parse_integer,
    "toMillis": _to_millis,
}
