"""What recovery owes beyond picking up the dead: poison, revisions, orderly leave, blocked loops, missing handlers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from statechain import Engine, ExecutionFilter, ExecutionStatus, Limits, Repository
from statechain.limits import DEFAULT_LIMITS
from statechain.records.executions import Claim, Visit
from statechain.testing.contract.samples import bury
from statechain.worker.suspects import GROUPS
from support.deaths import die_of
from support.faults.one_task import ONE_TASK, Left, answer, hang, tasks_of
from support.faults.workers.poisoned import DEADLY, DEATH, LIMITS
from support.faulty_repository import FaultyRepository, as_repository, opened_twice
from support.forked import Program
from support.summary import Figures

if TYPE_CHECKING:
    from support.engine_harness import EngineFactory

LONG_LEASE = timedelta(hours=1)
DEATHS = 3


async def start_and_leave(engine: Engine, definition: dict[str, Any]) -> str:
    """Start an execution whose handler hangs, and interrupt it; return its id."""
    begun: str = ""
    with suppress(Left):
        async with engine:
            machine = await engine.create_state_machine("left", definition)
            begun = (await machine.start_execution({"n": 1}, name="left")).id
            await asyncio.sleep(0.05)
            raise Left
    return begun


def test_a_poisoned_execution_ends_failed_and_can_be_redriven(durable_url: str, figures: Figures) -> None:
    """It dies at its start, once more as it is taken up, in each size of group, and then alone, as its limits say."""
    deaths = 0
    while (code := run_worker(durable_url)) == DEATH:
        deaths += 1
        assert deaths < 20, "it never ends"
    assert code == 0
    assert deaths == 2 + len(GROUPS) + LIMITS.claims
    asyncio.run(_find_it_ended(durable_url))
    figures(deaths=deaths, of_them_alone=LIMITS.claims)


def run_worker(url: str) -> int:
    """Run a worker until it ends; return its exit code."""
    with Program("support.faults.workers.poisoned", url) as worker:
        return worker.wait(60)


async def _find_it_ended(url: str) -> None:
    async with Engine(url, tasks=tasks_of(Work=answer)) as engine:
        (ended,) = await engine.list_executions()
        assert (ended.status, ended.error) == (ExecutionStatus.FAILED, "States.Runtime")
        assert f"{LIMITS.claims} of them while it was the only suspect" in (ended.cause or "")
        assert await (await engine.redrive_execution(ended.id)).result() == "well"


async def test_whoever_leaves_in_order_is_not_poison(engine_factory: EngineFactory) -> None:
    """An orderly leave is no failure: an execution may be handed on for ever."""
    for _ in range(DEFAULT_LIMITS.claims * 2):
        await start_and_leave(engine_factory(tasks=tasks_of(Work=hang)), ONE_TASK)
    async with engine_factory(tasks=tasks_of(Work=answer)) as engine:
        (left,) = await engine.list_executions()
        assert (await (await engine.get_handle(left.id)).wait()).output == "well"


async def test_a_revision_does_not_touch_what_runs(engine_factory: EngineFactory) -> None:
    """An execution ends on the definition that it began with, also when it is taken over after the revision."""
    old = {
        "StartAt": "Work",
        "States": {
            "Work": {"Type": "Task", "Resource": "Work", "Next": "Last"},
            "Last": {"Type": "Pass", "Result": "old", "End": True},
        },
    }
    new = {**old, "States": {**old["States"], "Last": {"Type": "Pass", "Result": "new", "End": True}}}  # type: ignore[dict-item]
    left = await start_and_leave(engine_factory(tasks=tasks_of(Work=hang)), old)
    async with engine_factory(recovery=False) as engine:
        revised = await engine.create_state_machine("left", new)
        assert revised.revision == 2
    async with engine_factory(tasks=tasks_of(Work=answer)) as engine:
        assert (await (await engine.get_handle(left)).wait()).output == "old"
        revised = await engine.get_state_machine("left")
        assert (await revised.execute()).output == "new"
        assert (await engine.get_execution(left)).state_machine_revision == 1


async def test_an_orderly_leave_hands_over_at_once(engine_factory: EngineFactory, figures: Figures) -> None:
    """The second engine need not wait for a lease that would hold for an hour. It claims only when it is asked to."""
    async with engine_factory(tasks=tasks_of(Work=answer), lease=LONG_LEASE, recovery=False) as second_engine:
        left = await start_and_leave(engine_factory(tasks=tasks_of(Work=hang), lease=LONG_LEASE), ONE_TASK)
        began = time.monotonic()
        assert await second_engine.recover() == [left]
        assert (await (await second_engine.get_handle(left)).wait()).output == "well"
        figures(milliseconds=round((time.monotonic() - began) * 1000, 1))


async def test_an_engine_that_closes_at_once_does_not_wait_for_storage(repository_url: str) -> None:
    """A second engine repeats what was not written, once the lease that the first could not release is over."""
    calls: list[str] = []

    async def work(_value: object) -> str:
        calls.append("begun")
        faulty.fail_all(whether=len(calls) == 1)
        return "well"

    async def leave() -> None:
        options: dict[str, Any] = {
            "lease": timedelta(seconds=0.2),
            "recovery": False,
            "limits": Limits(drain_seconds=0.2),
        }
        with suppress(Left):
            async with Engine(as_repository(faulty), tasks=tasks_of(Work=work), **options) as engine:
                await (await engine.create_state_machine("one-task", ONE_TASK)).start_execution(name="left")
                while not faulty.refused["commit"]:  # noqa: ASYNC110 -- the journal has no event for it
                    await asyncio.sleep(0.002)
                raise Left

    async with opened_twice(repository_url) as (one, two):
        faulty = FaultyRepository(one)
        leaving = asyncio.create_task(leave())
        left, _ = await asyncio.wait([leaving], timeout=60)
        faulty.fail_all(whether=False)
        await leaving
        assert left, "it waited for storage"
        async with Engine(two, tasks=tasks_of(Work=work), recovery=False) as second_engine:
            while not (recovered := await second_engine.recover()):  # noqa: ASYNC110 -- a lease ends by itself
                await asyncio.sleep(0.02)
            assert (await (await second_engine.get_handle(recovered[0])).wait()).output == "well"
    assert calls == ["begun", "begun"]


async def test_a_handler_that_blocks_the_loop_keeps_the_lease(durable_url: str) -> None:
    """A thread renews the lease, so that no other worker takes over what a blocked loop runs for longer than that."""
    lease = timedelta(seconds=2)  # so long that a machine with much else to do renews it in time
    taken: list[list[str]] = []

    def look() -> None:
        taken.append(asyncio.run(_take_what_is_free(durable_url, 1.2 * lease.total_seconds())))

    async def block(_value: object) -> str:
        looker = threading.Thread(target=look)
        looker.start()
        looker.join()  # blocks the loop
        return "done"

    async with Engine(durable_url, tasks=tasks_of(Work=block), lease=lease) as engine:
        machine = await engine.create_state_machine("one-task", ONE_TASK)
        assert (await machine.execute()).output == "done"
    assert taken == [[]]


async def _take_what_is_free(url: str, seconds: float) -> list[str]:
    """Return what an engine beside this one could take over meanwhile."""
    taken: list[str] = []
    async with Engine(url, tasks=tasks_of(Work=answer), recovery=False) as engine:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            taken += await engine.recover()
            await asyncio.sleep(0.02)
    return taken


async def test_an_outage_longer_than_the_lease_is_a_pause(repository_url: str) -> None:
    """No other worker took over what runs, nor does its own worker before its lease holds again."""
    calls: list[str] = []
    is_over = asyncio.Event()

    async def work(_value: object) -> str:
        calls.append("begun")
        await is_over.wait()
        return "well"

    async with opened_twice(repository_url) as (one, _):
        faulty = FaultyRepository(one)
        lease = timedelta(seconds=0.2)
        async with Engine(as_repository(faulty), tasks=tasks_of(Work=work), lease=lease) as engine:
            machine = await engine.create_state_machine("one-task", ONE_TASK)
            handle = await machine.start_execution()
            faulty.cut_off()
            await asyncio.sleep(5 * lease.total_seconds())
            is_over.set()
            faulty.cut_off(whether=False)
            assert await handle.result() == "well"
    assert calls == ["begun"]


async def test_a_worker_that_took_over_its_own_runs_it_once(repository_url: str) -> None:
    """The former run is cancelled, its waiters get the new one's end, and the engine can be left."""
    calls: list[str] = []
    begun = asyncio.Event()

    async def work(_value: object) -> str:
        calls.append("begun")
        begun.set()
        if len(calls) == 1:
            try:
                await asyncio.Event().wait()
            finally:
                calls.append("cut short")
        return "well"

    async with opened_twice(repository_url) as (one, _):
        faulty = FaultyRepository(one)
        lease = timedelta(seconds=0.2)
        async with Engine(as_repository(faulty), tasks=tasks_of(Work=work), lease=lease, recovery=False) as engine:
            machine = await engine.create_state_machine("one-task", ONE_TASK)
            handle = await machine.start_execution()
            await begun.wait()
            faulty.fall_silent()
            await bury(one, engine.worker.id)
            claims = await one.claim(engine.worker.id, page=1)
            engine.worker.adopt(machine._revision, claims[0])
            assert await handle.result() == "well"
        assert len(await one.visits(handle.id)) == 1
    assert sorted(calls) == ["begun", "begun", "cut short"]


