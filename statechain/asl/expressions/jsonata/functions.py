"""The functions of JSONata: the library's own where they are right, ours where they are wrong or in quadratic time.

A `Native` checks its arguments against a signature, and charges the budget for what it is given and what it gives back.
"""

from __future__ import annotations

import base64
import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import NoReturn

from jsonata import functions as library_functions
from jsonata import jexception, signature
from jsonata import jsonata as library

from statechain.asl.expressions.cause_text import is_number
from statechain.asl.expressions.jsonata.aws import AWS_FUNCTIONS, millis
from statechain.asl.expressions.jsonata.budget import LARGEST_VALUE
from statechain.asl.expressions.jsonata.engine import Engine
from statechain.asl.expressions.jsonata.library import JList, Value, is_function, sequence_of
from statechain.asl.expressions.jsonata.matching import Found, matches
from statechain.asl.expressions.jsonata.messages import argument_error
from statechain.asl.expressions.jsonata.operators.arithmetic import whole_if_whole
from statechain.asl.expressions.jsonata.pictures.integers import LONGEST_PICTURE, IntegerPicture, read_integer_picture
from statechain.asl.expressions.jsonata.pictures.moments import format_moment, iso_millis, parse_moment
from statechain.asl.expressions.jsonata.pictures.numbers import format_number, rounded
from statechain.asl.expressions.jsonata.sequences import SEQUENCE_FUNCTIONS
from statechain.asl.expressions.jsonata.values import NULL, number_text
from statechain.asl.expressions.regex import Match, compile_regex

__all__ = ["new_engine"]

Library = library_functions.Functions
SYMBOLS = {str: "s", bool: "b", int: "n", float: "n", list: "a", JList: "a", dict: "o", type(None): "m"}
TYPE_NAMES = {"a": "arrays", "b": "booleans", "f": "functions", "n": "numbers", "o": "objects", "s": "strings"}


class Signature(signature.Signature):  # type: ignore[misc]
    """A signature that distinguishes null from a missing argument, and whose errors name what they should."""

    @classmethod
    def of(cls, other: signature.Signature) -> Signature:
        """Return a signature of the library's as one of ours."""
        made: Signature = cls.__new__(cls)
        made.__dict__.update(other.__dict__)
        return made

    def set_function_name(self, function_name: str) -> None:
        """Keep the name: a variable that holds a function does not rename it."""

    def get_symbol(self, value: Value) -> str:
        """Return the letter of a value's type."""
        symbol = SYMBOLS.get(type(value))
        if symbol is not None:
            return symbol
        return "l" if value is NULL else "f" if is_function(value) else "m"

    def validate(self, arguments: Sequence[Value], context: Value) -> Value:
        """Return the arguments, the context and arrays of one put in where the signature says so.

        Where there is no context, an argument that fits only a later parameter does not match.
        """
        try:
            complete = super().validate(arguments, context)
        except jexception.JException as error:
            if error.error == "T0411":
                raise jexception.JException("T0411", -1, error.expected, self.function_name) from error
            if error.error == "T0412":
                name = TYPE_NAMES.get(str(error.extra)[:1], error.extra)
                raise jexception.JException("T0412", -1, error.current, error.expected, name) from error
            raise
        if context is None and arguments and arguments[0] is not None and complete[0] is None:
            raise jexception.JException("T0410", -1, 1, self.function_name)
        return complete

    def throw_validation_error(self, _arguments: object, given: str, name: str) -> NoReturn:
        """Name the first argument that does not fit; ``given`` holds the symbols of all of them."""
        pattern, fitting = "", 0
        for parameter in self._params:
            pattern += parameter.regex
            match = re.match(pattern, given)
            if match is None:
                break
            fitting = match.end()
        raise jexception.JException("T0410", -1, fitting + 1, name)


