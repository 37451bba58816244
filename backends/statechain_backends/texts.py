"""Any Python text ↔ a text that every database can hold.

PostgreSQL refuses NUL, and no database takes a lone surrogate; names, states, errors, causes and keys may bear both.
Every text is made storable where it becomes an argument of a statement, so that what was stored under a text is found
by it, too. Foreign characters become escapes behind a noncharacter; all other texts stay as they are.
"""

from __future__ import annotations

import re
from typing import overload

__all__ = ["restored", "storable"]

MARK = "\ufdd0"

_FOREIGN = re.compile(f"[\x00\ud800-\udfff{MARK}]")
_ESCAPE = re.compile(f"{MARK}([0-9a-f]{{4}})")


def storable(value: object) -> object:
    """Return a text with all that a database would refuse escaped; any other value as it is."""
    if not isinstance(value, str) or (value.isascii() and "\x00" not in value):
        return value
    return _FOREIGN.sub(lambda found: f"{MARK}{ord(found[0]):04x}", value)


@overload
def restored(text: str) -> str: ...
@overload
def restored(text: str | None) -> str | None: ...
def restored(text: str | None) -> str | None:
    """Return the text that was made `storable`."""
    if text is None or text.isascii() or MARK not in text:
        return text
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
