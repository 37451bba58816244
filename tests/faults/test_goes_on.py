"""What must neither bring an engine down nor leave anything behind: refusals, races, and leaving it meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from statechain import Engine, ExecutionStatus, MemoryRepository, StateMachine, TaskError
from statechain.clock import SystemClock
from statechain.errors import RepositoryError, StatechainError
from statechain.limits import Limits
from statechain.records.executions import Claim
from statechain.storage.repository import (
    Advance,
    End,
    RedriveExecution,
    ReleaseExecution,
    StartExecution,
    StopExecution,
    Write,
)
from support.faults.one_task import ONE_TASK, Left, answer, hang, tasks_of
from support.faulty_repository import FaultyRepository, as_repository

TWO_TASKS = {
    "StartAt": "First",
    "States": {
        "First": {"Type": "Task", "Resource": "Work", "Next": "Last"},
        "Last": {"Type": "Task", "Resource": "Work", "End": True},
    },
}
NESTING = {
    "StartAt": "ChildExecutions",
    "States": {
        "ChildExecutions": {
            "Type": "Task",
            "Resource": "arn:aws:states:::states:startExecution.sync",
            "Parameters": {"StateMachineArn": "one-task"},
            "End": True,
        }
    },
}
LEASE = timedelta(seconds=0.3)
REASON = "a row breaks a rule of the schema"


class Rude(MemoryRepository):
    """A repository that refuses each kind of write once, and runs a test's function once it has claimed."""

    def __init__(self, *refused: Callable[[Write[object]], bool]) -> None:
        super().__init__()
        self.refused = list(refused)
        self.commits = 0
        self.claimed: Callable[[Sequence[Claim]], Any] | None = None

    async def commit(self, writes: Sequence[Write[object]]) -> Sequence[object]:
        self.commits += 1
        for which in tuple(self.refused):
            if any(map(which, writes)):
                if len(writes) == 1:
                    self.refused.remove(which)
                raise RepositoryError(REASON)
        return await super().commit(writes)

    async def claim(self, worker_id: str, **options: Any) -> Sequence[Claim]:
        claims = await super().claim(worker_id, **options)
        if claims and self.claimed is not None and not worker_id.startswith("dies"):
            await self.claimed(claims)
        return claims


class Meanwhile(MemoryRepository):
    """A repository that does some work before or after it answers recovery; replies to redrives can be held back."""

    def __init__(self) -> None:
        super().__init__()
        self.work: dict[str, Callable[[], Any]] = {}
        self.replies: asyncio.Event | None = None
        self.redriven = asyncio.Event()

    async def _do(self, moment: str) -> None:
        if (work := self.work.pop(moment, None)) is not None:
            await work()

    async def owned(self, worker_id: str) -> Mapping[str, int]:
        await self._do("before owned")
        owned = await super().owned(worker_id)
        await self._do("after owned")
        return owned

    async def claim(self, worker_id: str, **options: Any) -> Sequence[Claim]:
        await self._do("before claim")
        claims = await super().claim(worker_id, **options)
        await self._do("after claim")
        return claims

    async def commit(self, writes: Sequence[Write[object]]) -> Sequence[object]:
        outcomes = await super().commit(writes)
        if self.replies is not None and any(isinstance(each, RedriveExecution) for each in writes):
            self.redriven.set()
            await self.replies.wait()
        return outcomes


def is_step(write: Write[object]) -> bool:
    return isinstance(write, Advance) and write.end is None


def is_end(write: Write[object]) -> bool:
    return isinstance(write, Advance) and write.end is not None


def is_release(write: Write[object]) -> bool:
    return isinstance(write, ReleaseExecution)


def is_start(write: Write[object]) -> bool:
    return isinstance(write, StartExecution)


def stopping(execution_id: str) -> StopExecution:
    return StopExecution(
        execution_id=execution_id, end=End(status=ExecutionStatus.ABORTED, end_time=SystemClock().now())
    )


@asynccontextmanager
async def opened(
    storage: Any, work: Any, definition: dict[str, Any] = ONE_TASK, **options: Any
) -> AsyncIterator[tuple[Engine, StateMachine]]:
    """Open an engine with a handler, and a machine."""
    async with Engine(storage, tasks=tasks_of(work), lease=LEASE, **options) as engine:
        yield engine, await engine.create_state_machine("one-task", definition)


