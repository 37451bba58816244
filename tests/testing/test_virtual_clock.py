"""Virtual time: it jumps only when all tasks wait, in order, and never over what takes real time."""

import asyncio
import time
from collections.abc import Awaitable
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statechain.testing import VirtualClock
from support.moments import DAY, START, at, hang


async def test_a_sleep_takes_no_real_time() -> None:
    clock = VirtualClock()
    began = time.monotonic()
    await clock.sleep_until(clock.now() + 365 * DAY)
    assert clock.now() == START + 365 * DAY
    assert time.monotonic() - began < 30


async def test_a_moment_that_has_passed_returns_at_once() -> None:
    clock = VirtualClock(auto=False)
    await clock.sleep_until(START)
    await clock.sleep_until(START - DAY)
    assert clock.now() == START


async def test_sleepers_wake_in_the_order_of_their_moments_then_of_their_coming() -> None:
    clock = VirtualClock()
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep_until(at(seconds))
        woken.append((name, (clock.now() - START).total_seconds()))

    async with asyncio.TaskGroup() as group:
        for name, seconds in [("late", 9), ("early", 1), ("first of two", 5), ("second of two", 5)]:
            group.create_task(sleep(name, seconds))
    assert woken == [("early", 1), ("first of two", 5), ("second of two", 5), ("late", 9)]


async def test_one_who_sleeps_again_is_not_overtaken() -> None:
    clock = VirtualClock()
    ticks: list[float] = []

    async def tick() -> None:
        for _ in range(10):
            await clock.sleep_until(clock.now() + timedelta(seconds=1))
            ticks.append((clock.now() - START).total_seconds())

    async with asyncio.TaskGroup() as group:
        group.create_task(tick())
        await clock.sleep_until(at(5.5))
        assert ticks == [1, 2, 3, 4, 5]
    assert ticks == list(range(1, 11))


async def test_work_between_two_touches_of_the_clock_is_not_overtaken() -> None:
    clock = VirtualClock()

    async def work_in_many_turns() -> datetime:
        for _ in range(20):
            await asyncio.sleep(0)
        return clock.now()

    async with asyncio.TaskGroup() as group:
        group.create_task(clock.sleep_until(at(60)))
        working = group.create_task(work_in_many_turns())
    assert working.result() == START


async def test_what_is_held_is_not_skipped_over() -> None:
    clock = VirtualClock()

    async def commit() -> datetime:
        with clock.hold():
            await asyncio.sleep(0.1)
            return clock.now()

    async with asyncio.TaskGroup() as group:
        group.create_task(clock.sleep_until(at(60)))
        committing = group.create_task(commit())
    assert committing.result() == START
    assert clock.now() == at(60)


async def test_a_brief_hold_gets_the_grace_and_no_more() -> None:
    clock = VirtualClock(grace=0.5)
    is_over = asyncio.Event()

    async def sleep() -> None:
        await clock.sleep_until(at(60))
        is_over.set()

    async def answer(moment: Awaitable[object]) -> datetime:
        with clock.hold(briefly=True):
            await moment
            return clock.now()

    async with asyncio.TaskGroup() as group:
        group.create_task(sleep())
        quick, slow = group.create_task(answer(asyncio.sleep(0.01))), group.create_task(answer(is_over.wait()))
    assert quick.result() == START
    assert slow.result() == at(60)


async def test_a_handler_that_comes_back_ends_the_grace() -> None:
    clock = VirtualClock(grace=30)

    async def answer() -> None:
        with clock.hold(briefly=True):
            await asyncio.sleep(0.01)

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(clock.sleep_until(at(60)))
        group.create_task(answer())
    assert time.monotonic() - began < 10


async def test_a_handler_that_sleeps_on_the_clock_needs_no_grace() -> None:
    clock = VirtualClock(grace=30)
    with clock.hold(briefly=True):
        async with asyncio.timeout(10):
            await clock.sleep_until(at(60))
    assert clock.now() == at(60)


async def test_a_brief_hold_within_another_does_not_end_it() -> None:
    clock = VirtualClock(grace=0.5)
    async with asyncio.TaskGroup() as group:
        group.create_task(clock.sleep_until(at(60)))
        with clock.hold(briefly=True):
            with clock.hold(briefly=True):
                pass
            await asyncio.sleep(0.02)
            assert clock.now() == START


async def test_a_timeout_expires_when_virtual_time_comes_to_it() -> None:
    clock = VirtualClock(grace=0.01)
    timeout = clock.timeout_at(at(60))
    with pytest.raises(TimeoutError):
        await hang(timeout)
    assert timeout.expired()
    assert clock.now() == at(60)


async def test_a_body_that_ends_in_time_leaves_no_alarm_behind() -> None:
    clock = VirtualClock(grace=0.01)
    timeout = clock.timeout_at(at(60))
    async with timeout:
        await clock.sleep_until(at(59))
    assert not timeout.expired()
    await asyncio.sleep(0.1)
    assert clock.now() == at(59)


async def test_a_timeout_whose_moment_has_passed_expires_at_the_first_await() -> None:
    clock = VirtualClock(auto=False)
    timeout = clock.timeout_at(START)
    with pytest.raises(TimeoutError):
        await hang(timeout)
    assert timeout.expired()


