"""Compiled regular expressions and their matches, with the methods of `re.Pattern` and `re.Match`.

A search finds where the match ends, then, backward from there, where it begins; what the groups hold is found out when
it is asked for. Each of the three is linear in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

from statechain.asl.expressions.regex.automaton import Automaton
from statechain.asl.expressions.regex.captures import captured
from statechain.asl.expressions.regex.parser import Parsed
from statechain.asl.expressions.regex.program import compile_node
from statechain.asl.expressions.regex.scanning import begins_the_text, scan_for
from statechain.asl.expressions.regex.syntax import Assertion, Sequence

__all__ = ["Charge", "Match", "Regex"]

Charge = Callable[[int], None]
"""Takes the steps that a search has cost."""

WORK_A_STEP = 16
"""This many instructions, each looked at for one character, count as one step."""


class Match:
    """One match."""

    def __init__(self, regex: Regex, automaton: Automaton, text: str, start: int, end: int) -> None:
        self.re = regex
        self.string = text
        self._automaton = automaton
        self._start = start
        self._end = end

    @cached_property
    def regs(self) -> tuple[tuple[int, int], ...]:
        """The bounds of the match and of its groups; -1 where one has none."""
        bounds = [(self._start, self._end)]
        slots = captured(self._automaton, self.string, self._start, self._end) if self.re.groups else {}
        bounds += [
            (slots[slot], slots[slot + 1]) if slot + 1 in slots else (-1, -1)
            for slot in range(2, 2 * self.re.groups + 2, 2)
        ]
        return tuple(bounds)

    def span(self, group: int | str = 0) -> tuple[int, int]:
        """Return where the match, or a group, begins and ends."""
        if group == 0:
            return self._start, self._end
        number = self.re.groupindex.get(group) if isinstance(group, str) else group
        if number is None or not 0 < number <= self.re.groups:
            raise IndexError("no such group")
        return self.regs[number]

    def start(self, group: int | str = 0) -> int:
        """Return where the match, or a group, begins."""
        return self.span(group)[0]

    def end(self, group: int | str = 0) -> int:
        """Return where the match, or a group, ends."""
        return self.span(group)[1]

    def __getitem__(self, group: int | str) -> str | None:
        start, end = self.span(group)
        return None if start < 0 else self.string[start:end]

    def group(self, *groups: int | str) -> str | tuple[str | None, ...] | None:
        """Return the text of the match, or of one or several groups."""
        if len(groups) > 1:
            return tuple(self[group] for group in groups)
        return self[groups[0] if groups else 0]

    def groups(self, default: str | None = None) -> tuple[str | None, ...]:
        """Return the texts of all groups."""
        return tuple(default if start < 0 else self.string[start:end] for start, end in self.regs[1:])

    def groupdict(self) -> dict[str, str | None]:
        """Return the texts of the groups that have a name."""
        return {name: self[number] for name, number in self.re.groupindex.items()}


class Regex:
    """A regular expression, compiled; it matches in linear time."""

    def __init__(self, pattern: str, parsed: Parsed) -> None:
        self.pattern = pattern
        self.groups = parsed.groups
        self.groupindex = parsed.names
        self.node = parsed.node
        self._forward = Automaton(compile_node(parsed.node))
        self.size = self._forward.program.size
        self._is_at_start = begins_the_text(parsed.node)

    @cached_property
    def _scan(self) -> Callable[[str, int], int]:
        return scan_for(self.node)

    @cached_property
    def _backward(self) -> Automaton:
        return Automaton(compile_node(self.node, is_reversed=True), is_backward=True)

    @cached_property
    def _whole(self) -> Automaton:
        # The end is a part of the pattern: the preferred match may be a shorter one.
        return Automaton(compile_node(Sequence((self.node, Assertion("text_end")))))

    def charge(self, charge: Charge | None, length: int) -> None:
        """Have a search paid for that has read that many characters."""
        if charge is not None:
            charge(length * self.size // WORK_A_STEP)

    def bounds(self, text: str, place: int) -> tuple[int, int, int]:
        """Return where the first match from a place on begins and ends, -1 without one, and how far was read."""
        if self._is_at_start:
            end, read = self._forward.end(text, 0, is_search=False) if place == 0 else (-1, place)
            return (0 if end >= 0 else -1), end, read
        read = place
        while (candidate := self._scan(text, read)) >= 0:
            end, read = self._forward.end(text, candidate, is_search=True)
            if end >= 0:
                return self._backward.begin(text, end, candidate), end, read
            # The search came to the end; otherwise it was back at its start, and the scan goes on from there.
            if read > len(text):
                break
        return -1, -1, len(text)

    def search(self, text: str, place: int = 0, charge: Charge | None = None) -> Match | None:
        """Return the first match from a place on."""
        start, end, read = self.bounds(text, place)
        self.charge(charge, min(read, len(text)) - place)
        return None if end < 0 else Match(self, self._forward, text, start, end)

    def match(self, text: str) -> Match | None:
        """Return the match that begins where the text does."""
        end, _ = self._forward.end(text, 0, is_search=False)
        return None if end < 0 else Match(self, self._forward, text, 0, end)

    def fullmatch(self, text: str, charge: Charge | None = None) -> Match | None:
        """Return the match that is the whole text."""
        self.charge(charge, len(text))
        end, _ = self._whole.end(text, 0, is_search=False)
        return None if end < 0 else Match(self, self._whole, text, 0, end)

    def finditer(self, text: str, charge: Charge | None = None) -> Iterator[Match]:
        """Yield all matches, one after the other; after an empty one the next is sought a character later."""
        place = 0
        while place <= len(text):
            match = self.search(text, place, charge)
            if match is None:
                return
            yield match
            # Past an empty match, which would be found again.
            place = match.end() + (match.end() == match.start())

    def findall(self, text: str) -> list[str | tuple[str | None, ...] | None]:
        """Return the texts of all matches: of the whole, of the one group, or of all groups."""
        if self.groups > 1:
            return [match.groups("") for match in self.finditer(text)]
        return [match.group(min(self.groups, 1)) for match in self.finditer(text)]

    def split(self, text: str, maxsplit: int = 0) -> list[str]:
        """Return what is between the matches."""
        parts: list[str] = []
        start = 0
        for match in self.finditer(text):
            if maxsplit and len(parts) == maxsplit:
                break
            parts.append(text[start : match.start()])
            start = match.end()
        return [*parts, text[start:]]

    def sub(self, replacement: Callable[[Match], str], text: str, count: int = 0) -> str:
        """Return the string with each match replaced by what a function makes of it."""
        parts: list[str] = []
        start = 0
        for number, match in enumerate(self.finditer(text)):
            if count and number == count:
                break
            parts += [text[start : match.start()], replacement(match)]
            start = match.end()
        return "".join([*parts, text[start:]])
