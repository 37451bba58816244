"""The line does what the interpreter does: the same history, the same facts, the same cancellation and errors."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from itertools import pairwise
from typing import Any

import attrs
import pytest

from statechain import Engine, Execution, Limits, MemoryRepository, RepositoryError, TaskContext, TaskRegistry
from statechain.execution.lines.line import Line
from statechain.logs import ATTEMPT, EXECUTION
from statechain.observers import AttemptEnded, AttemptStarted, Fact, StateEntered, StateLeft
from statechain.records.executions import Visit
from statechain.testing import VirtualClock
from support.engine_harness import task
from support.faulty_repository import FaultyRepository, as_repository
from support.lines import turn_lines_off

RETRY = [{"ErrorEquals": ["Flaky"], "MaxAttempts": 2}]
CATCH = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
FLAKY = {"Type": "Task", "Resource": "flaky", "Retry": RETRY, "Catch": CATCH}


def chain(**states: dict[str, Any]) -> dict[str, Any]:
    """Return a definition of states, each of which leads to the next."""
    names = [*states]
    following = dict(pairwise(names))
    linked = {name: {**states[name], **_way(following.get(name))} for name in names}
    return {"StartAt": names[0], "States": linked}


def _way(following: str | None) -> dict[str, Any]:
    return {"End": True} if following is None else {"Next": following}


class Facts:
    """An observer that keeps the facts of visits and attempts, without times, and where they are reported."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def observe(self, fact: Fact) -> None:
        """Keep a fact."""
        if isinstance(fact, StateEntered | StateLeft | AttemptStarted | AttemptEnded):
            fields = attrs.asdict(fact, recurse=False)
            told = {name: value for name, value in fields.items() if name not in {"execution", "seconds", "exception"}}
            failure = type(fields.get("exception")).__name__
            self.seen.append((type(fact).__name__, told, failure, EXECUTION.get() is fact.execution, ATTEMPT.get()))


class Flaky(Exception):
    """Raised by every other call."""


def handlers() -> TaskRegistry:
    """Return handlers that behave the same in each run."""
    tasks = TaskRegistry()
    calls: dict[str, int] = {}

    async def flaky(value: Any) -> Any:
        calls["flaky"] = calls.get("flaky", 0) + 1
        if calls["flaky"] % 2:
            raise Flaky("once more")
        return value

    async def fail(_value: Any) -> None:
        raise ValueError("for good")

    async def add(value: Any) -> Any:
        await asyncio.sleep(0)
        return {**value, "n": value.get("n", 0) + 1}

    async def wait_for_ever(_value: Any) -> None:
        await asyncio.Event().wait()

    async def unencodable(_value: Any) -> Any:
        return {"when": object()}

    for name, handler in {
        "flaky": flaky,
        "fail": fail,
        "add": add,
        "wait for ever": wait_for_ever,
        "unencodable": unencodable,
    }.items():
        tasks.add(name, handler)
    return tasks


def branches() -> list[dict[str, Any]]:
    """Return branches of two Tasks each."""
    return [chain(**{f"First{n}": task("add"), f"Then{n}": task("add")}) for n in range(3)]


