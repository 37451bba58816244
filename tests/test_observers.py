"""What observers hear of a run, in which order, and that they can do it no harm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest

from statechain import Engine, ExecutionFilter, ExecutionStatus, InvalidArgument, TaskContext, TaskError, TaskRegistry
from statechain.logs import BATCH, ContextFilter, LogObserver
from statechain.observers import (
    AttemptEnded,
    AttemptStarted,
    ExecutionEnded,
    ExecutionLeft,
    ExecutionResumed,
    ExecutionStarted,
    Fact,
    JournalFlushed,
    LeaseRenewed,
    StateEntered,
    StateLeft,
)
from statechain.testing import VirtualClock

SECRET = "a-payload-that-nobody-logs"
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "call", "End": True}}}
PASS = {"StartAt": "Pass", "States": {"Pass": {"Type": "Pass", "End": True}}}
RETRIED = {
    "StartAt": "Call",
    "States": {
        "Call": {
            "Type": "Task",
            "Resource": "call",
            "Retry": [{"ErrorEquals": ["Busy"], "IntervalSeconds": 60, "MaxAttempts": 1}],
            "Catch": [{"ErrorEquals": ["Broken"], "Next": "Mend"}],
            "End": True,
        },
        "Mend": {"Type": "Pass", "End": True},
    },
}
FAN_OUT = {
    "StartAt": "Both",
    "States": {
        "Both": {
            "Type": "Parallel",
            "End": True,
            "Branches": [
                {"StartAt": "Bad", "States": {"Bad": {"Type": "Fail", "Error": "Bad"}}},
                {"StartAt": "Long", "States": {"Long": {"Type": "Wait", "Seconds": 3600, "End": True}}},
            ],
        }
    },
}


@attrs.define
class Ear:
    """Records what it was called with."""

    facts: list[Fact] = attrs.Factory(list)

    def observe(self, fact: Fact) -> None:
        self.facts.append(fact)

    def of(self, *kinds: type[Fact]) -> list[Fact]:
        return [fact for fact in self.facts if isinstance(fact, kinds)]

    def story(self) -> list[str]:
        """Return all but the journal's and the lease's facts, in short."""
        return [line for fact in self.facts if (line := told(fact)) is not None]


def told(fact: Fact) -> str | None:
    """Return a fact in short."""
    match fact:
        case ExecutionStarted() | ExecutionResumed() | ExecutionLeft():
            return type(fact).__name__.removeprefix("Execution").lower()
        case ExecutionEnded():
            return f"ended {fact.execution.status}"
        case StateEntered():
            return f"{fact.frame}>{fact.state}"
        case StateLeft():
            return f"{fact.frame}<{fact.state} {fact.outcome} {fact.error} {fact.next}"
        case AttemptStarted():
            return f"try {fact.attempt} {fact.resource}"
        case AttemptEnded():
            return f"tried {fact.attempt} {'cut' if fact.is_cancelled else fact.error}"
        case JournalFlushed() | LeaseRenewed():
            return None


async def test_a_visit_is_told_with_its_attempts_in_order() -> None:
    ear, errors = Ear(), iter(["Busy", "Broken"])
    tasks = TaskRegistry()

    @tasks.register
    async def call(_value: object) -> None:
        raise TaskError(next(errors))

    async with Engine(tasks=tasks, clock=VirtualClock(), observers=[ear]) as engine:
        await (await engine.create_state_machine("retried", RETRIED)).execute({})
    assert ear.story() == [
        "started",
        ">Call",
        "try 1 call",
        "tried 1 Busy",
        "try 2 call",
        "tried 2 Broken",
        "<Call CAUGHT Broken Mend",
        ">Mend",
        "<Mend SUCCEEDED None None",
        "ended SUCCEEDED",
    ]
    left = ear.of(StateLeft)[0]
    assert isinstance(left, StateLeft)
    assert left.seconds == pytest.approx(60, abs=1)
    assert left.state_machine == "retried"


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
async def test_what_is_told_of_a_visit_and_an_attempt_is_complete(type_: Any) -> None:
    ear, clock, reason = Ear(), VirtualClock(), KeyError("gone")
    tasks = TaskRegistry()

    @tasks.register
    async def call(value: int) -> None:
        await clock.sleep_until(clock.now() + timedelta(seconds=3))
        raise reason if value == 1 else TaskError("Declined")

    catch = [{"ErrorEquals": ["KeyError"], "Next": "Again", "ResultPath": None}]
    branch = {
        "StartAt": "Call",
        "States": {
            "Call": {"Type": "Task", "Resource": "call", "Catch": catch, "End": True},
            "Again": {"Type": "Task", "Resource": "call", "Parameters": 2, "End": True},
        },
    }
    definition = {
        "StartAt": "Pause",
        "States": {
            "Pause": {"Type": "Wait", "Seconds": 5, "Next": "Both"},
            "Both": {"Type": "Parallel", "Branches": [branch], "End": True},
        },
    }
    async with Engine(tasks=tasks, observers=[ear], clock=clock) as engine:
        machine = await engine.create_state_machine("told", definition, type=type_)
        ended = await (await machine.start_execution(1)).wait()
    facts = [
        attrs.asdict(fact, recurse=False) for fact in ear.of(StateEntered, StateLeft, AttemptStarted, AttemptEnded)
    ]
    assert {fact.pop("execution").id for fact in facts} == {ended.id}
    pause = {"state_machine": "told", "frame": "", "number": 0, "state": "Pause"}
    both = {**pause, "number": 1, "state": "Both"}
    called = {**pause, "frame": "Both[0]", "number": 2, "state": "Call"}
    again = {**called, "number": 3, "state": "Again"}
    attempt = {"attempt": 1, "resource": "call"}
    fact = {"error": None, "next": None}
    cut = {"is_cancelled": False, "seconds": 3.0}
    assert facts == [
        {**pause, "type": "Wait"},
        {**pause, **fact, "type": "Wait", "outcome": "SUCCEEDED", "next": "Both", "seconds": 5.0},
        {**both, "type": "Parallel"},
        {**called, "type": "Task"},
        {**called, **attempt},
        {**called, **attempt, **cut, "error": "KeyError", "exception": reason},
        {**called, "type": "Task", "outcome": "CAUGHT", "next": "Again", "error": "KeyError", "seconds": 3.0},
        {**again, "type": "Task"},
        {**again, **attempt},
        {**again, **attempt, **cut, "error": "Declined", "exception": None},
        {**again, "type": "Task", "outcome": "FAILED", "next": None, "error": "Declined", "seconds": 3.0},
        {**both, "type": "Parallel", "outcome": "FAILED", "next": None, "error": "Declined", "seconds": 6.0},
    ]


async def test_an_express_execution_is_told_as_any_other() -> None:
    ear, tasks = Ear(), TaskRegistry()

    @tasks.register
    async def call(value: object) -> object:
        return value

    async with Engine(tasks=tasks, observers=[ear]) as engine:
        machine = await engine.create_state_machine("call", CALL, type="EXPRESS")
        await machine.execute(1)
    assert ear.story() == [
        "started",
        ">Call",
        "try 1 call",
        "tried 1 None",
        "<Call SUCCEEDED None None",
        "ended SUCCEEDED",
    ]


async def test_branches_are_told_by_their_lines_of_control() -> None:
    ear = Ear()
    async with Engine(clock=VirtualClock(), observers=[ear]) as engine:
        handle = await (await engine.create_state_machine("fan-out", FAN_OUT)).start_execution({})
        assert (await handle.wait()).status is ExecutionStatus.FAILED
    story = ear.story()
    assert [line for line in story if line.startswith("Both[0]")] == ["Both[0]>Bad", "Both[0]<Bad FAILED Bad None"]
    assert [line for line in story if line.startswith("Both[1]")] in (
        [],  # the first failed before the second began
        ["Both[1]>Long", "Both[1]<Long CANCELLED None None"],
    )
    assert story[-2:] == ["<Both FAILED Bad None", "ended FAILED"]


@pytest.mark.parametrize("more", [{}, {"TimeoutSeconds": 60}], ids=["a plain Task", "a Task with a timeout"])
async def test_an_attempt_that_a_stop_interrupts_is_told_as_cancelled(more: dict[str, Any]) -> None:
    ear, begun, tasks = Ear(), asyncio.Event(), TaskRegistry()

    @tasks.register
    async def call(_value: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    definition = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "call", "End": True, **more}}}
    async with asyncio.timeout(60), Engine(tasks=tasks, observers=[ear]) as engine:
        handle = await (await engine.create_state_machine("call", definition)).start_execution()
        await begun.wait()
        await handle.stop()
    told = ["started", ">Call", "try 1 call", "tried 1 cut", "<Call CANCELLED None None", "ended ABORTED"]
    assert sorted(ear.story()) == sorted(told)


async def test_what_is_interrupted_is_left_and_then_resumed(engine_factory: Callable[..., Engine]) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()
    tasks = TaskRegistry()

    @tasks.register
    async def call(_value: object) -> str:
        begun.set()
        await finish.wait()
        return "done"

    first, second = Ear(), Ear()

    async def run_and_leave() -> None:
        async with engine_factory(tasks=tasks, observers=[first]) as engine:
            await (await engine.create_state_machine("call", CALL)).start_execution({})
            await begun.wait()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_and_leave()
    finish.set()
    async with engine_factory(tasks=tasks, observers=[second], wait_for="all"):
        pass
    assert first.story() == ["started", ">Call", "try 1 call", "tried 1 cut", "<Call CANCELLED None None", "left"]
    assert second.story() == [
        "resumed",
        ">Call",
        "try 1 call",
        "tried 1 None",
        "<Call SUCCEEDED None None",
        "ended SUCCEEDED",
    ]


async def test_what_another_ends_is_left(engine_factory: Callable[..., Engine]) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()
    ear, tasks = Ear(), TaskRegistry()

    @tasks.register
    async def call(_value: object) -> None:
        begun.set()
        await finish.wait()

    async with engine_factory(tasks=tasks, observers=[ear]) as engine, engine_factory(recovery=False) as other:
        handle = await (await engine.create_state_machine("call", CALL)).start_execution({})
        await begun.wait()
        await other.stop_execution(handle.id)
        finish.set()
        assert (await handle.wait()).status is ExecutionStatus.ABORTED
        async with asyncio.timeout(20):
            while ear.story()[-1] != "left":  # noqa: ASYNC110 -- the handle may look at storage
                await asyncio.sleep(0.01)
    assert "ended ABORTED" not in ear.story()


async def test_a_redrive_is_told_as_resumed_and_a_stop_as_ended() -> None:
    ear, clock = Ear(), VirtualClock(auto=False)
    wait = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}}
    async with Engine(clock=clock, observers=[ear]) as engine:
        handle = await (await engine.create_state_machine("wait", wait)).start_execution({})
        await clock.advance(1)
        await handle.stop()
        again = await engine.redrive_execution(handle.id)
        await clock.advance(60)
        assert (await again.wait()).status is ExecutionStatus.SUCCEEDED
    assert ear.story() == [
        "started",
        ">Wait",
        "<Wait CANCELLED None None",
        "ended ABORTED",
        "resumed",
        ">Wait",
        "<Wait SUCCEEDED None None",
        "ended SUCCEEDED",
    ]


async def test_the_journal_and_the_lease_are_told(repository_url: str) -> None:
    ear = Ear()
    async with Engine(repository_url, lease=timedelta(seconds=0.6), observers=[ear]) as engine:
        machine = await engine.create_state_machine("pass", PASS)
        await asyncio.gather(*(machine.execute(n) for n in range(20)))
        async with asyncio.timeout(20):
            while not ear.of(LeaseRenewed):  # noqa: ASYNC110 -- it comes from a thread
                await asyncio.sleep(0.05)
    flushes = [fact for fact in ear.facts if isinstance(fact, JournalFlushed)]
    assert sum(flush.writes for flush in flushes) >= 41
    assert max(flush.writes for flush in flushes) > 1
    assert all(0 <= flush.pending <= 40 and flush.seconds >= 0 for flush in flushes)
    (beat, *_) = ear.of(LeaseRenewed)
    assert isinstance(beat, LeaseRenewed)
    assert beat.worker_id == engine.worker.id


def test_an_observer_that_is_asynchronous_is_refused() -> None:
    class Asynchronous:
        async def observe(self, fact: Fact) -> None:
            raise AssertionError

    with pytest.raises(InvalidArgument, match=r"observers must be .* a method observe that is no coroutine function"):
        Engine(observers=[Asynchronous()])  # type: ignore[list-item]


async def test_an_observer_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Rude:
        def observe(self, fact: Fact) -> None:
            raise ZeroDivisionError(type(fact).__name__)

    ear, tasks = Ear(), TaskRegistry()
    tasks.add("call", lambda value: value)
    async with Engine(tasks=tasks, observers=[Rude(), ear]) as engine:
        execution = await (await engine.create_state_machine("call", CALL)).execute(1)
    assert execution.output == 1
    assert ear.story()[-1] == "ended SUCCEEDED"
    logged = [record for record in caplog.records if record.name == "statechain.observers"]
    assert len(logged) == len(ear.facts)
    assert all(record.exc_info for record in logged)


# Logging


@pytest.fixture
def records() -> list[logging.LogRecord]:
    """What a handler of logging with our filter gets to see."""
    seen: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            self.format(record)
            seen.append(record)

    keep = Keep()
    keep.addFilter(ContextFilter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(keep)
    root.setLevel(logging.DEBUG)
    yield seen  # type: ignore[misc]
    root.removeHandler(keep)
    root.setLevel(level)


async def test_a_handler_logs_with_what_it_serves(records: list[logging.LogRecord]) -> None:
    tasks, own = TaskRegistry(), logging.getLogger("shop")

    @tasks.register("call")
    async def call(value: int, context: TaskContext) -> int:
        await asyncio.sleep(0)
        own.info("asynchronous %s", context.attempt)
        return value

    tasks.add("thread", lambda value: own.info("in a thread") or value)
    both = {
        "StartAt": "Call",
        "States": {
            "Call": {"Type": "Task", "Resource": "call", "Next": "Thread"},
            "Thread": {"Type": "Task", "Resource": "thread", "End": True},
        },
    }
    async with Engine(tasks=tasks) as engine:
        machine = await engine.create_state_machine("call", both)
        one, two = await asyncio.gather(machine.execute(1), machine.execute(2))
        own.info("outside")
    logged = [record.statechain for record in records if record.name == "shop"]  # type: ignore[attr-defined]
    assert {(tags["execution"], tags["state"], tags["attempt"]) for tags in logged if tags} == {
        (execution.id, state, 1) for execution in (one, two) for state in ("Call", "Thread")
    }
    assert logged[-1] == {}


async def test_a_handler_in_a_batch_logs_the_batch(engine_factory: Callable[..., Engine]) -> None:
    seen: list[str | None] = []
    tasks = TaskRegistry()

    @tasks.register
    async def call(value: object) -> object:
        seen.append(BATCH.get())
        return value

    async with engine_factory(tasks=tasks) as engine:
        machine = await engine.create_state_machine("call", CALL)
        target = await engine.create_state_machine("target", CALL)
        await machine.execute(1)
        await target.execute_batch(ExecutionFilter(state_machine_id=machine.id))
        (batch,) = await engine.list_batches()
    assert seen == [None, batch.id]


async def test_a_run_is_logged_without_its_payload(records: list[logging.LogRecord]) -> None:
    tasks = TaskRegistry()

    @tasks.register
    async def call(value: str) -> None:
        raise ValueError(value)

    async with Engine(tasks=tasks, observers=[LogObserver()]) as engine:
        handle = await (await engine.create_state_machine("call", CALL)).start_execution(SECRET)
        execution = await handle.wait()
    assert SECRET in (execution.cause or "")
    run = [record for record in records if record.name == "statechain.run"]
    tags = [record.statechain for record in run]  # type: ignore[attr-defined]
    levels = {record.getMessage(): record.levelname for record in run}
    assert levels[f"execution {execution.name} of call was started"] == "INFO"
    assert levels["attempt 1 of state Call failed: ValueError"] == "WARNING"
    assert levels["state Call was left: FAILED"] == "WARNING"
    assert levels[f"execution {execution.name} of call ended FAILED"] == "WARNING"
    assert all(tag["execution"] == execution.id for tag in tags if "writes" not in tag)
    assert SECRET not in "".join(f"{record.getMessage()}{record.__dict__}" for record in run)


def test_the_journal_and_the_lease_are_logged(records: list[logging.LogRecord]) -> None:
    observer = LogObserver(logging.getLogger("mine"))
    observer.observe(JournalFlushed(3, 0.01, 1))
    observer.observe(LeaseRenewed("worker-1", 0.02, 0))
    assert [(record.name, record.levelname, record.getMessage()) for record in records] == [
        ("mine", "DEBUG", "the journal committed 3 writes"),
        ("mine", "DEBUG", "the lease of worker worker-1 was renewed"),
    ]
    assert records[0].statechain == {"writes": 3, "seconds": 0.01, "pending": 1}  # type: ignore[attr-defined]


async def test_a_nested_start_is_logged_apart_from_the_attempt_that_made_it(
    records: list[logging.LogRecord], repository_url: str
) -> None:
    tasks = TaskRegistry()
    engine = Engine(repository_url, tasks=tasks, observers=[LogObserver()])

    @tasks.register
    async def call(value: int) -> int:
        if value:
            machine = await engine.get_state_machine("call")
            await machine.execute(0, name="inner")
        return value

    async with engine:
        await (await engine.create_state_machine("call", CALL)).execute(1, name="outer")
    (started,) = [r for r in records if r.getMessage() == "execution inner of call was started"]
    assert started.statechain["execution_name"] == "inner"  # type: ignore[attr-defined]
    assert "attempt" not in started.statechain  # type: ignore[attr-defined]
