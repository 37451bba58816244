"""Time as the language sees it: Wait, Retry, timeouts and timestamps ask a Clock, and tests replace it.

Leases and heartbeats do not: they live on real time.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Protocol

__all__ = ["EPOCH", "MICROSECOND", "Clock", "SystemClock", "Timeout", "as_duration", "from_micros", "to_micros"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """Return a moment as whole microseconds since 1970."""
    # In whole numbers: `timestamp()`, a float, loses microseconds of times far from 1970.
    return (moment - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the moment of whole microseconds since 1970."""
    return EPOCH + micros * MICROSECOND


def as_duration(seconds: timedelta | float) -> timedelta:
    """Return a duration that may be given as a number of seconds."""
    return seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)


class Timeout(Protocol):
    """What `asyncio.Timeout` promises, as far as the runtime asks: enter it once, then ask whether it cut the body."""

    async def __aenter__(self) -> object:
        """Begin."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        """End; raise TimeoutError where the body was cancelled because its time had come."""

    def expired(self) -> bool:
        """Return whether the time came before the body ended."""


class Clock(Protocol):
    """What the runtime asks of time."""

    def now(self) -> datetime:
        """Return the time, in UTC, to the microsecond."""

    async def sleep_until(self, moment: datetime) -> None:
        """Return once `now` has reached the moment; a moment that has passed returns at once."""

    def timeout_at(self, moment: datetime | None) -> Timeout:
        """Return a timeout (not yet entered) that cancels its body at the moment; None never does."""

    def hold(self, *, briefly: bool = False) -> AbstractContextManager[object]:
        """Work that takes real time runs inside: a clock that skips time must not skip over it.

        ``briefly`` marks work that may itself be waiting for time to pass, as a handler may that ends by its timeout:
        the clock gives it a moment of real time, and skips over it then.
        """


# A nullcontext keeps nothing of its uses: one serves all.
NO_HOLD = nullcontext()


class SystemClock:
    """The clock on the wall."""

    def now(self) -> datetime:
        """Return the system's time in UTC."""
        return datetime.now(UTC)

    async def sleep_until(self, moment: datetime) -> None:
        """Sleep until the system's time has reached the moment, also when that clock is set meanwhile."""
        while (seconds := (moment - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 -- the clock may be set meanwhile
            # asyncio sleeps by the monotonic clock: the wall clock, which may be set, is asked at least each hour.
            await asyncio.sleep(min(seconds, 3600.0))

    def timeout_at(self, moment: datetime | None) -> asyncio.Timeout:
        """Return asyncio's own timeout for the time that is left."""
        # From here on by the monotonic clock: to set the wall clock does not move it.
        return asyncio.timeout(None if moment is None else max(0.0, (moment - self.now()).total_seconds()))

    def hold(self, *, briefly: bool = False) -> AbstractContextManager[None]:  # noqa: ARG002
        """Do nothing: real time needs no holding."""
        return NO_HOLD
