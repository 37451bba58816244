"""The clock on the wall, and what every clock can be asked."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from statechain import SystemClock
from statechain.testing import VirtualClock
from support.moments import hang


async def test_the_system_clock_sleeps_until_the_moment_and_times_out_after_it() -> None:
    clock = SystemClock()
    due = clock.now() + timedelta(seconds=0.02)
    await clock.sleep_until(due)
    assert clock.now() >= due
    timeout = clock.timeout_at(clock.now() + timedelta(seconds=0.02))
    with pytest.raises(TimeoutError):
        await hang(timeout)
    assert timeout.expired()
    with clock.hold(), clock.hold(briefly=True):
        assert clock.now().tzinfo is UTC


@pytest.mark.parametrize("moment", [None, datetime(9999, 1, 1, tzinfo=UTC)])
async def test_a_far_timeout_of_the_system_clock_does_not_expire(moment: datetime | None) -> None:
    timeout = SystemClock().timeout_at(moment)
    async with timeout:
        await asyncio.sleep(0)
    assert not timeout.expired()


def test_every_clock_is_told_by_the_same_calls() -> None:
    def calls(clock: type) -> set[str]:
        return {name for name in vars(clock) if not name.startswith("_")}

    assert calls(SystemClock) == {"now", "sleep_until", "timeout_at", "hold"}
    assert calls(SystemClock) < calls(VirtualClock)