async def test_a_timeout_at_no_moment_never_expires() -> None:
    clock = VirtualClock()
    timeout = clock.timeout_at(None)
    async with timeout:
        await clock.sleep_until(START + 365 * DAY)
    assert not timeout.expired()


async def test_of_nested_timeouts_the_earlier_expires() -> None:
    clock = VirtualClock(grace=0.01)
    outer, inner = clock.timeout_at(at(10)), clock.timeout_at(at(20))
    with pytest.raises(TimeoutError):
        await hang(outer, inner)
    assert (outer.expired(), inner.expired()) == (True, False)

    outer, inner = clock.timeout_at(at(40)), clock.timeout_at(at(30))
    async with outer:
        with pytest.raises(TimeoutError):
            await hang(inner)
        await clock.sleep_until(at(39))
    assert (outer.expired(), inner.expired()) == (False, True)


async def test_a_timeout_gives_a_real_wait_its_grace() -> None:
    clock = VirtualClock(grace=30)
    async with clock.timeout_at(at(60)):
        await asyncio.sleep(0.01)
    assert clock.now() == START


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = VirtualClock()
    async with asyncio.TaskGroup() as group:
        sleeper = group.create_task(clock.sleep_until(START + DAY))
        await asyncio.sleep(0)
        sleeper.cancel()
    await asyncio.sleep(0.02)
    assert clock.now() == START
    assert "0 waiting" in repr(clock)


@pytest.mark.slow
async def test_ten_thousand_sleepers_and_as_many_cancelled_ones() -> None:
    clock = VirtualClock()
    woken: list[int] = []

    async def sleep(number: int) -> None:
        await clock.sleep_until(at(1 + number % 97))
        woken.append(number % 97)

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        given_up = [group.create_task(clock.sleep_until(START + 1000 * DAY)) for _ in range(10_000)]
        for number in range(10_000):
            group.create_task(sleep(number))
        await asyncio.sleep(0)
        for sleeper in given_up:
            sleeper.cancel()
    assert len(woken) == 10_000
    assert woken == sorted(woken)
    assert clock.now() == at(97)
    assert len(clock._alarms) < 1000
    assert time.monotonic() - began < 60


async def test_without_auto_time_stands_until_it_is_advanced() -> None:
    clock = VirtualClock(auto=False)
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await clock.sleep_until(clock.now() + timedelta(seconds=10))
            ticks.append((clock.now() - START).total_seconds())

    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(tick())
        await asyncio.sleep(0.01)
        assert ticks == []
        await clock.advance(35)
        assert ticks == [10, 20, 30]
        assert clock.now() == at(35)
        await clock.advance(timedelta(seconds=5))
        assert ticks == [10, 20, 30, 40]
        ticking.cancel()


async def test_advancing_waits_for_what_is_held() -> None:
    clock = VirtualClock(auto=False)
    committed: list[datetime] = []

    async def commit() -> None:
        with clock.hold():
            await asyncio.sleep(0.05)
            committed.append(clock.now())

    async with asyncio.TaskGroup() as group:
        group.create_task(commit())
        await asyncio.sleep(0)
        await clock.advance(60)
    assert committed == [START]


def test_a_clock_outlives_the_loop_it_was_used_in() -> None:
    clock = VirtualClock()

    async def sleep() -> None:
        await clock.sleep_until(clock.now() + DAY)

    for _ in range(3):
        asyncio.run(sleep())
    assert clock.now() == START + 3 * DAY


def test_a_loop_that_was_cut_short_does_not_stop_the_clock() -> None:
    clock = VirtualClock(auto=False)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(clock.sleep_until(START + DAY), timeout=0.01)

    async def go_on() -> None:
        await clock.advance(DAY)

    asyncio.run(give_up())
    asyncio.run(go_on())
    assert clock.now() == START + DAY


def test_it_runs_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    clock = VirtualClock(grace=0.01)

    async def wait() -> bool:
        await clock.sleep_until(clock.now() + DAY)
        timeout = clock.timeout_at(clock.now() + DAY)
        with pytest.raises(TimeoutError):
            await hang(timeout)
        return timeout.expired()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(wait())
    assert clock.now() == START + 2 * DAY


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="eager tasks came with Python 3.12")
def test_it_runs_with_eager_tasks() -> None:
    clock = VirtualClock()

    async def wait() -> None:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 -- from 3.12 on
        async with asyncio.TaskGroup() as group:
            for days in (3, 1, 2):
                group.create_task(clock.sleep_until(START + days * DAY))

    asyncio.run(wait())
    assert clock.now() == START + 3 * DAY


def test_a_naive_start_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        VirtualClock(datetime(2025, 1, 1))  # noqa: DTZ001 -- that is the point


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 50), max_size=6), min_size=1, max_size=6))
def test_every_line_of_control_wakes_when_it_asked_to(plans: list[list[int]]) -> None:
    clock = VirtualClock()

    async def follow(plan: list[int]) -> None:
        due = START
        for seconds in plan:
            due += timedelta(seconds=seconds)
            await clock.sleep_until(due)
            assert clock.now() == due

    async def everybody() -> None:
        async with asyncio.TaskGroup() as group:
            for plan in plans:
                group.create_task(follow(plan))

    asyncio.run(everybody())
    assert clock.now() == START + timedelta(seconds=max(sum(plan) for plan in plans))
