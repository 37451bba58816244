"""Any Python text ↔ a text that every database can hold.

PostgreSQL refuses NUL, and no database takes a lone surrogate; names, states, errors, causes and keys may bear both.
Every text is made storable where it becomes an argument of a statement, so that what was stored under a text is found
by it, too. Foreign characters become escapes behind a noncharacter; all other texts stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import overload

__all__ = ["restored", "storable", "storable_all"]

MARK = "\ufdd0"

_FOREIGN = re.compile(f"[\x00\ud800-\udfff{MARK}]")
_ESCAPE = re.compile(f"{MARK}([0-9a-f]{{4}})")


def storable(value: object) -> object:
    """Return a text with all that a database would refuse escaped; any other value as it is."""
    if not isinstance(value, str) or (value.isascii() and "\x00" not in value):
        return value
    return _FOREIGN.sub(lambda found: f"{MARK}{ord(found[0]):04x}", value)


def storable_all(texts: Sequence[str | None]) -> Sequence[object]:
    """Return a column of texts made `storable`; one look at all of them finds that, as nearly always, all are."""
    whole = "".join(filter(None, texts))
    return texts if whole.isascii() and "\x00" not in whole else [storable(text) for text in texts]


@overload
def restored(text: str) -> str: ...
@overload
def restored(text: str | None) -> str | None: ...
def restored(text: str | None) -> str | None:
    """Return the text that was made `storable`."""
    if text is None or text.isascii() or MARK not in text:
        return text
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
