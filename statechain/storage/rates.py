"""A rate over a moving window: how many may be taken up now, kept in one string.

A token bucket that allows n at once, as GCRA in one number does, allows up to twice as many in a window that begins
before they are used up; one that never allows more than n would space them out, though nothing was taken up for long.
The window is exact instead: it notes how many were taken up when, and forgets what is older than the period. What is
taken up within a fraction of the period is one note with the time of the last, so that the notes are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

from statechain.codec import decode, encode

__all__ = ["RateWindow"]

NOTES = 64
"""Into how many notes a period is divided."""

Note: TypeAlias = tuple[int, int]
"""When, in microseconds of uptime, and how many."""


class RateWindow:
    """The take-ups of the last ``period`` microseconds, of which there may be ``count``."""

    def __init__(self, count: int, period: int, stored: str | None = None) -> None:
        self._count = count
        self._period = period
        self._notes: Sequence[Note] = _read(stored)

    def room(self, now: int) -> int:
        """Return how many may be taken up now."""
        return max(0, self._count - sum(count for at, count in self._notes if at + self._period > now))

    def free_at(self, now: int) -> int:
        """Return when something may be taken up again; a time that is not later than now where it may be at once."""
        left = self._count - 1
        # From the newest on: the note that is one too many has to leave the window.
        for at, count in reversed(self._notes):
            left -= count
            if left < 0:
                return at + self._period
        return now

    def take(self, now: int, count: int) -> None:
        """Note that some were taken up; never before what was noted already, though a clock may say so."""
        # What has left the window is forgotten here, so that the string does not grow.
        kept = [note for note in self._notes if note[0] + self._period > now]
        if kept:
            last, former = kept[-1]
            # Uptime may be behind the last note: the notes stay in order.
            now = max(now, last)
            # Above 0 for the shortest period, too.
            width = self._period // NOTES + 1
            if now // width == last // width:
                kept[-1] = (now, former + count)
                self._notes = kept
                return
        self._notes = [*kept, (now, count)]

    def stored(self) -> str:
        """Return the notes as one string."""
        return encode([list(note) for note in self._notes])


def _read(stored: str | None) -> Sequence[Note]:
    return [(at, count) for at, count in cast("Sequence[Note]", decode(stored))] if stored else []
