"""A stop through another process reaches what rests, by the next renewal; and reaches nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from statechain import Engine, Execution, ExecutionFilter, ExecutionHandle, ExecutionStatus, TaskRegistry
from statechain.execution.running import RunningExecution
from statechain.observers import ExecutionLeft, Fact
from support.faulty_repository import FaultyRepository, as_repository, opened_twice

if TYPE_CHECKING:
    from support.engine_harness import EngineFactory

SHORT, LONG = timedelta(seconds=0.3), timedelta(hours=1)
ACTIVITY = "arn:aws:states:eu-west-1:123456789012:activity:paint"
CHILD = {"StateMachineArn": "child"}


def machine(**states: dict[str, Any]) -> dict[str, Any]:
    """Return a definition whose states follow one another."""
    names = list(states)
    after = [*({"Next": name} for name in names[1:]), {"End": True}]
    joined = {name: {**states[name], **rest} for name, rest in zip(names, after, strict=True)}
    return {"StartAt": names[0], "States": joined}


def task(resource: str, **fields: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": resource, **fields}


NESTED = task("arn:aws:states:::states:startExecution.sync", Parameters=CHILD)
BRANCHES = [machine(One=task("Hang")), machine(Two=task(ACTIVITY))]
WAITS: dict[str, tuple[dict[str, Any], int, int]] = {
    "a Wait": ({"Type": "Wait", "Seconds": 3600}, 0, 1),
    "a handler": (task("Hang"), 1, 0),
    "a handler with a deadline": (task("Hang", TimeoutSeconds=3600), 1, 0),
    "a retry": (task("Fail", Retry=[{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 3600}]), 0, 1),
    "a token": (task("Hand.waitForTaskToken"), 0, 2),
    "an activity": (task(ACTIVITY), 0, 1),
    "a nested execution": (NESTED, 1, 0),
    "branches": ({"Type": "Parallel", "Branches": BRANCHES}, 1, 1),
}
"""What may rest: the state, how many handlers hang where it does, and how many visits are written then."""


class Troupe:
    """Handlers that report what becomes of them."""

    def __init__(self) -> None:
        self.calls = Counter[str]()
        self.tasks = TaskRegistry()
        self.released = asyncio.Event()
        for handler in (self.hang, self.fail, self.hand, self.wait, self.rest):
            self.tasks.add(handler.__name__.capitalize(), handler)

    async def rest(self, _value: object) -> None:
        await asyncio.sleep(0.003)

    async def hang(self, _value: object) -> None:
        self.calls["hanging"] += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.calls["cancelled"] += 1
            raise

    async def fail(self, _value: object) -> None:
        raise ValueError("always")

    async def hand(self, _value: object) -> None:
        """Hand a token out."""

    async def wait(self, _value: object) -> str:
        self.calls["waiting"] += 1
        await self.released.wait()
        return "released"


class Ear:
    """An observer that counts the executions that left their worker."""

    def __init__(self) -> None:
        self.left = 0

    def observe(self, fact: Fact) -> None:
        self.left += isinstance(fact, ExecutionLeft)


@asynccontextmanager
async def two_engines(
    make: EngineFactory, troupe: Troupe, lease: timedelta = SHORT, **options: Any
) -> AsyncIterator[tuple[Engine, Engine]]:
    """Yield an engine that runs executions, and one in what might be another process."""
    async with make(tasks=troupe.tasks, lease=lease, **options) as here, make(lease=LONG, recovery=False) as there:
        await here.create_state_machine("child", machine(Rest=task("Hang")))
        yield here, there


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 -- there is no event for it
            await asyncio.sleep(0.005)


async def begun(engine: Engine, definition: dict[str, Any], name: str = "resting") -> ExecutionHandle:
    """Start an execution."""
    return await (await engine.create_state_machine("parent", definition)).start_execution({}, name=name)


async def at_rest(engine: Engine, handle: ExecutionHandle, troupe: Troupe, hanging: int, rows: int) -> None:
    """Return once this many handlers hang, and a number of visits are written."""
    await until(lambda: troupe.calls["hanging"] == hanging)
    async with asyncio.timeout(60):
        while len(await engine.repository.visits(handle.id)) < rows:  # noqa: ASYNC110 -- storage has no event
            await asyncio.sleep(0.005)


async def child_of(engine: Engine) -> Execution:
    found = await engine.get_state_machine("child")
    (child,) = await engine.list_executions(ExecutionFilter(state_machine_id=found.id))
    return child


@pytest.mark.parametrize("recovery", [True, False], ids=["recovers", "only runs"])
@pytest.mark.parametrize(("state", "hanging", "rows"), WAITS.values(), ids=WAITS)
async def test_a_stop_reaches_what_rests_elsewhere(
    engine_factory: EngineFactory, state: dict[str, Any], hanging: int, rows: int, *, recovery: bool
) -> None:
    troupe, ear = Troupe(), Ear()
    async with two_engines(engine_factory, troupe, recovery=recovery, observers=[ear]) as (here, there):
        handle = await begun(here, machine(Rest=state))
        await at_rest(here, handle, troupe, hanging, rows)
        stopped = await there.stop_execution(handle.id, error="Enough", cause="by hand")
        async with asyncio.timeout(60):
            assert await handle.wait() == stopped
        assert (stopped.status, stopped.error) == (ExecutionStatus.ABORTED, "Enough")
        await until(lambda: not len(here.worker))
        assert troupe.calls["cancelled"] == troupe.calls["hanging"]
        assert ear.left == 1
        if state is NESTED:
            assert (await child_of(there)).status is ExecutionStatus.ABORTED


async def test_a_deleted_execution_is_let_go(engine_factory: EngineFactory) -> None:
    troupe = Troupe()
    async with two_engines(engine_factory, troupe) as (here, there):
        handle = await begun(here, machine(Rest=NESTED))
        await until(lambda: troupe.calls["hanging"])
        await there.stop_execution(handle.id)
        assert await there.delete_executions(ExecutionFilter(status="ABORTED")) == 1
        await until(lambda: not len(here.worker))
        assert (await child_of(there)).status is ExecutionStatus.ABORTED


async def test_what_waits_for_its_turn_is_let_go(engine_factory: EngineFactory) -> None:
    troupe = Troupe()
    async with two_engines(engine_factory, troupe, max_concurrent_executions=1) as (here, there):
        first = await begun(here, machine(Rest=task("Wait")))
        second = await begun(here, machine(Rest=task("Wait")), name="in the queue")
        await there.stop_execution(second.id)
        await until(lambda: len(here.worker) == 1)
        troupe.released.set()
        assert await first.result() == "released"
    assert troupe.calls["waiting"] == 1


async def test_a_stop_that_a_write_meets_first_reaches_nested_executions(engine_factory: EngineFactory) -> None:
    """No renewal comes within the test: it is the other branch's write that is refused."""
    troupe = Troupe()
    branches = [machine(Start=NESTED), machine(First=task("Wait"), Second=task("Wait"))]
    async with two_engines(engine_factory, troupe, lease=LONG) as (here, there):
        handle = await begun(here, machine(Both={"Type": "Parallel", "Branches": branches}))
        await until(lambda: troupe.calls["hanging"] and troupe.calls["waiting"])
        await there.stop_execution(handle.id)
        troupe.released.set()
        assert (await handle.wait()).status is ExecutionStatus.ABORTED
        await until(lambda: not len(here.worker))
        assert (await child_of(there)).status is ExecutionStatus.ABORTED
    assert troupe.calls["waiting"] == 1


