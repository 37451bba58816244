"""What a branch that fails leaves behind: a cancellation that counts once, stops that arrive, places that come back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from statechain.errors import LeaseLost, StateError
from statechain.execution.fan_out.inline import decisive_error
from statechain.execution.slots import Slot
from support.engine_harness import EngineHarness, machine, task, types

ALL = [{"ErrorEquals": ["States.ALL"], "Next": "After"}]
SYNC = "arn:aws:states:::states:startExecution.sync"


def parallel(*branches: dict[str, Any]) -> dict[str, Any]:
    """Return a Parallel state whose failure leads to the state After."""
    return {"Type": "Parallel", "Branches": list(branches), "Catch": ALL, "Next": "After"}


async def refuse(_: Any) -> None:
    """Fail at once."""
    raise ValueError("refused")


@pytest.mark.parametrize("kind", ["Parallel", "Map"])
async def test_a_machine_times_out_after_a_branch_has_failed(quick: EngineHarness, kind: str) -> None:
    quick.tasks.add("Refuse", refuse)
    branch = machine(Refuse=task("Refuse"))
    fan_out = parallel(branch)
    if kind == "Map":
        fan_out = {"Type": "Map", "ItemsPath": "$", "ItemProcessor": branch, "Catch": ALL, "Next": "After"}
    definition = machine(Both=fan_out, After={"Type": "Wait", "Seconds": 1000})
    ended = await quick.run({**definition, "TimeoutSeconds": 50}, [1, 2])
    assert (ended.status, ended.error) == ("TIMED_OUT", None)


async def test_after_a_branch_has_failed_a_handler_may_cancel_itself(quick: EngineHarness) -> None:
    async def cancel_itself(_: Any) -> None:
        raise asyncio.CancelledError

    quick.tasks.add("Refuse", refuse)
    quick.tasks.add("Itself", cancel_itself)
    definition = machine(Both=parallel(machine(Refuse=task("Refuse"))), After=task("Itself"))
    ended = await quick.run(definition, {}, type="EXPRESS")
    assert (ended.status, ended.error) == ("FAILED", "States.TaskFailed")


class Ending:
    """A Parallel of which one branch fails while the other, cancelled for it, takes its time to end."""

    def __init__(self, harness: EngineHarness) -> None:
        self.harness = harness
        self.began, self.cleaning, self.released = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for name, handler in {"Fail": self.fail, "CleanUp": self.clean_up, "After": self.after}.items():
            harness.tasks.add(name, handler)
        self.definition = machine(
            Both=parallel(machine(Fail=task("Fail")), machine(CleanUp=task("CleanUp"))), After=task("After")
        )

    async def fail(self, _: Any) -> None:
        await self.began.wait()
        raise ValueError("refused")

    async def clean_up(self, _: Any) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cleaning.set()
            await self.released.wait()

    async def after(self, _: Any) -> None:
        self.harness.calls["After"] += 1


@pytest.mark.parametrize("how", ["stop", "close"])
async def test_what_comes_while_siblings_end_arrives(quick: EngineHarness, how: str) -> None:
    ending = Ending(quick)
    started = await quick.start(ending.definition)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        await ending.cleaning.wait()
        group.create_task(started.stop() if how == "stop" else quick.close())  # type: ignore[arg-type]
        for _ in range(10):
            await asyncio.sleep(0)
        ending.released.set()
    assert not quick.calls["After"]
    left = await quick.repository.execution(started.id)
    assert left.status == ("ABORTED" if how == "stop" else "RUNNING")


@pytest.mark.parametrize("end", ["stop", "fail"])
async def test_while_a_handler_ends_its_siblings_begin_nothing_more(quick: EngineHarness, end: str) -> None:
    ending = Ending(quick)
    waiting = machine(Pause={"Type": "Wait", "Seconds": 5, "Next": "After"}, After=task("After"))
    branches = [machine(CleanUp=task("CleanUp")), waiting, *([machine(Fail=task("Fail"))] if end == "fail" else [])]
    started = await quick.start(machine(Both={"Type": "Parallel", "Branches": branches}))
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        if end == "stop":
            await ending.began.wait()
            group.create_task(started.stop())
        await ending.cleaning.wait()
        await quick.clock.sleep_until(quick.clock.now() + timedelta(seconds=10))
        await turns()
        ending.released.set()
    assert (await started.wait()).status == ("ABORTED" if end == "stop" else "FAILED")
    assert not quick.calls["After"]


@pytest.mark.parametrize("turn", range(5))
async def test_a_stop_at_any_turn_of_a_branchs_failure_shows_that_its_visit_was_interrupted(
    quick: EngineHarness, turn: int
) -> None:
    ending = Ending(quick)
    retry = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1000}]
    hang = {"Type": "Wait", "Seconds": 1000, "Next": "CleanUp"}
    branches = [machine(Fail=task("Fail", Retry=retry)), machine(Hang=hang, CleanUp=task("CleanUp"))]
    async with asyncio.timeout(60):
        started = await quick.start(machine(Both={"Type": "Parallel", "Branches": branches}))
        await quick.written(started, 1)
        ending.began.set()
        for _ in range(turn):
            await asyncio.sleep(0)
        assert (await started.stop()).status == "ABORTED"
    events = await quick.history(started)
    assert "Fail" in [event.get("stateEnteredEventDetails", {}).get("name") for event in events]
    assert [event["id"] for event in events] == [*range(1, len(events) + 1)]


@pytest.mark.parametrize("way", ["returns", "raises"])
@pytest.mark.parametrize("end", ["stop", "timeout"])
async def test_an_express_handler_that_hides_its_cancellation_stops_nothing(
    quick: EngineHarness, way: str, end: str
) -> None:
    async def hide(_: Any) -> str:
        quick.calls["Hide"] += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if way == "raises":
                raise ValueError("another") from None
        return "hidden"

    async def after(_: Any) -> None:
        quick.calls["After"] += 1

    quick.tasks.add("Hide", hide)
    quick.tasks.add("After", after)
    definition = machine(A=task("Hide", Next="B"), B=task("After"))
    if end == "timeout":
        ended = await quick.run({**definition, "TimeoutSeconds": 5}, type="EXPRESS")
    else:
        started = await quick.start(definition, type="EXPRESS")
        await quick.reached("Hide")
        ended = await started.stop()
    assert ended.status == ("ABORTED" if end == "stop" else "TIMED_OUT")
    assert not quick.calls["After"]


def each(processor: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a Map over the input."""
    return {"Type": "Map", "ItemsPath": "$", "ItemProcessor": processor, **more}


