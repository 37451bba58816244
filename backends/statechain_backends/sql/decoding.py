"""The values of a row, checked as they are read: a row that cannot be read is a `DamagedRow` that names it.

SQLite keeps values of any type in any column, and both databases keep what a repair by hand or a broken disk left.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from statechain.clock import from_micros
from statechain.codec import JSONValue, decode
from statechain.errors import DamagedRow
from statechain_backends.sql.text_escape import unescape_text

__all__ = [
    "Row",
    "json_object",
    "member",
    "moment",
    "moment_or_none",
    "number",
    "outcome",
    "payload",
    "payload_or_none",
    "readable",
    "reads",
    "text",
    "text_or_none",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

Row: TypeAlias = Iterable[Any]
"""What can be unpacked: a driver's tuple, an asyncpg record, a row of SQLAlchemy."""


def reads(table: str, *key: int) -> Callable[[Callable[[Row], T]], Callable[[Row], T]]:
    """Have a function that reads a row raise DamagedRow; ``key``: the places of the row's key, to name it by."""

    def decorate(read: Callable[[Row], T]) -> Callable[[Row], T]:
        @functools.wraps(read)
        def checked(row: Row) -> T:
            try:
                return read(row)
            except (TypeError, ValueError) as error:
                values = tuple(row)
                raise DamagedRow(table, tuple(values[place] for place in key), str(error)) from error

        return checked

    return decorate


def readable(rows: Sequence[Row], read: Callable[[Row], T]) -> list[T]:
    """Return what can be read of some rows; each of the others is logged."""
    found: list[T] = []
    for row in rows:
        try:
            found.append(read(row))
        except DamagedRow as damage:
            logger.warning("a row was left out: %s", damage)
    return found


def outcome(read: Callable[[Row], T], row: Row) -> T | DamagedRow:
    """Return what a write answers with: a record, or as that write's error that its row cannot be read."""
    try:
        return read(row)
    except DamagedRow as damage:
        return damage


def text(value: object, column: str) -> str:
    """Return a string that was made escape_text, as it was."""
    if not isinstance(value, str):
        raise TypeError(f"{column} is {_kind(value)}, not text")
    return unescape_text(value)


def text_or_none(value: object, column: str) -> str | None:
    """Return a string, or None."""
    return None if value is None else text(value, column)


def payload(value: object, column: str) -> str:
    """Return a JSON text; it is decoded when its value is needed."""
    if not isinstance(value, str):
        raise TypeError(f"{column} is {_kind(value)}, not text")
    return value


def payload_or_none(value: object, column: str) -> str | None:
    """Return a JSON text, or None."""
    return None if value is None else payload(value, column)


def json_object(value: object, column: str) -> dict[str, JSONValue]:
    """Return a JSON object."""
    try:
        found = decode(payload(value, column))
    except ValueError as error:
        raise ValueError(f"{column} is not JSON") from error
    if not isinstance(found, dict):
        raise TypeError(f"{column} is not a JSON object")
    return found


def number(value: object, column: str) -> int:
    """Return a whole number."""
    if not isinstance(value, int):
        raise TypeError(f"{column} is {_kind(value)}, not a whole number")
    return value


def moment(value: object, column: str) -> datetime:
    """Return the time of that many microseconds since 1970."""
    micros = number(value, column)
    try:
        return from_micros(micros)
    except OverflowError as error:
        raise ValueError(f"{column} is {micros} microseconds, a time before the year 1 or after 9999") from error


def moment_or_none(value: object, column: str) -> datetime | None:
    """Return a time, or None."""
    return None if value is None else moment(value, column)


def member(kind: Callable[[str], T], value: object, column: str) -> T:
    """Return a member of an enumeration."""
    try:
        return kind(text(value, column))
    except ValueError as error:
        raise ValueError(f"{column} is {str(value)[:40]!r}, which is unknown") from error


def _kind(value: object) -> str:
    return "missing" if value is None else type(value).__name__
