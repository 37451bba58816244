"""A worker's lease: renewed from its own thread, and what the worker may know of it.

The thread has its own event loop and connection, so that a handler that blocks the worker's loop does not lose the
lease. Leases are counted in real time; the engine's clock plays no part.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, cast

from statechain.cancellation import wait_ignoring_cancellation
from statechain.errors import RepositoryError
from statechain.storage.retrying import backoff_delays

if TYPE_CHECKING:
    from statechain.storage.leases import LeaseRenewer

__all__ = ["Lease", "boot_time", "kept"]

logger = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 3

LAST_RENEWAL = 1.0
"""Seconds that a renewal which is under way may still take once the lease is given up."""

boot_time: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Seconds on a clock that is never set and that counts while the machine is suspended, where there is one.

Linux's CLOCK_MONOTONIC does not advance meanwhile, so that a lease would seem to hold after the machine is resumed.
"""


class Lease:
    """What a worker knows of its lease: whether it surely holds, and how often it has lapsed.

    Attributes:
        length: How long it holds once it is renewed.

        clock: What it is counted by: the worker's own real time. Neither the database's clock nor the wall's plays a
            part.

        lapses: How often it was renewed too late, or over a new connection: what the worker owned may have been taken
            over in between, or storage may have failed over.

        doubts: How often something happened after which storage may not hold what this worker knows: lapses, and
            renewals that failed.
    """

    def __init__(self, length: timedelta, clock: Callable[[], float] = boot_time) -> None:
        self.length = length
        self.clock = clock
        self.lapses = 0
        self.doubts = 0
        self._until = 0.0

    @property
    def period(self) -> float:
        """The seconds between two renewals."""
        return self.length.total_seconds() / RENEWALS_PER_LEASE

    @property
    def holds(self) -> bool:
        """Whether no other worker can have taken over yet what the worker owns."""
        return self.clock() < self._until

    async def regained(self) -> None:
        """Return once the lease holds again."""
        while not self.holds:  # noqa: ASYNC110 -- it is another thread that renews it
            await asyncio.sleep(min(self.period, 0.05))

    def renewed(self, asked: float, *, is_kept: bool = True) -> None:
        """Note a renewal that was asked for at a moment of the clock, and succeeded since.

        ``is_kept``: as `LeaseRenewer.renew` answered it.
        """
        # The first renewal is no lapse: nothing was owned before it.
        is_lapsed = 0.0 < self._until < self.clock() or not is_kept
        self.lapses += is_lapsed
        self.doubts += is_lapsed
        # From the request on: storage and the other workers count from later, so that a lease is over here first.
        self._until = asked + self.length.total_seconds()


@asynccontextmanager
async def kept(
    lease: Lease, make_renewer: Callable[[], LeaseRenewer], on_renewal: Callable[[float], None] | None = None
) -> AsyncIterator[None]:
    """Renew a lease from a thread, until left; ``on_renewal`` is called in this loop with each renewal's seconds."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    stop = threading.Event()
    renewing: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    def report(seconds: float) -> None:
        if on_renewal is not None and not loop.is_closed():
            loop.call_soon_threadsafe(on_renewal, seconds)

    async def renew() -> None:
        renewing.append((asyncio.get_running_loop(), cast("asyncio.Task[None]", asyncio.current_task())))
        await _keep(lease, make_renewer, stop, report)

    def keep() -> None:
        try:
            with suppress(asyncio.CancelledError):
                asyncio.run(renew())
        finally:
            loop.call_soon_threadsafe(ended.set_result, None)

    # A daemon: where a driver hangs in a renewal, the process can exit all the same.
    thread = threading.Thread(target=keep, name="statechain lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        await wait_ignoring_cancellation(ended, LAST_RENEWAL)
        if not ended.done():  # storage does not answer
            with suppress(RuntimeError):  # the thread's loop is closed by now
                for its_loop, task in renewing:
                    its_loop.call_soon_threadsafe(task.cancel)
            await wait_ignoring_cancellation(ended)
        thread.join()


async def _keep(
    lease: Lease, make_renewer: Callable[[], LeaseRenewer], stop: threading.Event, report: Callable[[float], None]
) -> None:
    """Renew until stopped; after a failure soon again, with a new renewer. No failure leaves waiters behind."""
    pauses, pause, failures = backoff_delays(), lease.period, 0
    while not stop.is_set():
        try:
            async with make_renewer() as renewer:
                while not stop.wait(pause):  # nothing else is in this loop, so it may be blocked
                    asked = lease.clock()
                    is_kept = await renewer.renew()
                    lease.renewed(asked, is_kept=is_kept)
                    report(lease.clock() - asked)
                    pauses, pause, failures = backoff_delays(), lease.period, 0
        except Exception as fault:  # noqa: BLE001 -- what waits for the lease would wait for ever
            failures += 1
            # The 1st, 2nd, 4th, 8th …: an outage fails several times a second, and lasts for hours.
            if failures & (failures - 1) == 0:
                reason = fault if isinstance(fault, RepositoryError) else type(fault).__name__
                times = f" for the {failures}th time" if failures > 2 else ""
                logger.warning("the lease could not be renewed%s, trying again: %s", times, reason)
            # It may have been renewed, or storage may have failed over: recovery reconciles what is owned.
            lease.doubts += 1
            stop.wait(min(next(pauses), lease.period))
            pause = 0.0
