"""Any exception of the engine's own code while it performs a state ends the execution, and is logged; nothing hangs."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from inspect import CO_GENERATOR
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from statechain import Engine, Execution, ExecutionStatus, StateMachine, StateMachineNotFound, TaskError, TaskRegistry
from statechain.execution.files.readers import READERS
from statechain.testing.clock import VirtualClock

MODULES = ("statechain.execution.", "statechain.tasks.", "statechain.launcher")
"""The modules of which each call is made to raise."""

WAITING = "statechain.execution.running"
"""What waits for an execution, which is not what performs it."""


SAMPLE = 9
"""One call in so many is made to raise, unless all are."""


class Unforeseen(Exception):
    """What nothing in the engine expects."""


class Saboteur:
    """Counts the calls that the modules make of the library; the one at ``place`` raises instead of being made."""

    def __init__(self, place: int | None = None) -> None:
        self.place = place
        self.calls = 0
        self.thrown_at = ""
        self._begun: dict[int, FrameType] = {}

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call" or id(frame) in self._begun or frame.f_code.co_flags & CO_GENERATOR:
            return  # a coroutine that goes on is no call, and neither is a generator that is closed
        self._begun[id(frame)] = frame
        caller, called = frame.f_back, str(frame.f_globals.get("__name__"))
        calling = "" if caller is None else str(caller.f_globals.get("__name__"))
        if caller is None or not calling.startswith(MODULES) or calling == WAITING:
            return
        if not called.startswith("statechain.") or called.startswith(("statechain.testing", "statechain.cancellation")):
            return  # what is held around an `await` would never be freed
        if frame.f_code.co_name == "_begin":
            return  # it is given a coroutine, which would never be awaited
        self.calls += 1
        if self.calls == self.place:
            self.thrown_at = f"{caller.f_code.co_qualname} → {frame.f_code.co_qualname}"
            raise Unforeseen("thrown by the test")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(before)


# What runs


def machine(**states: dict[str, Any]) -> dict[str, Any]:
    """Return a definition that begins at the first state; a state that leads nowhere ends."""
    ending = {
        name: state if "Next" in state or state["Type"] in {"Choice", "Succeed"} else {**state, "End": True}
        for name, state in states.items()
    }
    return {"StartAt": next(iter(states)), "States": ending}


def task(resource: str, **more: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": resource, **more}


def branch(letter: str) -> dict[str, Any]:
    inner, rest = f"Inner{letter}", f"Rest{letter}"
    return machine(**{inner: task("work", Next=rest), rest: {"Type": "Wait", "Seconds": 5}})


ITEM = {**machine(Inner={"Type": "Pass"}), "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
CATCH: dict[str, Any] = {"Catch": [{"ErrorEquals": ["Declined"], "Next": "Last"}]}
READ = "arn:aws:states:::s3:getObject"
WRITE = "arn:aws:states:::s3:putObject"
MAP = {
    "Type": "Map",
    "ItemReader": {"Resource": READ, "Parameters": {"Bucket": "b", "Key": "items.csv"}},
    "ItemProcessor": ITEM,
    "ResultWriter": {"Resource": WRITE, "Parameters": {"Bucket": "b", "Prefix": "out"}},
}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "a row of states": machine(
        First={"Type": "Pass", "Parameters": {"n.$": "$.n"}, "Next": "Choose"},
        Choose={"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericEquals": 1, "Next": "Work"}]},
        Work=task("work", TimeoutSeconds=60, Next="Again"),
        Again=task("fails", Retry=[{"ErrorEquals": ["Declined"], "MaxAttempts": 1}], **CATCH, Next="Last"),
        Last={"Type": "Wait", "Seconds": 3},
    ),
    "JSONata": machine(
        Make={"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $states.input.n + 1 %}", "Next": "Work"},
        Work=task("work", QueryLanguage="JSONata", Assign={"x": "{% $states.result %}"}),
    ),
    "branches": machine(
        Both={"Type": "Parallel", "Branches": [branch("A"), branch("B")], "Next": "Each"},
        Each={
            "Type": "Map",
            "ItemsPath": "$",
            "ItemProcessor": branch("C"),
            "ItemSelector": {"it.$": "$$.Map.Item.Value"},
        },
    ),
    "files": machine(Each=MAP),
    "a task token": machine(
        Ask=task(
            "ask.waitForTaskToken",
            TimeoutSeconds=5,
            Catch=[{"ErrorEquals": ["States.Timeout"], "Next": "Last"}],
            Next="Last",
        ),
        Last={"Type": "Pass"},
    ),
    "a nested execution": machine(
        ChildExecutions=task(
            "arn:aws:states:::states:startExecution.sync:2", Parameters={"StateMachineArn": "child", "Input": {}}
        )
    ),
}
"""What together makes the calls that there are."""

OTHERS = {
    "Unforeseen",  # raised in what belongs to a handler's call
    "States.ItemReaderFailed",
    "States.ResultWriterFailed",
    "States.ExceedToleratedFailureThreshold",  # raised in an item, which is a separate execution
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "items.csv").write_text("a,b\n1,2\n3,4\n")
    return tmp_path


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[Engine]:
    tasks = TaskRegistry()

    async def work(value: Any) -> Any:
        return value

    async def fails(_value: Any) -> Any:
        raise TaskError("Declined")

    for name, handler in (("work", work), ("fails", fails), ("ask", work)):
        tasks.add(name, handler)
    async with Engine(tasks=tasks, clock=VirtualClock(), files=folder) as opened:
        await opened.create_state_machine("child", machine(Only=task("work")))
        yield opened


def _raised_and_logged(caplog: pytest.LogCaptureFixture) -> list[type[BaseException] | None]:
    """Return what the library logged as an ERROR; asyncio logs what another test left when the collector finds it."""
    records = [record for record in caplog.records if record.name.startswith("statechain.")]
    return [record.exc_info[0] for record in records if record.exc_info and record.levelno == logging.ERROR]


async def run(created: StateMachine, saboteur: Saboteur) -> Execution:
    with saboteur.at_work():
        async with asyncio.timeout(60):
            return await (await created.start_execution({"n": 1})).wait()


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
@pytest.mark.parametrize("name", DEFINITIONS)
async def test_an_exception_at_any_call_ends_the_execution_at_once(
    engine: Engine, name: str, type_: Any, caplog: pytest.LogCaptureFixture, *, full: bool
) -> None:
    if type_ == "EXPRESS" and name in {"a task token", "a nested execution", "files"}:
        pytest.skip("an EXPRESS machine has none of these")
    created = await engine.create_state_machine("attacked", DEFINITIONS[name], type=type_)
    whole = Saboteur()
    assert (await run(created, whole)).status is ExecutionStatus.SUCCEEDED
    assert whole.calls
    unforeseen = 0
    places = range(1, whole.calls + 1, 1 if full else SAMPLE)
    for place in places:
        caplog.clear()
        saboteur = Saboteur(place)
        ended = await run(created, saboteur)
        if not saboteur.thrown_at:  # the order of things is not always the same
            continue
        assert (await engine.get_execution(ended.id)).status is ended.status, saboteur.thrown_at
        assert ended.status in {ExecutionStatus.FAILED, ExecutionStatus.SUCCEEDED}, saboteur.thrown_at
        assert "left to recovery" not in caplog.text
        if ended.error == "States.Runtime":
            unforeseen += 1
            assert "Unforeseen" in (ended.cause or ""), saboteur.thrown_at
            assert _raised_and_logged(caplog) == [Unforeseen]
        elif ended.status is ExecutionStatus.FAILED:
            assert ended.error in OTHERS or "Unforeseen" in str(ended.cause), (saboteur.thrown_at, ended.error)
    assert unforeseen > len(places) // 2
    assert (await run(created, Saboteur())).status is ExecutionStatus.SUCCEEDED
    assert len(engine.worker) == 0


# Readers


def reading(config: dict[str, Any]) -> dict[str, Any]:
    """Return a Map that reads a file by a configuration, and catches every error."""
    reader = {"Resource": READ, "Arguments": {"Bucket": "b", "Key": "items.csv"}, "ReaderConfig": config}
    each = {**MAP, "ItemReader": reader, "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}], "Next": "Last"}
    del each["ResultWriter"]
    states = machine(Each=each, Last={"Type": "Succeed"}, Caught={"Type": "Succeed"})
    return {**states, "QueryLanguage": "JSONata"}


@pytest.mark.parametrize("value", ["NONSENSE", "", 5, None, ["COMMA"], {"a": 1}, True, 1e300])
@pytest.mark.parametrize("field", ["CSVDelimiter", "MaxItems", "CSVHeaders", "InputType", "ItemsPointer"])
async def test_a_readers_setting_that_evaluates_to_nonsense_is_the_maps_own_failure(
    engine: Engine, field: str, value: Any
) -> None:
    config = {"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["a"], field: "{% $states.input %}"}
    if field == "ItemsPointer":
        config["InputType"] = "JSON"
    created = await engine.create_state_machine("reading", reading(config))
    async with asyncio.timeout(60):
        ended = await (await created.start_execution(value)).wait()
    assert ended.status is ExecutionStatus.SUCCEEDED
    if ended.current_state == "Caught":
        output: Any = ended.output
        assert output["Error"] in {"States.ItemReaderFailed", "States.QueryEvaluationError"}


async def test_an_unexpected_exception_of_a_reader_is_caught_and_logged(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Any:
        raise Unforeseen("thrown by the test")

    monkeypatch.setitem(READERS, "getObject", broken)
    created = await engine.create_state_machine("reading", reading({"InputType": "CSV"}))
    ended = await created.execute()
    assert ended.current_state == "Caught"
    assert any(record.exc_info and isinstance(record.exc_info[1], Unforeseen) for record in caplog.records)


async def test_a_definition_that_cannot_be_compiled_is_not_stored(engine: Engine) -> None:
    map_ = {**MAP, "ItemReader": {**MAP["ItemReader"], "ReaderConfig": {"MaxItemsPath": "$[?"}}}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"MaxItemsPath|no path"):
        await engine.create_state_machine("refused", machine(Each=map_))
    with pytest.raises(StateMachineNotFound):
        await engine.get_state_machine("refused")
