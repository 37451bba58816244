"""Pages of a filter: together they are its limit, none is empty, and none is asked for more than is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from statechain import ExecutionFilter
from statechain.records.filters import Cursor, ExecutionKey
from statechain.storage.paging import pages

START = datetime(2026, 1, 1, tzinfo=UTC)


class Stored:
    """Executions that are read by keyset; notes how many were asked for."""

    def __init__(self, total: int) -> None:
        self.keys = [ExecutionKey(id=f"{number:03}", start_time=START, redrive_count=0) for number in range(total)]
        self.wanted: list[int] = []

    async def read(self, filter_: ExecutionFilter, *, after: Cursor | None, page: int) -> Sequence[ExecutionKey]:
        self.wanted.append(page)
        begin = 0 if after is None else 1 + next(n for n, key in enumerate(self.keys) if key.id == after.id)
        return self.keys[begin : begin + page]


@pytest.mark.parametrize(
    ("total", "limit", "sizes", "wanted"),
    [
        (7, None, [3, 3, 1], [3, 3, 3]),
        (6, None, [3, 3], [3, 3, 3]),
        (0, None, [], [3]),
        (9, 7, [3, 3, 1], [3, 3, 1]),
        (9, 6, [3, 3], [3, 3]),
        (9, 2, [2], [2]),
        (4, 8, [3, 1], [3, 3]),
        (9, 0, [], []),
    ],
)
async def test_pages_go_up_to_the_limit(total: int, limit: int | None, sizes: list[int], wanted: list[int]) -> None:
    stored = Stored(total)
    found = [page async for page in pages(stored.read, ExecutionFilter(limit=limit), 3)]
    assert [len(page) for page in found] == sizes
    assert [key for page in found for key in page] == stored.keys[: sum(sizes)]
    assert stored.wanted == wanted
