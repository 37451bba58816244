"""A commit that storage does not answer: when it is left behind, how many are, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from statechain.clock import SystemClock
from statechain.errors import RepositoryUnavailable
from statechain.storage.journal import stragglers
from statechain.storage.journal.journal import MOST_LEFT_BEHIND, Journal
from support.faulty_repository import FaultyRepository, as_repository
from support.storage.journals import HeldClock, each, held, running, starting, turns, write_all

RELIEF = 0.01


async def test_a_commit_is_left_behind_once_it_has_taken_too_long(storage: FaultyRepository, clock: HeldClock) -> None:
    clock.now = 100
    async with running(storage, relief=RELIEF) as journal, asyncio.TaskGroup() as tasks:
        silent = await held(storage, journal, tasks)
        later = tasks.create_task(journal.write(starting()))
        await clock.read()
        await turns()
        assert storage.sizes == [1]
        clock.now += RELIEF
        await storage.asked(2)
        assert not silent.done()
        storage.gate.set()
    assert later.result()


async def test_few_commits_are_left_behind_at_once(storage: FaultyRepository, clock: HeldClock) -> None:
    writes = each(MOST_LEFT_BEHIND + 2)
    storage.gate.clear()
    async with running(storage, relief=RELIEF) as journal, asyncio.TaskGroup() as tasks:
        for number, write in enumerate(writes):
            tasks.create_task(journal.write(write))
            if number <= MOST_LEFT_BEHIND:
                await storage.asked(number + 1)
            clock.now += 1
        await clock.read()
        await clock.read()
        await turns()
        assert storage.groups == [[write] for write in writes[:-1]]
        storage.gate.set()
    assert storage.groups == [[write] for write in writes]


async def test_after_it_was_relieved_there_is_one_commit_at_a_time_again(
    storage: FaultyRepository, clock: HeldClock
) -> None:
    storage.gate.clear()
    async with running(storage, relief=RELIEF) as journal, asyncio.TaskGroup() as tasks:
        silent = []
        for number in range(1, 4):
            silent.append(tasks.create_task(journal.write(starting())))
            await storage.asked(number)
            clock.now += 1
        storage.gate.set()
        await asyncio.wait(silent)
        await turns()
        await held(storage, journal, tasks)
        await storage.asked(4)
        tasks.create_task(write_all(journal, each(2)))
        await turns()
        assert storage.sizes == [1, 1, 1, 1]
        storage.gate.set()
    assert storage.sizes == [1, 1, 1, 1, 2]


async def test_what_is_answered_at_last_makes_room_for_others_that_are_not(
    storage: FaultyRepository, clock: HeldClock
) -> None:
    async with running(storage, relief=RELIEF) as journal, asyncio.TaskGroup() as tasks:
        for number in range(MOST_LEFT_BEHIND + 1):
            storage.gate.clear()
            silent = tasks.create_task(journal.write(starting()))
            await storage.asked(2 * number + 1)
            later = tasks.create_task(journal.write(starting()))
            clock.now += 1
            await storage.asked(2 * number + 2)
            storage.gate.set()
            await asyncio.wait([silent, later])
            await turns()


async def test_who_waits_for_a_commit_that_was_left_behind_hears_that_the_journal_was_cut_off(
    storage: FaultyRepository, clock: HeldClock
) -> None:
    journal = Journal(as_repository(storage), SystemClock(), relief=RELIEF)
    journal.open()
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(journal.run())
        storage.gate.clear()
        silent = tasks.create_task(write_all(journal, each(1)))
        await storage.asked(1)
        clock.now += 1
        await clock.read()
        await turns()
        run.cancel()
    assert [type(outcome) for outcome in silent.result()] == [RepositoryUnavailable]


async def test_nothing_is_left_behind_where_all_is_answered(storage: FaultyRepository) -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    async with running(storage, relief=0) as journal:
        await journal.write(starting())
        await turns()
    assert faults == []


async def test_a_storage_that_does_not_answer_is_logged_and_that_it_has_answered_too(
    storage: FaultyRepository, clock: HeldClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stragglers, "SILENT_SECONDS", 0.02)
    monkeypatch.setattr(stragglers, "RARELY", 0.02)
    async with running(storage, relief=RELIEF) as journal, asyncio.TaskGroup() as tasks:
        silent = await held(storage, journal, tasks)
        clock.now += RELIEF
        async with asyncio.timeout(30):
            while len(caplog.messages) < 2:  # noqa: ASYNC110 -- a log has no event
                await asyncio.sleep(0.01)
        assert not silent.done()
        storage.gate.set()
    first, *_, last = caplog.messages
    assert re.fullmatch(r"storage has not answered for \d+ s: StartExecution of execution \S+ waits", first)
    assert re.fullmatch(r"storage has answered after [\d.]+ s", last)


async def test_a_commit_that_is_answered_late_is_not_logged(
    storage: FaultyRepository, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(storage, relief=RELIEF) as journal, asyncio.TaskGroup() as tasks:
        silent = await held(storage, journal, tasks)
        tasks.create_task(journal.write(starting()))
        await storage.asked(2)
        storage.gate.set()
        await asyncio.wait([silent])
    assert caplog.messages == []
