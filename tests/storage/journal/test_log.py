"""What the log says of writes that are not committed: when it begins, each minute, and when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import attrs
import pytest

from statechain.errors import RepositoryUnavailable
from statechain.records.batches import BatchStatus
from statechain.storage.journal.journal import Journal
from statechain.storage.journal.stragglers import Outage, Straggler, Stragglers, described
from statechain.storage.repository import CreateBatch, DeleteExecutions, EndBatch, Write
from statechain.testing.contract.samples import batch, moment
from support.faulty_repository import FaultyRepository
from support.storage.journals import HeldClock, each, refuses, starting, stopping, turns

LOCKED = RepositoryUnavailable("a row is locked")


@attrs.define
class Row:
    """What stragglers write to: it is locked until the test says otherwise."""

    is_locked: bool = True
    is_hurried: bool = False

    async def commit(self, _write: Write[Any]) -> None:
        if self.is_locked:
            raise LOCKED

    async def pause(self, _seconds: float) -> None:
        await asyncio.sleep(0)

    def stragglers(self) -> Stragglers:
        return Stragglers(self.commit, self.pause, lambda: self.is_hurried)


def retrying(held: Stragglers, write: Write[Any]) -> Coroutine[Any, Any, None]:
    return held.retry(Straggler(write, lambda _outcome: None, began=1.0), LOCKED)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what was logged since it was asked before."""

    def messages() -> list[str]:
        found = list(caplog.messages)
        caplog.clear()
        return found

    return messages


async def test_ten_writes_that_are_held_up_are_named_each_minute_and_the_rest_counted(
    clock: HeldClock, logged: Callable[[], list[str]]
) -> None:
    row, writes = Row(), each(12)
    held, names = row.stragglers(), [f"StartExecution of execution {write.execution.id}" for write in writes[:10]]
    async with asyncio.TaskGroup() as tasks:
        for write in writes[:10]:
            tasks.create_task(retrying(held, write))
        await turns(100)
        again = "it is tried again by itself, beside other writes"
        assert logged() == [f"{name} is not committed: a row is locked; {again}" for name in names]
        clock.now = 61
        await turns(100)
        assert logged() == [f"{name} is not committed after 60 s: a row is locked" for name in names]
        for write in writes[10:]:
            tasks.create_task(retrying(held, write))
        await turns(100)
        assert logged() == []
        clock.now = 122
        await turns(100)
        lasting = [f"{name} is not committed after 121 s: a row is locked" for name in names]
        assert logged() == [*lasting, "2 more writes are not committed"]
        row.is_locked = False
    assert sorted(logged()) == sorted(f"{name} is settled after 121.0 s" for name in names)


async def test_a_write_that_is_held_up_alone_is_logged_each_minute(
    clock: HeldClock, logged: Callable[[], list[str]]
) -> None:
    row, write = Row(), starting()
    name = f"StartExecution of execution {write.execution.id}"
    clock.now = 1000
    held = row.stragglers()
    async with asyncio.TaskGroup() as tasks:
        clock.now = 1050
        tasks.create_task(retrying(held, write))
        await turns(100)
        assert len(logged()) == 1
        clock.now = 1100
        await turns(100)
        assert logged() == []
        clock.now = 1111
        await turns(100)
        assert logged() == [f"{name} is not committed after 1110 s: a row is locked"]
        row.is_hurried = True
    assert logged() == []


async def test_how_long_a_write_was_held_up_counts_from_its_first_try(
    storage: FaultyRepository, journal: Journal, clock: HeldClock, logged: Callable[[], list[str]]
) -> None:
    write, clock.now = starting(), 10
    storage.before = refuses([write], timed_out=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(journal.write(write))
        await storage.asked(1)
        await turns()
        assert len(logged()) == 1
        clock.now = 12.5
        storage.before = lambda _: None
    assert logged() == [f"StartExecution of execution {write.execution.id} is settled after 2.5 s"]


def test_an_outage_is_logged_when_it_begins_each_minute_and_when_it_is_over(
    clock: HeldClock, logged: Callable[[], list[str]]
) -> None:
    outage = Outage()
    outage.over()
    assert logged() == []
    clock.now = 10
    outage.goes_on(LOCKED, 3)
    assert logged() == ["storage takes no writes, and 3 of them wait until it does: a row is locked"]
    clock.now = 30
    outage.goes_on(LOCKED, 5)
    assert logged() == []
    clock.now = 71
    outage.goes_on(LOCKED, 7)
    assert logged() == ["storage takes no writes, and 7 of them wait until it does: a row is locked"]
    clock.now = 90
    outage.over()
    assert logged() == ["storage takes writes again after 80.0 s"]


def test_an_outage_that_follows_within_a_minute_is_not_logged(
    clock: HeldClock, logged: Callable[[], list[str]]
) -> None:
    outage = Outage()
    outage.goes_on(LOCKED, 1)
    outage.over()
    assert len(logged()) == 2
    clock.now = 59
    outage.goes_on(LOCKED, 1)
    outage.over()
    assert logged() == []


def test_a_write_is_described_by_what_it_is_about() -> None:
    start, made = starting(), batch()
    assert described(start) == f"StartExecution of execution {start.execution.id}"
    assert described(stopping("one")) == "StopExecution of execution one"
    assert described(CreateBatch(batch=made, filter_=None)) == f"CreateBatch of batch {made.id}"
    ended = EndBatch(batch_id="two", status=BatchStatus.ABORTED, end_time=moment())
    assert described(ended) == "EndBatch of batch two"
    assert described(DeleteExecutions(redrive_counts={"one": 0})) == "DeleteExecutions"
