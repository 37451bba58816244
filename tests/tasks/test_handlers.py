"""What a handler may do: return, raise, hang, ignore its cancellation, change what it was given."""

from __future__ import annotations

import asyncio
import copy
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from statechain import DefinitionError, Engine, TaskContext, TaskError, TaskRegistry
from statechain.limits import Limits
from statechain.tasks import call
from support.engine_harness import EngineHarness, machine, task

HALF = timedelta(seconds=5)


def serve(harness: EngineHarness, handler: Any) -> dict[str, Any]:
    """Register a handler; return the machine of one Task that calls it."""
    harness.tasks.add("Work", handler)
    return machine(Work=task("Work"))


class Doubler:
    def __call__(self, value: int) -> int:
        return value * 2


class Odd(BaseException):
    pass


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("fault", "error", "cause"),
    [
        (ValueError("three"), "ValueError", "three"),
        (TaskError("Payment.Declined", cause="card 42"), "Payment.Declined", "card 42"),
        (TaskError("Payment.Declined"), "Payment.Declined", None),
        (Odd("off"), "Odd", "off"),
        (Mute(), "Mute", "(its text cannot be shown: ValueError)"),
        (ExceptionGroup("many", [ValueError("one")]), "ExceptionGroup", "many (1 sub-exception)"),
        (TimeoutError("the server's"), "TimeoutError", "the server's"),
        (asyncio.CancelledError(), "States.TaskFailed", "the handler was cancelled from within"),
        (StopIteration("end"), "RuntimeError", "coroutine raised StopIteration"),
        (KeyError("key"), "KeyError", "'key'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
async def test_whatever_a_handler_raises_is_the_tasks_failure(
    quick: EngineHarness, fault: BaseException, error: str, cause: str | None
) -> None:
    async def raising(_: Any) -> None:
        raise fault

    ended = await quick.run(serve(quick, raising))
    assert (ended.status, ended.error, ended.cause) == ("FAILED", error, cause)


@pytest.mark.parametrize("fault", [ValueError("three"), StopIteration("end"), Odd("off")], ids=repr)
async def test_what_a_plain_function_raises_is_too(quick: EngineHarness, fault: BaseException) -> None:
    def raising(_: Any) -> None:
        raise fault

    ended = await quick.run(serve(quick, raising))
    assert ended.status == "FAILED"
    assert ended.error in {type(fault).__name__, "RuntimeError"}


@pytest.mark.parametrize(
    ("result", "place"),
    [
        ({"a": {1, 2}}, "/a"),
        ([float("nan")], "/0"),
        ({1: 2}, "the value"),
        pytest.param(object(), "the value", id="an object"),
        (b"", "the value"),
    ],
    ids=str,
)
async def test_a_result_that_is_not_json_is_told_with_its_place(quick: EngineHarness, result: Any, place: str) -> None:
    async def returning(_: Any) -> Any:
        return result

    ended = await quick.run(serve(quick, returning))
    assert ended.error == "States.TaskFailed"
    assert place in (ended.cause or "")


async def test_a_result_that_is_too_large_exceeds_the_limit(quick: EngineHarness) -> None:
    async def returning(_: Any) -> Any:
        return "x" * 300_000

    ended = await quick.run(serve(quick, returning))
    assert ended.error == "States.DataLimitExceeded"


@pytest.mark.parametrize("result", [None, [], [1, [2]], {}, "text", 0, 1.5, True, {"": "\ud800\u0000"}, 2**70])
async def test_json_results_stay_what_they_are(quick: EngineHarness, result: Any) -> None:
    async def returning(_: Any) -> Any:
        return result

    ended = await quick.run(serve(quick, returning))
    assert ended.output == result
    assert type(ended.output) is type(result)


async def test_a_handler_that_changes_its_input_changes_no_other_copy(quick: EngineHarness) -> None:
    kept: list[Any] = []

    async def spoil(value: Any) -> Any:
        value["list"].append("spoilt")
        kept.append(value)
        return value

    quick.tasks.add("Spoil", spoil)
    retry = [{"ErrorEquals": ["States.ALL"]}]
    both = {"Type": "Parallel", "Branches": [machine(A=task("Spoil", Retry=retry)), machine(B=task("Spoil"))]}
    given = {"list": [1]}
    ended = await quick.run(machine(Both=both), given)
    kept[0]["list"].append("later")
    assert ended.output == [{"list": [1, "spoilt"]}] * 2
    assert given == {"list": [1]}


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
async def test_a_handler_may_change_its_credentials(quick: EngineHarness, kind: str) -> None:
    given: list[Any] = []

    async def spoil(value: Any, context: TaskContext) -> Any:
        given.append(copy.deepcopy(context.credentials))
        context.credentials["role"].append("spoilt")  # type: ignore[index, call-overload, union-attr]
        return value

    quick.tasks.add("Spoil", spoil)
    assign = {"Type": "Pass", "Assign": {"role": ["kept"]}, "Next": "Literal"}
    definition = machine(
        Assign=assign,
        Literal=task("Spoil", Credentials={"role": ["kept"]}, Next="OfVariable"),
        OfVariable=task("Spoil", Credentials={"role.$": "$role"}, Next="Show"),
        Show={"Type": "Pass", "Parameters": {"role.$": "$role"}},
    )
    created = await quick.engine.create_state_machine("played", definition, type=kind)
    for _ in range(2):
        ended = await (await created.start_execution({})).wait()
        assert ended.output == {"role": ["kept"]}
    assert given == [{"role": ["kept"]}] * 4


async def test_the_context_tells_of_the_attempt(quick: EngineHarness) -> None:
    seen: list[TaskContext] = []

    async def look(_: Any, context: TaskContext) -> None:
        seen.append(context)
        if context.attempt < 3:
            raise TaskError("Again")

    quick.tasks.add("Look", look)
    retry = [{"ErrorEquals": ["Again"], "IntervalSeconds": 1, "MaxAttempts": 5}]
    definition = machine(Look=task("Look", Retry=retry, Credentials={"RoleArn": "arn:aws:iam::1:role/r"}))
    started = await quick.start(definition)
    await started.wait()
    assert [context.attempt for context in seen] == [1, 2, 3]
    assert {context.execution_id for context in seen} == {started.id}
    assert {context.execution_name for context in seen} == {started.name}
    assert {context.state_name for context in seen} == {"Look"}
    assert {context.task_token for context in seen} == {None}
    assert len({context.idempotency_key for context in seen}) == 1
    assert seen[0].credentials == {"RoleArn": "arn:aws:iam::1:role/r"}


async def test_visits_of_a_loop_have_keys_of_their_own(quick: EngineHarness) -> None:
    keys: list[str] = []

    async def count(value: int, context: TaskContext) -> int:
        keys.append(context.idempotency_key)
        return value + 1

    quick.tasks.add("Count", count)
    choice = {"Type": "Choice", "Choices": [{"Variable": "$", "NumericLessThan": 3, "Next": "Count"}], "Default": "End"}
    await quick.run(machine(Count=task("Count", Next="More"), More=choice, End={"Type": "Succeed"}), 0)
    assert len(set(keys)) == 3


async def test_a_plain_function_runs_in_a_thread(quick: EngineHarness) -> None:
    def work(value: Any) -> Any:
        return {"thread": threading.current_thread() is threading.main_thread(), "value": value}

    ended = await quick.run(serve(quick, work), 1)
    assert ended.output == {"thread": False, "value": 1}


async def test_a_handler_that_hangs_is_cancelled_at_its_timeout(quick: EngineHarness) -> None:
    ends: list[str] = []

    async def hang(_: Any) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ends.append("cancelled")

    quick.tasks.add("Hang", hang)
    ended = await quick.run(machine(Hang=task("Hang", TimeoutSeconds=5)))
    assert (ended.error, ended.cause) == ("States.Timeout", None)
    assert ends == ["cancelled"]


async def test_a_thread_that_hangs_is_left_to_itself(quick: EngineHarness) -> None:
    release = threading.Event()

    def hang(_: Any) -> None:
        quick.calls["Hang"] += 1
        release.wait(60)

    quick.tasks.add("Hang", hang)
    started = await quick.start(machine(Hang=task("Hang")))
    await quick.reached("Hang")
    before = time.monotonic()
    ended = await started.stop()
    release.set()
    assert ended.status == "ABORTED"
    assert time.monotonic() - before < 30


async def test_a_handler_that_ignores_its_cancellation_is_left_behind(quick: EngineHarness) -> None:
    release = asyncio.Event()

    async def deaf(_: Any) -> str:
        quick.calls["Deaf"] += 1
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                quick.calls["ignored"] += 1
        return "too late"

    await quick.close()
    await quick.open(limits=Limits(handler_grace_seconds=0.05))
    quick.tasks.add("Deaf", deaf)
    try:
        ended = await asyncio.wait_for(quick.run(machine(Deaf=task("Deaf", TimeoutSeconds=5))), 60)
        assert ended.error == "States.Timeout"
        started = await quick.start(machine(Deaf=task("Deaf")))
        await quick.reached("Deaf", 2)
        assert (await asyncio.wait_for(started.stop(), 60)).status == "ABORTED"
        assert quick.calls["ignored"] == 2
    finally:
        release.set()
        await asyncio.sleep(0.01)


async def test_a_handler_that_is_left_behind_is_logged_with_the_time_it_had(caplog: pytest.LogCaptureFixture) -> None:
    release, is_begun = asyncio.Event(), asyncio.Event()

    async def deaf() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        is_begun.set()
        await release.wait()

    handler = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    waiter = asyncio.create_task(call.end_handler(handler, "Deaf", 3600))
    await is_begun.wait()
    waiter.cancel()  # as a second Ctrl-C does
    await asyncio.wait([waiter])
    release.set()
    await handler
    (logged,) = (record.getMessage() for record in caplog.records if "left behind" in record.message)
    assert "3600" not in logged


async def test_a_handler_that_swallows_its_cancellation_does_not_go_on_to_the_next_state(quick: EngineHarness) -> None:
    async def swallow(_: Any) -> str:
        quick.calls["Swallow"] += 1
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "swallowed"
        return "never"

    async def after(_: Any) -> None:
        quick.calls["After"] += 1

    quick.tasks.add("Swallow", swallow)
    quick.tasks.add("After", after)
    started = await quick.start(machine(A=task("Swallow", Next="B"), B=task("After")))
    await quick.reached("Swallow")
    assert (await started.stop()).status == "ABORTED"
    assert not quick.calls["After"]


async def test_heartbeats_keep_a_handler_going_and_their_absence_ends_it(quick: EngineHarness) -> None:
    async def beating(beats: int, context: TaskContext) -> str:
        for _ in range(beats):
            await quick.clock.sleep_until(quick.clock.now() + HALF)
            await context.heartbeat()
        await quick.clock.sleep_until(quick.clock.now() + HALF)
        return "alive"

    quick.tasks.add("Beat", beating)
    definition = machine(Beat=task("Beat", TimeoutSeconds=1000, HeartbeatSeconds=10))
    assert (await quick.run(definition, 20)).output == "alive"

    async def silent(_: Any) -> None:
        await quick.clock.sleep_until(quick.clock.now() + 10 * HALF)

    quick.tasks.add("Silent", silent)
    ended = await quick.run(machine(Silent=task("Silent", TimeoutSeconds=1000, HeartbeatSeconds=10)))
    assert ended.error == "States.Timeout"


async def test_a_resource_that_nobody_serves_is_refused_or_told(quick: EngineHarness) -> None:
    with pytest.raises(DefinitionError, match="Nobody"):
        await quick.engine.create_state_machine("m", machine(A=task("Nobody")))
    async with Engine(clock=quick.clock) as bare:
        created = await bare.create_state_machine("m", machine(A=task("Nobody")))
        ended = await (await created.start_execution(None)).wait()
    assert (ended.status, ended.error) == ("FAILED", "States.TaskFailed")
    assert "'Nobody'" in (ended.cause or "")


def test_a_registry_refuses_what_cannot_be_a_handler() -> None:
    tasks = TaskRegistry()
    tasks.add("Taken", lambda value: value)
    with pytest.raises(ValueError, match="registered already"):
        tasks.add("Taken", lambda value: value)
    with pytest.raises(TypeError):
        tasks.add("None", lambda: None)
    with pytest.raises(TypeError):
        tasks.add("Three", lambda _one, _two, _three: None)
    with pytest.raises(ValueError, match="delivery"):
        tasks.add("How", lambda value: value, delivery="twice")  # type: ignore[arg-type]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks begin at once from Python 3.12 on")
async def test_a_handler_that_stops_its_execution_and_ends_at_once_is_stopped(quick: EngineHarness) -> None:
    stops: list[asyncio.Task[Any]] = []

    async def stop(_: Any, context: TaskContext) -> str:
        eagerly: dict[str, Any] = {"loop": asyncio.get_running_loop(), "eager_start": True}
        stops.append(asyncio.Task(quick.engine.stop_execution(context.execution_id, error="Own"), **eagerly))
        return "done"

    started = await quick.start(serve(quick, stop))
    ended = await started.wait()
    assert (ended.status, ended.error) == ("ABORTED", "Own")
    assert (await stops[0]).status == "ABORTED"


@pytest.mark.parametrize("how", [{}, pytest.param(call.EAGER, id="eager")])
async def test_handlers_run_with_and_without_eager_tasks(
    how: dict[str, Any], quick: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "EAGER", how)

    async def double(value: int) -> int:
        await asyncio.sleep(0)
        return value * 2

    ended = await quick.run(serve(quick, double), 21)
    assert (ended.status, ended.output) == ("SUCCEEDED", 42)


@pytest.mark.parametrize(
    "handler", [lambda value: value, partial(max, 1), Doubler()], ids=["lambda", "partial", "object"]
)
def test_what_has_no_name_is_registered_under_one(handler: Any) -> None:
    for register in (TaskRegistry().register, TaskRegistry().register(), TaskRegistry().transformer):
        with pytest.raises(TypeError, match=r"^a (lambda|partial|Doubler) has no name: register it under one"):
            register(handler)


@pytest.mark.parametrize(
    "handler", [lambda: None, lambda a, b, c: None, lambda *, value: value, lambda **values: values], ids=range(4)
)
def test_a_handler_that_cannot_take_an_input_is_refused_by_its_name(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"^the handler 'Price' must take \(input\) or \(input, context\)"):
        TaskRegistry().add("Price", handler)


def test_a_generator_is_no_handler() -> None:
    def rows(value: Any) -> Any:
        yield value

    async def pages(value: Any) -> Any:
        yield value

    for handler in (rows, pages):
        with pytest.raises(TypeError, match="is a generator: a handler returns its result, and does not yield"):
            TaskRegistry().register("rows")(handler)
