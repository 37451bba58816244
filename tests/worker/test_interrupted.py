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


async def leave(seconds: float, error: Exception | None) -> tuple[float, int]:
    """Leave an engine whose storage takes so long; return how long that took, and how many leases are left."""
    async with MemoryRepository() as inner:
        engine = Engine(as_repository(ReleasesLate(inner, seconds)), lease=3600)
        await engine.__aenter__()
        clock = asyncio.get_running_loop().time
        began = clock()
        await engine.__aexit__(type(error) if error else None, error, None)
        return clock() - began, len(await inner.workers())


def test_an_engine_that_is_left_waits_for_its_hand_over() -> None:
    seconds, leases = run_virtually(leave(30, None))
    assert seconds >= 30
    assert leases == 0


@pytest.mark.parametrize(("takes", "waits", "leases"), [(0.4, 0.4, 0), (30, 1, 1)])
def test_an_engine_that_is_left_at_once_waits_for_its_hand_over_no_longer_than_a_second(
    takes: float, waits: float, leases: int
) -> None:
    seconds, left = run_virtually(leave(takes, Interrupted()))
    # The thread that renews the lease is given a second before, of which the loop's time passes at once.
    assert waits <= seconds <= waits + 1
    assert left == leases
