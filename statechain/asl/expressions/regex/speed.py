"""The same regular expressions through google-re2, where it is installed: its matches are ours, only sooner.

RE2 is given the syntax that was parsed here, each class as its characters: so it neither reads patterns otherwise nor
has another version of Unicode. Patterns that it would match between the bytes of a character are matched
here, and so are strings with lone surrogates.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from statechain.asl.expressions.regex.classes import ANY, Ranges, negated
from statechain.asl.expressions.regex.matcher import Charge, Match, Regex
from statechain.asl.expressions.regex.parser import Parsed, children
from statechain.asl.expressions.regex.syntax import Assertion, Chars, Choice, Group, Node, Repeat, Sequence

__all__ = ["FastRegex", "has_re2", "is_fast"]

MAX_MEMORY = 64 << 20
ASSERTIONS = {
    "text_begin": r"\A", "text_end": r"\z", "line_begin": "(?m:^)", "line_end": "(?m:$)", "word": r"\b",
}  # fmt: skip
COUNTS = {(0, None): "*", (1, None): "+", (0, 1): "?"}


def has_re2() -> bool:
    """Return whether google-re2 is installed."""
    return importlib.util.find_spec("re2") is not None


def is_fast(parsed: Parsed) -> bool:
    """Return whether RE2 is there and matches a syntax as it is matched here."""
    return has_re2() and not _has_not_word(parsed.node)


def _has_not_word(node: Node) -> bool:
    return node == Assertion("not_word") or any(map(_has_not_word, children(node)))


class FastRegex(Regex):
    """A regular expression that RE2 matches."""

    def __init__(self, pattern: str, parsed: Parsed) -> None:
        super().__init__(pattern, parsed)
        re2 = importlib.import_module("re2")
        options = re2.Options()
        options.log_errors = False
        options.max_mem = MAX_MEMORY
        self._compiled = re2.compile(text_of(parsed.node), options=options)

    def search(self, text: str, place: int = 0, charge: Charge | None = None) -> Match | None:
        """Return the first match from a place on."""
        if not _is_unicode(text):
            # RE2 takes UTF-8, which has no lone surrogates.
            return super().search(text, place, charge)
        found = self._compiled.search(text, place)
        self.charge(charge, (len(text) if found is None else found.end()) - place)
        return None if found is None else self._match(text, found)

    def finditer(self, text: str, charge: Charge | None = None) -> Iterator[Match]:
        """Yield all matches, one after the other; after an empty one the next is sought a character later."""
        if not _is_unicode(text):
            yield from super().finditer(text, charge)
            return
        place, last = 0, (-1, -1)
        for found in self._compiled.finditer(text):
            if found.span() == last:  # it may yield an empty match twice
                continue
            last = found.span()
            self.charge(charge, found.end() - place)
            place = found.end()
            yield self._match(text, found)
        self.charge(charge, len(text) - place)

    def fullmatch(self, text: str, charge: Charge | None = None) -> Match | None:
        """Return the match that is the whole text."""
        if not _is_unicode(text):
            return super().fullmatch(text, charge)
        self.charge(charge, len(text))
        found = self._compiled.fullmatch(text)
        return None if found is None else self._match(text, found)

    def _match(self, text: str, found: Any) -> Match:  # noqa: ANN401
        match = Match(self, self._forward, text, *found.span())
        match.regs = tuple(found.span(group) for group in range(self.groups + 1))
        return match


def _is_unicode(text: str) -> bool:
    """Return whether a string has no lone surrogate, which UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_of(node: Node) -> str:
    """Return a syntax as a pattern of RE2."""
    if isinstance(node, Chars):
        return _class_text(node.ranges)
    if isinstance(node, Assertion):
        return ASSERTIONS[node.kind]
    if isinstance(node, Sequence):
        return "".join(map(text_of, node.parts)) or "(?:)"
    if isinstance(node, Choice):
        return f"(?:{'|'.join(map(text_of, node.options))})"
    if isinstance(node, Group):
        return f"({text_of(node.node)})"
    return f"(?:{text_of(node.node)}){_counts_text(node)}{'' if node.is_greedy else '?'}"


def _counts_text(node: Repeat) -> str:
    simple = COUNTS.get((node.least, node.most))
    if simple is not None:
        return simple
    return f"{{{node.least},{'' if node.most is None else node.most}}}"


def _class_text(ranges: Ranges) -> str:
    if not ranges:
        # RE2 has no empty class: this is the complement of everything.
        return f"[^{_ranges_text(ANY)}]"
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return f"\\x{{{ranges[0][0]:x}}}"
    outside = negated(ranges)
    return f"[^{_ranges_text(outside)}]" if 0 < len(outside) < len(ranges) else f"[{_ranges_text(ranges)}]"


def _ranges_text(ranges: Ranges) -> str:
    return "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in ranges)
