"""A pattern → its syntax: the one gate for every pattern, whichever engine matches it.

The syntax is RE2's, without what Java reads otherwise or has not: names of scripts, single bytes, octal escapes that
look like back-references. What needs backtracking is refused.
"""

from __future__ import annotations

import re

from attrs import define, evolve

from statechain.asl.expressions.regex.classes import ANY, ANY_BUT_NEWLINE, PERL, POSIX, Ranges, folded, merged, negated
from statechain.asl.expressions.regex.escapes import Escapes
from statechain.asl.expressions.regex.syntax import (
    EMPTY,
    Assertion,
    Chars,
    Choice,
    Group,
    Node,
    RegexSyntaxError,
    Repeat,
    Sequence,
)

__all__ = ["Parsed", "parse"]

MOST_REPEATS = 1000
DEEPEST = 100
COUNTS = re.compile(r"\{(0|[1-9][0-9]*)(,(0|[1-9][0-9]*)?)?\}")
FLAGS = re.compile(r"\?([imsU]*)(?:-([imsU]+))?([:)])")
NAME = re.compile(r"\?P?<(\w+)>")
POSIX_NAME = re.compile(r"\[:(\^?)(\w*):\]")
ASSERTIONS = {"A": "text_begin", "z": "text_end", "b": "word", "B": "not_word"}
LOOK_AROUND = ("?=", "?!", "?<=", "?<!")


@define
class _Flags:
    ignore_case: bool
    multiline: bool
    dot_all: bool
    is_ungreedy: bool = False


@define
class Parsed:
    """A pattern's syntax, how many groups it has, and their names."""

    node: Node
    groups: int
    names: dict[str, int]


def parse(pattern: str, *, ignore_case: bool, multiline: bool, dot_all: bool) -> Parsed:
    """Return the syntax of a pattern. Raises RegexSyntaxError."""
    return _Parser(pattern, _Flags(ignore_case, multiline, dot_all)).parse()


