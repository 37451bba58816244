"""The loop that takes over what dead workers left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from statechain import Engine, Limits, MemoryRepository, Repository, TaskRegistry
from statechain.errors import DamagedRow, RepositoryUnavailable
from statechain.observers import ExecutionPoisoned, Fact
from statechain.records.executions import Claim
from statechain.storage.repository import TakeUpExecution
from statechain.worker.recovery import pause_after
from support.deaths import suspected
from support.engine_harness import machine, task
from support.faulty_repository import FaultyRepository, as_repository
from support.virtual_loop import run_virtually


def test_looks_that_fail_are_further_and_further_apart_up_to_a_period_of_the_lease() -> None:
    assert [pause_after(failures, 10.0) for failures in range(1, 9)] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert pause_after(10_000, 10.0) == 10.0
    assert pause_after(1, 0.1) == 0.1


class LosesAClaim(FaultyRepository):
    """Claims something the first time without a reply."""

    async def claim(self, worker_id: str, **named: Any) -> Sequence[Claim]:
        claims = await self._inner.claim(worker_id, **named)
        if claims and not self.refused["claim"]:
            self.refused["claim"] += len(claims)
            raise RepositoryUnavailable("the reply was lost")
        return claims


@pytest.mark.parametrize("deaths", [0, 1])
async def test_what_was_claimed_without_a_reply_is_taken_up_all_the_same(deaths: int) -> None:
    tasks = TaskRegistry()
    tasks.add("work", str)
    limits = Limits(suspect_backoff_seconds=0.01, suspect_backoff_longest_seconds=0.02)
    async with MemoryRepository() as repository:
        id_ = await suspected(repository, machine(Work=task("work")), deaths=deaths)
        losing = LosesAClaim(repository)
        # A long lease: between two looks nothing but the doubt has storage asked for what this worker does not run.
        async with Engine(as_repository(losing), tasks=tasks, limits=limits, lease=600) as engine:
            handle = await engine.get_handle(id_)
            async with asyncio.timeout(20):
                assert (await handle.wait()).status == "SUCCEEDED"
        assert losing.refused["claim"] == 1


async def test_a_suspect_is_taken_up_when_its_backoff_is_over_and_not_with_the_next_look() -> None:
    tasks = TaskRegistry()
    tasks.add("work", str)
    async with MemoryRepository() as repository:
        id_ = await suspected(repository, machine(Work=task("work")), deaths=1, backoff=0.3)
        async with Engine(repository, tasks=tasks, lease=600) as engine, asyncio.timeout(20):
            assert [(each.deaths, each.count) for each in await repository.suspect_groups()] == [(1, 1)]
            assert (await (await engine.get_handle(id_)).wait()).status == "SUCCEEDED"


async def test_to_recover_returns_suspects_of_all_numbers_of_deaths() -> None:
    tasks = TaskRegistry()
    tasks.add("work", str)
    async with MemoryRepository() as repository:
        ids = [await suspected(repository, machine(Work=task("work")), deaths=deaths) for deaths in (1, 2)]
        async with Engine(repository, tasks=tasks, recovery=False, wait_for="all") as engine:
            assert await engine.recover() == ids


def test_suspects_that_are_tried_alone_follow_each_other_at_once() -> None:
    """Also one whose deaths are one fewer than those of which each is tried alone."""

    async def run() -> list[tuple[float, float]]:
        tried, tasks = list[tuple[float, float]](), TaskRegistry()

        async def work(_value: Any) -> None:
            clock = asyncio.get_running_loop().time
            begun = clock()
            await asyncio.sleep(1)
            tried.append((begun, clock()))

        tasks.add("work", work)
        async with MemoryRepository() as repository:
            ids = [await suspected(repository, machine(Work=task("work")), deaths=deaths) for deaths in (3, 4, 5)]
            async with Engine(repository, tasks=tasks, lease=3600) as engine, asyncio.timeout(60):
                for id_ in ids:
                    await (await engine.get_handle(id_)).wait()
        return tried

    assert run_virtually(run()) == [(0, 1), (1, 2), (2, 3)]


class CountsClaimsOfSuspects(FaultyRepository):
    """Keeps how many executions each claim of suspects had."""

    def __init__(self, inner: Repository) -> None:
        super().__init__(inner)
        self.claimed: list[int] = []
        self.asked = asyncio.Event()

    async def claim(self, worker_id: str, **named: Any) -> Sequence[Claim]:
        claims = await self._inner.claim(worker_id, **named)
        if named.get("suspects"):
            self.claimed.append(len(claims))
            if len(self.claimed) == 3:
                self.asked.set()
        return claims


async def test_a_suspect_whose_handlers_are_elsewhere_is_claimed_once_between_two_looks() -> None:
    async with MemoryRepository() as repository:
        id_ = await suspected(repository, machine(Work=task("elsewhere")), deaths=2)
        counting = CountsClaimsOfSuspects(repository)
        async with Engine(as_repository(counting), tasks=TaskRegistry(), lease=600), asyncio.timeout(20):
            await counting.asked.wait()
        assert counting.claimed[:3] == [1, 0, 0]
        # It keeps its deaths: that nothing serves it here is neither progress nor a death.
        assert [(each.deaths, each.count) for each in await repository.suspect_groups()] == [(2, 1)]
        execution = await repository.execution(id_)
        assert execution is not None
        assert execution.status == "RUNNING"


class Facts:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.seen: list[Fact] = []

    def observe(self, fact: Fact) -> None:
        self.seen.append(fact)


@pytest.mark.parametrize("observers", [0, 1])
async def test_an_execution_of_which_workers_die_alone_ends_failed(
    observers: int, caplog: pytest.LogCaptureFixture
) -> None:
    facts, tasks = Facts(), TaskRegistry()
    tasks.add("work", str)
    limits = Limits(claims=2, suspect_seconds=0)
    async with MemoryRepository() as repository:
        id_ = await suspected(repository, machine(Work=task("work")), deaths=6)
        engine = Engine(repository, tasks=tasks, limits=limits, observers=[facts] * observers)
        async with engine, asyncio.timeout(20):
            ended = await (await engine.get_handle(id_)).wait()
    assert (ended.status, ended.error, ended.current_state) == ("FAILED", "States.Runtime", "Work")
    assert ended.end_time is not None
    assert (ended.cause or "").startswith(
        "6 workers died after they had taken the execution up, 2 of them while it was"
    )
    assert any(f"execution {id_} is ended" in record.message for record in caplog.records)
    poisoned = [fact for fact in facts.seen if isinstance(fact, ExecutionPoisoned)]
    assert [(fact.execution.id, fact.state_machine, fact.deaths) for fact in poisoned] == [
        (id_, "suspected", 6)
    ] * observers


@pytest.mark.parametrize(
    ("deaths", "backoff", "blamed"),
    [(0, 3600.0, 1), (3, 3600.0, 4), (4, 3600.0, 4), (4, 0.0, 5)],
    ids=["a first take-up", "a group", "alone, sooner than the backoff", "alone, after the backoff"],
)
async def test_a_suspect_is_blamed_alone_only_by_a_worker_that_has_lived_for_its_backoff(
    deaths: int, backoff: float, blamed: int
) -> None:
    tasks = TaskRegistry()
    tasks.add("work", str)
    limits = Limits(suspect_backoff_seconds=backoff, suspect_backoff_longest_seconds=36_000.0)
    async with MemoryRepository() as inner:
        id_ = await suspected(inner, machine(Work=task("work")), deaths=deaths)
        faulty = FaultyRepository(inner, remembers=True)
        async with Engine(as_repository(faulty), tasks=tasks, limits=limits) as engine, asyncio.timeout(20):
            assert (await (await engine.get_handle(id_)).wait()).status == "SUCCEEDED"
    taken_up = [each for group in faulty.groups for each in group if isinstance(each, TakeUpExecution)]
    assert [each.claims for each in taken_up] == [blamed]


@pytest.mark.parametrize("deaths", [0, 2])
async def test_what_was_claimed_as_the_engine_began_to_be_left_is_released_with_its_deaths(deaths: int) -> None:
    claimed, may_answer = asyncio.Event(), asyncio.Event()

    class AnswersLate(FaultyRepository):
        async def claim(self, worker_id: str, **named: Any) -> Sequence[Claim]:
            claims = await self._inner.claim(worker_id, **named)
            if claims:
                claimed.set()
                await may_answer.wait()
            return claims

    calls, tasks = list[Any](), TaskRegistry()
    tasks.add("work", calls.append)
    async with MemoryRepository() as inner, asyncio.timeout(20):
        id_ = await suspected(inner, machine(Work=task("work")), deaths=deaths)
        engine = Engine(as_repository(AnswersLate(inner)), tasks=tasks, recovery=False)
        await engine.__aenter__()
        recovering = asyncio.create_task(engine.recover())
        await claimed.wait()
        leaving = asyncio.create_task(engine.__aexit__(None, None, None))
        await asyncio.sleep(0)
        may_answer.set()
        assert await recovering == []
        await leaving
        assert calls == []
        assert await inner.epochs([id_]) == {id_: 2}
        assert [each.deaths for each in await inner.suspect_groups()] == [deaths][: bool(deaths)]


async def test_an_execution_whose_revision_no_worker_can_read_ends_failed_with_the_reason() -> None:
    damage = DamagedRow("state_machines", ("m", 1), "definition is not JSON")

    class Damaged(FaultyRepository):
        async def state_machine(self, *_arguments: Any) -> None:
            raise damage

    async with MemoryRepository() as inner, asyncio.timeout(20):
        id_ = await suspected(inner, machine(Work=task("work")), deaths=0)
        async with Engine(as_repository(Damaged(inner)), recovery=False) as engine:
            assert await engine.recover() == []
        ended = await inner.execution(id_)
    assert ended is not None
    assert (ended.status, ended.error, ended.cause) == ("FAILED", "States.Runtime", str(damage))
    assert ended.end_time is not None
