"""Seeded draws: the numbers that Java's generator gives."""

from __future__ import annotations

import pytest

from statechain.asl.expressions.java_random import JavaRandom


@pytest.mark.parametrize(
    ("seed", "fraction"), [(42, 0.7275636800328681), (0, 0.730967787376657), (7, 0.7306990420600421)]
)
def test_fractions_are_javas(seed: int, fraction: float) -> None:
    assert JavaRandom(seed).fraction() == fraction


def test_whole_numbers_are_javas() -> None:
    draws = JavaRandom(42)
    assert [draws.below(10) for _ in range(5)] == [0, 3, 8, 4, 0]
    assert [JavaRandom(42).below(bound) for bound in (1, 8, 2**31 - 1)] == [0, 5, 1562431130]


def test_every_bound_is_kept() -> None:
    draws = JavaRandom(-5)
    for bound in (1, 2, 3, 7, 1000, 2**30 + 1):
        assert all(0 <= draws.below(bound) < bound for _ in range(50))
