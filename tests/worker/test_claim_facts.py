"""What observers are shown of claims: how many executions, and which suspects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from statechain import Engine, Limits, MemoryRepository, TaskRegistry
from statechain.observers import (
    ExecutionPoisoned,
    ExecutionsClaimed,
    Fact,
    QueueCounted,
    SuspectsCounted,
    SuspectTakenUp,
)
from statechain.storage.repository import Advance, Write
from support.deaths import die_of, suspected
from support.engine_harness import machine, task
from support.faulty_repository import FaultyRepository, as_repository


class Observer:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def observe(self, fact: Fact) -> None:
        self.facts.append(fact)


async def test_observers_are_shown_what_is_claimed_and_which_suspects_are_taken_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    observer, tasks = Observer(), TaskRegistry()
    tasks.add("work", str)
    async with MemoryRepository() as repository, Engine(repository, role="client") as client:
        created = await client.create_state_machine("works", machine(Work=task("work")))
        suspect = await created.start_execution(1)
        await die_of(repository, later=2)
        limited = await client.create_state_machine("limited", machine(Work=task("work")), max_concurrency=5)
        others = [await each.start_execution(2) for each in (created, limited)]
        engine = Engine(repository, tasks=tasks, observers=[observer])
        async with asyncio.timeout(20), engine:
            for handle in (suspect, *others):
                assert (await handle.wait()).status == "SUCCEEDED"
    claimed = [fact for fact in observer.facts if isinstance(fact, ExecutionsClaimed) and fact.count]
    assert {fact.worker_id for fact in claimed} == {engine.worker.id}
    assert (sum(fact.count for fact in claimed), sum(fact.limited for fact in claimed)) == (2, 1)
    assert all(0 <= fact.seconds < 20 for fact in claimed)
    (taken,) = [fact for fact in observer.facts if isinstance(fact, SuspectTakenUp)]
    assert (taken.execution.id, taken.state_machine, taken.deaths, taken.group_size) == (suspect.id, "works", 2, 8)
    counted = [fact for fact in observer.facts if isinstance(fact, SuspectsCounted)]
    assert (counted[0].worker_id, counted[0].count, counted[0].most_deaths) == (engine.worker.id, 1, 2)
    assert [record for record in caplog.records if "could not be recovered" in record.message] == []
    assert any(
        record.levelno == logging.WARNING and "suspects: 1 executions" in record.message for record in caplog.records
    )


async def test_observers_are_shown_how_many_suspects_there_are_while_there_are_any_and_once_there_are_none_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    observer, tasks = Observer(), TaskRegistry()
    tasks.add("work", str)
    async with MemoryRepository() as repository, asyncio.timeout(20):
        async with Engine(repository, tasks=tasks, observers=[observer], lease=0.3) as engine:
            await looked(observer, 3)
            assert counts(observer) == []
        id_ = await suspected(repository, machine(Work=task("work")), deaths=2)
        async with Engine(repository, tasks=tasks, observers=[observer], lease=0.3) as engine:
            assert (await (await engine.get_handle(id_)).wait()).status == "SUCCEEDED"
            while (0, 0) not in counts(observer):  # noqa: ASYNC110 -- a list has no event
                await asyncio.sleep(0.01)
            await looked(observer, 3)
        assert counts(observer) == [(1, 2), (0, 0)]
    assert not any("could not be recovered" in record.message for record in caplog.records)


async def looked(observer: Observer, times: int) -> None:
    """Return once so many claims more were made."""
    claims = 0
    for begin in [len(observer.facts)]:
        while claims < times:
            await asyncio.sleep(0.01)
            claims = sum(isinstance(fact, ExecutionsClaimed) for fact in observer.facts[begin:])


def counts(observer: Observer) -> list[tuple[int, int]]:
    return [(fact.count, fact.most_deaths) for fact in observer.facts if isinstance(fact, SuspectsCounted)]


async def test_the_log_says_which_suspects_are_tried_next_and_how_many_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = TaskRegistry()
    tasks.add("work", str)
    async with MemoryRepository() as repository:
        await suspected(repository, machine(Work=task("work")), deaths=1, backoff=3600)
        await suspected(repository, machine(Work=task("work")), deaths=2, backoff=999.5)
        async with Engine(repository, tasks=tasks, lease=600):
            pass
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith("suspects: 2 executions, up to 2 workers died after taking one up. Next, in 999.")
    assert " s, a worker tries 1 of them at once" in said


class LosesItsSuspect(FaultyRepository):
    """Has another worker take a suspect over before its end is written."""

    async def commit(self, writes: Sequence[Write[Any]]) -> Sequence[Any]:
        if any(isinstance(each, Advance) and each.end is not None for each in writes):
            for lease in await self._inner.workers():
                await self._inner.release(lease.worker_id)
            await self._inner.claim("another", page=1, suspects=range(1, 9))
        return await super().commit(writes)


async def test_an_execution_of_another_worker_is_not_shown_as_poisoned() -> None:
    observer, tasks = Observer(), TaskRegistry()
    tasks.add("work", str)
    async with MemoryRepository() as inner, asyncio.timeout(20):
        id_ = await suspected(inner, machine(Work=task("work")), deaths=6)
        limits = Limits(claims=2, suspect_seconds=0)
        losing = as_repository(LosesItsSuspect(inner))
        async with Engine(losing, tasks=tasks, limits=limits, observers=[observer], recovery=False) as engine:
            assert await engine.recover() == []
        assert list(await inner.owned("another")) == [id_]
    assert not any(isinstance(fact, ExecutionPoisoned) for fact in observer.facts)


class ForgetsMachines(FaultyRepository):
    """Has the row of no state machine any more."""

    async def state_machine(self, *_arguments: Any) -> None:
        return None


async def test_what_waits_for_the_limits_of_a_machine_that_is_gone_is_counted_under_its_id() -> None:
    observer = Observer()
    async with MemoryRepository() as inner, asyncio.timeout(20):
        async with Engine(inner, role="client") as client:
            created = await client.create_state_machine("limited", machine(Work=task("work")), max_concurrency=1)
            await created.start_execution(1)
        async with Engine(as_repository(ForgetsMachines(inner)), observers=[observer], lease=0.3):
            while not (counted := [fact for fact in observer.facts if isinstance(fact, QueueCounted)]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert (counted[0].state_machine, counted[0].waiting, counted[0].running) == (created.id, 1, 0)
