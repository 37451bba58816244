"""Forms of a path that Jayway JsonPath, AWS's library, takes beside the usual ones → the usual ones.

A dot before a bracket (``$.rows.[0]``), an index from the length (``[(@.length-1)]``), and in a filter a bare word for
a string (``[?(@.kind == Receipt)]``).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

__all__ = ["standard"]

# First what is kept: strings and regular expressions may hold any of the other forms.
FORM = re.compile(
    r"""(?P<kept>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|=~\s*/(?:[^/\\]|\\.)*/)
    |(?P<dotted>(?<!\.)\.)(?=\[)
    |(?P<length>\[\s*\(\s*@\.length\s*-\s*(?P<count>\d{1,20})\s*\)\s*\])
    |(?P<operator>(?:[=!<>]=|[<>])\s*)(?P<word>[^\s'"()\[\]&|,<>=!@$/][^\s'"()\[\]&|,<>=!]*)(?=\s*(?:[)\]&|]|\Z))
    |(?P<first>(?<=[(&|!])\s*)(?P<left>[^\s'"()\[\]&|,<>=!@$/?][^\s'"()\[\]&|,<>=!]*)(?=\s*(?:[=!]=|[<>]=?))
    """,
    re.VERBOSE | re.DOTALL,
)
VALUE = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")


def standard(path: str) -> tuple[str, Callable[[int], int]]:
    """Return a path in usual forms, and what maps a column of it to one of the path as it is written.

    A bare word gains two quotes; every other form keeps its width.
    """
    words: list[int] = []

    def usual(form: re.Match[str]) -> str:
        if form["dotted"] is not None:
            # As wide as before, so that columns stay the same.
            return " "
        if form["length"] is not None:
            return f"[-{form['count']}]".ljust(len(form["length"]))
        word = form["word"] or form["left"]
        if word is None or VALUE.fullmatch(word):
            return form[0]
        words.append(form.start() + 2 * len(words))
        escaped = word.replace("\\", "\\\\")
        return f"{form['operator'] or form['first']}'{escaped}'"

    return FORM.sub(usual, path), lambda column: max(0, column - 2 * bisect_right(words, column - 1))
