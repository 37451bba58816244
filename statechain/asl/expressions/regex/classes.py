"""Classes of characters: sorted ranges of code points, from Perl's, POSIX's and Unicode's names for them.

Unicode's come from `unicodedata`, so that they are those of the running Python; each is made when it is first used.
"""

from __future__ import annotations

import sys
import unicodedata
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from typing import TypeAlias

__all__ = ["ANY", "ANY_BUT_NEWLINE", "PERL", "POSIX", "Ranges", "folded", "merged", "negated", "unicode_class"]

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Ranges of code points, ends included, sorted and apart from each other."""

LAST = sys.maxunicode
ASSIGNED_BLOCKS = ((0, 0x40000), (0xE0000, 0xE1000))
PRIVATE_PLANES = ((0xF0000, 0xFFFFD), (0x100000, 0x10FFFD))
"""Where characters are assigned; the planes between are empty, and the last two are for private use."""

CASED_BLOCKS = ((0, 0x3400), (0xA000, 0xAC00), (0xF900, 0x20000))
"""Where letters with a case are, and are to come: the blocks between are ideographs and syllables."""


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return ranges in order, those that touch made one."""
    made: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if made and first <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], last))
        else:
            made.append((first, last))
    return tuple(made)


def negated(ranges: Ranges) -> Ranges:
    """Return all other characters."""
    made, start = [], 0
    for first, last in ranges:
        if start < first:
            made.append((start, first - 1))
        start = last + 1
    if start <= LAST:
        made.append((start, LAST))
    return tuple(made)


ANY: Ranges = ((0, LAST),)
ANY_BUT_NEWLINE: Ranges = negated(((10, 10),))
DIGIT: Ranges = ((48, 57),)
SPACE: Ranges = ((9, 10), (12, 13), (32, 32))
UPPER: Ranges = ((65, 90),)
LOWER: Ranges = ((97, 122),)
WORD: Ranges = merged([*DIGIT, *UPPER, (95, 95), *LOWER])
PUNCTUATION: Ranges = ((33, 47), (58, 64), (91, 96), (123, 126))

PERL: dict[str, Ranges] = {
    "d": DIGIT,
    "D": negated(DIGIT),
    "s": SPACE,
    "S": negated(SPACE),
    "w": WORD,
    "W": negated(WORD),
}
"""The classes that an escape names; they are ASCII's."""

POSIX: dict[str, Ranges] = {
    "alnum": merged([*DIGIT, *UPPER, *LOWER]),
    "alpha": merged([*UPPER, *LOWER]),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": DIGIT,
    "graph": ((33, 126),),
    "lower": LOWER,
    "print": ((32, 126),),
    "punct": PUNCTUATION,
    "space": ((9, 13), (32, 32)),
    "upper": UPPER,
    "word": WORD,
    "xdigit": merged([*DIGIT, (65, 70), (97, 102)]),
}
"""The classes that are named in brackets and colons, as in `[[:alpha:]]`."""


def unicode_class(name: str) -> Ranges | None:
    """Return the characters of a general category, such as ``Lu``, or of a group of them, such as ``L``."""
    return ANY if name == "Any" else _categories().get(name)


@cache
def _categories() -> dict[str, Ranges]:
    found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list, {"Co": list(PRIVATE_PLANES)})
    for block in ASSIGNED_BLOCKS:
        first = block[0]
        for category, codes in groupby(range(*block), lambda code: unicodedata.category(chr(code))):
            last = first + sum(1 for _ in codes) - 1
            found[category].append((first, last))
            first = last + 1
    del found["Cn"]  # what is not assigned is in no class
    groups: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for category, ranges in found.items():
        groups[category[0]] += ranges
    return {name: merged(ranges) for name, ranges in (found | groups).items()}


# Case


@cache
def _variants() -> tuple[list[int], list[tuple[int, ...]]]:
    """Return the characters that have variants in case, in order, and for each all of them, itself included."""
    orbits: defaultdict[str, list[int]] = defaultdict(list)
    for block in CASED_BLOCKS:
        for code in range(*block):
            orbits[_fold(chr(code))].append(code)
    pairs = sorted((code, tuple(orbit)) for orbit in orbits.values() if len(orbit) > 1 for code in orbit)
    return [code for code, _ in pairs], [orbit for _, orbit in pairs]


def _fold(sign: str) -> str:
    """Return a character's simple case folding: one character, where the full one may be several."""
    # `ß`, say, folds to two characters.
    for fold in (sign.casefold(), sign.lower()):
        if len(fold) == 1:
            return fold
    return sign


def folded(ranges: Ranges) -> Ranges:
    """Return ranges with every variant in case of what is in them."""
    codes, orbits = _variants()
    found = [orbits[bisect_left(codes, first) : bisect_right(codes, last)] for first, last in ranges]
    added = [(code, code) for several in found for orbit in several for code in orbit]
    return merged([*ranges, *added]) if added else ranges
