"""Payloads: a JSON value and its text, of which one is made of the other when it is first asked for.

A payload that is encoded once is not encoded or decoded again on its way: from an input to the first handler, and from
a handler's result to its row and to the next handler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from statechain.codec import MAX_DEPTH, JSONValue, decode, is_surely_shallow, isolate, private

__all__ = ["Payload"]

# No value that a payload may have, as None would be.
UNREAD: Final[Any] = object()
"""The value of a payload of which only the text is known."""


class Payload:
    """A JSON value, its text, and whether it may be given away.

    Arguments:
        value: The value.

        text: Its text, where that is known.

    Attributes:
        is_owned: Whether nothing else holds any part of the value, so that code which changes it may have it as it is.
    """

    __slots__ = ("_value", "is_owned", "text")

    def __init__(self, value: JSONValue, text: str | None = None) -> None:
        self._value = value
        self.text = text
        self.is_owned = False

    @classmethod
    def owned(cls, value: JSONValue, text: str | None = None) -> Payload:
        """Return the payload of a value of which nothing else holds any part."""
        payload = cls(value, text)
        payload.is_owned = True
        return payload

    @classmethod
    def isolated(cls, value: object, *, max_bytes: int | None = None, max_depth: int = MAX_DEPTH) -> Payload:
        """Return the payload of a value from outside, with a private copy of it. Raises InvalidPayload as `isolate`."""
        text, copy = isolate(value, max_bytes=max_bytes, max_depth=max_depth)
        payload = cls(copy, text)
        payload.is_owned = True
        return payload

    @classmethod
    def of_text(cls, text: str) -> Payload:
        """Return the payload of a stored text, which is decoded when its value is asked for."""
        return cls.owned(UNREAD, text)

    @classmethod
    def passed_on(cls, text: str, *, max_bytes: int, max_depth: int) -> Payload:
        """Return the payload of a stored text that is to be stored again. Raises InvalidPayload as `isolated`.

        It is decoded once, and not encoded again where it is sure to be within the limits.
        """
        value = decode(text)
        if _is_small(text, max_bytes, max_depth):
            return cls.owned(value, text)
        return cls.isolated(value, max_bytes=max_bytes, max_depth=max_depth)

    @classmethod
    def listed(cls, members: Sequence[Payload], *, max_bytes: int, max_depth: int) -> Payload:
        """Return the payload of an array of payloads; its text is made of theirs where it is sure to be within limits.

        Else the text is not known, and `encoded` says what is wrong. The members are given up.
        """
        text: str | None = None
        if all(member.text is not None for member in members):
            text = f"[{','.join([cast('str', member.text) for member in members])}]"
        payload = cls([member.value for member in members])
        if text is not None and _is_small(text, max_bytes, max_depth):
            payload.text = text
        payload.is_owned = all(member.is_owned for member in members)
        return payload

    def __repr__(self) -> str:
        return f"<Payload of {'unknown size' if self.text is None else f'{len(self.text)} characters'}>"

    @property
    def value(self) -> JSONValue:
        """The value, to be read only."""
        if self._value is UNREAD:
            self._value = decode(cast("str", self.text))
        return self._value

    def encoded(self, *, max_bytes: int | None = None, max_depth: int = MAX_DEPTH) -> str:
        """Return the text, made now where it is not known. Raises InvalidPayload where it would be too large."""
        if self.text is None:
            self.text = isolate(self._value, max_bytes=max_bytes, max_depth=max_depth)[0]
        return self.text

    def copied(self, *, max_bytes: int, max_depth: int) -> JSONValue:
        """Return a value that its taker may change, and keep the payload.

        Where the value is owned and its text known, that value itself is given away, and another one is decoded if it
        is asked for again.
        """
        if self.text is None:
            return private(self._value, max_bytes=max_bytes, max_depth=max_depth)
        if not self.is_owned:
            return decode(self.text)
        value, self._value = self._value, UNREAD
        return decode(self.text) if value is UNREAD else value

    def taken(self, *, max_bytes: int, max_depth: int) -> JSONValue:
        """Return a value that its taker may change, and give up the payload, of which nothing is asked any more."""
        if self.is_owned:
            return self.value
        return self.copied(max_bytes=max_bytes, max_depth=max_depth)


def _is_small(text: str, max_bytes: int, max_depth: int) -> bool:
    """Return whether a value is sure to be within the limits, as its canonical text shows."""
    # In ASCII, with escapes, a JSON text has at least as many characters as its value has bytes as UTF-8.
    return len(text) <= max_bytes and text.isascii() and is_surely_shallow(text, max_depth)
