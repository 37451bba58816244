"""A program run thread by thread, each with what it has captured: what the groups of a match hold."""

from __future__ import annotations

from typing import TypeAlias

from statechain.asl.expressions.regex.automaton import Automaton, flags_between, kind_of
from statechain.asl.expressions.regex.program import CHARS, MATCH, SAVE, SPLIT, TEST, Program

__all__ = ["captured"]

Saved: TypeAlias = "tuple[int, int, Saved] | None"
"""The slots that a thread has written, the last first: threads share what they have in common."""


def captured(automaton: Automaton, text: str, start: int, end: int) -> dict[int, int]:
    """Return the slots of the match that an automaton found between two places."""
    program, membership = automaton.program, automaton.membership
    threads: list[tuple[int, Saved]] = [(program.start, None)]
    before = kind_of(text[start - 1] if start else "")
    for place in range(start, end + 1):
        sign = text[place] if place < len(text) else ""
        kind = kind_of(sign)
        passed, saved = _passed(program, threads, flags_between(before, kind), place)
        if place == end:
            return _slots(saved)
        classes = membership.classes_of(sign)
        threads = [(program.then[each], slots) for each, slots in passed if program.other[each] in classes]
        before = kind
    return {}


def _passed(
    program: Program, threads: list[tuple[int, Saved]], flags: int, place: int
) -> tuple[list[tuple[int, Saved]], Saved]:
    """Return the threads that wait for a character, in order, down to the first that has matched, and its slots."""
    operations, then, other = program.operations, program.then, program.other
    pending, seen = threads[::-1], set()
    passed: list[tuple[int, Saved]] = []
    while pending:
        number, saved = pending.pop()
        if number in seen:
            continue
        seen.add(number)
        operation = operations[number]
        if operation == CHARS:
            passed.append((number, saved))
        elif operation == MATCH:
            return passed, saved
        elif operation == SPLIT:
            pending += ((other[number], saved), (then[number], saved))
        elif operation == SAVE:
            pending.append((then[number], (other[number], place, saved)))
        elif operation != TEST or other[number] & flags:
            pending.append((then[number], saved))
    return passed, None


def _slots(saved: Saved) -> dict[int, int]:
    slots: dict[int, int] = {}
    while saved is not None:
        slot, place, saved = saved
        # The last written come first, and count.
        slots.setdefault(slot, place)
    return slots
