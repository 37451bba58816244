"""The order of tests for worker processes: what takes long begins at once, on all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, groupby, islice

import pytest

__all__ = ["in_shares"]


def in_shares(items: list[pytest.Item], workers: int, is_long: Callable[[pytest.Item], bool]) -> list[pytest.Item]:
    """Return the tests in an order in which the share of each worker starts with modules that take long.

    ``--dist worksteal`` cuts the list into shares of equal length; a worker that is done takes the end of another's.
    Modules stay whole but at a cut: their fixtures are set up once. Every worker must make the same order.
    """
    modules = [list(tests) for _, tests in groupby(items, key=lambda item: item.path)]
    long = [tests for tests in modules if any(map(is_long, tests))]
    short = chain.from_iterable(tests for tests in modules if not any(map(is_long, tests)))
    shares = [list(chain.from_iterable(long[number::workers])) for number in range(workers)]
    for share, length in zip(shares, _lengths(len(items), workers), strict=True):
        share.extend(islice(short, max(0, length - len(share))))
    return [*chain.from_iterable(shares), *short]


def _lengths(count: int, workers: int) -> Iterable[int]:
    for remaining in range(workers, 0, -1):
        length = count // remaining
        count -= length
        yield length
