"""The picture strings of dates and times, read: literal parts, and markers such as ``[M01]`` or ``[FNn,3-3]``."""

from __future__ import annotations

import math
import re

from attrs import define
from jsonata import jexception

from statechain.asl.expressions.jsonata.pictures.integers import IntegerPicture, leading_integer, read_integer_picture

__all__ = ["DAYS", "MONTHS", "Literal", "Marker", "read_datetime_picture"]

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
# A picture may ask for any width, and so for a string of that size: this bounds it.
WIDEST = 1_000
INTEGERS = frozenset("YMDdFWwXxHhmsf")
PRESENTATIONS = {
    "Y": "1", "M": "1", "D": "1", "d": "1", "F": "n", "W": "1", "w": "1", "X": "1", "x": "1", "H": "1", "h": "1",
    "P": "n", "m": "01", "s": "01", "f": "1", "Z": "01:01", "z": "01:01", "C": "n", "E": "n",
}  # fmt: skip
"""The components, and how each is presented where the picture does not say."""


@define
class Literal:
    """A part of a picture that is written as it is."""

    text: str


@define
class Marker:
    """A component of a moment, and how it is written."""

    component: str
    names: str = ""
    """``lower``, ``upper`` or ``title`` where a name is written; empty where a number is."""

    is_zulu: bool = False
    """Whether UTC is written as ``Z``."""

    width: int | None = None
    """The greatest width."""

    year_digits: int | None = None
    integer: IntegerPicture | None = None

    @property
    def number(self) -> IntegerPicture:
        """How its integer is written."""
        if self.integer is None:
            raise jexception.JException("D3133", -1, self.component)
        return self.integer


def read_datetime_picture(picture: str) -> list[Literal | Marker]:
    """Read a picture string. Raises JException (D3132, D3135, and those of integers)."""
    parts: list[Literal | Marker] = []
    start = 0
    for match in re.finditer(r"\[\[|\[([^]]*)(]?)", picture):
        _add_literal(parts, picture[start : match.start()])
        start = match.end()
        if match[0] == "[[":
            parts.append(Literal("["))
        elif not match[2]:
            raise jexception.JException("D3135", -1)
        else:
            # White space within a marker means nothing.
            marker = _marker("".join(match[1].split()))
            _limit_previous(parts, marker)
            parts.append(marker)
    _add_literal(parts, picture[start:])
    return parts


def _add_literal(parts: list[Literal | Marker], text: str) -> None:
    if text:
        parts.append(Literal(text.replace("]]", "]")))


def _limit_previous(parts: list[Literal | Marker], marker: Marker) -> None:
    """Where one integer follows another at once, the first is read by its width."""
    previous = parts[-1] if parts else None
    if marker.component in INTEGERS and marker.integer and isinstance(previous, Marker) and previous.integer:
        previous.integer.width = previous.integer.mandatory


def _marker(text: str) -> Marker:
    component = text[:1]
    if component not in PRESENTATIONS:
        raise jexception.JException("D3132", -1, component)
    head, comma, width = text[1:].rpartition(",")
    presentation, least, most = (head, *_widths(width)) if comma else (width, None, None)
    modifier = ""
    if len(presentation) > 1 and presentation[-1] in "atco":
        presentation, modifier = presentation[:-1], presentation[-1]
    presentation = presentation or PRESENTATIONS[component]
    marker = Marker(component, is_zulu=modifier == "t", width=most)
    if presentation[0] in "nN":
        marker.names = "lower" if presentation[0] == "n" else "title" if presentation[1:2] == "n" else "upper"
    elif component in INTEGERS:
        marker.integer = read_integer_picture(f"{presentation};{modifier}" if modifier else presentation)
        _set_widths(marker, marker.integer, least)
    if component in "Zz":
        marker.integer = read_integer_picture(presentation)
    return marker


def _set_widths(marker: Marker, integer: IntegerPicture, least: int | None) -> None:
    if integer.kind != "decimal":
        marker.year_digits = marker.width if marker.component == "Y" else None
        return
    integer.mandatory = max(integer.mandatory, least or 0)
    if marker.component != "Y":
        return
    if marker.width is not None:
        marker.year_digits = integer.mandatory = marker.width
    elif integer.mandatory + integer.optional >= 2:
        marker.year_digits = integer.mandatory + integer.optional


def _widths(text: str) -> tuple[int | None, int | None]:
    least, _, most = text.partition("-")
    return _width(least), _width(most)


def _width(text: str) -> int | None:
    number = leading_integer(text)
    return None if math.isnan(number) else int(min(number, WIDEST))