def indexes(events: list[dict[str, Any]], kind: str) -> list[int]:
    """Return the indexes of the iterations of which a history has events of a kind."""
    return [
        event[f"mapIteration{kind}EventDetails"]["index"] for event in events if event["type"] == f"MapIteration{kind}"
    ]


@pytest.mark.parametrize("turn", range(8))
async def test_no_iteration_begins_after_another_has_failed(quick: EngineHarness, turn: int) -> None:
    released = asyncio.Event()

    async def work(item: int) -> None:
        quick.calls["Work"] += 1
        await released.wait()
        if item == 1:
            for _ in range(turn):
                await asyncio.sleep(0)
            raise ValueError("refused")

    quick.tasks.add("Work", work)
    # With a timeout, so that no line runs it: those report the failure of a handler before that of its iteration.
    bounded = machine(Work=task("Work", TimeoutSeconds=60))
    started = await quick.start(machine(All=each(bounded, MaxConcurrency=2)), [0, 1, 2])
    await quick.reached("Work", 2)
    released.set()
    assert (await started.wait()).status == "FAILED"
    events = await quick.history(started)
    failed = [event["type"] for event in events].index("TaskFailed")
    assert not indexes(events[failed:], "Started")


@pytest.mark.parametrize("turn", range(12))
async def test_no_handler_is_called_after_a_sibling_has_failed(quick: EngineHarness, turn: int) -> None:
    async def fail(_: Any) -> None:
        for _turn in range(turn):
            await asyncio.sleep(0)
        raise ValueError("refused")

    async def work(_: Any) -> None:
        quick.calls["Work"] += 1

    quick.tasks.add("Fail", fail)
    quick.tasks.add("Work", work)
    steps = {f"S{n}": task("Work", **({"Next": f"S{n + 1}"} if n < 9 else {})) for n in range(10)}
    branches = [machine(**steps), machine(Fail=task("Fail", TimeoutSeconds=60))]
    ended = await quick.run(machine(Both={"Type": "Parallel", "Branches": branches}))
    events = types(await quick.history(ended))
    assert not {"TaskScheduled", "TaskStarted"} & {*events[events.index("TaskFailed") :]}


async def test_of_two_iterations_that_fail_at_once_the_first_is_shown_as_failed(quick: EngineHarness) -> None:
    released = asyncio.Event()

    async def fail(item: int) -> None:
        quick.calls["Fail"] += 1
        await released.wait()
        raise ValueError(str(item))

    quick.tasks.add("Fail", fail)
    started = await quick.start(machine(All=each(machine(Fail=task("Fail")))), [0, 1])
    await quick.reached("Fail", 2)
    released.set()
    await started.wait()
    events = await quick.history(started)
    assert indexes(events, "Failed") == [0]


