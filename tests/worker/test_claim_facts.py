"""What observers are shown of claims: how many executions, and which suspects."""

from __future__ import annotations

import asyncio
import logging

import pytest

from statechain import Engine, MemoryRepository, TaskRegistry
from statechain.observers import ExecutionsClaimed, Fact, SuspectsCounted, SuspectTakenUp
from support.deaths import die_of
from support.engine_harness import machine, task


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
