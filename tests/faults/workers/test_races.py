"""Two callers want the same: one wins, the other learns it, and storage has one history."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from statechain import Engine, ExecutionFilter, ExecutionHandle, ExecutionStatus, TaskTimedOut
from statechain_backends.sql.schema.migrate import HEAD, VERSION_TABLE
from support.faults.invariants import examine
from support.faults.kill_plan import spawn
from support.faults.ledger import Ledger
from support.faults.one_task import ONE_TASK, Left, hang, tasks_of
from support.faults.opening import open_in_processes
from support.faults.workload import make_sources
from support.faulty_repository import FaultyRepository, as_repository, opened_twice
from support.summary import Figures

if TYPE_CHECKING:
    from support.engine_harness import EngineFactory

pytestmark = pytest.mark.timeout(900)

STEPS = {
    "StartAt": "Work",
    "States": {
        "Work": {"Type": "Task", "Resource": "Work", "Next": "Again"},
        "Again": {"Type": "Task", "Resource": "Work", "End": True},
    },
}


async def leave_orphans(make_engine: EngineFactory, count: int) -> None:
    """Start this many executions, and go away."""
    with suppress(Left):
        async with make_engine(tasks=tasks_of(hang)) as engine:
            machine = await engine.create_state_machine("steps", STEPS)
            for number in range(count):
                await machine.start_execution({"n": number}, name=f"orphan-{number}")
            raise Left


async def test_two_engines_claim_the_same_executions(engine_factory: EngineFactory, *, full: bool) -> None:
    for _ in range(20 if full else 2):
        calls: Counter[tuple[int, str]] = Counter()

        async def work(value: Any, context: Any) -> Any:
            calls[value["n"], context.state_name] += 1  # noqa: B023 -- this round's
            await asyncio.sleep(0)
            return value

        await leave_orphans(engine_factory, 30)
        tasks = tasks_of(work)
        async with (
            engine_factory(tasks=tasks, recovery=False, wait_for="all") as one,
            engine_factory(tasks=tasks, recovery=False, wait_for="all") as two,
        ):
            found = await asyncio.gather(one.recover(), two.recover(), one.recover(), two.recover())
        assert sum(map(len, found)) == 30
        assert set(calls.values()) == {1}
        assert len(calls) == 60
        async with engine_factory() as engine:
            assert await engine.count_executions(ExecutionFilter(status="SUCCEEDED")) == 30
            assert await engine.delete_executions(ExecutionFilter()) == 30


@pytest.mark.parametrize("wakes", ["while the second works", "after the second has ended"])
async def test_a_zombie_that_wakes_writes_nothing(wakes: str, repository_url: str) -> None:
    """The first worker loses its lease while its handler works; what it brings then is refused."""
    waking, begun = asyncio.Event(), asyncio.Event()
    calls: list[tuple[str, str]] = []

    async def slow(_value: object, context: Any) -> str:
        calls.append(("zombie", context.state_name))
        begun.set()
        await waking.wait()
        return "zombie"

    async def quick(_value: object, context: Any) -> str:
        calls.append(("second", context.state_name))
        if wakes == "while the second works" and not waking.is_set():  # at the very place that the zombie writes to
            waking.set()
            await asyncio.sleep(0.2)
        return "second"

    async with opened_twice(repository_url) as (one, two):
        faulty = FaultyRepository(one)
        short, long = timedelta(seconds=0.3), timedelta(seconds=30)
        async with Engine(as_repository(faulty), tasks=tasks_of(slow), lease=short, recovery=False) as zombie:
            machine = await zombie.create_state_machine("steps", STEPS)
            handle = await machine.start_execution({})
            await begun.wait()
            faulty.fall_silent(deaf=True)
            async with Engine(two, tasks=tasks_of(quick), lease=long) as second_engine:
                while (await second_engine.get_execution(handle.id)).status is ExecutionStatus.RUNNING:
                    await second_engine.recover()
                    await asyncio.sleep(0.02)
                waking.set()
                told = await handle.wait()
        assert told.status is ExecutionStatus.SUCCEEDED
        assert told.output == "second"
        assert [visit.output for visit in await two.visits(handle.id)] == ['"second"', '"second"']
    assert calls == [("zombie", "Work"), ("second", "Work"), ("second", "Again")]


async def test_a_worker_that_lost_its_lease_begins_nothing(repository_url: str) -> None:
    """It sleeps through its lease, as a process does that is stopped: on waking it asks before it calls a handler."""
    calls: list[tuple[str, int]] = []

    def failing_first(name: str) -> Any:
        async def work(_value: object, context: Any) -> str:
            calls.append((name, context.attempt))
            faulty.cut_off()
            if context.attempt == 1:
                raise ValueError("the first attempt always fails")
            return name

        return work

    work = {**ONE_TASK["States"]["Work"], "Retry": [{"ErrorEquals": ["ValueError"], "IntervalSeconds": 1}]}
    async with opened_twice(repository_url) as (one, two):
        faulty = FaultyRepository(one)
        short, long = timedelta(seconds=0.2), timedelta(seconds=30)
        tasks = tasks_of(failing_first("zombie"))
        async with Engine(as_repository(faulty), tasks=tasks, lease=short, recovery=False) as zombie:
            machine = await zombie.create_state_machine("again", {"StartAt": "Work", "States": {"Work": work}})
            handle = await machine.start_execution({})
            while not await two.visits(handle.id):  # noqa: ASYNC110 -- the pause after the first attempt is durable then
                await asyncio.sleep(0.005)
            async with Engine(
                two, tasks=tasks_of(failing_first("second")), lease=long, recovery=False
            ) as second_engine:
                while not await second_engine.recover():  # noqa: ASYNC110 -- a lease ends by itself
                    await asyncio.sleep(0.02)
                ended = await (await second_engine.get_handle(handle.id)).wait()
                await asyncio.sleep(0.2)  # the zombie's own delay is over by now, too
                faulty.cut_off(whether=False)
                assert await handle.wait() == ended
    assert calls == [("zombie", 1), ("second", 2)]
    assert ended.output == "second"


def test_two_processes_run_one_batch(durable_url: str, tmp_path: Path, figures: Figures, *, full: bool) -> None:
    rounds, count = (20, 1000) if full else (1, 60)
    duplicates = 0
    for number in range(rounds):
        ledger = Ledger(tmp_path / f"ledger-{number}")
        asyncio.run(_clear(durable_url, count))
        log = tmp_path / "log"
        options = {"concurrency": 100, "seconds": 0.0, "lease": 60.0, "resumes": False}
        workers = [spawn(durable_url, ledger.file, log, **options) for _ in range(2)]
        for worker in workers:
            worker.join(300)
        assert [worker.exitcode for worker in workers] == [0, 0], log.read_text()
        findings = asyncio.run(_examined(durable_url, ledger))
        assert not findings.violations
        duplicates += findings.repeats
    figures(rounds=rounds, sources=count, duplicates=duplicates)
    assert duplicates == 0


async def _clear(url: str, count: int) -> None:
    async with Engine(url) as engine:
        await engine.delete_executions(ExecutionFilter())
        await make_sources(engine, count)


async def _examined(url: str, ledger: Ledger) -> Any:
    async with Engine(url, recovery=False) as engine:
        return await examine(engine, await engine.get_state_machine("targets"), list(ledger))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_eight_processes_create_the_schema_at_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, *, full: bool
) -> None:
    for number in range(10 if full else 1):
        if kind == "sqlite":
            url = f"sqlite:///{tmp_path / f'new-{number}.db'}"
        else:
            server = request.getfixturevalue("postgres_server")
            url = server.url(server.create_database())
        assert open_in_processes(url, 8, tmp_path) == []
        asyncio.run(_use(url))
        if kind == "sqlite":
            with closing(sqlite3.connect(tmp_path / f"new-{number}.db")) as connection:
                versions = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall()
            assert versions == [(HEAD,)]
        else:
            server.drop_database(urlsplit(url).path[1:])


async def _use(url: str) -> None:
    async with Engine(url) as engine:
        await make_sources(engine, 1)


async def test_two_redrives_at_once(engine_factory: EngineFactory) -> None:
    calls = []

    async def fail_first(_value: object) -> int:
        calls.append(1)
        await asyncio.sleep(0.01)
        if len(calls) == 1:
            raise ValueError("the first call fails")
        return len(calls)

    tasks = tasks_of(fail_first)
    async with engine_factory(tasks=tasks) as one, engine_factory(tasks=tasks) as two:
        machine = await one.create_state_machine("one-task", ONE_TASK)
        failed = await (await machine.start_execution({})).wait()
        assert failed.status is ExecutionStatus.FAILED
        answers = await asyncio.gather(
            *(engine.redrive_execution(failed.id) for engine in (one, two, one, two)), return_exceptions=True
        )
        handles = [answer for answer in answers if isinstance(answer, ExecutionHandle)]
        assert len(handles) == 1, answers
        assert sum(isinstance(answer, ValueError) for answer in answers) == 3, answers
        assert await handles[0].result() == 2
    assert len(calls) == 2


TOKEN = {
    "StartAt": "Ask",
    "States": {"Ask": {"Type": "Task", "Resource": "Work.waitForTaskToken", "TimeoutSeconds": 1, "End": True}},
}


async def test_an_answer_races_with_the_timeout(
    engine_factory: EngineFactory, seed: int, figures: Figures, *, full: bool
) -> None:
    """Either the answer is accepted, or the task times out and the call that answers raises."""
    chance, ends, tokens = random.Random(seed), Counter[str](), dict[str, str]()

    async def ask(_value: object, context: Any) -> None:
        tokens[context.execution_id] = context.task_token

    tasks = tasks_of(ask)
    async with engine_factory(tasks=tasks) as here, engine_factory(tasks=tasks) as there:
        machine = await here.create_state_machine("token", TOKEN)

        async def race() -> None:
            handle = await machine.start_execution()
            while handle.id not in tokens:  # noqa: ASYNC110 -- it comes when the handler is called
                await asyncio.sleep(0.005)
            await asyncio.sleep(1.0 + chance.uniform(-0.1, 0.05) * spread)
            try:
                await chance.choice([here, there]).send_task_success(tokens[handle.id], "answer")
                is_taken = True
            except TaskTimedOut:
                is_taken = False
            ended = await handle.wait()
            if is_taken:
                assert (ended.status, ended.output) == (ExecutionStatus.SUCCEEDED, "answer")
            else:
                assert (ended.status, ended.error) == (ExecutionStatus.FAILED, "States.Timeout")
            ends["answers" if is_taken else "timeouts"] += 1

        spread = 1.0
        for round_ in count(1):
            await asyncio.gather(*(race() for _ in range(400 if full else 60)))
            if round_ >= (25 if full else 1) and len(ends) == 2:
                break
            if len(ends) < 2:  # a machine that stalls for as long lets a whole round time out
                spread = min(spread + 1.0, 10.0)
    figures(seed=seed, races=ends.total(), **ends)


async def test_a_stop_races_with_the_end(
    engine_factory: EngineFactory, seed: int, figures: Figures, *, full: bool
) -> None:
    chance, ends = random.Random(seed), Counter[str]()

    async def work(_value: object) -> str:
        await asyncio.sleep(chance.uniform(0, 0.004))
        return "finished"

    tasks = tasks_of(work)
    async with engine_factory(tasks=tasks) as here, engine_factory(tasks=tasks) as there:
        machine = await here.create_state_machine("one-task", ONE_TASK)

        async def race() -> None:
            handle = await machine.start_execution({})
            await asyncio.sleep(chance.uniform(0, 0.004))
            stopper = chance.choice([here, there])
            told, stopped = await asyncio.gather(handle.wait(), stopper.stop_execution(handle.id))
            stored = await there.get_execution(handle.id)
            assert told.status == stopped.status == stored.status
            assert told.end_time == stopped.end_time == stored.end_time
            assert told.output == stored.output == ("finished" if told.status == "SUCCEEDED" else None)
            ends[told.status] += 1

        for round_ in count(1):
            await asyncio.gather(*(race() for _ in range(40)))
            if round_ >= (250 if full else 4) and len(ends) == 2:
                break
    figures(seed=seed, races=ends.total(), **{status.lower(): number for status, number in ends.items()})
    assert set(ends) == {"SUCCEEDED", "ABORTED"}
