"""An error of the library → the sentence that JSONata has for it: its code, and its catalogue's text filled in.

The library's catalogue differs from that of jsonata.js in its quotes and in ``Object`` for ``function``, and it shows
values as Python does.
"""

from __future__ import annotations

import re
from typing import Any

from jsonata import jexception

from statechain.asl.expressions.jsonata.values import NULL, TooLarge, text_of

__all__ = ["JSONataError", "argument_error", "sentence"]

PLACEHOLDER = re.compile(r"(\{?)\{\{(\w+)\}\}\}?")
OWN = {
    "D1004": "Regular expression matches zero length string",
    "D2014": "The size of the sequence allocated by the range operator (..) must not exceed 1e7.  "
    "Attempted to allocate {{value}}.",
    "D3140": "Malformed URL passed to ${{{functionName}}}(): {{value}}",
    "T0411": "Context value is not a compatible type with argument {{index}} of function {{token}}",
}


class JSONataError(jexception.JException):  # type: ignore[misc]
    """An error of the library's kind that keeps its values as they are, to be shown by `sentence`, if at all.

    The library's own puts them into a message as soon as it is made, however large they are.
    """

    def __init__(
        self, error: str, location: int = 0, current: object = None, expected: object = None, extra: object = None
    ) -> None:
        RuntimeError.__init__(self, error)
        self.error = error
        self.location = location
        self.current = current
        self.expected = expected
        self.extra = extra
        self.type = None
        self.remaining = None


def argument_error(message: str) -> jexception.JException:
    """Return the error of a function that refuses its arguments, with a message that JSONata does not have."""
    return jexception.JException("D3137", -1, message)


def sentence(error: BaseException) -> str:
    """Return what JSONata says of an error, such as ``T0410: Argument 1 of function "each" does not match …``."""
    if not isinstance(error, jexception.JException):
        return str(error) or type(error).__name__
    code = str(error.error)
    template = OWN.get(code) or jexception.JException.error_codes.get(code)
    if template is None:
        return code
    template = template.replace("Object", "function").replace('"', "'")
    return f"{code}: {_filled(template, [error.current, error.expected, error.extra])}"


def _filled(template: str, inserts: list[Any]) -> str:
    """Fill a template's places in order: as JSON in double braces, as it is in triple ones."""
    left = iter(inserts)

    def fill(match: re.Match[str]) -> str:
        value = next(left, None)
        return str(value) if match[1] else _shown(value)

    return PLACEHOLDER.sub(fill, template)


def _shown(value: object) -> str:
    """Return a value as JSON, or a function as what it is."""
    is_json = value is None or value is NULL or isinstance(value, str | int | float | list | dict)
    try:
        return text_of(value) if is_json else "function"
    except (TooLarge, RecursionError):
        return "…"
