"""Rules of the language and of the service, one a case: a definition, its input and how the execution must end.

`cases.jsonl` has one case a line: `rule` (its name), `source` (where the rule is known from), `type`, `definition`,
`input`, `tasks` (what each handler answers, call by call; the last goes on), `files` (path → content), `action` (what
is done from outside), `expect` and `check` (a function below, for what is no field of the execution). `pending.toml`
names the rules that do not hold yet, each with a reason; a rule that holds must leave it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from statechain import DefinitionError, Engine, Execution, ExecutionHandle, TaskError, TaskRegistry
from statechain.testing import VirtualClock

HERE = Path(__file__).parent
CASES = [json.loads(line) for line in (HERE / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
PENDING: dict[str, str] = tomllib.loads((HERE / "pending.toml").read_text(encoding="utf-8"))["pending"]

Case = Mapping[str, Any]
ACTIVITY = "arn:aws:states:us-east-1:123456789012:activity:act"
HANG_GUARD = 60.0
History = list[dict[str, Any]]


@attrs.frozen
class Outcome:
    """What a case came to: the execution, its history, and the history before it was redriven."""

    execution: Execution
    history: History
    earlier: History


class ScriptedTasks(TaskRegistry):
    """The handlers of a case. A task token is answered by the handler that gets it, where the case says so."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.engine: Engine | None = None
        self._fails_token = case.get("action") == "fail_plain"
        for name, answers in case.get("tasks", {}).items():
            self.register(name)(self._handler(answers))

    def _handler(self, answers: list[dict[str, Any]]) -> Callable[[Any], Any]:
        left = list(answers)

        async def answer(value: Any) -> Any:
            if self._fails_token and self.engine is not None:
                await self.engine.send_task_failure(value["t"])
            entry = left.pop(0) if len(left) > 1 else left[0]
            if "error" in entry:
                raise TaskError(entry["error"], entry.get("cause"))
            return value if "echo" in entry else entry["result"]

        return answer


