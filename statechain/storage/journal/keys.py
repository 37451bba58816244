"""The order of writes with one key, while some of them are on their way beside the journal's groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Generic, TypeVar

__all__ = ["BusyKeys"]

T = TypeVar("T")


class BusyKeys(Generic[T]):
    """Keys of writes that are on their way, and what waits for each of them. It is false while there are none."""

    def __init__(self) -> None:
        self._busy: set[str] = set()
        self._waiting: dict[str, list[T]] = {}

    def __bool__(self) -> bool:
        return bool(self._busy)

    @property
    def waiting(self) -> list[T]:
        """What waits for any of the keys."""
        return [each for entries in self._waiting.values() for each in entries]

    def occupy(self, keys: Collection[str]) -> None:
        """Let what has these keys wait."""
        self._busy.update(keys)

    def free(self, keys: Collection[str]) -> list[T]:
        """Return what waited for these keys, each key's in its order."""
        self._busy.difference_update(keys)
        # Each key's in the order in which it came: a transition never overtakes the one before.
        return [each for key in keys for each in self._waiting.pop(key, ())]

    def passed(self, entries: Sequence[T], key_of: Callable[[T], str | None]) -> list[T]:
        """Return what need not wait; the rest is kept until its key is free."""
        passed = []
        for each in entries:
            key = key_of(each)
            if key is not None and key in self._busy:
                self._waiting.setdefault(key, []).append(each)
            else:
                passed.append(each)
        return passed
