"""Any Python text ↔ a string that every database can hold.

PostgreSQL refuses NUL, and no database takes a lone surrogate; names, states, errors, causes and keys may have both.
Every text is escaped where it becomes an argument of a statement, so that what was stored under a string is found
by it, too. Foreign characters become escapes behind a noncharacter; all other texts stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import overload

__all__ = ["escape_rows", "escape_text", "escape_texts", "is_storable", "unescape_text"]

# A noncharacter, which texts do not have in interchange; where one does, it is escaped itself.
MARK = "\ufdd0"

FEW = 8
"""Up to how many rows it is faster to look at each value than at whole columns."""

_FOREIGN = re.compile(f"[\x00\ud800-\udfff{MARK}]")
_ESCAPE = re.compile(f"{MARK}([0-9a-f]{{4}})")


@overload
def escape_text(value: str) -> str: ...
@overload
def escape_text(value: object) -> object: ...
def escape_text(value: object) -> object:
    """Return a string with all that a database would refuse escaped; any other value as it is."""
    if not isinstance(value, str) or is_storable(value):
        return value
    return _FOREIGN.sub(lambda found: f"{MARK}{ord(found[0]):04x}", value)


def escape_texts(texts: Sequence[str | None]) -> Sequence[object]:
    """Return a column of texts, escaped; one look at all of them finds that, as nearly always, none needs it."""
    whole = "".join(filter(None, texts))
    return texts if is_storable(whole) else [escape_text(text) for text in texts]


def escape_rows(rows: Sequence[tuple[object, ...]]) -> Sequence[Sequence[object]]:
    """Return rows with all their texts escaped, where any has one that needs it, found out by few looks."""
    if len(rows) <= FEW:
        is_plain = is_storable("".join([value for row in rows for value in row if isinstance(value, str)]))
    else:
        is_plain = all(is_storable(_joined(rows, itemgetter(place))) for place in range(len(rows[0])))
    return rows if is_plain else [[escape_text(value) for value in row] for row in rows]


def _joined(rows: Sequence[tuple[object, ...]], column: itemgetter[int]) -> str:
    """Return the texts of a column as one; those of a column of numbers are none."""
    # No `zip` of the rows: an iterator for each, which the garbage collector looks at.
    is_text = isinstance(next(filter(None, map(column, rows)), None), str)
    return "".join(filter(None, map(column, rows))) if is_text else ""


def is_storable(text: str) -> bool:
    """Return whether a database surely takes a string as it is."""
    return text.isascii() and "\x00" not in text


@overload
def unescape_text(text: str) -> str: ...
@overload
def unescape_text(text: str | None) -> str | None: ...
def unescape_text(text: str | None) -> str | None:
    """Return the text that was made `escape_text`."""
    if text is None or text.isascii() or MARK not in text:
        return text
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