class Native(library.Jsonata.JFunction):  # type: ignore[misc]
    """A function that is not written in JSONata."""

    def __init__(self, engine: Engine, takes: Signature, function: Callable[..., Value]) -> None:
        super().__init__(None, None)
        self.function_name = takes.function_name
        self.signature = takes
        self._engine = engine
        self._function = function
        self._count = len(self.signature._params)  # noqa: SLF001 -- the library tells it nowhere else

    def get_number_of_args(self) -> int:
        """Return how many arguments it takes."""
        return self._count

    def call(self, _value: Value, arguments: Sequence[Value] | None) -> Value:
        """Call the function with as many arguments as it takes."""
        given = list(arguments or ())
        for argument in given:
            self._engine.weigh(argument)
        given += [None] * (self._count - len(given))
        # Missing arguments are None, JSONata's undefined.
        result = self._function(self._engine, *given)
        return whole_if_whole(result) if type(result) is float else result


# Texts


def _string(engine: Engine, value: Value, prettify: Value) -> Value:
    if isinstance(value, JList) and value.outer_wrapper:
        value = value[0]
    return None if value is None else engine.string(value, indent=2 if prettify is True else 0)


def _pad(engine: Engine, text: Value, width: Value, padding: Value) -> Value:
    if text is None or width is None:
        return text
    engine.allow(abs(width))
    missing = abs(int(width)) - len(text)
    if missing <= 0:
        return text
    engine.allow(missing)
    character = padding or " "
    filled = (character * (missing // len(character) + 1))[:missing]
    return text + filled if width > 0 else filled + text


def _join(engine: Engine, texts: Value, separator: Value) -> Value:
    if texts is None:
        return None
    engine.allow(sum(map(len, texts)) + len(texts) * len(separator or ""))
    return (separator or "").join(texts)


def _match(engine: Engine, text: Value, pattern: Value, limit: Value) -> Value:
    if text is None:
        return None
    if limit is not None and limit < 0:
        raise jexception.JException("D3040", -1)
    found = sequence_of()
    for match in itertools.islice(matches(engine, "match", pattern, text), _count(limit)):
        engine.charge(1)
        found.append({"match": match.text, "index": match.start, "groups": match.groups})
    return found


def _contains(engine: Engine, text: Value, token: Value) -> Value:
    if text is None or token is None:
        return None
    if isinstance(token, str):
        return token in text
    return next(matches(engine, "contains", token, text), None) is not None


def _count(limit: Value) -> int | None:
    """Return how many matches a limit allows: a fraction counts as one more. None where there is no limit."""
    return math.ceil(limit) if limit is not None and limit < LARGEST_VALUE else None


def _split(engine: Engine, text: Value, separator: Value, limit: Value) -> Value:
    if text is None:
        return None
    if limit is not None and limit < 0:
        raise jexception.JException("D3020", -1)
    if isinstance(separator, str):
        parts = text.split(separator) if separator else list(text)
        return parts[: math.trunc(limit)] if limit is not None and limit < LARGEST_VALUE else parts
    ends = [(match.start, match.end) for match in matches(engine, "split", separator, text)]
    starts = [0, *(end for _, end in ends)]
    parts = [text[start:end] for start, end in zip(starts, [*(start for start, _ in ends), len(text)], strict=True)]
    return parts[: _count(limit)]


def _replace(engine: Engine, text: Value, pattern: Value, replacement: Value, limit: Value) -> Value:
    if text is None:
        return None
    if pattern == "":
        raise jexception.JException("D3010", -1)
    if limit is not None and limit < 0:
        raise jexception.JException("D3011", -1)
    if isinstance(pattern, str) and isinstance(replacement, str):
        count, most = text.count(pattern), _count(limit)
        found = count if most is None else min(count, most)
        # Before it is built: the size of the result is known.
        engine.allow(len(text) + found * (len(replacement) - len(pattern)))
        return text.replace(pattern, replacement, found)
    # A function as the replacement needs matches, also of plain text.
    pattern = compile_regex(re.escape(pattern)) if isinstance(pattern, str) else pattern
    parts, place, size = [], 0, len(text)
    for match in itertools.islice(matches(engine, "replace", pattern, text), _count(limit)):
        new = _replaced(engine, match, replacement)
        parts += [text[place : match.start], new]
        place = match.end
        size += len(new)
        engine.allow(size)
    return "".join(parts) + text[place:]


def _replaced(engine: Engine, match: Found, replacement: Value) -> str:
    engine.charge(1)
    if isinstance(replacement, str):
        return _substituted(match, replacement) if "$" in replacement else replacement
    new = engine.apply(replacement, [match.as_object()], None, None)
    if not isinstance(new, str):
        raise jexception.JException("D3012", -1)
    return new


def _substituted(match: Found, replacement: str) -> str:
    """Put groups into a replacement: ``$0`` is the match, ``$1`` a group, ``$$`` a dollar."""
    groups = match.groups
    most = len(str(len(groups)))

    def put(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        if found[1].startswith("0"):
            return match.text + found[1][1:]
        # As many digits as there are groups, as jsonata.js has it: of `$12`, with 9 groups, the 2 is text.
        number, rest = found[1][:most], found[1][most:]
        if most > 1 and int(number) > len(groups):
            number, rest = found[1][: most - 1], found[1][most - 1 :]
        return (groups[int(number) - 1] if int(number) <= len(groups) else "") + rest

    return re.sub(r"\$(?:\$|([0-9]+))", put, replacement)


def _decoded(_engine: Engine, text: Value) -> Value:
    if text is None:
        return None
    try:
        return base64.b64decode(text).decode()
    except ValueError as error:
        raise argument_error("The argument of base64decode is no Base64 of a text") from error


URL_CHARACTERS_A_STEP = 16
"""Fewer than elsewhere: the functions on URLs look at each character."""


def _url(name: str, function: Callable[[str], str]) -> Callable[..., Value]:
    """Return one of the functions on URLs, with JSONata's error for a string that it cannot read."""

    def convert(engine: Engine, text: Value) -> Value:
        if text is None:
            return None
        engine.charge(len(text) // URL_CHARACTERS_A_STEP)
        try:
            return function(text)
        except UnicodeError as error:
            raise jexception.JException("D3140", -1, name, text) from error

    return convert


# Errors


def _error(_engine: Engine, message: Value) -> NoReturn:
    raise jexception.JException("D3137", -1, message or "$error() function evaluated")


def _assert(_engine: Engine, condition: Value, message: Value) -> None:
    if not condition:
        raise jexception.JException("D3141", -1, message or "$assert() statement failed")


def _type(_engine: Engine, value: Value) -> Value:
    return "function" if is_function(value) else Library.type(value)


# Numbers

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


CORRECTED: dict[str, Callable[..., Value]] = {
    "string": _string,
    "lowercase": lambda _engine, text: None if text is None else text.lower(),
    "pad": _pad,
    "match": _match,
    "contains": _contains,
    "replace": _replace,
    "split": _split,
    "join": _join,
    "base64decode": _decoded,
    "encodeUrlComponent": _url("encodeUrlComponent", Library.encode_url_component),
    "encodeUrl": _url("encodeUrl", Library.encode_url),
    "decodeUrlComponent": _url("decodeUrlComponent", Library.decode_url_component),
    "decodeUrl": _url("decodeUrl", Library.decode_url),
    "number": _number,
    "error": _error,
    "assert": _assert,
    "type": _type,
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
    **SEQUENCE_FUNCTIONS,
    "clone": lambda engine, value: None if value is None else engine.copy(value),
}
"""Functions in place of the library's; they take the engine before their arguments."""


def _without_engine(function: Callable[..., Value]) -> Callable[..., Value]:
    return lambda _engine, *arguments: function(*arguments)


def new_engine() -> Engine:
    """Return an engine with every function that an expression may call; AWS has no ``$eval``."""
    engine = Engine()
    for name, found in library.Jsonata.static_frame.bindings.items():
        function = CORRECTED.get(name) or _without_engine(found.method)
        engine.natives.bind(name, Native(engine, Signature.of(found.signature), function))
    for name, (notation, function) in AWS_FUNCTIONS.items():
        engine.natives.bind(name, Native(engine, Signature(notation, name), function))
    engine.natives.bindings["eval"] = None
    return engine
