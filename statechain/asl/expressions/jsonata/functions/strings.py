"""JSONata's functions of strings: those of the library that are wrong, or have no bound."""

from __future__ import annotations

import base64
import itertools
import math
import re
from collections.abc import Callable

from jsonata import functions as library_functions
from jsonata import jexception

from statechain.asl.expressions.jsonata.budget import LARGEST_VALUE
from statechain.asl.expressions.jsonata.engine import Engine
from statechain.asl.expressions.jsonata.functions.matching import Found, matches
from statechain.asl.expressions.jsonata.library import JList, Value, sequence_of
from statechain.asl.expressions.jsonata.messages import argument_error
from statechain.asl.expressions.regex import compile_regex

__all__ = ["STRING_FUNCTIONS"]

Library = library_functions.Functions


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


STRING_FUNCTIONS: dict[str, Callable[..., Value]] = {
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
}
