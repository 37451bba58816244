"""Random numbers from a seed, as the service draws them: those of Java's ``java.util.Random``.

The same seed gives the same number here and there. Without a seed the draw is the visit's own business.
"""

from __future__ import annotations

__all__ = ["JavaRandom"]

MULTIPLIER = 0x5DEECE66D
MASK = (1 << 48) - 1


class JavaRandom:
    """A linear congruential generator of 48 bits."""

    def __init__(self, seed: int) -> None:
        self._state = (seed ^ MULTIPLIER) & MASK

    def _bits(self, count: int) -> int:
        self._state = (self._state * MULTIPLIER + 0xB) & MASK
        return self._state >> (48 - count)

    def fraction(self) -> float:
        """Return a number from 0 up to, but not including, 1."""
        return ((self._bits(26) << 27) + self._bits(27)) / (1 << 53)

    def below(self, bound: int) -> int:
        """Return a whole number from 0 up to, but not including, a bound of at least 1 that fits into 31 bits."""
        # Java's own way for powers of two: the high bits, which are more random.
        if bound & (bound - 1) == 0:
            return bound * self._bits(31) >> 31
        while True:
            bits = self._bits(31)
            value = bits % bound
            # Java sees here that its integer overflows: the last, incomplete stretch would favour low numbers.
            if bits - value + bound - 1 < 1 << 31:
                return value
