"""Where one line of control stands, and how stored visits fold back into it.

A `Run` is what all lines of control of one execution share; a `Frame` is one of them (the root, a Parallel branch,
a Map iteration) and at the same time the context that its expressions see. A `Past` is what storage remembers.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import attrs

from statechain.asl.outcome import Done, Next
from statechain.codec import JSONValue, decode, encode
from statechain.errors import StateError
from statechain.records import Execution, Visit

if TYPE_CHECKING:
    from statechain.asl.plan import Plan, State
    from statechain.records import StateMachineRecord
    from statechain.storage.journal import Ledger

__all__ = ["Frame", "Past", "Run", "branch_path", "from_micros", "to_micros"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """Return a moment as whole microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the moment of whole microseconds since 1970."""
    return EPOCH + micros * MICROSECOND


class Run:
    """What all lines of control of one execution share."""

    __slots__ = ("events", "execution", "input", "is_express", "ledger", "machine", "past", "plan")

    def __init__(self, execution: Execution, machine: StateMachineRecord, plan: Plan, ledger: Ledger, past: Past) -> None:
        self.execution = execution
        self.machine = machine
        self.plan = plan
        self.ledger = ledger
        self.past = past
        self.input = execution.input
        self.is_express = machine.type == "EXPRESS"
        self.events = max(1, past.last_event)

    def next_event(self) -> int:
        """Return the id of the history event that happens now."""
        self.events += 1
        return self.events

    def apart(self) -> Run:
        """Return a run of the same execution that counts events of its own, as an item of a distributed Map does."""
        own = copy.copy(self)
        own.events = 1
        return own

    def describe(self) -> dict[str, JSONValue]:
        """Return the part of the context object that is the same for every visit."""
        execution, machine = self.execution, self.machine
        return {
            "Execution": {
                "Id": execution.id,
                "Input": self.input,
                "Name": execution.name,
                "RoleArn": "",
                "StartTime": timestamp(execution.start_time),
                "RedriveCount": execution.redrive_count,
            },
            "StateMachine": {"Id": machine.id, "Name": machine.name},
        }


def timestamp(moment: datetime) -> str:
    """Return a moment as the context object shows it: ISO 8601 in UTC, to the millisecond."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


