"""The thread that renews a lease: what it does after a renewal that failed, by any exception."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from types import TracebackType
from typing import Self

import pytest

from statechain.errors import RepositoryUnavailable
from statechain.worker.lease import Lease, boot_time, kept

LEASE = timedelta(seconds=3)


class LeaseRenewer:
    """A renewer whose first renewals fail."""

    def __init__(self, fault: Exception, *, fails: int) -> None:
        self.fault = fault
        self.fails = fails
        self.renewals: list[float] = []
        self.is_kept = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close nothing."""

    async def renew(self) -> bool:
        self.renewals.append(time.monotonic())
        if len(self.renewals) <= self.fails:
            raise self.fault
        return self.is_kept


async def renewed(lease: Lease, renewer: LeaseRenewer, times: int) -> AsyncIterator[None]:
    """Keep a lease until it was renewed this often."""
    async with asyncio.timeout(30), kept(lease, lambda: renewer):
        while len(renewer.renewals) < times:  # noqa: ASYNC110 -- it is another thread that renews
            await asyncio.sleep(0.01)
        yield


@pytest.mark.parametrize("fault", [RepositoryUnavailable("away"), KeyError("a fault of the repository")], ids=repr)
async def test_a_beat_that_failed_is_tried_again_soon(fault: Exception) -> None:
    """A period later it would be too late: the third try would come when the lease is over."""
    lease, renewer = Lease(LEASE), LeaseRenewer(fault, fails=2)
    lease.renewed(lease.clock())
    async for _ in renewed(lease, renewer, 3):
        assert all(late - early < lease.period / 2 for early, late in itertools.pairwise(renewer.renewals))
    assert lease.lapses == 0


def test_a_lease_counts_from_when_its_renewal_was_asked_for() -> None:
    """The database counts from a moment in between: counted from the answer, the lease would hold too long here."""
    now = 10.0
    lease = Lease(LEASE, clock=lambda: now)
    now = 12.0
    lease.renewed(10.0)
    now = 10.0 + LEASE.total_seconds() - 0.1
    assert lease.holds
    now = 10.0 + LEASE.total_seconds() + 0.1
    assert not lease.holds


async def test_after_a_beat_that_succeeded_a_period_passes() -> None:
    lease, renewer = Lease(timedelta(seconds=0.6)), LeaseRenewer(RepositoryUnavailable("away"), fails=1)
    lease.renewed(lease.clock())
    async for _ in renewed(lease, renewer, 4):
        _, *succeeded = renewer.renewals
        assert all(late - early >= lease.period for early, late in itertools.pairwise(succeeded))


async def test_a_heart_that_cannot_be_opened_is_not_asked_for_without_a_pause() -> None:
    lease, asked = Lease(timedelta(seconds=0.3)), 0

    def make() -> LeaseRenewer:
        nonlocal asked
        asked += 1
        raise OSError("refused")

    async with kept(lease, make):
        await asyncio.sleep(0.5)
    assert 2 <= asked <= 20


async def test_a_renewal_over_a_new_connection_leaves_doubt() -> None:
    """Storage may have failed over in between, or another worker may have taken this one for dead."""
    lease, renewer = Lease(timedelta(seconds=0.3)), LeaseRenewer(RepositoryUnavailable("away"), fails=0)
    lease.renewed(lease.clock())
    renewer.is_kept = False
    async for _ in renewed(lease, renewer, 2):
        assert lease.holds
        assert lease.lapses >= 1
        assert lease.doubts >= 1


@pytest.mark.parametrize(
    ("fault", "reason"), [(RepositoryUnavailable("away"), "away"), (KeyError("a fault of the repository"), "KeyError")]
)
async def test_each_renewal_that_failed_leaves_doubt_and_is_logged(
    fault: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    lease, renewer = Lease(LEASE), LeaseRenewer(fault, fails=2)
    lease.renewed(lease.clock())
    async for _ in renewed(lease, renewer, 3):
        assert lease.doubts == 2
    logged = [each.getMessage() for each in caplog.records if each.name == "statechain.worker.lease"]
    assert logged == [f"the lease could not be renewed, trying again: {reason}"] * 2


async def test_the_longer_renewals_fail_the_less_often_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    lease, renewer = Lease(timedelta(seconds=0.03)), LeaseRenewer(RepositoryUnavailable("away"), fails=20)
    async for _ in renewed(lease, renewer, 21):
        assert lease.doubts >= 20
    logged = [each.getMessage() for each in caplog.records if each.name == "statechain.worker.lease"]
    times = ["", "", " for the 4th time", " for the 8th time", " for the 16th time"]
    assert logged == [f"the lease could not be renewed{each}, trying again: away" for each in times]


async def test_what_waits_for_the_lease_goes_on_once_it_is_renewed_and_renewals_are_reported() -> None:
    lease, renewer = Lease(timedelta(seconds=0.3)), LeaseRenewer(RepositoryUnavailable("away"), fails=0)
    reported: list[float] = []
    assert not lease.holds
    began = lease.clock()
    async with asyncio.timeout(30), kept(lease, lambda: renewer, reported.append):
        await lease.regained()
        while len(reported) < 2:  # noqa: ASYNC110 -- it is another thread that renews
            await asyncio.sleep(0.01)
    assert all(0 <= seconds <= lease.clock() - began for seconds in reported)
    assert (lease.lapses, lease.doubts) == (0, 0)


def test_a_lease_counts_each_time_that_it_lapsed() -> None:
    now = 0.5
    lease = Lease(timedelta(seconds=0.2), clock=lambda: now)
    for _ in range(3):
        lease.renewed(now)
        now += 0.3
    assert (lease.lapses, lease.doubts) == (2, 2)


def test_a_lease_lapses_while_the_machine_is_suspended() -> None:
    now = 100.0
    lease = Lease(LEASE, clock=lambda: now)
    lease.renewed(now)
    assert lease.holds
    now += 3600
    assert not lease.holds
    lease.renewed(now)
    assert lease.holds
    assert lease.lapses == 1


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system's monotonic clock is the only one")
def test_a_lease_is_counted_by_the_clock_that_counts_suspension() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= boot_time() <= time.clock_gettime(time.CLOCK_BOOTTIME)