def definitions() -> dict[str, dict[str, Any]]:
    """Return definitions that a line passes through, leaves and takes up again."""
    caught = {"Type": "Pass", "End": True}
    loop = {
        "Type": "Choice",
        "Choices": [{"Variable": "$.n", "NumericLessThan": 60, "Next": "Add"}],
        "Default": "Caught",
    }
    branch = chain(One=task("add"), Two=task("add"))
    return {
        "chain": chain(A=task("add"), B=task("add"), C=task("add")),
        "retry": {
            "StartAt": "A",
            "States": {"A": {**FLAKY, "Next": "B"}, "B": task("add", End=True), "Caught": caught},
        },
        "catch": {
            "StartAt": "A",
            "States": {"A": task("fail", Catch=CATCH, End=True), "Caught": {**task("add"), "End": True}},
        },
        "failed": chain(A=task("add"), B=task("fail")),
        "unencodable": chain(A=task("add"), B=task("unencodable")),
        "parameters": chain(A=task("add"), B=task("add", Parameters={"n.$": "$.missing"})),
        "result": chain(A=task("add"), B=task("add", ResultPath="$.b"), C=task("add", ResultSelector={"x.$": "$.no"})),
        "selected": chain(A=task("add", ResultSelector={"n.$": "$.n"}, ResultPath="$.a"), B=task("add")),
        "assign": chain(A=task("add", Assign={"x.$": "$.n"}), B=task("add", Parameters={"n.$": "$x"})),
        "loop": {"StartAt": "Add", "States": {"Add": task("add", Next="More"), "More": loop, "Caught": caught}},
        "timeout": chain(A=task("add"), B=task("add", TimeoutSeconds=60), C=task("add")),
        "wait": chain(A=task("add"), B={"Type": "Wait", "Seconds": 0}, C=task("add")),
        "map": chain(M={"Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 1, "ItemProcessor": branch}),
        "parallel": chain(P={"Type": "Parallel", "Branches": [branch]}, Last={"Type": "Pass"}),
        "branches": chain(P={"Type": "Parallel", "Branches": branches()}, Last={"Type": "Pass"}),
        "a branch that waits": chain(
            P={"Type": "Parallel", "Branches": [chain(First=task("add"), Wait={"Type": "Wait", "Seconds": 1})]}
        ),
        "iterations": chain(M={"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": branch}),
    }


async def history_of(definition: dict[str, Any], *observers: Facts) -> tuple[Execution, list[dict[str, Any]]]:
    """Run a definition; return how it ended, and its history without times."""
    async with Engine(tasks=handlers(), observers=observers, clock=VirtualClock()) as engine:
        created = await engine.create_state_machine("same", definition)
        handle = await created.start_execution({"n": 0, "items": [{"n": 1}, {"n": 2}, {"n": 3}]}, name="one")
        ended = await handle.wait()
        events = await engine.get_execution_history(ended.id)
    return ended, [{key: value for key, value in event.items() if key != "timestamp"} for event in events]


@pytest.mark.parametrize("name", definitions())
async def test_the_history_is_the_same_on_the_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[Line] = []
    begin = Line._begin

    def noted(line: Line) -> None:
        lines.append(line)
        begin(line)

    monkeypatch.setattr(Line, "_begin", noted)
    definition, off, on = definitions()[name], Facts(), Facts()
    with monkeypatch.context() as patch:
        turn_lines_off(patch)
        observed, expected = await history_of(definition, off)
    assert not lines
    ended, events = await history_of(definition)
    assert lines
    assert events == expected
    lines.clear()
    assert (await history_of(definition, on))[1] == expected
    assert lines
    assert on.seen == off.seen
    assert (ended.status, ended.output_text, ended.error, ended.cause) == (
        observed.status,
        observed.output_text,
        observed.error,
        observed.cause,
    )


async def test_a_branch_that_fails_interrupts_the_same_visits_of_its_siblings_on_the_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = [chain(**{f"Waits{n}": task("wait for ever")}) for n in range(3)]
    definition = chain(All={"Type": "Parallel", "Branches": [*waiting, chain(Fails=task("fail"))]})
    with monkeypatch.context() as patch:
        turn_lines_off(patch)
        _, expected = await history_of(definition)
    ended, events = await history_of(definition)
    assert (ended.status, ended.error) == ("FAILED", "ValueError")
    assert "TaskStateAborted" in [event["type"] for event in events]
    assert events == expected


async def test_a_branch_whose_end_cannot_be_written_has_not_ended() -> None:
    storage, tasks = FaultyRepository(MemoryRepository()), TaskRegistry()

    @tasks.register
    async def last(value: Any) -> Any:
        storage.before = lambda _: next(refusals, None)
        return value

    refusals = iter([RepositoryError("refused")])
    tasks.register("same")(_same)
    definition = chain(All={"Type": "Parallel", "Branches": [chain(One=task("last"))]}, After=task("same"))
    async with Engine(as_repository(storage), tasks=tasks) as engine:
        created = await engine.create_state_machine("unwritten", definition)
        handle = await created.start_execution(1)
        with pytest.raises(RepositoryError, match="refused"):
            await handle.wait()


async def turns(count: int = 20) -> None:
    """Let what can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_cancellation_waits_for_the_write_and_begins_no_handler() -> None:
    storage, tasks = FaultyRepository(MemoryRepository()), TaskRegistry()
    called: list[str] = []

    @tasks.register
    async def first(value: Any) -> Any:
        called.append("first")
        storage.gate.clear()
        return value

    @tasks.register
    async def second(_value: Any) -> None:
        called.append("second")

    async with Engine(as_repository(storage), tasks=tasks) as engine:
        created = await engine.create_state_machine("two", chain(A=task("first"), B=task("second")))
        handle = await created.start_execution(1)
        await storage.held.wait()
        stopping = asyncio.create_task(handle.stop())
        await turns()
        assert not stopping.done()
        storage.gate.set()
        assert (await stopping).status == "ABORTED"
        assert called == ["first"]
        kinds = [event["type"] for event in await engine.get_execution_history(handle.id)]
    assert kinds[-3:] == ["TaskStateEntered", "TaskScheduled", "ExecutionAborted"]


@pytest.mark.parametrize("is_stubborn", [False, True])
async def test_a_cancellation_reaches_the_handler_and_a_late_answer_is_dropped(*, is_stubborn: bool) -> None:
    tasks = TaskRegistry()
    began, ended, released = asyncio.Event(), asyncio.Event(), asyncio.Event()
    tasks.add("first", lambda value: value)

    @tasks.register
    async def pass_on(value: Any) -> Any:
        return value

    @tasks.register
    async def second(_value: Any) -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not is_stubborn:
                raise
            await released.wait()
        finally:
            ended.set()
        return "too late"

    async with Engine(tasks=tasks, limits=Limits(handler_grace_seconds=0.01)) as engine:
        definition = chain(A=task("pass_on"), B=task("second"), C=task("pass_on"))
        created = await engine.create_state_machine("two", definition)
        handle = await created.start_execution(1)
        await began.wait()
        assert (await handle.stop()).status == "ABORTED"
        assert ended.is_set() is not is_stubborn
        released.set()
        await ended.wait()
        await turns()
        kinds = [event["type"] for event in await engine.get_execution_history(handle.id)]
    assert kinds[-2:] == ["TaskStarted", "ExecutionAborted"]


@pytest.mark.parametrize("on_line", [True, False])
async def test_a_cancellation_ends_the_attempt_and_the_visit_for_observers(
    monkeypatch: pytest.MonkeyPatch, *, on_line: bool
) -> None:
    tasks, begun, facts = handlers(), asyncio.Event(), Facts()

    @tasks.register("hang")
    async def hang(_value: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    if not on_line:
        turn_lines_off(monkeypatch)
    async with Engine(tasks=tasks, observers=[facts]) as engine:
        created = await engine.create_state_machine("stopped", chain(A=task("add"), B=task("hang")))
        handle = await created.start_execution({"n": 1})
        await begun.wait()
        assert (await handle.stop()).status == "ABORTED"
    ends = [(kind, told.get("is_cancelled"), told.get("outcome")) for kind, told, *_ in facts.seen[-2:]]
    assert ends == [("AttemptEnded", True, None), ("StateLeft", None, "CANCELLED")]


async def test_a_handler_under_the_name_of_a_task_token_resource_is_no_plain_task() -> None:
    tasks, resource, tokens = handlers(), "approve.waitForTaskToken", asyncio.Queue[str]()

    @tasks.register(resource)
    async def approve(_value: Any, context: TaskContext) -> None:
        assert context.task_token is not None
        tokens.put_nowait(context.task_token)

    async with Engine(tasks=tasks) as engine:
        created = await engine.create_state_machine("asks", chain(A=task("add"), B=task(resource)))
        handle = await created.start_execution({"n": 1})
        await engine.send_task_success(await tokens.get(), {"approved": True})
        assert await handle.result() == {"approved": True}


async def test_a_machine_times_out_within_a_line() -> None:
    tasks = TaskRegistry()

    @tasks.register
    async def pass_on(value: Any) -> Any:
        return value

    @tasks.register
    async def hang(_value: Any) -> None:
        await asyncio.Event().wait()

    async with Engine(tasks=tasks, clock=VirtualClock()) as engine:
        definition = {**chain(A=task("pass_on"), B=task("hang")), "TimeoutSeconds": 100}
        created = await engine.create_state_machine("late", definition)
        handle = await created.start_execution(1)
        assert (await handle.wait()).status == "TIMED_OUT"


async def test_each_handler_has_its_own_task_and_the_context_of_its_execution() -> None:
    tasks, seen = TaskRegistry(), []
    mark = contextvars.ContextVar("mark", default="none")

    async def look(value: Any, context: Any) -> Any:
        execution = EXECUTION.get()
        seen.append((asyncio.current_task(), None if execution is None else execution.id, mark.get(), ATTEMPT.get()))
        mark.set(context.state_name)
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return value

    tasks.add("look", look)
    async with Engine(tasks=tasks) as engine:
        created = await engine.create_state_machine("three", chain(A=task("look"), B=task("look"), C=task("look")))
        mark.set("caller")
        ended = await created.execute(1)
    assert len({id(current) for current, _, _, _ in seen}) == 3
    assert [id_ for _, id_, _, _ in seen] == [ended.id] * 3
    assert [mark_ for _, _, mark_, _ in seen] == ["caller"] * 3
    assert [attempt.state_name for _, _, _, attempt in seen if attempt is not None] == ["A", "B", "C"]


async def test_log_records_of_a_handler_that_takes_its_input_alone_name_its_attempt() -> None:
    tasks, seen = TaskRegistry(), []

    @tasks.register
    async def look(value: Any) -> Any:
        attempt = ATTEMPT.get()
        assert attempt is not None
        seen.append((attempt.state_name, attempt.attempt))
        return value

    async with Engine(tasks=tasks) as engine:
        created = await engine.create_state_machine("two", chain(A=task("look"), B=task("look")))
        await created.execute(1)
    assert seen == [("A", 1), ("B", 1)]


async def test_an_unexpected_error_within_a_line_fails_the_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("statechain.execution.lines.line.record_step", broken)
    async with Engine(tasks=handlers()) as engine:
        created = await engine.create_state_machine("bug", chain(A=task("add")))
        ended = await (await created.start_execution({"n": 1})).wait()
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert "a bug" in (ended.cause or "")


async def test_what_an_unexpected_error_ends_is_reported_in_the_context_of_the_execution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    tasks, facts = handlers(), Facts()

    @tasks.register("breaks")
    async def breaks(value: Any) -> Any:
        await asyncio.sleep(0)
        monkeypatch.setattr("statechain.execution.lines.line.Payload.isolated", broken)
        return value

    async with Engine(tasks=tasks, observers=[facts]) as engine:
        created = await engine.create_state_machine("bug", chain(A=task("breaks")))
        ended = await (await created.start_execution({"n": 1})).wait()
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert [(kind, *where) for kind, _, _, *where in facts.seen] == [
        (kind, True, None) for kind in ("StateEntered", "AttemptStarted", "AttemptEnded", "StateLeft")
    ]


@pytest.mark.parametrize("is_map", [False, True], ids=["a chain", "a distributed Map"])
async def test_an_execution_that_has_ended_leaves_nothing_to_the_garbage_collector(*, is_map: bool) -> None:
    tasks = TaskRegistry()
    tasks.register("same")(_same)
    config = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
    items = {"Type": "Map", "ItemProcessor": {**config, **chain(One=task("same"), Two=task("same"))}}
    definition = chain(All=items) if is_map else chain(One=task("same"), Two=task("same"))
    async with Engine("memory://", tasks=tasks) as engine:
        machine = await engine.create_state_machine("machine", definition)
        await machine.execute([1, 2])
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                await machine.execute([1, 2])
            left = gc.collect()
        finally:
            gc.enable()
    assert left < 50, "less than one object an execution"


async def _same(value: Any) -> Any:
    return value


async def test_what_the_engine_raises_in_a_pure_state_is_not_evaluated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter([ZeroDivisionError("no row")])

    def refuse_once(**fields: Any) -> Visit:
        for refusal in refusals:
            raise refusal
        return Visit(**fields)

    output = "{% {'next': $states.input.n + 1} %}"  # which has no value once the state has put it out
    state = {"Type": "Pass", "QueryLanguage": "JSONata", "Output": output, "Next": "B"}
    async with Engine(tasks=handlers()) as engine:
        created = await engine.create_state_machine(
            "pure", {"StartAt": "A", "States": {"A": state, **chain(B=task("add"))["States"]}}
        )
        monkeypatch.setattr("statechain.execution.frame.Visit", refuse_once)
        handle = await created.start_execution({"n": 1})
        ended = await handle.wait()
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert "no row" in str(ended.cause)
