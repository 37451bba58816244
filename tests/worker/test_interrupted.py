"""An engine that is left at once: what it still waits for, and what it raises."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statechain import Engine, MemoryRepository
from support.faulty_repository import FaultyRepository, as_repository
from support.virtual_loop import run_virtually


class Interrupted(Exception):
    """Ends the body of an engine."""


class ReleasesLate(FaultyRepository):
    """Takes its time over the hand-over."""

    def __init__(self, inner: Any, seconds: float) -> None:
        super().__init__(inner)
        self.seconds = seconds

    async def release(self, worker_id: str) -> None:
        await asyncio.sleep(self.seconds)
        await self._inner.release(worker_id)


async def leave(seconds: float, *, is_interrupted: bool) -> tuple[float, int]:
    """Leave an engine whose storage takes so long; return how long that took, and how many leases are left."""
    async with MemoryRepository() as inner:
        engine = Engine(as_repository(ReleasesLate(inner, seconds)), lease=3600)
        await engine.__aenter__()
        clock = asyncio.get_running_loop().time
        began = clock()
        if is_interrupted:
            await engine.__aexit__(Interrupted, Interrupted(), None)
        else:
            await engine.__aexit__(None, None, None)
        return clock() - began, len(await inner.workers())


@pytest.mark.parametrize(
    ("seconds", "is_interrupted", "taken", "leases"),
    [(0.4, True, 0.4, 0), (30, True, 1, 1), (30, False, 30, 0)],
)
def test_the_hand_over_takes_no_longer_than_a_second_where_the_engine_is_left_at_once(
    seconds: float, taken: float, leases: int, *, is_interrupted: bool
) -> None:
    took, left = run_virtually(leave(seconds, is_interrupted=is_interrupted))
    # The thread that renews the lease is given a second, in which no virtual time is left to it.
    assert taken <= took <= taken + 1.5
    assert left == leases
