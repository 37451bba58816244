"""Integers written and read by a picture string: ``$formatInteger``, ``$parseInteger``, and each part of a date.

Results are those of jsonata.js, its rounding of large numbers to doubles included.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import reduce
from itertools import accumulate

from attrs import define
from jsonata import jexception

from statechain.asl.expressions.jsonata.values import number_text

__all__ = ["LONGEST_PICTURE", "IntegerPicture", "leading_integer", "read_integer_picture"]

LONGEST_PICTURE = 256

SMALL = (
    "Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve",
    "Thirteen", "Fourteen", "Fifteen", "Sixteen", "Seventeen", "Eighteen", "Nineteen",
)  # fmt: skip
SMALL_ORDINALS = (
    "Zeroth", "First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth", "Ninth", "Tenth",
    "Eleventh", "Twelfth", "Thirteenth", "Fourteenth", "Fifteenth", "Sixteenth", "Seventeenth", "Eighteenth",
    "Nineteenth",
)  # fmt: skip
TENS = ("Twenty", "Thirty", "Forty", "Fifty", "Sixty", "Seventy", "Eighty", "Ninety")
MAGNITUDES = ("Thousand", "Million", "Billion", "Trillion")
ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"),
    (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
ROMAN_DIGITS = {"M": 1000, "D": 500, "C": 100, "L": 50, "X": 10, "V": 5, "I": 1}
ORDINAL_SUFFIXES = {"1": "st", "2": "nd", "3": "rd"}
ZEROS = (
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0,
    0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620,
    0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
)  # fmt: skip
"""The zero of each group of decimal digits."""

LONGEST_LETTERS = 200
"""Letters beyond which a number in base 26 is infinite, as a double."""


def _word_values() -> dict[str, float]:
    values: dict[str, float] = {}
    for words in (SMALL, SMALL_ORDINALS):
        values |= {word.lower(): number for number, word in enumerate(words)}
    for place, word in enumerate(TENS):
        values |= {word.lower(): (place + 2) * 10, f"{word.lower()[:-1]}ieth": (place + 2) * 10}
    values |= {"hundred": 100, "hundredth": 100}
    for place, word in enumerate(MAGNITUDES):
        values |= {word.lower(): 1000.0 ** (place + 1), f"{word.lower()}th": 1000.0 ** (place + 1)}
    return values


WORD_VALUES = _word_values()


@define
class IntegerPicture:
    """A picture string, read: how integers are written."""

    kind: str
    """``decimal``, ``letters``, ``roman`` or ``words``; else ``sequence``, which nothing can be written as."""

    case: str = "lower"
    is_ordinal: bool = False
    zero: int = 0x30
    mandatory: int = 0
    optional: int = 0
    separators: tuple[tuple[int, str], ...] = ()
    """Digits to the right of each grouping separator, and the separator."""

    every: int = 0
    """How far apart the separators are, where that is regular."""

    width: int = 0
    """How many digits to read, where another number follows at once."""

    token: str = ""

    def format(self, number: float, allow: Callable[[float], None]) -> str:
        """Return a whole number as text; ``allow`` refuses one that would be too long."""
        size = abs(number)
        if not math.isfinite(size):
            raise jexception.JException("D1001", -1, number)
        if self.kind == "letters":
            text = _letters(float(size))
        elif self.kind == "roman":
            allow(size / 1000)
            text = _roman(int(size))
        elif self.kind == "words":
            text = _words(float(size), is_ordinal=self.is_ordinal)
        elif self.kind == "decimal":
            text = self._decimal(size)
        else:
            raise jexception.JException("D3130", -1, self.token)
        if self.kind != "decimal" and self.case != "title":
            text = text.upper() if self.case == "upper" else text.lower()
        return f"-{text}" if number < 0 else text

    def _decimal(self, size: float) -> str:
        text = number_text(size).rjust(self.mandatory, "0")
        if self.zero != 0x30:
            text = "".join(chr(ord(digit) + self.zero - 0x30) for digit in text)
        if self.every:
            mark = self.separators[0][1]
            for place in range((len(text) - 1) // self.every * self.every, 0, -self.every):
                text = text[:-place] + mark + text[-place:]
        else:
            for position, mark in reversed(self.separators):
                place = len(text) - position
                text = text[: max(place, 0)] + mark + text[place:]
        return text + _ordinal_suffix(text) if self.is_ordinal else text

    def pattern(self) -> str:
        """Return the regular expression of what `parse` reads."""
        is_upper = self.case == "upper"
        if self.kind == "letters":
            return "[A-Z]+" if is_upper else "[a-z]+"
        if self.kind == "roman":
            return "[MDCLXVI]+" if is_upper else "[mdclxvi]+"
        if self.kind == "words":
            return f"(?:{'|'.join(WORD_VALUES)}|and|[-, ])+"
        if self.kind == "decimal":
            count = f"{{{self.width}}}" if self.width else "+"
            return f"[0-9]{count}{'(?:th|st|nd|rd)' if self.is_ordinal else ''}"
        raise jexception.JException("D3130", -1, self.token)

    def parse(self, text: str) -> float:
        """Return the number that a string is; NaN where it is none."""
        if self.kind == "letters":
            return _from_letters(text, "A" if self.case == "upper" else "a")
        if self.kind == "roman":
            return _from_roman(text if self.case == "upper" else text.upper())
        if self.kind == "words":
            return _from_words(text.lower())
        if self.kind == "decimal":
            return leading_integer(self._ascii_digits(text))
        raise jexception.JException("D3130", -1, self.token)

    def _ascii_digits(self, text: str) -> str:
        digits = text[:-2] if self.is_ordinal else text
        # jsonata.js removes commas here, also where the separator is another sign.
        for mark in [","] if self.every else [mark for _, mark in self.separators]:
            digits = digits.replace(mark, "")
        if self.zero != 0x30:
            digits = "".join(chr(max(0, ord(digit) - self.zero + 0x30)) for digit in digits)
        return digits


def read_integer_picture(picture: str) -> IntegerPicture:
    """Read a picture string such as ``#,##0``, ``Ww;o`` or ``I``."""
    head, semicolon, modifier = picture.rpartition(";")
    primary = head if semicolon else picture
    is_ordinal = bool(semicolon) and modifier.startswith("o")
    kinds = {"a": "letters", "i": "roman", "w": "words"}
    if primary in {"A", "a", "I", "i", "W", "w", "Ww"}:
        case = "title" if primary == "Ww" else "upper" if primary.isupper() else "lower"
        return IntegerPicture(kinds[primary[0].lower()], case, is_ordinal)
    return _decimal_picture(primary, is_ordinal=is_ordinal)


