"""A syntax → a program: instructions that a set of threads runs through, one character at a time.

Alternatives are in order of preference, as Perl has them: the first that leads to a match wins.
"""

from __future__ import annotations

from attrs import define, field

from statechain.asl.expressions.regex.classes import ANY, Ranges
from statechain.asl.expressions.regex.syntax import Assertion, Chars, Choice, Group, Node, Repeat, Sequence

__all__ = [
    "CHARS",
    "FLAGS",
    "JUMP",
    "MATCH",
    "MOST_INSTRUCTIONS",
    "SAVE",
    "SPLIT",
    "TEST",
    "Program",
    "TooLarge",
    "can_be_empty",
    "compile_node",
]

CHARS, SPLIT, JUMP, TEST, SAVE, MATCH = range(6)
MOST_INSTRUCTIONS = 10_000
RANGES_AN_INSTRUCTION = 4
"""This many ranges of a class count as one more instruction."""

FLAGS = {"text_begin": 1, "text_end": 2, "line_begin": 4, "line_end": 8, "word": 16, "not_word": 32}
"""What may hold between two characters, as bits."""

OPPOSITE = {"text_begin": "text_end", "text_end": "text_begin", "line_begin": "line_end", "line_end": "line_begin"}


class TooLarge(Exception):
    """A program has more instructions than it may have."""


@define
class Program:
    """Instructions in columns: an operation, where it goes on, and what it needs besides.

    `SPLIT` prefers `then` to `other`; `TEST` goes on where the flag `other` holds; `SAVE` notes the place in the slot
    `other`; `CHARS` goes on after a character out of the class `other`.
    """

    operations: list[int] = field(factory=list)
    then: list[int] = field(factory=list)
    other: list[int] = field(factory=list)
    classes: list[Ranges] = field(factory=list)
    start: int = 0
    restart: int = 0
    """Where a search begins: as the start, but with lesser preference at every later character, too."""

    has_tests: bool = False
    size: int = 0

    def add(self, operation: int, then: int = -1, other: int = -1) -> int:
        """Add an instruction and return its number."""
        self.operations.append(operation)
        self.then.append(then)
        self.other.append(other)
        self.size += 1
        if self.size > MOST_INSTRUCTIONS:
            raise TooLarge
        return len(self.operations) - 1


def compile_node(node: Node, *, is_reversed: bool = False) -> Program:
    """Return the program of a syntax; a reversed one matches from the end to the beginning.

    Raises TooLarge.
    """
    compiler = _Compiler(is_reversed=is_reversed)
    program = compiler.program
    program.start = compiler.compile(node, program.add(MATCH))
    # The search's own loop: it gives way to every thread that has begun before.
    again = program.add(CHARS, other=compiler.number_of(ANY))
    program.restart = program.add(SPLIT, program.start, again)
    program.then[again] = program.restart
    program.classes = list(compiler.classes)
    return program


class _Compiler:
    """Compiles backwards: each node is given where to go on after it, and returns where it begins."""

    def __init__(self, *, is_reversed: bool) -> None:
        self.program = Program()
        self.classes: dict[Ranges, int] = {}
        self._is_reversed = is_reversed

    def number_of(self, ranges: Ranges) -> int:
        return self.classes.setdefault(ranges, len(self.classes))

    def compile(self, node: Node, then: int) -> int:
        if isinstance(node, Chars):
            # A class of many ranges costs memory as several instructions do.
            self.program.size += len(node.ranges) // RANGES_AN_INSTRUCTION
            return self.program.add(CHARS, then, self.number_of(node.ranges))
        if isinstance(node, Assertion):
            self.program.has_tests = True
            kind = OPPOSITE.get(node.kind, node.kind) if self._is_reversed else node.kind
            return self.program.add(TEST, then, FLAGS[kind])
        if isinstance(node, Sequence):
            for part in node.parts if self._is_reversed else reversed(node.parts):
                then = self.compile(part, then)
            return then
        if isinstance(node, Choice):
            return self._choice(node, then)
        if isinstance(node, Group):
            return self._group(node, then)
        return self._repeat(node, then)

    def _choice(self, node: Choice, then: int) -> int:
        starts = [self.compile(option, then) for option in node.options]
        start = starts[-1]
        for option in reversed(starts[:-1]):
            start = self.program.add(SPLIT, option, start)
        return start

    def _group(self, node: Group, then: int) -> int:
        if self._is_reversed:  # nothing is captured backwards
            return self.compile(node.node, then)
        end = self.program.add(SAVE, then, 2 * node.number + 1)
        return self.program.add(SAVE, self.compile(node.node, end), 2 * node.number)

    def _repeat(self, node: Repeat, then: int) -> int:
        """Write out the repetitions: what must be, and what may be nested in each other or in a loop."""
        most = node.most
        if most is None:
            copies = max(node.least - 1, 0)
            start = self._loop(node, then)
        else:
            # Optional repetitions are nested: a(a(a)?)?, so that none is tried without the one before.
            copies, end, start = node.least, then, then
            for _ in range(most - node.least):
                start = self._split(node, self.compile(node.node, start), end)
        for _ in range(copies):
            start = self.compile(node.node, start)
        return start

    def _loop(self, node: Repeat, then: int) -> int:
        """Compile one or more, or any number of them.

        A body that may be empty is repeated at least once or is skipped: else the loop's preference would be lost where
        the body is passed without a character.
        """
        loop = self.program.add(JUMP)
        start = self.compile(node.node, loop)
        again = self._split(node, start, then)
        self.program.then[loop] = again
        if node.least > 0:
            return start
        return self._split(node, start, then) if can_be_empty(node.node) else again

    def _split(self, node: Repeat, repeat: int, leave: int) -> int:
        first, second = (repeat, leave) if node.is_greedy else (leave, repeat)
        return self.program.add(SPLIT, first, second)


def can_be_empty(node: Node) -> bool:
    """Return whether a node matches without a character."""
    if isinstance(node, Chars):
        return False
    if isinstance(node, Sequence):
        return all(map(can_be_empty, node.parts))
    if isinstance(node, Choice):
        return any(map(can_be_empty, node.options))
    if isinstance(node, Group):
        return can_be_empty(node.node)
    return isinstance(node, Assertion) or node.least == 0 or can_be_empty(node.node)