class _Parser(Escapes):
    def __init__(self, pattern: str, flags: _Flags) -> None:
        super().__init__(pattern)
        self._flags = flags
        self._groups = 0
        self._names: dict[str, int] = {}
        self._depth = 0

    def parse(self) -> Parsed:
        node = self._choice()
        if self.place < len(self.pattern):
            raise self.refused("an unmatched )")
        _limit_repeats(node, MOST_REPEATS, self.refused("repetitions of more than 1000 in all"))
        return Parsed(node, self._groups, self._names)

    # Structure

    def _choice(self) -> Node:
        """Read the alternatives of a group or of the whole pattern; flags that are set in it end with it."""
        flags = self._flags
        options = [self._sequence()]
        while self.take("|"):
            options.append(self._sequence())
        # Flags that are set in a group end with it.
        self._flags = flags
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        may_repeat = False
        while self.place < len(self.pattern) and self.pattern[self.place] not in "|)":
            start = self.place
            counts = self._counts()
            if counts is None:
                parts += self._atoms()
                may_repeat = bool(parts)  # setting flags does not come between
                continue
            if not may_repeat:
                raise self.refused("a repetition of nothing, or of a repetition", start)
            parts[-1] = self._repeat(parts[-1], *counts)
            may_repeat = False
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts)) if parts else EMPTY

    def _counts(self) -> tuple[int, int | None] | None:
        """Read a repetition's operator, if one is next."""
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        sign = self.pattern[self.place]
        if sign in simple:
            self.place += 1
            return simple[sign]
        match = COUNTS.match(self.pattern, self.place)
        if match is None:
            return None
        bounds = [match[1], match[3] or (None if match[2] else match[1])]
        # By length first: a count of very many digits is not made a number.
        if any(len(bound) > 4 or int(bound) > MOST_REPEATS for bound in bounds if bound is not None):
            raise self.refused("a repetition of more than 1000")
        least, most = int(match[1]), None if bounds[1] is None else int(bounds[1])
        if most is not None and least > most:
            raise self.refused("a repetition of more than its most")
        self.place = match.end()
        return least, most

    def _repeat(self, node: Node, least: int, most: int | None) -> Node:
        # With the flag U the question mark means the opposite.
        is_greedy = self.take("?") == self._flags.is_ungreedy
        return Repeat(node, least, most, is_greedy)

    def _atoms(self) -> list[Node]:
        """Read one atom, several where text is quoted, or none where flags are set."""
        sign = self.pattern[self.place]
        if sign == "\\" and self.pattern[self.place + 1 : self.place + 2] == "Q":
            return [self._char(ord(each)) for each in self.quoted()]
        if sign == "(":
            return self._group()
        return [self._atom(sign)]

    def _atom(self, sign: str) -> Node:
        if sign == "[":
            return Chars(self._brackets())
        if sign == "\\":
            return self._escape()
        self.place += 1
        if sign == ".":
            return Chars(ANY if self._flags.dot_all else ANY_BUT_NEWLINE)
        if sign == "^":
            return Assertion("line_begin" if self._flags.multiline else "text_begin")
        if sign == "$":
            return Assertion("line_end" if self._flags.multiline else "text_end")
        return self._char(ord(sign))

    def _char(self, code: int) -> Node:
        return Chars(self._cased(((code, code),)))

    def _cased(self, ranges: Ranges) -> Ranges:
        return folded(ranges) if self._flags.ignore_case else ranges

    def _escape(self) -> Node:
        sign = self.pattern[self.place + 1 : self.place + 2]
        if sign in ASSERTIONS:
            self.place += 2
            return Assertion(ASSERTIONS[sign])
        return Chars(self._class_escape() or self._cased(self.code_escape()))

    # Groups

    def _group(self) -> list[Node]:
        start = self.place
        self.place += 1
        flags = self._flags
        end_of_flags = self._set_flags()
        if end_of_flags == ")":
            return []
        number = None if end_of_flags else self._new_group(start)
        self._depth += 1
        if self._depth > DEEPEST:
            raise self.refused("brackets that nest too deep", start)
        node = self._choice()
        self._depth -= 1
        self._flags = flags
        if not self.take(")"):
            raise self.refused("an unmatched (", start)
        return [node if number is None else Group(node, number)]

    def _set_flags(self) -> str:
        """Read flags, which hold to the end of the group; return the character after them, or nothing without any."""
        match = FLAGS.match(self.pattern, self.place)
        if match is None:
            return ""
        self.place = match.end()
        names = {"i": "ignore_case", "m": "multiline", "s": "dot_all", "U": "is_ungreedy"}
        changes = {names[flag]: True for flag in match[1]} | {names[flag]: False for flag in match[2] or ""}
        self._flags = evolve(self._flags, **changes)
        return match[3]

    def _new_group(self, start: int) -> int:
        """Number a group that is captured, and note its name if it has one."""
        self._groups += 1
        if not self.pattern.startswith("?", self.place):
            return self._groups
        match = NAME.match(self.pattern, self.place)
        if match is None:
            is_look_around = self.pattern.startswith(LOOK_AROUND, self.place)
            what = "look-around, which needs backtracking" if is_look_around else "an unknown kind of group"
            raise self.refused(what, start)
        if match[1] in self._names:
            raise self.refused(f"a second group named {match[1]}", start)
        self.place = match.end()
        self._names[match[1]] = self._groups
        return self._groups

    # Classes

    def _class_escape(self) -> Ranges | None:
        """Read an escape that names a class; None where another escape is next."""
        sign = self.pattern[self.place + 1 : self.place + 2]
        if sign and sign in "pP":
            ranges, is_negated = self.unicode_escape()
        elif sign and sign in PERL:
            self.place += 2
            ranges, is_negated = PERL[sign.lower()], sign.isupper()
        else:
            return None
        ranges = self._cased(ranges)
        return negated(ranges) if is_negated else ranges

    def _brackets(self) -> Ranges:
        start = self.place
        self.place += 1
        is_negated = self.take("^")
        found: list[tuple[int, int]] = []
        is_first = True
        # A closing bracket that comes first is a member.
        while is_first or not self.pattern.startswith("]", self.place):
            if self.place >= len(self.pattern):
                raise self.refused("an unmatched [", start)
            found += self._members()
            is_first = False
        self.place += 1
        ranges = merged(found)
        return negated(ranges) if is_negated else ranges

    def _members(self) -> Ranges:
        """Read one range, or one class in brackets."""
        if self.pattern.startswith("[:", self.place) and ":]" in self.pattern[self.place + 2 :]:
            return self._posix()
        if self.pattern[self.place] == "\\":
            found = self._class_escape()
            if found is not None:
                return found
        start = self.place
        first = last = self._member()
        # A dash before the end is a member, and makes no range.
        if self.pattern.startswith("-", self.place) and not self.pattern.startswith("-]", self.place):
            self.place += 1
            if self.place >= len(self.pattern):
                raise self.refused("an unmatched [", start)
            last = self._member()
        if first > last:
            raise self.refused("a range that ends before it begins", start)
        return self._cased(((first, last),))

    def _posix(self) -> Ranges:
        match = POSIX_NAME.match(self.pattern, self.place)
        ranges = None if match is None else POSIX.get(match[2])
        if match is None or ranges is None:
            raise self.refused("an unknown class in brackets and colons")
        self.place = match.end()
        ranges = self._cased(ranges)
        return negated(ranges) if match[1] else ranges

    def _member(self) -> int:
        if self.pattern[self.place] == "\\":
            ((code, _),) = self.code_escape()
            return code
        self.place += 1
        return ord(self.pattern[self.place - 1])


def _limit_repeats(node: Node, left: int, error: RegexSyntaxError) -> None:
    """Refuse counted repetitions in each other whose product is more than what is left."""
    if isinstance(node, Repeat):
        counted = node.most if node.most is not None else node.least
        is_counted = (node.least, node.most) not in {(0, None), (1, None), (0, 1)}
        # Counted repetitions are written out: nested ones multiply.
        left = left // counted if is_counted and counted else left
        if left == 0:
            raise error
    for child in children(node):
        _limit_repeats(child, left, error)


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes that a node is made of."""
    if isinstance(node, Repeat | Group):
        return (node.node,)
    if isinstance(node, Sequence):
        return node.parts
    return node.options if isinstance(node, Choice) else ()
