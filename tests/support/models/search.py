"""Two searches through the states of a model: breadth first up to a number of states, and random walks."""

from __future__ import annotations

import random
from collections import deque
from typing import Protocol as TypingProtocol
from typing import TypeVar

import attrs

from support.models.states import Broken

__all__ = ["Found", "Searched", "search", "walk"]

StateT = TypeVar("StateT")


class Model(TypingProtocol[StateT]):
    """What can be searched."""

    def start(self) -> StateT: ...
    def steps(self, state: StateT) -> object: ...
    def check(self, state: StateT) -> None: ...
    def settle(self, state: StateT) -> StateT: ...


@attrs.frozen
class Found:
    """A broken invariant, and the actions that lead to it."""

    reason: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*(f"{number:3} {what}" for number, what in enumerate(self.trace, 1)), f"    → {self.reason}"])


@attrs.frozen
class Searched:
    """How many states were looked at, how deep, and what was found first."""

    states: int
    depth: int
    found: Found | None


def search(model: Model, *, most: int, settle_every: int = 1) -> Searched:
    """Look at the nearest states, each once; at an interval one is also followed without failures to its end."""
    start = model.start()
    origins: dict[object, tuple[object, str] | None] = {start: None}
    waiting = deque([(start, 0)])
    depth = looked = 0
    while waiting and looked < most:
        state, depth = waiting.popleft()
        looked += 1
        try:
            model.check(state)
            if looked % settle_every == 0:
                model.settle(state)
            for what, after in model.steps(state):
                if after not in origins:
                    origins[after] = state, what
                    waiting.append((after, depth + 1))
        except Broken as broken:
            return Searched(looked, depth, Found(str(broken), _trace(origins, state)))
    return Searched(looked, depth, None)


def _trace(origins: dict[object, tuple[object, str] | None], state: object) -> tuple[str, ...]:
    trace: list[str] = []
    while (origin := origins[state]) is not None:
        state, what = origin
        trace.append(what)
    return tuple(reversed(trace))


def walk(model: Model, *, walks: int, length: int, seed: int) -> Searched:
    """Walk at random, faults often, and follow the end of each walk without faults to where it leads."""
    chance = random.Random(seed)
    looked = 0
    for _ in range(walks):
        state, trace = model.start(), []
        try:
            for _ in range(length):
                what, state = chance.choice(list(model.steps(state)))
                trace.append(what)
                looked += 1
                model.check(state)
            model.settle(state)
        except Broken as broken:
            return Searched(looked, len(trace), Found(str(broken), tuple(trace)))
    return Searched(looked, length, None)
