"""A caller is cancelled at each suspension in turn: storage stays consistent, and nothing is left behind.

The scenarios end in milliseconds on a clock that skips time; what is cancelled is either the caller at its own
suspensions, or the caller at any suspension of any task in the loop, which finds the moments it sleeps through.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from statechain import (
    BatchExecutionOptions,
    BatchStatus,
    Engine,
    ExecutionFilter,
    ExecutionStatus,
    Repository,
    StateMachine,
    open_repository,
)
from statechain.testing import VirtualClock
from support.faults.invariants import visit_faults
from support.faults.ledger import Ledger
from support.faults.one_task import ONE_TASK, Left, answer, hang, tasks_of
from support.faults.suspensions import Suspensions, run_cancelled
from support.faults.workload import SOURCES, TARGETS, make_sources, make_tasks, select_sources
from support.summary import Figures

pytestmark = pytest.mark.timeout(1800)

STRIDES = {"memory": 2, "sqlite": 11, "postgresql": 23}
"""At every how many suspensions of any task a caller is cancelled, when little is tried."""


async def execute(engine: Engine, targets: StateMachine) -> None:
    await targets.execute({"n": 1}, name="alone")


async def run_a_batch(engine: Engine, targets: StateMachine) -> None:
    told: list[tuple[str, int]] = []

    async def note(source: str, index: int, *_error: object) -> None:
        await asyncio.sleep(0)
        told.append((source, index))

    sources = await engine.get_state_machine("sources")
    options = BatchExecutionOptions(concurrent_batches=2, on_execution_start=note, on_execution_complete=note)
    await targets.execute_batch(select_sources(sources), options=options)
    assert len(told) == 6


SCENARIOS = {"execution": execute, "batch": run_a_batch}


@pytest.mark.parametrize("everywhere", [False, True], ids=["its-own", "anyone's"])
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_caller_is_cancelled_at_every_suspension(
    scenario: str,
    fresh: Callable[[], str],
    kind: str,
    tmp_path: Path,
    figures: Figures,
    *,
    everywhere: bool,
    full: bool,
) -> None:
    """The engine stays usable when its caller is cancelled: what the caller started is ABORTED."""
    ledger = Ledger(tmp_path / "ledger")
    stride = 1 if full or not everywhere else STRIDES[kind]
    for at in count(1, stride):
        async with unscathed(), open_repository(fresh()) as repository:
            async with Engine(repository) as engine:
                await make_sources(engine, 3)
            suspensions = Suspensions(at)
            async with Engine(repository, tasks=make_tasks(ledger), clock=VirtualClock()) as engine:
                targets = await engine.create_state_machine("targets", TARGETS)
                await run_cancelled(SCENARIOS[scenario](engine, targets), suspensions, everywhere=everywhere)
                assert await statuses(engine, targets) <= {ExecutionStatus.SUCCEEDED, ExecutionStatus.ABORTED}
                assert not await engine.list_batches(status=BatchStatus.RUNNING)
            await examine_all(repository, ledger)
        if suspensions.count < at:
            break
    figures(suspensions=suspensions.count, cancelled_at=(at - 1) // stride)
    assert at > stride


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_an_engine_is_cancelled_at_every_suspension(
    scenario: str, fresh: Callable[[], str], kind: str, tmp_path: Path, figures: Figures, *, full: bool
) -> None:
    """The whole engine is cancelled, also while it opens and closes: what ran is ABORTED, or recovered by the next."""
    ledger = Ledger(tmp_path / "ledger")
    stride = 1 if full else STRIDES[kind]

    async def whole(repository: str | Repository) -> None:
        async with Engine(repository, tasks=make_tasks(ledger), clock=VirtualClock()) as engine:
            targets = await engine.create_state_machine("targets", TARGETS)
            await SCENARIOS[scenario](engine, targets)

    for at in count(1, stride):
        async with unscathed(), open_storage(fresh()) as (repository, another):
            async with Engine(repository) as engine:
                await engine.create_state_machine("sources", SOURCES)
                await make_sources(engine, 3)
            suspensions = Suspensions(at)
            await run_cancelled(whole(another), suspensions, everywhere=True)
            await examine_all(repository, ledger)
        if suspensions.count < at:
            break
    figures(suspensions=suspensions.count, cancelled_at=(at - 1) // stride)
    assert at > stride


async def refuse(_value: object) -> None:
    raise ValueError("not now")


@pytest.mark.parametrize("everywhere", [False, True], ids=["its-own", "anyone's"])
async def test_a_redrive_is_cancelled_at_every_suspension(fresh: Callable[[], str], *, everywhere: bool) -> None:
    """Either it was not made, or what it made is ABORTED: nothing runs without an owner."""
    found: set[str] = set()
    # A busy server's answer comes in several parts: a pass over the suspensions may miss that of the write.
    for _ in range(5):
        found |= await redriven(fresh, everywhere=everywhere)
        if {"ABORTED", "SUCCEEDED"} <= found:
            break
    assert {"ABORTED", "SUCCEEDED"} <= found <= {"FAILED", "ABORTED", "SUCCEEDED"}


async def redriven(fresh: Callable[[], str], *, everywhere: bool) -> set[str]:
    """Cancel a redrive at each of its suspensions; return how the executions ended."""
    found = set()
    for at in count(1):
        is_over = asyncio.Event()

        async def answer_then(_value: object) -> None:
            await is_over.wait()  # noqa: B023 -- this round's

        async with open_repository(fresh()) as repository:
            async with Engine(repository, tasks=tasks_of(refuse)) as engine:
                failed = await (await (await engine.create_state_machine("one", ONE_TASK)).start_execution()).wait()
            suspensions = Suspensions(at)
            async with Engine(repository, tasks=tasks_of(answer_then)) as engine:
                handle = await run_cancelled(engine.redrive_execution(failed.id), suspensions, everywhere=everywhere)
                # Where the caller was cancelled a quick handler could succeed before the execution is ABORTED.
                if handle is not None:
                    is_over.set()
                found.add(await ended(engine, failed.id))
        if suspensions.count < at:
            break
    return found


@pytest.mark.parametrize("everywhere", [False, True], ids=["its-own", "anyone's"])
async def test_a_recovery_is_cancelled_at_every_suspension(
    fresh: Callable[[], str], kind: str, *, everywhere: bool
) -> None:
    """What it had claimed and not begun to run is taken up by the next."""
    for at in count(1):
        async with open_repository(fresh()) as repository:
            with suppress(Left):
                async with Engine(repository, tasks=tasks_of(hang)) as engine:
                    machine = await engine.create_state_machine("one", ONE_TASK)
                    orphans = [await machine.start_execution() for _ in range(3)]
                    raise Left
            suspensions = Suspensions(at)
            async with Engine(repository, tasks=tasks_of(answer), recovery=False) as engine:
                await run_cancelled(engine.recover(), suspensions, everywhere=everywhere)
                await engine.recover()
                assert [await ended(engine, orphan.id) for orphan in orphans] == ["SUCCEEDED"] * 3
        if suspensions.count < at:
            break
    assert at > 1 or kind == "memory"  # which never suspends


async def ended(engine: Engine, execution_id: str) -> str:
    """Return an execution's status once it runs no more."""
    async with asyncio.timeout(60):
        return (await (await engine.get_handle(execution_id)).wait()).status


