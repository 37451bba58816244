"""Visits → the AWS-style event list, at read time; there is no second log.

The projection walks the frames as the interpreter did, and asks the same plan what each state made of its input, so
that what a Task was given need not be stored. Event ids are those that the run counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from statechain.asl.outcome import CallTask, FanOut
from statechain.codec import decode, encode
from statechain.errors import StateError
from statechain.records import Claim, Execution, Visit
from statechain.runtime.events import ENDS, MOMENTS, WHOLE, Event, Moment, Service, details_key, fault_details, text_of
from statechain.runtime.frame import Frame, branch_path
from statechain.runtime.past import Past
from statechain.runtime.run import UNREAD, Run, from_micros
from statechain.storage.journal import Ledger

if TYPE_CHECKING:
    from statechain.asl.plan import State
    from statechain.runtime.revisions import Revision

__all__ = ["history_events"]

HIDDEN_TOKEN = "…"  # noqa: S105 -- what stands in place of a task token


def history_events(execution: Execution, revision: Revision, visits: Sequence[Visit]) -> list[Event]:
    """Return the events of an execution, in order (AWS, GetExecutionHistory); payloads are JSON texts, as there."""
    past = Past.fold(visits)
    run = Run(execution, revision.record, revision.plan, Ledger(Claim(execution=execution, epoch=0, seq=0)), past)
    history = _History(past)
    started = {"input": execution.input_text, "inputDetails": WHOLE, "roleArn": ""}
    history.add(1, execution.start_time, "ExecutionStarted", started)
    root = Frame(run, run.plan, "", UNREAD, text=execution.input_text)
    last = history.walk(root, past.of("", 0), previous=0)
    for number, row in enumerate(past.redrives, start=1):
        last = max(last, history.add_redrive(row, number))
    if execution.end_time is not None:
        history.add_end(execution, last)
    return history.in_order()


class _History:
    """Collects events while it walks the frames."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._events: list[Event] = []

    def add(
        self, event: int, at: datetime, type_: str, details: Event | None, previous: int = 0, *, key: str | None = None
    ) -> int:
        """Add an event; return its id. Its details object is named by its type, unless a key is given."""
        entry: Event = {"timestamp": at, "type": type_, "id": event, "previousEventId": previous}
        if details is not None:
            entry[key or details_key(type_)] = details
        self._events.append(entry)
        return event

    def add_end(self, execution: Execution, previous: int) -> None:
        last = max((event["id"] for event in self._events), default=0)
        details: Event = {"output": execution.output_text, "outputDetails": WHOLE}
        if execution.output_text is None:
            details = fault_details(execution.error, execution.cause)
        self.add(last + 1, cast("datetime", execution.end_time), ENDS[execution.status], details, previous)

    def add_redrive(self, row: Visit, number: int) -> int:
        """Add the end that a redrive took back, and the redrive."""
        end = cast("dict[str, Any]", decode(row.detail or "{}"))
        at = from_micros(end["ended"]) if end.get("ended") else row.entered
        details = fault_details(end.get("error"), end.get("cause"))
        self.add(row.entered_event, at, ENDS[end.get("status", "FAILED")], details, row.entered_event - 1)
        redriven = {"redriveCount": number}
        return self.add(row.exited_event, row.entered, "ExecutionRedriven", redriven, row.entered_event)

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

    def _visit(self, frame: Frame, visit: Visit, previous: int) -> int:
        state = frame.plan.states[visit.state]
        frame.revisit(state, visit)
        detail = cast("dict[str, Any]", decode(visit.detail or "{}"))
        around = visit.entered_event if frame.path else previous
        entered = {"name": state.name, "input": text_of(frame.value, frame.text), "inputDetails": WHOLE}
        type_ = f"{state.type}StateEntered"
        previous = self.add(
            visit.entered_event, visit.entered, type_, entered, previous, key="stateEnteredEventDetails"
        )
        moments = _moments(visit, detail)
        if state.type == "Task":
            previous = self._task(frame, state, visit, detail, moments, previous, around)
        elif state.type in {"Map", "Parallel"}:
            previous = self._fan_out(frame, state, moments, previous, around)
        else:
            for moment in moments:
                previous = self._evaluation(state, moment, around)
        return self._exit(frame, state, visit, detail, previous)

    def _exit(self, frame: Frame, state: State, visit: Visit, detail: dict[str, Any], previous: int) -> int:
        if visit.output is None or visit.exited is None:
            return previous
        frame.take(UNREAD, visit.output)
        details: Event = {"name": state.name, "output": visit.output, "outputDetails": WHOLE}
        assigned = detail.get("assigned")
        if assigned:
            frame.variables = {**frame.variables, **assigned}
            details["assignedVariables"] = {name: encode(assigned[name]) for name in sorted(assigned)}
            details["assignedVariablesDetails"] = WHOLE
        type_ = f"{state.type}StateExited"
        return self.add(visit.exited_event, visit.exited, type_, details, previous, key="stateExitedEventDetails")

    def _evaluation(self, state: State, moment: Moment, previous: int) -> int:
        """Add a fault of an expression; one on entry into a state of the root follows what came before the entry."""
        error, cause, location = moment.facts
        details = {**fault_details(error, cause), "state": state.name}
        if location:
            details["location"] = location
        return self.add(moment.event, moment.at, "EvaluationFailed", details, previous)

    # Tasks

    def _task(
        self,
        frame: Frame,
        state: State,
        visit: Visit,
        detail: dict[str, Any],
        moments: Sequence[Moment],
        previous: int,
        around: int,
    ) -> int:
        service = Service.of(state.resource or "")
        attempt = 0
        for moment in moments:
            if moment.kind == "evaluation_failed":
                previous = self._evaluation(state, moment, around if previous == visit.entered_event else previous)
                continue
            details: Event | None = dict(service.base) or None
            if moment.kind == "scheduled":
                details = _scheduled(service, frame, state, attempt)
                attempt += 1
            elif moment.kind == "submitted":
                details = service.produced(cast("str", moment.facts[0]))
            elif moment.kind == "succeeded":
                details = service.produced(encode(detail["result"]) if "result" in detail else visit.output)
            elif moment.kind in {"failed", "timed_out"}:
                details = service.failed(moment)
            previous = self.add(moment.event, moment.at, service.prefix + MOMENTS[moment.kind], details, previous)
        return previous

    # Parallel and Map

    def _fan_out(self, frame: Frame, state: State, moments: Sequence[Moment], previous: int, around: int) -> int:
        effect = _effect(frame, state)
        rounds = [cast("int", moment.facts[0]) for moment in moments if moment.kind == "started"]
        chain = previous
        for moment in moments:
            if moment.kind == "started":
                chain = self._started(state, effect, moment, previous)
                since = cast("int", moment.facts[0])
                until = next((number for number in rounds if number > since), None)
                if effect is not None and not effect.distributed:
                    chain = self._branches(frame, effect, chain, since, until)
                previous = chain
            elif moment.kind == "evaluation_failed":
                is_on_entry = previous == frame.entered_event
                previous = chain = self._evaluation(state, moment, around if is_on_entry else previous)
            elif moment.kind.startswith("run_"):
                previous = self._map_run(moment, previous)
                chain = previous
            elif moment.kind == "succeeded":
                previous = self.add(moment.event, moment.at, f"{state.type}StateSucceeded", None, previous)
                chain = previous if state.type == "Parallel" else chain
            elif moment.kind == "failed":
                previous = chain = self.add(moment.event, moment.at, f"{state.type}StateFailed", None, chain)
            else:
                self._cut(moment, chain)
        return chain

    def _started(self, state: State, effect: FanOut | None, moment: Moment, previous: int) -> int:
        details = None
        if state.type == "Map":
            details = {"length": len(effect.branches) if effect is not None and effect.branches is not None else 0}
        return self.add(moment.event, moment.at, f"{state.type}StateStarted", details, previous)

    def _map_run(self, moment: Moment, previous: int) -> int:
        kind = moment.kind.removeprefix("run_")
        details: Event | None = None
        if kind == "failed":
            details = fault_details(*moment.facts)
        elif moment.facts:
            details = dict(zip(("mapRunArn", "redriveCount"), moment.facts, strict=False))
        return self.add(moment.event, moment.at, f"MapRun{MOMENTS[kind]}", details, previous)

    def _cut(self, moment: Moment, previous: int) -> None:
        """Add what a failure did to a branch: an iteration failed or aborted, or the state that a branch was in."""
        if moment.kind == "aborted":
            self.add(moment.event, moment.at, f"{moment.facts[0]}StateAborted", None, previous)
            return
        index, name = moment.facts
        type_ = "MapIteration" + moment.kind.removeprefix("iteration_").capitalize()
        self.add(moment.event, moment.at, type_, {"name": name, "index": index}, previous)

    def _branches(self, frame: Frame, effect: FanOut, started: int, since: int, until: int | None) -> int:
        """Add the events of every branch in one round; return the event that decided: the failure's, or the last."""
        last = started
        decided: tuple[datetime, int] | None = None
        branches = effect.branches or ()
        rounds = [(branch, self._round(branch_path(frame, branch.index), since, until)) for branch in branches]
        ends = sorted(visits[-1].exited_event for _, visits in rounds if visits and _is_done(visits[-1]))
        for branch, visits in rounds:
            if visits:
                path = branch_path(frame, branch.index)
                child = Frame(frame.run, branch.plan, path, branch.input, variables=frame.variables, item=branch.item)
                end = self._branch(frame, child, branch.index, visits, [started, *ends])
                final = visits[-1]
                last = max(last, end)
                if final.output is None and final.exited is not None:
                    decided = min(decided or (final.exited, end), (final.exited, end))
        return last if decided is None else decided[1]

    def _round(self, path: str, since: int, until: int | None) -> list[Visit]:
        """Return the visits of one line of control in one round."""
        return [visit for visit in self._past.of(path, since) if until is None or visit.number < until]

    def _branch(self, frame: Frame, child: Frame, index: int, visits: Sequence[Visit], ends: Sequence[int]) -> int:
        """Add the events of a branch, which follows the round's start or, in a Map, the iteration that made room."""
        if frame.type != "Map":
            return self.walk(child, visits, ends[0])
        first, last = visits[0], visits[-1]
        iteration = {"name": frame.state, "index": index}
        begun = cast("dict[str, Any]", decode(first.detail or "{}")).get("started", first.entered_event - 1)
        previous = ends[max(0, bisect_left(ends, begun) - 1)]
        previous = self.walk(child, visits, self.add(begun, first.entered, "MapIterationStarted", iteration, previous))
        if last.exited is not None and _is_done(last):
            self.add(last.exited_event + 1, last.exited, "MapIterationSucceeded", dict(iteration), previous)
            return last.exited_event + 1
        return previous


