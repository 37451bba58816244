"""The order of the tests where several processes run them: each process begins with files that take long.

Pytest-xdist's ``--dist worksteal`` gives each process a part of the list, and one that has ended its part takes tests
from the end of another's. Long tests at the end of a part would run when nothing is left for the other processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, groupby, islice

import pytest

__all__ = ["in_parts"]

LONG = frozenset({"browser", "docs", "faults"})
"""The markers of tests that start processes, servers or browsers, and wait for them."""

Module = Sequence[pytest.Item]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests that were chosen, alike in each process of pytest-xdist."""
    if (processes := getattr(config, "workerinput", {}).get("workercount", 1)) > 1:
        items[:] = in_parts(items, processes)


def in_parts(items: Sequence[pytest.Item], processes: int) -> list[pytest.Item]:
    """Return the tests in as many parts of equal size as there are processes, with long files first in each.

    Long files are dealt in turn. Files stay whole where that is possible: their tests share fixtures.
    """
    modules = [[*group] for _, group in groupby(items, lambda item: item.path)]
    long = [module for module in modules if _is_long(module)]
    short = chain.from_iterable(module for module in modules if not _is_long(module))
    ordered: list[pytest.Item] = []
    for number in range(processes):
        end = len(items) * (number + 1) // processes
        ordered += chain.from_iterable(long[number::processes])
        ordered += islice(short, max(0, end - len(ordered)))
    return [*ordered, *short]


def _is_long(module: Iterable[pytest.Item]) -> bool:
    return any(mark.name in LONG for item in module for mark in item.iter_markers())
