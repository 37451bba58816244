"""Where a value is one that JSON cannot hold exactly: raised at the first place, as a JSON pointer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

from statechain.codec.hints import wrong_with
from statechain.errors import InvalidPayload

__all__ = ["check_size", "is_deeper", "raise_fault"]

_SPLIT = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def check_size(text: str, max_bytes: int) -> None:
    """Raise InvalidPayload for a JSON text of more bytes, as UTF-8."""
    size = len(text)
    if "\\u" in text:  # some of it takes less as UTF-8
        made = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
        size = len(made.encode(errors="surrogatepass"))
    if size > max_bytes:
        raise InvalidPayload(
            f"the payload has {size} bytes as JSON, and the limit is {max_bytes}: keep it elsewhere, pass a reference",
            is_too_large=True,
        )


LEAVES = frozenset({str, int, float, bool, type(None)})
PLAIN_CONTAINERS = frozenset({list, dict})
CONTAINERS = (list, tuple, Mapping)


def is_deeper(value: object, max_depth: int) -> bool:
    """Return whether a value without cycles nests deeper; level by level, which takes no pointers."""
    level: list[Any] = [value] if isinstance(value, CONTAINERS) else []
    for _ in range(max_depth):
        members = chain.from_iterable(
            each if type(each) is list or not isinstance(each, Mapping) else each.values() for each in level
        )
        level = [
            item
            for item in members
            if (kind := type(item)) in PLAIN_CONTAINERS or (kind not in LEAVES and isinstance(item, CONTAINERS))
        ]
        if not level:
            return False
    return any(level)  # what is in them is deeper


def raise_fault(value: object, max_depth: int) -> None:
    """Walk a value that looked wrong and raise at the first place where it is."""
    stack: list[tuple[object, str, int]] = [(value, "", 0)]
    while stack:
        item, pointer, depth = stack.pop()
        if depth > max_depth:
            raise InvalidPayload(f"{pointer[:80]}…: nested deeper than {max_depth} levels", is_too_large=True)
        if isinstance(item, Mapping):
            for key, child in item.items():
                if not isinstance(key, str):
                    place = pointer or "the value"
                    raise InvalidPayload(f"{place}: a key is {type(key).__name__}, and JSON keys are strings")
                _refuse_split(key, pointer)
                # Tildes first, or the escape of a slash would be escaped again (RFC 6901).
                stack.append((child, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", depth + 1))
            if not isinstance(item, dict):
                raise InvalidPayload(f"{pointer or 'the value'}: {type(item).__name__} is not JSON: give dict() of it")
        elif isinstance(item, list | tuple):
            stack.extend((child, f"{pointer}/{index}", depth + 1) for index, child in enumerate(item))
        elif isinstance(item, str):
            _refuse_split(item, pointer)
        elif (wrong := wrong_with(item)) is not None:
            raise InvalidPayload(f"{pointer or 'the value'}: {wrong}")


def _refuse_split(text: str, pointer: str) -> None:
    """Refuse a character that is given as two surrogates: JSON reads them as the one character."""
    if _SPLIT.search(text):
        raise InvalidPayload(f"{pointer or 'the value'}: a text holds a character split into two surrogates")