def _is_done(visit: Visit) -> bool:
    """Tell whether a visit is the last of a line of control that succeeded."""
    return visit.output is not None and visit.next is None


def _moments(visit: Visit, detail: dict[str, Any]) -> list[Moment]:
    """Return what a visit remembers; a straight Task visit remembers nothing, and tells all the same."""
    stored = detail.get("moments")
    if stored is not None:
        return [Moment.read(*moment) for moment in stored]
    if visit.type != "Task" or visit.exited_event != visit.entered_event + 4 or visit.exited is None:
        return []
    return [
        Moment("scheduled", visit.entered_event + 1, visit.entered),
        Moment("started", visit.entered_event + 2, visit.entered),
        Moment("succeeded", visit.entered_event + 3, visit.exited),
    ]


def _effect(frame: Frame, state: State) -> FanOut | None:
    try:
        effect = state.enter(frame.value, frame)
    except StateError:
        return None
    return effect if isinstance(effect, FanOut) else None


def _scheduled(service: Service, frame: Frame, state: State, attempt: int) -> Event:
    """Return the details of an attempt of a Task: what it was given, asked of the plan again."""
    frame.retries = [attempt]
    frame.retry()
    frame.token = HIDDEN_TOKEN
    try:
        effect = state.enter(frame.value, frame)
    except StateError:
        effect = None
    if not isinstance(effect, CallTask):
        return service.scheduled(text_of(frame.value, frame.text), None)
    return service.scheduled(encode(effect.input), effect)
