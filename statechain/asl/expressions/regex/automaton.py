"""A program run as a deterministic automaton, which is built while it runs: where a match ends, or where it begins.

A state is what is common to all texts that lead to it: the threads in order of preference, before they have passed the
tests at the current place, and the kind of the character before, which those tests ask for. That a match ended before
the last character is known one character late, since the tests ask for the character after, too. At most `MOST_STEPS`
transitions, or what takes as much memory, are kept; then all are forgotten.
"""

from __future__ import annotations

from bisect import bisect_right

from statechain.asl.expressions.regex.program import CHARS, JUMP, MATCH, SAVE, SPLIT, Program

__all__ = ["Automaton", "Membership", "flags_between", "kind_of"]

EDGE, NEWLINE, WORD, OTHER = range(4)
MOST_STEPS = 20_000
THREADS_A_STEP = 8
"""This many threads of a state take as much memory as one transition."""

END = ""
"""In place of a character, the end of the text."""


def kind_of(sign: str) -> int:
    """Return what the tests have to know of a character; ``""`` is the edge of the text."""
    if not sign:
        return EDGE
    if sign == "\n":
        return NEWLINE
    return WORD if sign == "_" or (sign.isascii() and sign.isalnum()) else OTHER


def flags_between(before: int, after: int) -> int:
    """Return which tests hold between two kinds of characters, as the bits of `FLAGS`."""
    flags = 16 if (before == WORD) is not (after == WORD) else 32
    flags |= (before == EDGE) | (after == EDGE) << 1
    return flags | (before <= NEWLINE) << 2 | (after <= NEWLINE) << 3


class Membership:
    """Which of a program's classes a character is in: the same for all characters between two bounds."""

    def __init__(self, program: Program) -> None:
        bounds = {0} | {bound for ranges in program.classes for first, last in ranges for bound in (first, last + 1)}
        self._bounds = sorted(bounds)
        self._sets: list[frozenset[int]] = []
        members: list[set[int]] = [set() for _ in self._bounds]
        for number, ranges in enumerate(program.classes):
            for first, last in ranges:
                for place in range(bisect_right(self._bounds, first) - 1, bisect_right(self._bounds, last)):
                    members[place].add(number)
        self._sets = [frozenset(each) for each in members]

    def classes_of(self, sign: str) -> frozenset[int]:
        """Return the classes that a character is in."""
        return self._sets[bisect_right(self._bounds, ord(sign)) - 1]


class _State:
    __slots__ = ("before", "is_dead", "is_match", "is_special", "is_start", "steps", "threads")

    def __init__(self, threads: tuple[int, ...], before: int, *, is_match: bool, is_start: bool) -> None:
        self.threads = threads
        self.before = before
        self.is_match = is_match
        self.is_dead = not threads
        self.is_start = is_start
        self.is_special = is_match or is_start or self.is_dead
        self.steps: dict[str, _State] = {}


class Automaton:
    """A program that runs over texts forward, or backward where it is a reversed one."""

    def __init__(self, program: Program, *, is_backward: bool = False) -> None:
        self.program = program
        self.membership = Membership(program)
        self._is_backward = is_backward
        self._states: dict[tuple[tuple[int, ...], int, bool], _State] = {}
        self._count = 0

    def end(self, text: str, place: int, *, is_search: bool) -> tuple[int, int]:
        """Return where the preferred match at a place, or from there on, ends, and how far the text was read.

        Without a match the end is -1; a search that is back at its start then leaves the rest to be searched. What was
        read includes the end of the text where that was reached.
        """
        start = self.program.restart if is_search else self.program.start
        state = self._first(start, text[place - 1] if place else "")
        found = -1
        for current in range(place, len(text)):
            sign = text[current]
            # The loop that all time goes into: a dict, and one test for all that is special.
            state = state.steps.get(sign) or self._step(state, sign)
            if state.is_special:
                # Known one character late: the tests ask for the character after the match, too.
                if state.is_match:
                    found = current
                if state.is_dead or (state.is_start and found < 0):
                    return found, current + 1
        return (len(text) if self._step(state, END).is_match else found), len(text) + 1

    def begin(self, text: str, end: int, least: int) -> int:
        """Return where the match that ends at a place begins: as far to the left as can be, but not before `least`."""
        state = self._first(self.program.start, text[end] if end < len(text) else "")
        found = -1
        for current in range(end - 1, least - 1, -1):
            sign = text[current]
            state = state.steps.get(sign) or self._step(state, sign)
            if state.is_special:
                if state.is_match:
                    found = current + 1
                if state.is_dead:
                    return found
        is_match = self._step(state, text[least - 1] if least else END).is_match
        return least if is_match else found

    def _first(self, start: int, before: str) -> _State:
        kind = kind_of(before) if self.program.has_tests else OTHER
        return self._state((start,), kind, is_match=False)

    def _state(self, threads: tuple[int, ...], before: int, *, is_match: bool) -> _State:
        key = (threads, before, is_match)
        state = self._states.get(key)
        if state is None:
            self._count += len(threads) // THREADS_A_STEP
            is_start = threads == (self.program.restart,)
            state = self._states[key] = _State(threads, before, is_match=is_match, is_start=is_start)
        return state

    def _step(self, state: _State, sign: str) -> _State:
        """Return the state after a character, and keep the transition."""
        kind = kind_of(sign) if self.program.has_tests else OTHER
        flags = flags_between(state.before, kind) if self.program.has_tests else 0
        passed, is_match = self._passed(state.threads, flags)
        classes = self.membership.classes_of(sign) if sign else frozenset()
        program = self.program
        reached = dict.fromkeys(program.then[each] for each in passed if program.other[each] in classes)
        # Backward no thread is preferred: in one order, fewer states differ.
        threads = tuple(sorted(reached) if self._is_backward else reached)
        # A text could make a new state at each character: memory stays bounded, and the search goes on.
        if self._count >= MOST_STEPS:
            self._states, self._count = {}, 0
        following = self._state(threads, kind, is_match=is_match)
        state.steps[sign] = following
        self._count += 1
        return following

    def _passed(self, threads: tuple[int, ...], flags: int) -> tuple[list[int], bool]:
        """Return where threads wait for a character, in order, and whether one has matched.

        Forward a match ends all threads of lesser preference; backward the longest match is wanted, so none.
        """
        operations, then, other = self.program.operations, self.program.then, self.program.other
        # A stack: the thread that is preferred is on top.
        pending, seen = list(reversed(threads)), set()
        passed: list[int] = []
        is_match = False
        while pending:
            place = pending.pop()
            if place in seen:
                continue
            seen.add(place)
            operation = operations[place]
            if operation == CHARS:
                passed.append(place)
            elif operation == MATCH:
                is_match = True
                if not self._is_backward:
                    break
            elif operation == SPLIT:
                pending += (other[place], then[place])
            elif operation in {JUMP, SAVE} or other[place] & flags:
                pending.append(then[place])
        return passed, is_match