# The error that decides

BROKEN, LATE, GONE = StateError("Broken", ""), StateError("Late", ""), LeaseLost("gone")


@pytest.mark.parametrize(
    ("errors", "decisive"),
    [
        ([BROKEN, LATE], BROKEN),
        ([BROKEN, GONE], GONE),
        ([ExceptionGroup("", [ExceptionGroup("", [BROKEN]), LATE]), LATE], BROKEN),
        ([ExceptionGroup("", [BROKEN, LATE]), GONE], GONE),
        ([LATE, ExceptionGroup("", [GONE, BROKEN])], GONE),
    ],
)
def test_what_is_no_error_of_a_state_decides_and_else_the_first(errors: list[Exception], decisive: Exception) -> None:
    assert decisive_error(ExceptionGroup("", errors)) is decisive


# Places


async def held(gate: asyncio.Semaphore, until: asyncio.Event) -> None:
    """Hold a place until released."""
    async with Slot(gate):
        await until.wait()


async def lent(place: Slot, until: asyncio.Event) -> None:
    """Lend a place until released."""
    async with place.yielded():
        await until.wait()


async def turns() -> None:
    """Let all others go as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_of_two_branches_that_take_a_place_back_at_once_one_does() -> None:
    gate = asyncio.Semaphore(2)
    others, one, other = asyncio.Event(), asyncio.Event(), asyncio.Event()
    place = Slot(gate)
    async with asyncio.timeout(60), place, asyncio.TaskGroup() as group:
        group.create_task(lent(place, one))
        await turns()
        for _ in range(2):
            group.create_task(held(gate, others))
        await turns()
        one.set()
        await turns()
        group.create_task(lent(place, other))
        await turns()
        other.set()
        await turns()
        others.set()
    async with asyncio.timeout(60), Slot(gate), Slot(gate):
        assert gate.locked()


async def test_a_branch_that_lends_the_place_while_another_takes_it_back_keeps_nobody_out(quick: EngineHarness) -> None:
    begin, end, leave = asyncio.Event(), asyncio.Event(), asyncio.Event()
    await quick.close()
    await quick.open(max_concurrent_executions=1)
    for name, event in {"Begin": begin, "End": end, "Leave": leave}.items():

        async def wait(_: Any, name: str = name, event: asyncio.Event = event) -> None:
            quick.calls[name] += 1
            await event.wait()

        quick.tasks.add(name, lambda value, wait=wait: wait(value))
    await quick.engine.create_state_machine("child", machine(End=task("End")))
    nested = task(SYNC, Parameters={"StateMachineArn": "child"})
    both = {
        "Type": "Parallel",
        "Branches": [machine(A=nested), machine(Begin=task("Begin", Next="B"), B=nested)],
    }
    parent = await quick.start(machine(Both=both))
    await quick.reached("End")
    holder = await (await quick.engine.create_state_machine("holder", machine(Leave=task("Leave")))).start_execution()
    async with asyncio.timeout(60):
        for event in (end, begin, leave):
            await turns()
            event.set()
        assert [(await each.wait()).status for each in (parent, holder)] == ["SUCCEEDED"] * 2


async def test_after_a_branch_has_failed_the_execution_takes_its_place_back(quick: EngineHarness) -> None:
    running: list[str] = []

    async def work(name: str) -> None:
        running.append(name)
        quick.calls["peak"] = max(quick.calls["peak"], len(running))
        await asyncio.sleep(0.001)
        running.remove(name)

    await quick.close()
    await quick.open(max_concurrent_executions=1)
    quick.tasks.add("Refuse", refuse)
    quick.tasks.add("Work", work)
    await quick.engine.create_state_machine("child", machine(Wait={"Type": "Wait", "Seconds": 1000}))
    nested = task(SYNC, Parameters={"StateMachineArn": "child"})
    pause = {"Type": "Wait", "Seconds": 1, "Next": "Refuse"}
    both = parallel(machine(A=nested), machine(Pause=pause, Refuse=task("Refuse")))
    after = {name: task("Work", Parameters=name, **more) for name, more in {"After": {"Next": "Z"}, "Z": {}}.items()}
    parent = await quick.start(machine(Both=both, **after))
    other = await quick.engine.create_state_machine(
        "other", machine(A=task("Work", Parameters="A", Next="B"), B=task("Work", Parameters="B"))
    )
    others = [await other.start_execution() for _ in range(3)]
    async with asyncio.timeout(60):
        assert [(await each.wait()).status for each in (parent, *others)] == ["SUCCEEDED"] * 4
    assert quick.calls["peak"] == 1
