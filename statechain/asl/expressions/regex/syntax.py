"""What a regular expression is made of, once it is parsed."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from statechain.asl.expressions.regex.classes import Ranges

__all__ = ["EMPTY", "Assertion", "Chars", "Choice", "Group", "Node", "RegexSyntaxError", "Repeat", "Sequence"]


class RegexSyntaxError(ValueError):
    """A pattern is no regular expression, or one that cannot be matched in linear time."""


@frozen
class Chars:
    """One character out of some ranges."""

    ranges: Ranges


@frozen
class Assertion:
    """A place in the text: ``text_begin``, ``text_end``, ``line_begin``, ``line_end``, ``word`` or ``not_word``."""

    kind: str


@frozen
class Sequence:
    """One after another."""

    parts: tuple[Node, ...]


@frozen
class Choice:
    """One of several, the first that leads to a match."""

    options: tuple[Node, ...]


@frozen
class Repeat:
    """One again and again; ``most`` is None where nothing bounds it."""

    node: Node
    least: int
    most: int | None
    is_greedy: bool


@frozen
class Group:
    """A part that is captured, numbered from 1."""

    node: Node
    number: int


Node: TypeAlias = Chars | Assertion | Sequence | Choice | Repeat | Group
EMPTY = Sequence(())
