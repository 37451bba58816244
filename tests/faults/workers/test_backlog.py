"""A backlog of executions without a worker is taken up at the pace of the slots, not of the looks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import timedelta

import pytest

from statechain import Engine, ExecutionFilter, MemoryRepository, TaskContext, TaskRegistry
from statechain.storage.repository import StartExecution
from statechain.testing.contract.samples import execution
from support.faults.one_task import ONE_TASK
from support.summary import Figures

pytestmark = pytest.mark.timeout(600)

LOOKS_APART = timedelta(hours=3)


async def test_a_backlog_needs_no_look_beyond_the_first(repository_url: str, figures: Figures, *, full: bool) -> None:
    """The lease is so long that an execution that waited for the next claim would not be done."""
    count, slots, seconds = (10_000, 100, 0.05) if full else (150, 4, 0.001)
    calls: Counter[str] = Counter()
    running = most = 0

    async def work(value: object, context: TaskContext) -> object:
        nonlocal running, most
        calls[context.execution_id] += 1
        running += 1
        most = max(most, running)
        await asyncio.sleep(seconds)
        running -= 1
        return value

    tasks = TaskRegistry()
    tasks.add("Work", work)
    storage = MemoryRepository() if repository_url == "memory://" else repository_url
    async with Engine(storage, recovery=False) as engine:
        machine = await engine.create_state_machine("m", ONE_TASK)
        made = [execution(state_machine_id=machine.id, current_state="Work") for _ in range(count)]
        for begin in range(0, count, 500):
            page = made[begin : begin + 500]
            await engine.repository.commit([StartExecution(execution=each, owner=None) for each in page])
    began, used = time.monotonic(), time.process_time()
    async with Engine(storage, tasks=tasks, lease=LOOKS_APART, max_concurrent_executions=slots) as engine:
        async with asyncio.timeout(300):
            while await engine.count_executions(ExecutionFilter(status="RUNNING")):  # noqa: ASYNC110 -- no event
                await asyncio.sleep(0.05)
        took, used = round(time.monotonic() - began, 1), round(time.process_time() - used, 1)
        figures(executions=count, slots=slots, seconds=took, processor=used, ideal=count / slots * seconds)
        assert await engine.count_executions(ExecutionFilter(status="SUCCEEDED")) == count
    assert set(calls.values()) == {1}
    assert most <= slots
