"""Reading a pattern from left to right, and what a backslash makes of the character after it."""

from __future__ import annotations

import re

from statechain.asl.expressions.regex.classes import LAST, Ranges, unicode_class
from statechain.asl.expressions.regex.syntax import RegexSyntaxError

__all__ = ["Escapes"]

CONTROLS = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
HEX = re.compile(r"\\x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})")
OCTAL = re.compile(r"\\(0[0-7]{0,2})")
UNICODE = re.compile(r"\\([pP])(?:\{(\^?)(\w+)\}|([A-Z]))", re.ASCII)


class Escapes:
    """A pattern, and the place in it that is read next."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.place = 0

    def refused(self, what: str, place: int | None = None) -> RegexSyntaxError:
        """Return the error of a pattern that has something in it that cannot be matched."""
        at = self.place if place is None else place
        return RegexSyntaxError(f"the regular expression /{self.pattern}/ is not supported: {what} at character {at}")

    def take(self, sign: str) -> bool:
        """Step over a character, if it is next, and return whether it was."""
        is_here = self.pattern.startswith(sign, self.place)
        self.place += is_here
        return is_here

    def quoted(self) -> str:
        """Read quoted text, up to its end mark or the end of the pattern."""
        text, _, _ = self.pattern[self.place + 2 :].partition("\\E")
        # Both marks, of two characters each; the last one may be missing.
        self.place = min(self.place + 4 + len(text), len(self.pattern))
        return text

    def code_escape(self) -> Ranges:
        """Read an escape of one character."""
        sign = self.pattern[self.place + 1 : self.place + 2]
        match = HEX.match(self.pattern, self.place) or OCTAL.match(self.pattern, self.place)
        if match is not None:
            code = int(match[1], 8) if match.re is OCTAL else int(match[1] or match[2], 16)
            if code > LAST:
                raise self.refused("a character beyond Unicode")
            self.place = match.end()
        elif sign in CONTROLS:
            code = CONTROLS[sign]
            self.place += 2
        elif sign and sign.isascii() and not sign.isalnum():
            code = ord(sign)
            self.place += 2
        else:
            raise self.refused(_reason(sign))
        return ((code, code),)

    def unicode_escape(self) -> tuple[Ranges, bool]:
        """Read an escape that names a class of Unicode; return it, and whether it is negated."""
        match = UNICODE.match(self.pattern, self.place)
        ranges = None if match is None else unicode_class(match[3] or match[4])
        if match is None or ranges is None:
            raise self.refused("a class that is no general category of Unicode")
        self.place = match.end()
        return ranges, (match[1] == "P") is not bool(match[2])


def _reason(sign: str) -> str:
    if not sign:
        return "a trailing backslash"
    return "a back-reference, which needs backtracking" if sign in "123456789k" else f"the escape \\{sign}"