def lay_out(files: Mapping[str, Any], folder: Path) -> None:
    """Write the files of a case below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else base64.b64decode(content["base64"]))


async def act(engine: Engine, handle: ExecutionHandle, action: str | None) -> tuple[ExecutionHandle, History]:
    """Do what the case does from outside; return what is to be waited for, and the history before a redrive."""
    if action == "work":
        task = await engine.get_activity_task(ACTIVITY, patience=10)
        assert task is not None
        await engine.send_task_success(task.token, 1)
    elif action == "stop_it":
        await engine.get_activity_task(ACTIVITY, patience=10)
        await handle.stop()
    elif action == "redrive":
        await handle.wait()
        earlier = await engine.get_execution_history(handle.id)
        return await engine.redrive_execution(handle.id), earlier
    return handle, []


async def run(case: Case, folder: Path) -> Outcome | DefinitionError:
    """Run a case in memory and in virtual time."""
    lay_out(case.get("files", {}), folder)
    tasks = ScriptedTasks(case)
    async with Engine("memory://", tasks=tasks, clock=VirtualClock(), files=folder) as engine:
        tasks.engine = engine
        try:
            machine = await engine.create_state_machine("case", case["definition"], type=case.get("type", "STANDARD"))
        except DefinitionError as error:
            return error
        handle, earlier = await act(engine, await machine.start_execution(case["input"]), case.get("action"))
        execution = await asyncio.wait_for(handle.wait(), HANG_GUARD)
        return Outcome(execution, await engine.get_execution_history(handle.id), earlier)


# What must hold


def check_end(expect: Mapping[str, Any], outcome: Outcome) -> None:
    """Compare the execution with what is expected of it."""
    execution = outcome.execution
    cause = execution.cause or ""
    assert str(execution.status) == expect.get("status", str(execution.status)), cause
    for field in ("output", "error", "cause"):
        if field in expect:
            assert getattr(execution, field) == expect[field]
    assert expect.get("cause_contains", "") in cause
    assert not [each for each in expect.get("cause_lacks", ()) if each in cause]
    if "seconds" in expect:
        assert execution.end_time is not None
        assert (execution.end_time - execution.start_time).total_seconds() == expect["seconds"]
    if "types" in expect:
        assert [event["type"] for event in outcome.history] == expect["types"]
    if "last_event" in expect:
        assert outcome.history[-1]["id"] == expect["last_event"]


def one(outcome: Outcome, type_: str) -> dict[str, Any]:
    """Return the one event of a type."""
    (event,) = [event for event in outcome.history if event["type"] == type_]
    return event


def details(outcome: Outcome, type_: str) -> dict[str, Any]:
    """Return the details of the one event of a type."""
    found: dict[str, Any] = one(outcome, type_)[f"{type_[0].lower()}{type_[1:]}EventDetails"]
    return found


def state_has_no_retry_count(outcome: Outcome) -> None:
    state: Any = outcome.execution.output
    assert set(state["c"]["State"]) == {"Name", "EnteredTime"}


def redrive_time_is_in_the_output(outcome: Outcome) -> None:
    execution: Any = outcome.execution.output
    assert execution["c"]["RedriveCount"] == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", execution["c"]["RedriveTime"])


def timed_out_event_says_so(outcome: Outcome) -> None:
    expected = {"error": "States.Timeout", "resource": "sendMessage.waitForTaskToken", "resourceType": "sqs"}
    assert details(outcome, "TaskTimedOut") == expected


def evaluation_failed_is_recorded(outcome: Outcome) -> None:
    assert details(outcome, "EvaluationFailed")["error"] == "States.QueryEvaluationError"


def listed_objects_are_complete(outcome: Outcome) -> None:
    items: Any = outcome.execution.output
    assert [set(item) for item in items] == [{"Etag", "Key", "LastModified", "Size", "StorageClass"}]


def history_is_capped(outcome: Outcome) -> None:
    assert len(outcome.history) <= 25_000


def cause_names_the_whole_arn(outcome: Outcome) -> None:
    arn = "arn:aws:states:us-east-1:123456789012:stateMachine:child"
    assert f"State Machine Does Not Exist: '{arn}'" in (outcome.execution.cause or "")


def activity_started_has_details(outcome: Outcome) -> None:
    assert details(outcome, "ActivityStarted") == {}


def earlier_events_are_unchanged(outcome: Outcome) -> None:
    assert outcome.earlier
    assert outcome.history[: len(outcome.earlier)] == outcome.earlier


def previous_events_are_earlier(outcome: Outcome) -> None:
    assert all(event["previousEventId"] < event["id"] for event in outcome.history)


def scheduled_has_no_heartbeat(outcome: Outcome) -> None:
    assert "heartbeatInSeconds" not in details(outcome, "LambdaFunctionScheduled")


def parallel_exit_follows_its_branches(outcome: Outcome) -> None:
    event = one(outcome, "ParallelStateExited")
    assert event["previousEventId"] == event["id"] - 2


def abort_follows_nothing(outcome: Outcome) -> None:
    assert one(outcome, "ExecutionAborted")["previousEventId"] == 0


def marks(case: Case) -> list[pytest.MarkDecorator]:
    """Return the mark of a rule that does not hold yet."""
    reason = PENDING.get(case["rule"])
    return [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True)]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["rule"], marks=marks(case)) for case in CASES])
async def test_a_case_of_the_rules_ends_as_expected(case: Case, tmp_path: Path) -> None:
    outcome = await run(case, tmp_path)
    if case["expect"].get("status") == "REFUSED":
        assert isinstance(outcome, DefinitionError)
        return
    assert isinstance(outcome, Outcome), str(outcome)
    check_end(case["expect"], outcome)
    if "check" in case:
        globals()[case["check"]](outcome)


def test_every_pending_rule_is_a_case() -> None:
    assert set(PENDING) <= {case["rule"] for case in CASES}