WAITS = {
    "a Wait": {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 3600, "End": True}}},
    "a retry": {
        "StartAt": "W",
        "States": {
            "W": {
                "Type": "Task",
                "Resource": "Work",
                "Retry": [{"ErrorEquals": ["ValueError"], "IntervalSeconds": 3600}],
                "End": True,
            }
        },
    },
    "an answer": {
        "StartAt": "W",
        "States": {"W": {"Type": "Task", "Resource": "Hand.waitForTaskToken", "End": True}},
    },
}


@pytest.mark.parametrize("definition", WAITS.values(), ids=WAITS)
async def test_whoever_only_waits_is_not_poison(repository_url: str, definition: dict[str, Any]) -> None:
    """A wait that is taken up again counts as progress, however many of its workers have died meanwhile."""
    tasks = tasks_of(Work=refuse, Hand=answer)
    async with opened_twice(repository_url) as (one, _):
        with suppress(Left):
            async with Engine(one, tasks=tasks) as engine:
                machine = await engine.create_state_machine("waits", definition)
                handle = await machine.start_execution({})
                await until_waiting(one, handle.id)
                raise Left
        for number in range(DEATHS):
            await die_of(one, f"dies at once {number}", deaths=number, later=number + 1)
        with suppress(Left):
            async with Engine(one, tasks=tasks) as engine, asyncio.timeout(30):
                while await one.suspects(page=1):  # noqa: ASYNC110 -- storage has no event
                    await asyncio.sleep(0.01)
                claims: Sequence[Claim] = ()
                while not claims:  # its renewal may come in between
                    dead = [lease for lease in await one.workers() if lease.worker_id == engine.worker.id]
                    await one.release_dead(dead)  # it dies, too
                    claims = await one.claim("the next", page=1)
                assert [claim.claims for claim in claims] == [0]
                raise Left


