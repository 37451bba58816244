"""Visits → the AWS-style event list, at read time; there is no second log.

The projection walks the frames as the interpreter did, and asks the same plan what each state made of its input, so
that what a Task was given need not be stored. Event ids are those that the run counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import attrs

from statechain.asl.outcome import CallTask, FanOut
from statechain.codec import decode, encode
from statechain.errors import StateError
from statechain.records import Claim, Execution, Visit
from statechain.runtime.frame import Frame, Past, Run, branch_path, from_micros
from statechain.runtime.tasks import function_name
from statechain.storage.journal import Ledger

if TYPE_CHECKING:
    from statechain.asl.plan import State
    from statechain.runtime.revisions import Revision

__all__ = ["history_events"]

Event = dict[str, Any]
ENDS = {
    "SUCCEEDED": "ExecutionSucceeded",
    "FAILED": "ExecutionFailed",
    "TIMED_OUT": "ExecutionTimedOut",
    "ABORTED": "ExecutionAborted",
}
MOMENTS = {
    "scheduled": "Scheduled",
    "started": "Started",
    "submitted": "Submitted",
    "succeeded": "Succeeded",
    "failed": "Failed",
    "timed_out": "TimedOut",
}
WHOLE = {"truncated": False}


def history_events(execution: Execution, revision: Revision, visits: Sequence[Visit]) -> list[Event]:
    """Return the events of an execution, in order (AWS, GetExecutionHistory); payloads are JSON texts, as there."""
    run = Run(execution, revision.record, revision.plan, Ledger(Claim(execution=execution, epoch=0, seq=0)), Past())
    history = _History(Past.fold(visits).visits)
    started = {"input": execution.input_text, "inputDetails": WHOLE, "roleArn": ""}
    history.add(1, execution.start_time, "ExecutionStarted", "executionStarted", started)
    root = Frame(run, run.plan, "", run.input, text=execution.input_text)
    last = history.walk(root, history.visits(""), previous=0)
    if execution.end_time is not None:
        history.add_end(execution, last)
    return history.in_order()


@attrs.define
class _Moment:
    """Something that happened inside a visit."""

    kind: str
    event: int
    at: datetime
    error: str | None = None
    cause: str | None = None
    index: int | None = None

    @classmethod
    def _read(cls, kind: str, event: int, micros: int, *rest: Any) -> _Moment:  # noqa: ANN401 -- decoded JSON
        if kind.startswith("iteration_"):
            return cls(kind, event, from_micros(micros), index=rest[0])
        return cls(kind, event, from_micros(micros), *rest)

    @classmethod
    def of(cls, visit: Visit, detail: dict[str, Any]) -> list[_Moment]:
        """Return what a visit remembers; a straight Task visit remembers nothing, and tells all the same."""
        stored = detail.get("moments")
        if stored is not None:
            return [cls._read(*moment) for moment in stored]
        if visit.type != "Task" or visit.exited_event != visit.entered_event + 4 or visit.exited is None:
            return []
        times = [visit.entered, visit.entered, visit.exited]
        return [
            cls(kind, visit.entered_event + 1 + place, at)
            for place, (kind, at) in enumerate(zip(("scheduled", "started", "succeeded"), times, strict=True))
        ]


class _History:
    """Collects events while it walks the frames."""

    def __init__(self, visits: dict[str, list[Visit]]) -> None:
        self._visits = visits
        self._events: list[Event] = []

    def add(self, event: int, at: datetime, type_: str, key: str, details: Event | None, previous: int = 0) -> int:
        entry: Event = {"timestamp": at, "type": type_, "id": event, "previousEventId": previous}
        if details is not None:
            entry[f"{key}EventDetails"] = details
        self._events.append(entry)
        return event

    def add_end(self, execution: Execution, previous: int) -> None:
        last = max((event["id"] for event in self._events), default=0)
        type_ = ENDS[execution.status]
        details: Event = {"output": execution.output_text, "outputDetails": WHOLE}
        if execution.output_text is None:
            details = _fault(execution.error, execution.cause)
        at = cast("datetime", execution.end_time)
        self.add(last + 1, at, type_, type_[0].lower() + type_[1:], details, previous)

    def in_order(self) -> list[Event]:
        """Return the events by id, numbered without the gaps that a crash can leave."""
        self._events.sort(key=lambda event: cast("int", event["id"]))
        numbers = {event["id"]: place for place, event in enumerate(self._events, start=1)}
        for event in self._events:
            event["id"] = numbers[event["id"]]
            event["previousEventId"] = numbers.get(event["previousEventId"], 0)
        return self._events

    def walk(self, frame: Frame, visits: Sequence[Visit], previous: int) -> int:
        """Add the events of one frame; return its last event."""
        for visit in visits:
            previous = self._visit(frame, visit, previous)
        return previous

    def visits(self, path: str, since: int = 0, until: int | None = None) -> list[Visit]:
        """Return the visits of one frame in one round."""
        found = self._visits.get(path, [])
        return [visit for visit in found if visit.number >= since and (until is None or visit.number < until)]

    def _visit(self, frame: Frame, visit: Visit, previous: int) -> int:
        state = frame.plan.states[visit.state]
        frame.revisit(state, visit)
        detail = cast("dict[str, Any]", decode(visit.detail or "{}"))
        entered = {"name": state.name, "input": _text(frame), "inputDetails": WHOLE}
        previous = self.add(
            visit.entered_event, visit.entered, f"{state.type}StateEntered", "stateEntered", entered, previous
        )
        moments = _Moment.of(visit, detail)
        if state.type == "Task":
            previous = self._task(frame, state, visit, detail, moments, previous)
        elif state.type in {"Map", "Parallel"}:
            previous = self._fan_out(frame, state, detail, moments, previous)
        else:
            previous = self._faults(state, moments, detail, previous)
        return self._exit(frame, state, visit, detail, previous)

    def _exit(self, frame: Frame, state: State, visit: Visit, detail: dict[str, Any], previous: int) -> int:
        if visit.output is None or visit.exited is None:
            return previous
        frame.value, frame.text = decode(visit.output), visit.output
        details: Event = {"name": state.name, "output": visit.output, "outputDetails": WHOLE}
        assigned = detail.get("assigned")
        if assigned:
            frame.variables = {**frame.variables, **assigned}
            details["assignedVariables"] = {name: encode(assigned[name]) for name in sorted(assigned)}
            details["assignedVariablesDetails"] = WHOLE
        return self.add(visit.exited_event, visit.exited, f"{state.type}StateExited", "stateExited", details, previous)

    # Tasks

    def _task(
        self,
        frame: Frame,
        state: State,
        visit: Visit,
        detail: dict[str, Any],
        moments: Sequence[_Moment],
        previous: int,
    ) -> int:
        service = _Service.of(state.resource or "")
        attempt = 0
        for moment in moments:
            if moment.kind == "evaluation_failed":
                previous = self._faults(state, [moment], detail, previous)
                continue
            details: Event | None = None
            if moment.kind == "scheduled":
                details = service.scheduled(_effect_input(frame, state, attempt))
                attempt += 1
            elif moment.kind == "succeeded":
                raw = encode(detail["result"]) if "result" in detail else visit.output
                details = service.succeeded(raw)
            elif moment.kind in {"failed", "timed_out"}:
                details = {**service.base, **_fault(moment.error, moment.cause)}
            elif service.base:
                details = dict(service.base)
            type_ = service.prefix + MOMENTS[moment.kind]
            previous = self.add(moment.event, moment.at, type_, type_[0].lower() + type_[1:], details, previous)
        return previous

    def _faults(self, state: State, moments: Iterable[_Moment], detail: dict[str, Any], previous: int) -> int:
        for moment in moments:
            if moment.kind == "evaluation_failed":
                details = {**_fault(moment.error, moment.cause), "state": state.name}
                if detail.get("location"):
                    details["location"] = detail["location"]
                previous = self.add(
                    moment.event, moment.at, "EvaluationFailed", "evaluationFailed", details, previous
                )
        return previous

    # Parallel and Map

    def _fan_out(
        self, frame: Frame, state: State, detail: dict[str, Any], moments: Sequence[_Moment], previous: int
    ) -> int:
        effect = _effect(frame, state)
        rounds = [moment.event for moment in moments if moment.kind == "started"]
        for moment in moments:
            if moment.kind == "started":
                details = None
                if state.type == "Map" and effect is not None and effect.branches is not None:
                    details = {"length": len(effect.branches)}
                previous = self.add(
                    moment.event, moment.at, f"{state.type}StateStarted", "mapStateStarted", details, previous
                )
                until = next((event for event in rounds if event > moment.event), None)
                if effect is not None and not effect.distributed:
                    self._branches(frame, effect, moment.event, until)
            elif moment.kind in {"succeeded", "failed"}:
                type_ = f"{state.type}State{MOMENTS[moment.kind]}"
                previous = self.add(moment.event, moment.at, type_, "", None, previous)
            elif moment.kind.startswith("iteration_"):
                type_ = "MapIteration" + moment.kind.removeprefix("iteration_").capitalize()
                details = {"name": state.name, "index": moment.index}
                self.add(moment.event, moment.at, type_, type_[0].lower() + type_[1:], details, previous)
            elif moment.kind.startswith("run_"):
                previous = self._map_run(moment, previous)
            else:
                previous = self._faults(state, [moment], detail, previous)
        return previous

    def _map_run(self, moment: _Moment, previous: int) -> int:
        type_ = "MapRun" + MOMENTS[moment.kind.removeprefix("run_")]
        details = _fault(moment.error, moment.cause) if moment.kind == "run_failed" else None
        return self.add(moment.event, moment.at, type_, type_[0].lower() + type_[1:], details, previous)

    def _branches(self, frame: Frame, effect: FanOut, since: int, until: int | None) -> None:
        """Add the events of every branch in one round."""
        is_map = frame.is_in("Map")
        for branch in effect.branches or ():
            path = branch_path(frame, branch.index)
            visits = self.visits(path, since, until)
            if not visits:
                continue
            child = Frame(frame.run, branch.plan, path, branch.input, variables=frame.variables, item=branch.item)
            first, last = visits[0], visits[-1]
            previous = since
            if is_map:
                iteration = {"name": frame.state, "index": branch.index}
                started = cast("dict[str, Any]", decode(first.detail or "{}")).get("started", first.entered_event - 1)
                key = "mapIterationStarted"
                previous = self.add(started, first.entered, "MapIterationStarted", key, iteration, since)
            previous = self.walk(child, visits, previous)
            if is_map and last.output is not None and last.next is None:
                at = cast("datetime", last.exited)
                key = "mapIterationSucceeded"
                self.add(last.exited_event + 1, at, "MapIterationSucceeded", key, dict(iteration), previous)


@attrs.frozen
class _Service:
    """How the history names the events of a Resource."""

    prefix: str
    base: Event

    @classmethod
    def of(cls, resource: str) -> _Service:
        if function_name(resource) is not None:
            return cls("LambdaFunction", {})
        parts = resource.split(":")
        if resource.startswith("arn:") and parts[2] == "states" and len(parts) >= 7:
            return cls("Task", {"resourceType": parts[5], "resource": ":".join(parts[6:])})
        return cls("Task", {"resourceType": "task", "resource": resource})

    def scheduled(self, text: str) -> Event:
        if self.prefix == "LambdaFunction":
            return {"input": text, "inputDetails": WHOLE}
        return {**self.base, "region": "local", "parameters": text}

    def succeeded(self, text: str | None) -> Event:
        return {**self.base, "output": text, "outputDetails": WHOLE}


def _effect(frame: Frame, state: State) -> FanOut | None:
    try:
        effect = state.enter(frame.value, frame)
    except StateError:
        return None
    return effect if isinstance(effect, FanOut) else None


def _effect_input(frame: Frame, state: State, attempt: int) -> str:
    """Return what an attempt of a Task was given."""
    frame.retries = [attempt]
    frame.retry()
    try:
        effect = state.enter(frame.value, frame)
    except StateError:
        return _text(frame)
    return encode(effect.input) if isinstance(effect, CallTask) else _text(frame)


def _text(frame: Frame) -> str:
    return encode(frame.value) if frame.text is None else frame.text


def _fault(error: str | None, cause: str | None) -> Event:
    return {key: value for key, value in (("error", error), ("cause", cause)) if value is not None}
