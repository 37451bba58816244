"""Virtual time: it jumps only when everybody waits, in order, and never over what takes real time."""

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statechain import Engine, ExecutionStatus, SystemClock, TaskRegistry
from statechain.clock import Timeout
from statechain.testing import VirtualClock

START = datetime(2025, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


async def hang(*timeouts: Timeout) -> None:
    """Wait for ever under the timeouts, the first outermost."""
    async with AsyncExitStack() as stack:
        for timeout in timeouts:
            await stack.enter_async_context(timeout)
        await asyncio.Event().wait()


async def test_a_sleep_takes_no_real_time() -> None:
    clock = VirtualClock()
    began = time.monotonic()
    await clock.sleep_until(clock.now() + 365 * DAY)
    assert clock.now() == START + 365 * DAY
    assert time.monotonic() - began < 1


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
    clock = VirtualClock(grace=0.05)

    async def answer(seconds: float) -> datetime:
        with clock.hold(briefly=True):
            await asyncio.sleep(seconds)
            return clock.now()

    async with asyncio.TaskGroup() as group:
        group.create_task(clock.sleep_until(at(60)))
        quick, slow = group.create_task(answer(0.01)), group.create_task(answer(0.3))
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
    clock = VirtualClock(grace=0.05)
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
    clock = VirtualClock()
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
    assert time.monotonic() - began < 20


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


# In an engine


def machine(**states: dict[str, Any]) -> dict[str, Any]:
    return {"StartAt": next(iter(states)), "States": states}


async def run(definition: dict[str, Any], tasks: TaskRegistry, clock: VirtualClock) -> tuple[Any, float]:
    """Return the execution as it ended, and the virtual seconds it took."""
    async with Engine("memory://", tasks=tasks, clock=clock) as engine:
        handle = await (await engine.create_state_machine("machine", definition)).start_execution({})
        ended = await handle.wait()
        assert ended.end_time is not None
        return ended, (ended.end_time - ended.start_time).total_seconds()


async def test_waits_and_retries_of_an_engine_take_no_real_time() -> None:
    tasks = TaskRegistry()
    attempts = []

    @tasks.register("Flaky")
    async def flaky(_input: Any) -> str:
        await asyncio.sleep(0.001)
        attempts.append(1)
        if len(attempts) < 4:
            raise ConnectionError("away")
        return "there"

    retry = {"ErrorEquals": ["ConnectionError"], "IntervalSeconds": 60, "BackoffRate": 2, "MaxAttempts": 5}
    began = time.monotonic()
    ended, seconds = await run(
        machine(
            Rest={"Type": "Wait", "Seconds": 86_400, "Next": "Call"},
            Call={"Type": "Task", "Resource": "Flaky", "Retry": [retry], "End": True},
        ),
        tasks,
        VirtualClock(),
    )
    assert (ended.output, seconds) == ("there", 86_400 + 60 + 120 + 240)
    assert time.monotonic() - began < 5


async def test_a_handler_that_takes_a_moment_is_not_timed_out_and_one_that_hangs_is() -> None:
    tasks = TaskRegistry()

    @tasks.register("Brief")
    async def brief(_input: Any) -> str:
        await asyncio.sleep(0.02)
        return "in time"

    @tasks.register("Threaded")
    def threaded(_input: Any) -> str:
        time.sleep(0.2)
        return "in time"

    @tasks.register("Hung")
    async def hung(_input: Any) -> None:
        await asyncio.Event().wait()

    for resource in ("Brief", "Threaded"):
        state = {"Type": "Task", "Resource": resource, "TimeoutSeconds": 5, "HeartbeatSeconds": 2, "End": True}
        ended, seconds = await run(machine(Call=state), tasks, VirtualClock())
        assert (ended.output, seconds) == ("in time", 0)
    state = {"Type": "Task", "Resource": "Hung", "TimeoutSeconds": 5, "End": True}
    ended, seconds = await run(machine(Call=state), tasks, VirtualClock(grace=0.01))
    assert (ended.status, ended.error, seconds) == (ExecutionStatus.FAILED, "States.Timeout", 5)
    state["HeartbeatSeconds"] = 2
    ended, seconds = await run(machine(Call=state), tasks, VirtualClock(grace=0.01))
    assert (ended.status, ended.error, seconds) == (ExecutionStatus.FAILED, "States.HeartbeatTimeout", 2)


async def test_the_timeout_of_a_whole_execution_takes_no_real_time() -> None:
    definition = {**machine(Rest={"Type": "Wait", "Seconds": 86_400, "End": True}), "TimeoutSeconds": 3600}
    ended, seconds = await run(definition, TaskRegistry(), VirtualClock(grace=0.01))
    assert (ended.status, seconds) == (ExecutionStatus.TIMED_OUT, 3600)


async def test_a_task_token_is_answered_in_time_or_times_out_in_virtual_time(repository_url: str) -> None:
    tasks = TaskRegistry()
    tokens: list[str] = []
    tasks.add("Hand", lambda payload: tokens.append(payload["token"]))
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Parameters": {"FunctionName": "Hand", "Payload": {"token.$": "$$.Task.Token"}},
        "TimeoutSeconds": 3600,
        "End": True,
    }
    clock = VirtualClock(grace=0.2)
    async with Engine(repository_url, tasks=tasks, clock=clock) as engine:
        waiting = await engine.create_state_machine("token", machine(Ask=state))
        answered = await waiting.start_execution({})
        while not tokens:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        await engine.send_task_success(tokens[0], {"approved": True})
        ended = await answered.wait()
        assert (ended.output, clock.now()) == ({"approved": True}, START)
        forgotten = await (await waiting.start_execution({})).wait()
        assert (forgotten.error, clock.now()) == ("States.Timeout", at(3600))


async def test_time_is_advanced_by_hand_through_an_engine(repository_url: str) -> None:
    clock = VirtualClock(auto=False)
    naps = machine(
        First={"Type": "Wait", "Seconds": 60, "Next": "Second"}, Second={"Type": "Wait", "Seconds": 30, "End": True}
    )
    async with Engine(repository_url, clock=clock) as engine:
        handle = await (await engine.create_state_machine("naps", naps)).start_execution({})

        async def state() -> tuple[str | None, str]:
            execution = await engine.get_execution(handle.id)
            return execution.current_state, str(execution.status)

        await clock.advance(59)
        assert await state() == ("First", "RUNNING")
        await clock.advance(1)
        assert await state() == ("Second", "RUNNING")
        await clock.advance(timedelta(minutes=5))
        assert await state() == ("Second", "SUCCEEDED")
        ended = await handle.wait()
        assert ended.end_time == at(90)
        assert clock.now() == at(360)


async def test_lines_of_control_share_virtual_time(repository_url: str) -> None:
    def branch(name: str, seconds: int) -> dict[str, Any]:
        return machine(**{name: {"Type": "Wait", "Seconds": seconds, "End": True}})

    branches = [branch("Long", 500), branch("Short", 20), branch("Middle", 90)]
    fork = {"Type": "Parallel", "Branches": branches, "End": True}
    async with Engine(repository_url, clock=VirtualClock()) as engine:
        ended = await (await engine.create_state_machine("fork", machine(Fork=fork))).execute({})
        history = await engine.get_execution_history(ended.id)
    left = [event for event in history if event["type"] == "WaitStateExited"]
    assert [event["stateExitedEventDetails"]["name"] for event in left] == ["Short", "Middle", "Long"]
    assert [event["timestamp"] for event in left] == [at(20), at(90), at(500)]


# The clock on the wall


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
