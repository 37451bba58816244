"""Strings in the order of their UTF-16 code units, in which Java and JavaScript, and so AWS, compare them.

It differs from the order of code points only where a character beyond U+FFFF meets one from U+E000 on.
"""

from __future__ import annotations

__all__ = ["as_utf16", "order_key"]


def order_key(text: str) -> bytes:
    """Return a key that sorts strings by their code units."""
    return text.encode("utf-16-be", errors="surrogatepass")


def as_utf16(one: str, other: str) -> tuple[str, str] | tuple[bytes, bytes]:
    """Return two strings as values that compare by code units: themselves where that is no difference."""
    # ASCII is below all other characters in both orders.
    if one.isascii() or other.isascii():
        return one, other
    return order_key(one), order_key(other)
