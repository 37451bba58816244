"""A client engine: it submits executions, and workers run them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from statechain import (
    BatchExecutionOptions,
    Engine,
    ExecutionFailed,
    ExecutionFilter,
    ExecutionNotFound,
    ExecutionStatus,
    MemoryRepository,
    RepositoryUnavailable,
    StatechainError,
    TaskRegistry,
    open_repository,
)
from statechain.observers import ExecutionEnded, ExecutionResumed, ExecutionStarted, Fact
from statechain.storage.repository import RedriveExecution

CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}

EngineFactory = Callable[..., Engine]


class Observed:
    """An observer that keeps what began and ended."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def observe(self, fact: Fact) -> None:
        if isinstance(fact, ExecutionStarted | ExecutionResumed | ExecutionEnded):
            self.facts.append(fact)


def doubling(calls: list[Any] | None = None) -> TaskRegistry:
    tasks = TaskRegistry()

    @tasks.register("Call")
    async def call(value: Any) -> Any:
        if calls is not None:
            calls.append(value)
        if value == "fail":
            raise ValueError(value)
        return value * 2

    return tasks


async def test_what_a_client_starts_a_worker_runs(engine_factory: EngineFactory) -> None:
    observed = Observed()
    async with engine_factory(role="client") as client, engine_factory(tasks=doubling(), observers=[observed]):
        machine = await client.create_state_machine("double", CALL)
        assert (await machine.execute(21)).output == 42
    assert [type(each) for each in observed.facts] == [ExecutionStarted, ExecutionEnded]


async def test_a_start_is_durable_and_waits_for_a_worker(engine_factory: EngineFactory) -> None:
    async with engine_factory(role="client") as client:
        machine = await client.create_state_machine("double", CALL)
        handle = await machine.start_execution(4, name="four")
        again = await machine.start_execution(4, name="four")
        assert again.id == handle.id
        assert (await client.get_execution(handle.id)).status is ExecutionStatus.RUNNING
    async with engine_factory(role="client") as later, engine_factory(tasks=doubling()):
        found = await (await later.get_state_machine("double")).start_execution(4, name="four")
        assert (found.id, (await found.wait()).output) == (handle.id, 8)


async def test_a_worker_without_the_handler_leaves_it(engine_factory: EngineFactory) -> None:
    async with engine_factory(role="client") as client, engine_factory(tasks=TaskRegistry()) as worker:
        machine = await client.create_state_machine("double", CALL)
        handle = await machine.start_execution(4)
        assert await worker.recover() == []
        async with engine_factory(tasks=doubling()):
            assert (await handle.wait()).output == 8


async def test_a_client_recovers_nothing_and_runs_nothing(engine_factory: EngineFactory) -> None:
    calls: list[Any] = []
    async with engine_factory(role="client", tasks=doubling(calls)) as client:
        machine = await client.create_state_machine("double", CALL)
        await machine.start_execution(4)
        with pytest.raises(StatechainError, match="role='client'"):
            await client.recover()
        assert list(await client.repository.workers()) == []
    assert calls == []


async def test_a_client_stops_and_redrives(engine_factory: EngineFactory) -> None:
    async with engine_factory(role="client") as client:
        machine = await client.create_state_machine("double", CALL)
        handle = await machine.start_execution(4)
        assert (await handle.stop(cause="enough")).status is ExecutionStatus.ABORTED
        redriven = await client.redrive_execution(handle.id)
        with pytest.raises(ValueError, match="RUNNING"):
            await client.redrive_execution(handle.id)
        async with engine_factory(tasks=doubling()) as worker:
            assert (await redriven.wait()).output == 8
            types = [each["type"] for each in await worker.get_execution_history(handle.id)]
    assert "ExecutionRedriven" in types