async def test_who_is_taken_over_leaves_what_its_heir_waits_for(repository_url: str) -> None:
    """The parent goes on elsewhere: its nested execution is joined there, not stopped from here."""
    troupe, second_handlers = Troupe(), Troupe()
    async with opened_twice(repository_url) as (one, two):
        faulty = FaultyRepository(one)
        async with Engine(as_repository(faulty), tasks=troupe.tasks, lease=SHORT, recovery=False) as here:
            await here.create_state_machine("child", machine(Rest=task("Wait")))
            handle = await begun(here, machine(Rest=NESTED))
            await until(lambda: troupe.calls["waiting"])
            faulty.fall_silent()
            async with Engine(two, tasks=second_handlers.tasks, lease=LONG, recovery=False) as second_engine:
                taken: list[str] = []
                while len(taken) < 2:
                    taken += await second_engine.recover()
                    await asyncio.sleep(0.02)
                await until(lambda: second_handlers.calls["waiting"] and not len(here.worker))
                second_handlers.released.set()
                assert (await handle.wait()).status is ExecutionStatus.SUCCEEDED
                assert (await child_of(second_engine)).output == "released"


async def test_what_starts_and_ends_meanwhile_is_not_let_go(
    engine_factory: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start or an end that is being written while storage is asked is no loss."""
    lost: list[str] = []
    lose = RunningExecution.abandon

    def note(live: RunningExecution) -> None:
        lost.append(live.execution_id)
        lose(live)

    monkeypatch.setattr(RunningExecution, "abandon", note)
    async with engine_factory(tasks=Troupe().tasks, recovery=False) as engine:
        same = await engine.create_state_machine("same", machine(Rest=task("Rest")))

        async def look() -> None:
            while True:
                await engine._supervisor.recovery.drop_lost()
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            lookers = [group.create_task(look()) for _ in range(3)]
            ended = await same.execute_bulk(range(200))
            for looker in lookers:
                looker.cancel()
    assert all(result.error is None for result in ended)
    assert lost == []


async def test_what_was_stopped_elsewhere_can_be_redriven_here_at_once(engine_factory: EngineFactory) -> None:
    """Its former run is not noticed to be over yet; it is cancelled, and what it had nested is stopped."""
    troupe = Troupe()
    async with two_engines(engine_factory, troupe, lease=LONG) as (here, there):
        handle = await begun(here, machine(Start=NESTED))
        await until(lambda: troupe.calls["hanging"])
        await there.stop_execution(handle.id)
        redriven = await here.redrive_execution(handle.id)
        await until(lambda: troupe.calls["hanging"] == 2 and troupe.calls["cancelled"] == 1)
        child = await here.get_state_machine("child")
        aborted = ExecutionFilter(state_machine_id=child.id, status="ABORTED")
        async with asyncio.timeout(60):
            while await here.count_executions(aborted) < 1:  # noqa: ASYNC110 -- its stop is being written
                await asyncio.sleep(0.005)
        assert await here.count_executions(ExecutionFilter(state_machine_id=child.id, status="RUNNING")) == 1
        await here.stop_execution(redriven.id)
        assert (await handle.wait()).status is ExecutionStatus.ABORTED


class _Cut(Exception):
    """Leaves an engine at once."""


async def test_an_outage_is_no_loss(repository_url: str) -> None:
    """Where storage cannot be asked, nothing is cancelled."""
    troupe = Troupe()
    async with opened_twice(repository_url) as (one, _):
        faulty = FaultyRepository(one)
        with suppress(_Cut):
            async with Engine(as_repository(faulty), tasks=troupe.tasks, lease=SHORT) as engine:
                handle = await begun(engine, machine(Rest=task("Wait")))
                faulty.fail_all()
                await asyncio.sleep(3 * SHORT.total_seconds())
                faulty.fail_all(whether=False)
                troupe.released.set()
                assert await handle.result() == "released"
                raise _Cut
    assert troupe.calls["waiting"] == 1