async def orphan(storage: Any) -> str:
    """Leave an execution behind that runs, and has no owner; return its id."""
    left = ""
    with suppress(Left):
        async with opened(storage, hang, recovery=False) as (_, machine):
            left = (await machine.start_execution("orphan")).id
            raise Left
    return left


async def ended(storage: MemoryRepository, execution_id: str) -> ExecutionStatus:
    """Return how an execution ended, once storage knows."""
    async with asyncio.timeout(30):
        while (found := await storage.execution(execution_id)) is None or not found.status.is_terminal:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found.status


# Recovery


async def test_a_poisoned_execution_that_is_stopped_meanwhile_disturbs_nobody() -> None:
    """Between the claim and the end that recovery gives it, an operator is quicker."""
    storage = Rude()
    poison = await orphan(storage)
    (claim,) = await storage.claim("dies", page=1)
    await storage.commit([ReleaseExecution(execution_id=poison, epoch=claim.epoch, claims=99)])

    async def stop(claims: Sequence[Claim]) -> None:
        await storage.commit([stopping(each.execution.id) for each in claims])

    storage.claimed = stop
    async with opened(storage, answer, recovery=False, limits=Limits(suspect_seconds=0)) as (engine, machine):
        assert await engine.recover() == []
        assert (await engine.get_execution(poison)).status is ExecutionStatus.ABORTED
        assert (await machine.execute()).output == "well"


@pytest.mark.parametrize("moment", ["before owned", "after owned", "before claim", "after claim"])
async def test_what_is_started_while_a_doubt_is_settled_is_no_orphan(moment: str) -> None:
    storage, calls = Meanwhile(), 0

    async def work(value: object) -> object:
        nonlocal calls
        calls += 1
        return value

    async with opened(storage, work, recovery=False) as (engine, machine):
        handles = []

        async def start() -> None:
            handles.append(await machine.start_execution(1))

        storage.work[moment] = start
        engine.worker.doubt()
        assert await engine.recover() == []
        assert await handles[0].result() == 1
    assert calls == 1