class LateReply:
    """A repository whose reply to one redrive is lost; a worker has claimed the execution when it is written again."""

    def __init__(self, repository: Any) -> None:
        self.repository = repository
        self.lost = 0

    async def commit(self, writes: Any) -> Any:
        outcomes = await self.repository.commit(writes)
        if not self.lost and any(isinstance(write, RedriveExecution) for write in writes):
            self.lost += 1
            await self.repository.renew_lease("worker", timedelta(hours=1))
            assert len(await self.repository.claim("worker", page=9)) == 1
            raise RepositoryUnavailable("the reply was lost")
        return outcomes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.repository, name)


async def test_a_clients_redrive_whose_reply_was_lost_is_its_own_after_a_worker_claimed_it(repository_url: str) -> None:
    async with open_repository(repository_url) as repository, Engine(LateReply(repository), role="client") as client:
        machine = await client.create_state_machine("double", CALL)
        handle = await machine.start_execution(4)
        await handle.stop()
        redriven = await client.redrive_execution(handle.id)
        execution = await client.get_execution(redriven.id)
        assert (execution.status, execution.redrive_count) == (ExecutionStatus.RUNNING, 1)


async def test_what_fails_fails_where_it_is_awaited(engine_factory: EngineFactory) -> None:
    async with engine_factory(role="client") as client, engine_factory(tasks=doubling()):
        machine = await client.create_state_machine("double", CALL)
        with pytest.raises(ExecutionFailed, match="fail"):
            await machine.execute("fail")


async def test_a_cancelled_caller_aborts_what_it_submitted(engine_factory: EngineFactory) -> None:
    async with engine_factory(role="client") as client:
        machine = await client.create_state_machine("double", CALL)
        caller = asyncio.create_task(machine.execute(4, name="four"))
        while not (found := await client.list_executions()):  # noqa: ASYNC110 -- it asks storage
            await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert (await client.get_execution(found[0].id)).status is ExecutionStatus.ABORTED


async def test_a_client_drives_a_batch_that_workers_run(engine_factory: EngineFactory) -> None:
    async with engine_factory(role="client") as client, engine_factory(tasks=doubling()):
        first = await client.create_state_machine("first", CALL)
        second = await client.create_state_machine("second", CALL)
        options = BatchExecutionOptions(concurrent_batches=5)
        await first.execute_bulk(range(10), options=options)
        chained = ExecutionFilter(state_machine_id=first.id, order="oldest_first")
        results = await second.execute_batch(chained, options=options)
        assert sorted(result.output for result in results) == [4 * number for number in range(10)]


async def test_many_waiters_share_their_queries() -> None:
    asked: Counter[str] = Counter()

    class Counted(MemoryRepository):
        async def epochs(self, ids: Any) -> Any:
            asked["epochs"] += 1
            return await super().epochs(ids)

        async def execution(self, execution_id: str) -> Any:
            asked["execution"] += 1
            return await super().execution(execution_id)

    repository = Counted()
    async with Engine(repository, role="client") as client, Engine(repository, tasks=doubling()):
        machine = await client.create_state_machine("double", CALL)
        handles = [await machine.start_execution(number) for number in range(300)]
        asked.clear()
        ends = await asyncio.gather(*(handle.wait() for handle in handles))
        assert [end.output for end in ends] == [2 * number for number in range(300)]
        assert asked["epochs"] < 100
        assert asked["execution"] == 0


async def test_one_of_many_waiters_that_is_cancelled_leaves_the_others_waiting(engine_factory: EngineFactory) -> None:
    async with engine_factory(role="client") as client:
        machine = await client.create_state_machine("double", CALL)
        handle = await machine.start_execution(4)
        waiting = [asyncio.create_task(handle.wait()) for _ in range(3)]
        missing = asyncio.create_task(client.worker.wait("missing"))
        with pytest.raises(ExecutionNotFound):
            await missing
        for each in waiting[:2]:
            each.cancel()
            with pytest.raises(asyncio.CancelledError):
                await each
        async with engine_factory(tasks=doubling()):
            assert (await waiting[2]).output == 8