async def test_a_branch_that_waits_does_not_clear_what_runs_beside_it(repository_url: str) -> None:
    """Beside the branch that waits, another may be what ends the workers: its deaths go on counting."""
    calls = 0

    async def work(_value: object) -> None:
        nonlocal calls
        calls += 1
        await hang(_value)

    tasks = tasks_of(Work=work, Hand=answer)
    branches = [WAITS["an answer"], ONE_TASK]
    fork = {"StartAt": "Fork", "States": {"Fork": {"Type": "Parallel", "Branches": branches, "End": True}}}
    async with opened_twice(repository_url) as (one, _):
        with suppress(Left):
            async with Engine(one, tasks=tasks) as engine:
                machine = await engine.create_state_machine("fork", fork)
                handle = await machine.start_execution({})
                await until_waiting(one, handle.id)
                raise Left
        for number in range(DEATHS):
            await die_of(one, f"dies at once {number}", deaths=number, later=number + 1)
        called = calls
        with suppress(Left):
            async with Engine(one, tasks=tasks), asyncio.timeout(30):
                while calls == called:  # noqa: ASYNC110 -- a count has no event
                    await asyncio.sleep(0.01)
                (suspect,) = await one.suspects(page=1)
                assert suspect.deaths >= DEATHS
                raise Left


async def refuse(_value: Any) -> None:
    """Fail, to be tried again in an hour."""
    raise ValueError("not now")


async def until_waiting(repository: Repository, execution_id: str) -> None:
    """Wait until an execution waits for good: its callback handed out, or its pause begun."""
    rows: Sequence[Visit] = ()
    while not any(word in (row.detail or "") for row in rows for word in ('"resume"', '"called":true')):
        await asyncio.sleep(0.005)
        rows = await repository.visits(execution_id)


async def test_what_has_no_handler_here_stays_for_others(engine_factory: EngineFactory) -> None:
    left = await start_and_leave(engine_factory(tasks=tasks_of(Work=hang)), ONE_TASK)
    async with engine_factory(tasks=tasks_of(Other=answer), lease=LONG_LEASE) as unfit:
        for _ in range(DEFAULT_LIMITS.claims * 2):
            assert await unfit.recover() == []
        assert (await unfit.get_execution(left)).status is ExecutionStatus.RUNNING
        async with engine_factory(tasks=tasks_of(Work=answer), lease=LONG_LEASE) as fit:
            assert (await (await fit.get_handle(left)).wait()).output == "well"


async def test_what_cannot_be_run_here_does_not_hide_what_can(engine_factory: EngineFactory) -> None:
    """More than a page of executions without a handler come before the one that has it."""
    with suppress(Left):
        async with engine_factory(tasks=tasks_of(Work=hang, Other=hang)) as engine:
            unfit = await engine.create_state_machine("unfit", ONE_TASK)
            for number in range(120):
                await unfit.start_execution(number)
            other = {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "Other", "End": True}}}
            fit = await engine.create_state_machine("fit", other)
            wanted = (await fit.start_execution()).id
            raise Left
    async with engine_factory(tasks=tasks_of(Other=answer)) as engine:
        assert (await (await engine.get_handle(wanted)).wait()).output == "well"
        assert await engine.count_executions(ExecutionFilter(status="RUNNING")) == 120


def test_the_deadly_machine_is_the_simple_one() -> None:
    assert DEADLY == ONE_TASK