class Frame:
    """One line of control, and the context of its current visit (see `statechain.asl.outcome.Context`).

    Attributes:
        path: ``""`` for the root; else the states and indexes that lead here.

        state: The state that it is in; `value` is that state's input, `text` its JSON text where it is known.

        number: Counts the visits of this path. Below a Parallel or Map it begins at the history event that began the
            round, so that no two rounds of a loop or a retry share a number.

        owes: Whether a visit that had an effect still waits to be made durable.

        caught: The error that ended the current visit, where one did.

        resume_at: When the wait of the current visit ends, while it waits.

        round: The history event that began the current round of a Parallel or Map; 0 between rounds.

        attempting: Whether an at-most-once attempt has been recorded and has not ended.
    """

    __slots__ = (
        "_moments",
        "_object",
        "_random",
        "attempting",
        "caught",
        "entered",
        "entered_event",
        "item",
        "number",
        "owes",
        "path",
        "plan",
        "result",
        "result_text",
        "resume_at",
        "retries",
        "round",
        "run",
        "started_event",
        "state",
        "text",
        "token",
        "value",
        "variables",
    )

    def __init__(
        self,
        run: Run,
        plan: Plan,
        path: str,
        value: JSONValue,
        *,
        text: str | None = None,
        variables: Mapping[str, JSONValue] | None = None,
        item: Mapping[str, JSONValue] | None = None,
        number: int = 0,
        started_event: int = 0,
    ) -> None:
        self.run = run
        self.plan = plan
        self.path = path
        self.value = value
        self.text = text
        self.variables: Mapping[str, JSONValue] = variables or {}
        self.item = item
        self.started_event = started_event
        self.state = plan.start_at
        self.number = number
        self.owes = False
        self._clear(EPOCH, 0)

    def _clear(self, entered: datetime, entered_event: int) -> None:
        self.entered = entered
        self.entered_event = entered_event
        self.caught: StateError | None = None
        self.result: JSONValue = None
        self.result_text: str | None = None
        self.resume_at: datetime | None = None
        self.round = 0
        self.attempting = False
        self.token: str | None = None
        self._moments: list[list[JSONValue]] = []
        self._object: dict[str, JSONValue] | None = None
        self._random: random.Random | None = None

    def is_in(self, type_: str) -> bool:
        """Tell whether the current state is of a type."""
        return self.plan.states[self.state].type == type_

    def begin(self, state: State, now: datetime) -> None:
        """Begin a visit of a state."""
        self._clear(now, self.run.next_event())
        self.retries = [0] * len(state.retriers)

    def revisit(self, state: State, visit: Visit) -> None:
        """Stand where a stored visit began."""
        self._clear(visit.entered, visit.entered_event)
        self.state = visit.state
        self.number = visit.number
        self.retries = [0] * len(state.retriers)

    def resume(self, state: State, visit: Visit) -> None:
        """Take up a visit that storage remembers as waiting."""
        self.revisit(state, visit)
        detail = cast("dict[str, Any]", decode(visit.detail or "{}"))
        self.retries = detail.get("retries") or self.retries
        self.resume_at = from_micros(detail["resume"]) if "resume" in detail else None
        self.round = detail.get("round", 0)
        self.attempting = detail.get("attempting", False)
        self.token = detail.get("token")
        self._moments = detail.get("moments") or []

    def retry(self) -> None:
        """Begin another attempt of the same visit."""
        self._object = None

    def note(self, kind: str, now: datetime, fault: StateError | None = None, *, index: int | None = None) -> None:
        """Remember what happens now inside the visit, as the history will show it."""
        moment: list[JSONValue] = [kind, self.run.next_event(), to_micros(now)]
        if fault is not None:
            moment += [fault.error, fault.cause]
        elif index is not None:
            moment.append(index)
        self._moments.append(moment)

    @property
    def visit_key(self) -> str:
        """Identify this visit for ever, however often it is run."""
        return f"{self.run.execution.id}/{self.path}/{self.number}"

    def object(self) -> dict[str, JSONValue]:
        """Return the context object of this visit, built on first use."""
        if self._object is None:
            self._object = self.run.describe()
            self._object["State"] = {
                "EnteredTime": timestamp(self.entered),
                "Name": self.state,
                "RetryCount": sum(self.retries),
            }
            if self.item is not None:
                self._object["Map"] = {"Item": dict(self.item)}
            if self.token is not None:
                self._object["Task"] = {"Token": self.token}
        return self._object

    def now(self) -> datetime:
        """Return when this visit began."""
        return self.entered

    def random(self) -> random.Random:
        """Return this visit's random source; seeded by the visit, so that running it again draws the same."""
        if self._random is None:
            self._random = random.Random(self.visit_key)  # noqa: S311 -- reproducible by intent
        return self._random

    def left(self, exited: datetime, step: Next | Done) -> Visit:
        """Return the row of a visit that ended with a step, caught errors included."""
        exited_event = self.run.next_event()
        return self._row(
            exited,
            exited_event,
            output=self.text,
            error=None if self.caught is None else self.caught.error,
            cause=None if self.caught is None else self.caught.cause,
            next=step.state if isinstance(step, Next) else None,
            detail=self._remember(exited_event, step.assigned),
        )

    def failed(self, exited: datetime, fault: StateError) -> Visit:
        """Return the row of a visit that failed for good."""
        self.caught = fault
        return self._row(exited, 0, error=fault.error, cause=fault.cause, detail=self._remember(0, None))

    def waiting(self) -> Visit:
        """Return the row of a visit that begins to wait, with what it must remember."""
        detail = self._details()
        if self.resume_at is not None:
            detail["resume"] = to_micros(self.resume_at)
        if self.round:
            detail["round"] = self.round
        if self.attempting:
            detail["attempting"] = True
        if self.token is not None:
            detail["token"] = self.token
        return self._row(None, 0, detail=encode(detail))

    def _row(self, exited: datetime | None, exited_event: int, **fields: str | None) -> Visit:
        return Visit(
            execution_id=self.run.execution.id,
            frame=self.path,
            number=self.number,
            state=self.state,
            type=self.plan.states[self.state].type,
            entered=self.entered,
            exited=exited,
            entered_event=self.entered_event,
            exited_event=exited_event,
            **fields,
        )

    def _remember(self, exited_event: int, assigned: Mapping[str, JSONValue] | None) -> str | None:
        """Return what only the runtime reads, as JSON text; None where the row itself tells all."""
        straight = exited_event == self.entered_event + len(self._moments) + 1 and len(self._moments) in {0, 3}
        if straight and not assigned and self.result_text in {None, self.text} and self.caught is None:
            self.started_event = self.started_event if self.started_event != self.entered_event - 1 else 0
            if not self.started_event:
                return None
        detail = self._details()
        if assigned:
            detail["assigned"] = dict(assigned)
        if self.result_text is not None and self.result_text != self.text:
            detail["result"] = self.result
        if self.caught is not None and self.caught.location is not None:
            detail["location"] = self.caught.location
        return encode(detail) if detail else None

    def _details(self) -> dict[str, JSONValue]:
        """Return what every row that needs a detail remembers."""
        detail: dict[str, JSONValue] = {}
        if self._moments:
            detail["moments"] = list(self._moments)
        if any(self.retries):
            detail["retries"] = list(self.retries)
        if self.started_event:
            detail["started"], self.started_event = self.started_event, 0
        return detail


def branch_path(frame: Frame, index: int) -> str:
    """Return the path of a line of control below the state that a frame is in."""
    name = frame.state.replace("~", "~0").replace("/", "~1")
    return f"{frame.path}{'/' if frame.path else ''}{name}[{index}]"


@attrs.define
class Past:
    """What storage remembers of an execution: the visits of each line of control, waiting rows superseded."""

    visits: dict[str, list[Visit]] = attrs.Factory(dict)
    last_event: int = 0

    @classmethod
    def fold(cls, rows: Iterable[Visit]) -> Past:
        """Fold visit rows, in the order in which they were written."""
        past = cls()
        for row in rows:
            visits = past.visits.setdefault(row.frame, [])
            if visits and visits[-1].number == row.number:
                visits[-1] = row
            else:
                visits.append(row)
            past.last_event = max(past.last_event, row.entered_event, row.exited_event)
        return past

    def restore(self, frame: Frame) -> Visit | None:
        """Move a frame to where it stood; return its last visit, or None where it had not begun."""
        last = None
        for visit in self.visits.get(frame.path, ()):
            if visit.number < frame.number:
                continue
            last = visit
            if visit.output is None:
                continue
            frame.value, frame.text = decode(visit.output), visit.output
            assigned = cast("dict[str, Any]", decode(visit.detail)).get("assigned") if visit.detail else None
            if assigned:
                frame.variables = {**frame.variables, **assigned}
        if last is not None:
            frame.number = last.number if last.exited is None else last.number + 1
            frame.state = last.state if last.exited is None else last.next or last.state
        return last