@pytest.mark.parametrize("moment", ["before owned", "after owned", "before claim", "after claim"])
async def test_what_is_redriven_while_a_doubt_is_settled_is_no_orphan(moment: str) -> None:
    storage, calls = Meanwhile(), 0

    async def work(value: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise TaskError("Refused")
        return value

    async with opened(storage, work, recovery=False) as (engine, machine):
        failed = await (await machine.start_execution(1)).wait()
        storage.replies = asyncio.Event()
        handles = []

        async def redrive() -> None:
            handles.append(asyncio.create_task(engine.redrive_execution(failed.id)))
            await storage.redriven.wait()

        storage.work[moment] = redrive
        engine.worker.doubt()
        assert await engine.recover() == []
        storage.replies.set()
        assert await (await handles[0]).result() == 1
    assert calls == 2


async def test_a_fault_of_recovery_does_not_end_what_runs(caplog: pytest.LogCaptureFixture) -> None:
    storage, may_end, faults = Rude(), asyncio.Event(), 0

    async def fail_once(_claims: Sequence[Claim]) -> None:
        nonlocal faults
        faults += 1
        if faults == 1:
            raise KeyError("a payload")

    async def work(value: object) -> object:
        if value == "long":
            await may_end.wait()
        return value

    storage.claimed = fail_once
    async with opened(storage, work) as (_, machine):
        running = await machine.start_execution("long")
        left = await orphan(storage)
        assert await ended(storage, left) is ExecutionStatus.SUCCEEDED
        may_end.set()
        assert await running.result() == "long"
    assert faults == 2
    assert "could not be recovered, trying again: KeyError" in caplog.text
    assert "a payload" not in caplog.text


async def test_an_engine_that_was_never_entered_does_not_recover() -> None:
    async with asyncio.timeout(10):
        with pytest.raises(StatechainError, match="not open"):
            await Engine(MemoryRepository()).recover()


# Refusals


@pytest.mark.parametrize(
    "refused",
    [(is_step,), (is_end,), (is_step, is_release), (is_end, is_release)],
    ids=["a step", "the end", "a step, and its release", "the end, and its release"],
)
async def test_an_execution_whose_write_was_refused_is_run_on(
    refused: tuple[Callable[[Write[object]], bool], ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Be it a step or the end, and be it that not even its release was taken; and the log shows it."""
    storage = Rude(*refused)
    async with opened(storage, answer, TWO_TASKS) as (_, machine):
        handle = await machine.start_execution()
        assert await ended(storage, handle.id) is ExecutionStatus.SUCCEEDED
    assert not storage.refused
    (told,) = [record for record in caplog.records if REASON in record.getMessage()]
    assert told.levelno == logging.WARNING
    assert told.statechain["execution"] == handle.id  # type: ignore[attr-defined]


async def test_a_start_that_was_refused_is_told_to_its_caller_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with opened(Rude(is_start), answer) as (_, machine):
        with pytest.raises(RepositoryError, match=REASON):
            await machine.start_execution()
    assert REASON not in caplog.text


async def test_a_nested_start_waits_out_an_outage() -> None:
    faulty = FaultyRepository(MemoryRepository())
    async with opened(as_repository(faulty), answer) as (engine, _):
        nesting = await engine.create_state_machine("nesting", NESTING)
        faulty.lose_replies()
        assert (await nesting.execute({})).status is ExecutionStatus.SUCCEEDED


async def test_after_a_lapse_a_fresh_start_costs_no_more_commits() -> None:
    storage = Rude()
    commits = []
    async with opened(storage, answer) as (engine, machine):
        for lapses in (0, 1):
            engine._supervisor._lease.lapses = lapses
            storage.commits = 0
            await machine.execute()
            commits.append(storage.commits)
    assert commits == [2, 2]


# Leaving


async def test_an_engine_that_is_left_takes_over_no_more_and_still_lets_go() -> None:
    storage, calls = Rude(), list[object]()
    begun = asyncio.Event()

    async def work(value: object) -> None:
        calls.append(value)
        begun.set()
        await asyncio.Event().wait()

    async def leave() -> None:
        async with opened(storage, work) as (_, machine):
            running.append((await machine.start_execution("long")).id)
            await begun.wait()

    running: list[str] = []
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        leaving = group.create_task(leave())
        await begun.wait()
        left = await orphan(storage)
        await asyncio.sleep(2 * LEASE.total_seconds())
        assert not leaving.done()
        await storage.commit([stopping(running[0])])
        await leaving
    assert calls == ["long"]
    assert [claim.execution.id for claim in await storage.claim("second worker", page=1)] == [left]


async def test_what_was_being_claimed_as_the_engine_was_left_stays_for_others() -> None:
    storage, is_claimed, may_go_on, may_end = Rude(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    calls: list[object] = []

    async def work(value: object) -> object:
        calls.append(value)
        await may_end.wait()
        return value

    async def hold(_claims: Sequence[Claim]) -> None:
        is_claimed.set()
        await may_go_on.wait()

    async def leave() -> None:
        async with opened(storage, work) as (_, machine):
            await machine.start_execution("long")
            left.append(await orphan(storage))
            storage.claimed = hold
            await is_claimed.wait()

    left: list[str] = []
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(leave())
        await is_claimed.wait()
        await asyncio.sleep(0.05)  # it is being left
        storage.claimed = None
        may_go_on.set()
        while not (claims := await storage.claim("dies not", page=1)):  # noqa: ASYNC110 -- storage has no event
            await asyncio.sleep(0.01)
        may_end.set()
    assert [(claim.execution.id, claim.claims) for claim in claims] == [(left[0], 0)]
    assert calls == ["long"]


async def test_a_cancellation_while_an_engine_is_left_at_once_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits until what runs has been cancelled and the storage is closed, and is raised then."""
    is_left, may_end, order = asyncio.Event(), asyncio.Event(), list[str]()

    async def close(_storage: MemoryRepository, *_exception: object) -> None:
        order.append("storage closed")

    async def work(_value: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_left.set()
            await may_end.wait()
            order.append("cut short")

    async def leave() -> None:
        with suppress(Left):
            async with opened("memory://", work) as (_, machine):
                await machine.start_execution()
                await asyncio.sleep(0.05)
                raise Left
        order.append("went on")

    monkeypatch.setattr(MemoryRepository, "__aexit__", close)
    leaving = asyncio.create_task(leave())
    await is_left.wait()
    leaving.cancel()
    await asyncio.sleep(0.05)
    assert not leaving.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert order == ["cut short", "storage closed"]