def _decimal_picture(primary: str, *, is_ordinal: bool) -> IntegerPicture:
    read = IntegerPicture("sequence", is_ordinal=is_ordinal, token=primary)
    found: list[int] = []
    separators = []
    for sign in reversed(primary):  # positions of separators count from the right
        zero = next((zero for zero in ZEROS if zero <= ord(sign) <= zero + 9), None)
        if zero is not None:
            found.append(zero)
        elif sign == "#":
            read.optional += 1
        else:
            separators.append((len(found) + read.optional, sign))
        if len(set(found)) > 1:
            raise jexception.JException("D3131", -1)
    if found:
        read.kind, read.zero, read.mandatory = "decimal", found[0], len(found)
        read.separators, read.every = tuple(separators), _interval(separators)
    return read


def _interval(separators: list[tuple[int, str]]) -> int:
    """Return the distance at which one separator repeats; 0 where there is none."""
    positions = [position for position, _ in separators]
    if not positions or len({mark for _, mark in separators}) > 1:
        return 0
    factor = reduce(math.gcd, positions)
    return factor if all(place * factor in positions for place in range(1, len(positions) + 1)) else 0


def _ordinal_suffix(text: str) -> str:
    return "th" if text[-2:-1] == "1" else ORDINAL_SUFFIXES.get(text[-1:], "th")


def _letters(number: float) -> str:
    letters = ""
    while number > 0:
        letters = chr(97 + int(math.fmod(number - 1, 26))) + letters
        number = float(math.floor((number - 1) / 26))
    return letters


def _roman(number: int) -> str:
    text = ""
    for value, letters in ROMAN:
        text += letters * (number // value)
        number %= value
    return text


def _words(number: float, *, is_ordinal: bool, follows: bool = False) -> str:
    if number < 100:
        return (" and " if follows else "") + _below_hundred(int(number), is_ordinal=is_ordinal)
    if number < 1000:
        size, name = 100.0, "Hundred"
    else:
        # Beyond trillions the count before the word grows: a thousand trillion.
        magnitude = min(math.floor(math.log10(number) / 3), len(MAGNITUDES))
        size, name = 1000.0**magnitude, MAGNITUDES[magnitude - 1]
    count = math.floor(number / size)
    words = f"{', ' if follows else ''}{_words(float(count), is_ordinal=False)} {name}"
    rest = number - count * size
    if rest > 0:
        return words + _words(rest, is_ordinal=is_ordinal, follows=True)
    return f"{words}th" if is_ordinal else words


def _below_hundred(number: int, *, is_ordinal: bool) -> str:
    if number < 20:
        return SMALL_ORDINALS[number] if is_ordinal else SMALL[number]
    tens, rest = TENS[number // 10 - 2], number % 10
    if rest:
        return f"{tens}-{_below_hundred(rest, is_ordinal=is_ordinal)}"
    return f"{tens[:-1]}ieth" if is_ordinal else tens


def _from_letters(text: str, first: str) -> float:
    if len(text) > LONGEST_LETTERS:
        return math.inf
    return sum((ord(letter) - ord(first) + 1) * 26.0**place for place, letter in enumerate(reversed(text)))


def _from_roman(text: str) -> float:
    values: list[float] = [ROMAN_DIGITS.get(letter, math.nan) for letter in reversed(text)]
    # From the right: a digit below one to its right is subtracted, as in IV.
    largest = accumulate(values, max, initial=1.0)
    return sum(value if value >= most else -value for value, most in zip(values, largest, strict=False))


def _from_words(text: str) -> float:
    parts = [0.0]
    for word in re.split(r",\s|\sand\s|[\s\\-]", text):
        value = WORD_VALUES.get(word, math.nan)
        if value < 100:
            if parts[-1] >= 1000:
                parts.append(0.0)
            parts[-1] += value
        else:
            parts[-1] *= value
    return sum(parts)


LEADING = re.compile(r"\s*([+-]?[0-9]+)")


def leading_integer(text: str) -> float:
    """Return the integer at the beginning of a string, as JavaScript's parseInt does."""
    match = LEADING.match(text)
    if match is None:
        return math.nan
    return int(match[1]) if len(match[1]) <= LONGEST_PICTURE else float(match[1])
