"""A bound on what expressions make: a part that they repeat is one object in memory, and many texts in the JSON.

A few thousand references to an input of 250 kB take no memory, and their text would take gigabytes. So what may repeat
much is measured before a text is made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from statechain.asl.effort import need_time
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.limits import Limits

__all__ = ["bounded", "counted"]

InputT = TypeVar("InputT")
ContextT = TypeVar("ContextT")

FEW = 32
"""That many references make a string that is just encoded, and measured then."""

TIMES = 4
"""How many times the size of a payload a template may make; a path may choose a part of it afterwards."""

PARTS_ON_LOOP = 50_000
"""Parts that are measured in the thread of an event loop, in a few milliseconds."""


_left: ContextVar[list[int] | None] = ContextVar("_left", default=None)
"""How many characters the texts of the template that is evaluated may still have, where they are counted."""


def _references_in(template: JSONValue) -> int:
    """Return how many parts of its input the text of a template may repeat, at most; a descendant counts as many."""
    count, waiting = 0, [template]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            count += item.count("$") + (FEW if ".." in item else 0)
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return count


def bounded(
    template: JSONValue, make: Callable[[InputT, ContextT], JSONValue], limits: Limits
) -> Callable[[InputT, ContextT], JSONValue]:
    """Return what evaluates a template; where that may repeat much, a value that is too large is a StateError."""
    if _references_in(template) <= FEW:
        return make
    most = TIMES * limits.payload_bytes

    def evaluate(value: InputT, context: ContextT) -> JSONValue:
        token = _left.set([most])
        try:
            made = make(value, context)
        finally:
            _left.reset(token)
        if _is_longer(made, most):
            raise _too_long(most)
        return made

    return evaluate


def counted(make: Callable[[InputT, ContextT], JSONValue], limits: Limits) -> Callable[[InputT, ContextT], JSONValue]:
    """Return what evaluates one expression of a template, and stops it once its texts are too long together.

    A function makes each of its texts anew, so that thousands would fill the memory before the value is measured.
    """
    most = TIMES * limits.payload_bytes

    def evaluate(value: InputT, context: ContextT) -> JSONValue:
        made = make(value, context)
        if isinstance(made, str) and (left := _left.get()) is not None:
            left[0] -= len(made)
            if left[0] < 0:
                raise _too_long(most)
        return made

    return evaluate


def _too_long(most: int) -> StateError:
    return StateError("States.DataLimitExceeded", f"The expressions make a value of more than {most} bytes.")


def _is_longer(value: JSONValue, most: int) -> bool:
    """Return whether the text of a value is sure to have more characters; each repetition counts."""
    waiting, parts = [value], 0
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            most -= len(item) + 2
        elif isinstance(item, dict):
            most -= 4 * len(item) + sum(map(len, item))  # two quotes, a colon and a comma
            waiting.extend(item.values())
        elif isinstance(item, list):
            most -= len(item)
            waiting.extend(item)
        else:
            most -= 1
        if most < 0:
            return True
        parts += 1
        if parts == PARTS_ON_LOOP:
            need_time()
    return False
