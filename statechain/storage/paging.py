"""What a filter means → pages of it, by keyset: limit and offset count over the whole.

What is inserted or deleted between two pages neither repeats nor skips another execution.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, TypeVar

from statechain.records.executions import Execution
from statechain.records.filters import Cursor, ExecutionFilter, ExecutionKey

__all__ = ["PageRead", "pages"]

PlacedT_co = TypeVar("PlacedT_co", bound=Execution | ExecutionKey, covariant=True)


class PageRead(Protocol[PlacedT_co]):
    """`Repository.executions`, or another read of that kind."""

    async def __call__(self, filter_: ExecutionFilter, *, after: Cursor | None, page: int) -> Sequence[PlacedT_co]:
        """Return at most ``page`` in the filter's order, after the cursor or, without one, after its offset."""


async def pages(
    read: PageRead[PlacedT_co], filter_: ExecutionFilter, size: int
) -> AsyncGenerator[Sequence[PlacedT_co], None]:
    """Yield what a filter means, at most ``size`` at a time and none of them empty."""
    left = filter_.limit
    after: Cursor | None = None
    while left is None or left > 0:
        wanted = size if left is None else min(size, left)
        page = await read(filter_, after=after, page=wanted)
        if page:
            yield page
        # A read returns fewer than it is asked for only where there are no more.
        if len(page) < wanted:
            return
        after = Cursor.of(page[-1])
        left = None if left is None else left - len(page)
