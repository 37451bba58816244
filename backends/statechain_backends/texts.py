"""Any Python text ↔ a text that every database can hold.

PostgreSQL refuses NUL, and no database takes a lone surrogate; names, states, errors and causes may bear both. They
are written as escapes behind a noncharacter, which means nothing of its own; all other texts stay as they are.
"""

from __future__ import annotations

import re
from typing import overload

__all__ = ["restored", "storable"]

MARK = "\ufdd0"

_FOREIGN = re.compile(f"[\x00\ud800-\udfff{MARK}]")
_ESCAPE = re.compile(f"{MARK}([0-9a-f]{{4}})")


@overload
def storable(text: str) -> str: ...
@overload
def storable(text: str | None) -> str | None: ...
def storable(text: str | None) -> str | None:
    """Return a text with all that a database would refuse escaped."""
    if text is None or (text.isascii() and "\x00" not in text):
        return text
    return _FOREIGN.sub(lambda found: f"{MARK}{ord(found[0]):04x}", text)


@overload
def restored(text: str) -> str: ...
@overload
def restored(text: str | None) -> str | None: ...
def restored(text: str | None) -> str | None:
    """Return the text that was made `storable`."""
    if text is None or text.isascii() or MARK not in text:
        return text
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