@asynccontextmanager
async def open_storage(url: str) -> AsyncIterator[tuple[Repository, str | Repository]]:
    """Yield an open repository, and what opens the same storage once more (the same, where it is in memory)."""
    async with open_repository(url) as repository:
        yield repository, repository if url == "memory://" else url


async def statuses(engine: Engine, machine: StateMachine) -> set[ExecutionStatus]:
    found = await engine.list_executions(ExecutionFilter(state_machine_id=machine.id))
    return {execution.status for execution in found}


async def examine_all(repository: Repository, ledger: Ledger) -> None:
    """Let another engine recover and finish what is left; then all is over, and no journal is torn."""
    async with Engine(repository, tasks=make_tasks(ledger), clock=VirtualClock()) as engine:
        pass
    async with Engine(repository, recovery=False) as engine:
        for execution in await engine.list_executions():
            assert execution.status in {ExecutionStatus.SUCCEEDED, ExecutionStatus.ABORTED}, execution.cause
            if execution.status is ExecutionStatus.SUCCEEDED and execution.input_text != "null":
                faults = list(visit_faults(await repository.visits(execution.id)))
                assert execution.current_state == "Begin" or not faults, faults
        assert not await repository.claim("examiner", page=1)


@asynccontextmanager
async def unscathed() -> AsyncIterator[None]:
    """The body leaves no task, thread, connection or complaint of the loop behind."""
    loop, complaints = asyncio.get_running_loop(), list[dict[str, Any]]()
    await vanished(lambda: holdings()[1] == 0)
    tasks, held = asyncio.all_tasks(), holdings()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    try:
        yield
    finally:
        loop.set_exception_handler(None)
    await vanished(lambda: holdings() == held)
    assert asyncio.all_tasks() == tasks
    assert holdings() == held
    assert not [complaint for complaint in complaints if not is_of_the_driver(complaint)]


async def vanished(is_gone: Callable[[], bool]) -> None:
    """Give threads and sockets that were asked to end the moment that it takes them."""
    until = time.monotonic() + 30
    while not is_gone() and time.monotonic() < until:  # noqa: ASYNC110 -- it is the system that ends them
        await asyncio.sleep(0.001)


def holdings() -> tuple[int, int]:
    """Return how many files and sockets are open, and how many threads of ours live."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("statechain")]
    return sum(1 for _ in Path("/dev/fd").iterdir()), len(threads)


def is_of_the_driver(complaint: dict[str, Any]) -> bool:
    """Return whether asyncpg says that its connection attempt was cancelled: it was, and nothing is lost by it."""
    fault = complaint.get("exception")
    return isinstance(fault, ConnectionError) and str(fault) == "unexpected connection_lost() call"
