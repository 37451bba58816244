"""The budget of one evaluation: a number of steps, a depth, and the size of each value.

What costs more than a step, because it walks or copies long texts and sequences, is charged for by their length, so
that an expression which runs away ends soon, however it does it.
"""

from __future__ import annotations

from statechain.asl.effort import STEPS_ON_LOOP, need_time
from statechain.asl.expressions.jsonata.library import Value
from statechain.limits import Limits

__all__ = [
    "CHARACTERS_A_STEP",
    "ITEMS_A_STEP",
    "LARGEST_VALUE",
    "NUMBER_BYTES",
    "TOO_DEEP",
    "TOO_LARGE",
    "Budget",
    "Exhausted",
]

LARGEST_VALUE = 6_990_256
"""Bytes of one value, a number counting as 8 and a character as 1: AWS's own bound."""

NUMBER_BYTES = 8
ITEMS_A_STEP = 8
CHARACTERS_A_STEP = 128
TOO_DEEP = "Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive."
TOO_LONG = "Expression evaluation timeout: Check for infinite loop"
TOO_LARGE = "Expression evaluation memory limit exceeded: Check for excessive memory usage"


class Exhausted(Exception):
    """An evaluation went past its budget; its text is AWS's."""


class Budget:
    """What an evaluation has left; the engine derives from it, since every node is charged for."""

    _left: int
    _rest: int
    _depth: int
    _deepest: int

    def begin(self, limits: Limits) -> None:
        """Begin an evaluation, with all that the limits allow."""
        # At first only as much as may hold an event loop: for the rest `_go_on` asks for a thread.
        self._left = min(limits.jsonata_steps, STEPS_ON_LOOP)
        self._rest = limits.jsonata_steps - self._left
        self._depth = 0
        self._deepest = limits.jsonata_depth

    def charge(self, steps: int) -> None:
        """Take steps from the budget."""
        self._left -= steps
        if self._left < 0:
            self._go_on()

    def _go_on(self) -> None:
        """Take the rest of the budget, unless that would hold an event loop. Raises TakesLong, Exhausted."""
        if self._rest:
            need_time()
        self._left, self._rest = self._left + self._rest, 0
        if self._left < 0:
            raise Exhausted(TOO_LONG)

    def weigh(self, value: Value) -> None:
        """Charge for a string or a sequence by its length, and refuse one that is too large."""
        if isinstance(value, str):
            if len(value) > CHARACTERS_A_STEP:
                self.allow(len(value))
                self.charge(len(value) // CHARACTERS_A_STEP)
        elif isinstance(value, list) and len(value) >= ITEMS_A_STEP:
            self.allow(len(value) * NUMBER_BYTES)
            self.charge(len(value) // ITEMS_A_STEP)

    def allow(self, size: float) -> None:
        """Refuse a value of too many bytes, before it is built where that can be known."""
        if size > LARGEST_VALUE:
            raise Exhausted(TOO_LARGE)
