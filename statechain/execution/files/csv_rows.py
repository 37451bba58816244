"""Lines of delimited text → rows, by the rules of a distributed Map's ItemReader. Pure functions of strings.

A field may be enclosed in double quotes, and then hold delimiters and line ends; a quote in it is doubled. A backslash
makes the next character an ordinary one, and is dropped before any other. Rows may be of any length: the csv module
has a bound on fields which can only be changed for the whole process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

__all__ = ["csv_rows"]

QUOTE, ESCAPE = '"', "\\"
LINE_ENDS = "\r\n"

_quoted = re.compile(r'[^"\\]*')


def csv_rows(lines: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    """Yield the rows of lines that have kept their ends; empty lines are no rows.

    Raises ValueError where quotes do not match.
    """
    for line in lines:
        if QUOTE in line or ESCAPE in line:
            yield _Record(line, lines, delimiter).fields()
        # Most lines have neither quote nor escape: `str.split` is enough for them, and much faster.
        elif text := line.rstrip(LINE_ENDS):
            yield text.split(delimiter)


@cache
def _plain(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf"[^\\\r\n{re.escape(delimiter)}]*")


class _Record:
    """One record with quotes or escapes; more lines are taken while a quoted field is open."""

    def __init__(self, line: str, lines: Iterator[str], delimiter: str) -> None:
        self._line = line
        self._lines = lines
        self._delimiter = delimiter
        self._at = 0

    def fields(self) -> list[str]:
        """Return the fields."""
        fields = [self._field()]
        while self._peek() == self._delimiter:
            self._at += 1
            fields.append(self._field())
        return fields

    def _field(self) -> str:
        if self._peek() != QUOTE:
            return "".join(self._parts(_plain(self._delimiter)))
        self._at += 1
        text = "".join(self._quoted_parts())
        # An empty string is the end of the file's last line.
        if self._peek() not in {self._delimiter, *LINE_ENDS, ""}:
            raise ValueError(f"a delimiter is missing after the quoted field {text[:40]!r}")
        return text

    def _parts(self, run: re.Pattern[str]) -> Iterator[str]:
        """Yield the runs of ordinary characters, and the escaped ones between them."""
        yield self._run(run)
        while self._peek() == ESCAPE:
            self._at += 1
            escaped = self._peek()
            if escaped not in LINE_ENDS:  # a backslash at the end of a line is dropped, and the record ends
                self._at += 1
                yield escaped
            yield self._run(run)

    def _quoted_parts(self) -> Iterator[str]:
        while True:
            yield from self._parts(_quoted)
            if self._peek() == QUOTE:
                self._at += 1
                if self._peek() != QUOTE:
                    return
                self._at += 1
                yield QUOTE
            else:
                self._next_line()

    def _run(self, pattern: re.Pattern[str]) -> str:
        begin, match = self._at, pattern.match(self._line, self._at)
        self._at = begin if match is None else match.end()
        return self._line[begin : self._at]

    def _next_line(self) -> None:
        line = next(self._lines, None)
        if line is None:
            raise ValueError("a quoted field is not closed")
        self._line, self._at = line, 0

    def _peek(self) -> str:
        """Return the next character of the line, or nothing at its end."""
        return self._line[self._at : self._at + 1]
