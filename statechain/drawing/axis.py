"""A time axis on which long stretches, in which nothing begins or ends, are cut to a fixed width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import attrs

from statechain.drawing.picture import spoken

__all__ = ["Axis", "Stretch", "tick_text", "ticks"]

CUT_SHARE = 0.07
"""The part of the axis that one cut stretch takes."""

MOST_CUTS = 6
LEAST_SHOWN = 1e-9
"""The part of the time that is not cut, at least: what is shorter is not visible, and divides by nearly nothing."""


@attrs.frozen
class Stretch:
    """A part of the axis: from a moment to a moment, in seconds, and where it is drawn."""

    begin: float
    end: float
    left: float
    width: float
    is_cut: bool

    def x(self, seconds: float) -> float:
        """Return where a moment inside the stretch is drawn."""
        return self.left + self.width * (seconds - self.begin) / (self.end - self.begin)


@attrs.frozen
class Axis:
    """The stretches of an axis, in order and without gaps."""

    stretches: Sequence[Stretch]

    @classmethod
    def of(cls, moments: Iterable[float], whole: float, left: float, width: float) -> Axis:
        """Return the axis from 0 to ``whole`` seconds; only between two of the moments may it be cut.

        The longest stretch is cut while it is more than twice as long as all that would be left together.
        """
        inside = sorted({0.0, whole, *(moment for moment in moments if 0 < moment < whole)})
        pieces = list(pairwise(inside))
        by_length = sorted(pieces, key=lambda piece: piece[0] - piece[1])
        cut: set[tuple[float, float]] = set()
        shown = whole
        for place, piece in enumerate(by_length[:MOST_CUTS], 1):
            rest = sum(end - begin for begin, end in by_length[place:])
            # Where all but one piece are of no length, what is left would be stretched over the whole axis.
            if len(pieces) < 3 or rest <= whole * LEAST_SHOWN or piece[1] - piece[0] <= 2 * rest:
                break
            cut.add(piece)
            shown = rest
        scale = width * (1 - CUT_SHARE * len(cut)) / shown
        stretches: list[Stretch] = []
        for begin, end in _merged(pieces, cut):
            is_cut = (begin, end) in cut
            wide = width * CUT_SHARE if is_cut else scale * (end - begin)
            stretches.append(Stretch(begin, end, left, wide, is_cut))
            left += wide
        return cls(stretches)

    def x(self, seconds: float) -> float:
        """Return where a moment is drawn; one before or after the axis at its end."""
        for stretch in self.stretches:
            if seconds < stretch.end:
                return stretch.x(max(seconds, stretch.begin))
        return self.stretches[-1].left + self.stretches[-1].width

    def ticks(self) -> list[tuple[float, float]]:
        """Return the ticks, as moments and places: round moments, and where a cut ends."""
        shown = sum(each.end - each.begin for each in self.stretches if not each.is_cut)
        last = self.stretches[-1].end
        step = _step(shown)
        found: list[tuple[float, float]] = []
        for each in self.stretches:
            if each.is_cut:
                continue
            number = 0 if each.begin == 0 else int(each.begin / step) + 1
            while number * step <= min(each.end, last):
                found.append((number * step, each.x(number * step)))
                number += 1
        return found


def _merged(pieces: Sequence[tuple[float, float]], cut: set[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the pieces with neighbours that are not cut as one."""
    merged: list[tuple[float, float]] = []
    for piece in pieces:
        if merged and piece not in cut and merged[-1] not in cut:
            merged[-1] = merged[-1][0], piece[1]
        else:
            merged.append(piece)
    return merged


def tick_text(seconds: float) -> str:
    """Return a tick's moment exactly: rounding would show two ticks alike."""
    if 0 < seconds < 1:
        thousandths = f"{seconds * 1000:.3f}".rstrip("0").rstrip(".")
        return f"{thousandths} ms"
    return spoken(seconds) if seconds else "0"


def ticks(whole: float) -> list[float]:
    """Return four to nine round moments from 0 to the end: steps of 1, 2 or 5 times a power of ten, or of minutes."""
    step = _step(whole)
    return [number * step for number in range(int(whole / step) + 1)]


def _step(whole: float) -> float:
    steps = [base * 10.0**power for power in range(-6, 2) for base in (1, 2, 5)]
    # Beyond 20 s, times are read as minutes, hours and days.
    steps = [step for step in steps if step <= 20] + [30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 43200]
    return next((step for step in steps if whole / step <= 8), None) or 86_400 * (1 + whole // (8 * 86_400))
