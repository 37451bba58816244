"""A clock whose time jumps when every task waits for it, so that waits, retries and timeouts take no real time.

A loop cannot be asked whether it is idle. So the clock lets the loop turn: when a number of turns pass in which nothing
touched the clock and nothing is held, every line of control is taken to be waiting, and time jumps to the earliest
alarm. Two cases get a grace of real time before the jump, because what looks idle may be waiting for a socket or a
timer of the loop: a handler is running, or the earliest alarm is a timeout, which would cut something short.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from types import TracebackType
from typing import Self

import attrs

from statechain.arguments import DURATION, FLAG, SECONDS, checked, instance_of
from statechain.clock import Timeout, as_duration

__all__ = ["VirtualClock"]

START = datetime(2025, 1, 1, tzinfo=UTC)
QUIET_TURNS = 32
"""More than any chain of wake-ups in the runtime needs from one touch of the clock to the next."""
SILENCED_BEFORE_SWEEP = 64


@attrs.define(eq=False)
class _Alarm:
    """Something that happens when time comes to it, unless it is silenced before."""

    ring: Callable[[], None]
    cuts_short: bool
    is_set: bool = True


class VirtualClock:
    """A `Clock` for tests: no wait takes real time.

    Arguments:
        start: What time it is at first; the same for every clock unless given, so that tests repeat.

        auto: Jump to the next alarm whenever every task waits. Without it time does not advance until `advance`.

        grace: Seconds of real time, without a stir, that a running handler is given to come back, and that pass before
            a timeout expires. Make it longer where handlers do slow real work, such as calls over a network.
    """

    @checked(start=instance_of(datetime, meant="a datetime with its timezone"), auto=FLAG, grace=SECONDS)
    def __init__(self, start: datetime = START, *, auto: bool = True, grace: float = 0.05) -> None:
        if start.utcoffset() is None:
            raise ValueError(f"{start.isoformat()} is a naive time: give it a timezone")
        self._now = start.astimezone(UTC)
        self._auto = auto
        self._grace = grace
        self._alarms: list[tuple[datetime, int, _Alarm]] = []
        self._numbers = count()
        self._silenced = 0
        self._held = 0
        self._handlers: set[asyncio.Task[object] | None] = set()
        self._resting: list[asyncio.Future[None]] = []
        self._turns = 0
        self._has_waited = False
        self._turning: asyncio.Handle | None = None

    def __repr__(self) -> str:
        # Where the constructor raised, tracebacks and debuggers show what there is of it.
        if not hasattr(self, "_now"):
            return "<VirtualClock, not constructed>"
        return f"<VirtualClock {self._now.isoformat()}, {len(self._alarms) - self._silenced} waiting>"

    # What a clock does

    def now(self) -> datetime:
        """Return the virtual time."""
        # What asks for the time is at work: the quiet turns begin anew, and so does the grace.
        self._turns = 0
        self._has_waited = False
        return self._now

    async def sleep_until(self, moment: datetime) -> None:
        """Return once virtual time has come to the moment."""
        if moment <= self._now:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.current_task()
        was_handler = task in self._handlers
        self._handlers.discard(task)  # a handler that sleeps here does nothing real meanwhile
        alarm = self._set(moment, partial(_wake, woken))
        try:
            await woken
        finally:
            if was_handler:
                self._handlers.add(task)
            self._silence(alarm)

    def timeout_at(self, moment: datetime | None) -> Timeout:
        """Return a timeout that expires when virtual time comes to the moment."""
        return asyncio.timeout(None) if moment is None else _VirtualTimeout(self, moment)

    @contextmanager
    def hold(self, *, briefly: bool = False) -> Iterator[None]:
        """Keep time from jumping while the body runs; briefly, only as long as the grace."""
        task = asyncio.current_task()
        # Held by an outer call in the same task already, as a handler in a script is.
        if briefly and task in self._handlers:
            yield
            return
        if briefly:
            self._handlers.add(task)
        else:
            self._held += 1
        self._stir()
        try:
            yield
        finally:
            if briefly:
                self._handlers.discard(task)
            else:
                self._held -= 1
            self._stir()

    # What a test does

    @checked(by=DURATION)
    async def advance(self, by: timedelta | float) -> None:
        """Let so much time pass, stopping at each alarm on the way until all that it woke waits again.

        Arguments:
            by: A duration, or seconds.
        """
        until = self._now + as_duration(by)
        await self._rest()
        while (moment := self._earliest()) is not None and moment <= until:
            self._jump(moment)
            await self._rest()
        self._now = max(self._now, until)

    async def _rest(self) -> None:
        """Return once every task waits."""
        rested: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting.append(rested)
        self._stir()
        await rested

    # Alarms

    def _set(self, moment: datetime, ring: Callable[[], None], *, cuts_short: bool = False) -> _Alarm:
        alarm = _Alarm(ring, cuts_short)
        # Alarms at the same moment ring in the order in which they were set; they do not compare.
        heapq.heappush(self._alarms, (moment, next(self._numbers), alarm))
        self._stir()
        return alarm

    def _silence(self, alarm: _Alarm) -> None:
        """Forget an alarm; one in the midst of the heap is swept out later."""
        if alarm.is_set:
            alarm.is_set = False
            self._silenced += 1
            if self._silenced > max(SILENCED_BEFORE_SWEEP, len(self._alarms) // 2):
                self._alarms = [entry for entry in self._alarms if entry[2].is_set]
                heapq.heapify(self._alarms)
                self._silenced = 0
        self._stir()

    def _earliest(self) -> datetime | None:
        """Return the moment of the next alarm, or None without one."""
        while self._alarms and not self._alarms[0][2].is_set:
            heapq.heappop(self._alarms)
            self._silenced -= 1
        return self._alarms[0][0] if self._alarms else None

    def _jump(self, moment: datetime) -> None:
        """Set the time, and ring all that is due, in the order of moments, then of setting."""
        # Time does not go back, also not to an alarm that was set for the past.
        self._now = max(self._now, moment)
        while (due := self._earliest()) is not None and due <= self._now:
            _, _, alarm = heapq.heappop(self._alarms)
            alarm.is_set = False
            alarm.ring()
        self._stir()

    # Whether every task waits

    def _is_watching(self) -> bool:
        return not self._held and (bool(self._resting) or (self._auto and self._earliest() is not None))

    def _stir(self) -> None:
        """Begin to count the quiet turns anew, or stop counting where there is nothing to wait for."""
        self._turns = 0
        # A stir during the grace takes it back.
        if self._turning is not None and (self._has_waited or not self._is_watching()):
            self._turning.cancel()
            self._turning = None
        self._has_waited = False
        if self._turning is None and self._is_watching():
            self._turning = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Count one turn of the loop, and act once it has been quiet for long enough."""
        loop = asyncio.get_running_loop()
        self._turning = None
        self._turns += 1
        if self._turns < QUIET_TURNS:
            self._turning = loop.call_soon(self._turn)
        elif not self._has_waited and self._needs_grace():
            self._turns = 0
            self._has_waited = True
            self._turning = loop.call_later(self._grace, self._turn)
        else:
            self._act()

    def _needs_grace(self) -> bool:
        return bool(self._handlers) or (self._earliest() is not None and self._alarms[0][2].cuts_short)

    def _act(self) -> None:
        if self._resting:
            resting, self._resting = self._resting, []
            for rested in resting:
                _wake(rested)
            self._stir()
        elif (moment := self._earliest()) is not None:
            self._jump(moment)


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


class _VirtualTimeout:
    """An `asyncio.Timeout` without its own deadline, which an alarm of the clock sets off."""

    def __init__(self, clock: VirtualClock, moment: datetime) -> None:
        self._clock = clock
        self._moment = moment
        self._timeout = asyncio.timeout(None)
        self._alarm: _Alarm | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        if self._moment <= self._clock.now():
            self._expire()
        else:
            self._alarm = self._clock._set(self._moment, self._expire, cuts_short=True)  # noqa: SLF001 -- one mechanism
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._alarm is not None:
            self._clock._silence(self._alarm)  # noqa: SLF001
        await self._timeout.__aexit__(exc_type, exc, traceback)

    def expired(self) -> bool:
        """Return whether the time came before the body ended."""
        return self._timeout.expired()

    def _expire(self) -> None:
        self._timeout.reschedule(asyncio.get_running_loop().time())
