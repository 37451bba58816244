"""Where a match can begin at all: by the text or the characters that every match begins with."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from statechain.asl.expressions.regex.classes import Ranges, merged
from statechain.asl.expressions.regex.program import can_be_empty
from statechain.asl.expressions.regex.syntax import Assertion, Chars, Choice, Group, Node, Repeat, Sequence

__all__ = ["Scan", "begins_the_text", "scan_for"]

Scan: TypeAlias = Callable[[str, int], int]
"""From a string and a place to the next place where a match can begin, or -1."""

MOST_RANGES = 64


def scan_for(node: Node) -> Scan:
    """Return the scan for the matches of a syntax."""
    prefix = _prefix(node)
    # In C, and the most frequent case: a literal at the beginning.
    if prefix:
        return lambda text, place: text.find(prefix, place)
    if can_be_empty(node):
        return lambda _text, place: place
    ranges = _first(node)
    if len(ranges) > MOST_RANGES:
        return lambda _text, place: place
    if not ranges:
        return lambda _text, _place: -1
    search = re.compile(f"[{''.join(f'{_escaped(first)}-{_escaped(last)}' for first, last in ranges)}]").search

    def scan(text: str, place: int) -> int:
        match = search(text, place)
        return -1 if match is None else match.start()

    return scan


def _escaped(code: int) -> str:
    return f"\\U{code:08x}"


def _prefix(node: Node) -> str:
    """Return the text that every match begins with."""
    text = ""
    for part in node.parts if isinstance(node, Sequence) else (node,):
        if not isinstance(part, Chars) or len(part.ranges) != 1 or part.ranges[0][0] != part.ranges[0][1]:
            break
        text += chr(part.ranges[0][0])
    return text


def _first(node: Node) -> Ranges:
    """Return the characters that a match begins with."""
    if isinstance(node, Chars):
        return node.ranges
    if isinstance(node, Choice):
        return merged(pair for option in node.options for pair in _first(option))
    if isinstance(node, Repeat | Group):
        return _first(node.node)
    found: list[tuple[int, int]] = []
    for part in node.parts if isinstance(node, Sequence) else ():
        found += _first(part)
        if not can_be_empty(part):
            break
    return merged(found)


def begins_the_text(node: Node) -> bool:
    """Return whether every match begins where the text does."""
    while isinstance(node, Sequence) and node.parts:
        node = node.parts[0]
    return isinstance(node, Assertion) and node.kind == "text_begin"
