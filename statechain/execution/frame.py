"""Where one line of control is, and what it remembers of the visit that it is in.

A `Frame` is one line of control (the root, a Parallel branch, a Map iteration) and at the same time the context that
its expressions see. Rows of visits fold back into frames in `statechain.execution.restore`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from statechain.asl.outcome import Done, Next
from statechain.clock import EPOCH, from_micros, to_micros
from statechain.codec import JSONValue, decode, encode
from statechain.errors import StateError
from statechain.execution.run import Run, branch_prefix, timestamp
from statechain.execution.running import UNREAD
from statechain.records.executions import Visit
from statechain.tasks.retry import HeartbeatTimeout

if TYPE_CHECKING:
    from statechain.asl.plan.plan import Plan, State
    from statechain.storage.outlines import VisitOutline

__all__ = ["ExternalWait", "Frame", "branch_path"]

RETRIED: Final = frozenset({"Task", "Parallel", "Map"})
"""The types of the states that can be tried again."""

NOTHING: Final[Mapping[str, JSONValue]] = {}
NO_RETRIES: Final[list[int]] = []
NO_CHILDREN: Final[dict[int, Frame]] = {}
STRAIGHT: Final = ["scheduled", "started", "succeeded"]
"""The moments of a visit that went the way that the history can report from its events' ids alone."""


@attrs.define
class ExternalWait:
    """What an attempt remembers that waits for the outside: a task token, an activity's worker, a nested execution.

    Attributes:
        callbacks: The ids under which an answer may come. There is more than one where a crash came between a
            handler's call and the record of it: the handler is called again with a new token, and the old one holds.

        deadline: When the attempt times out, or None.

        since: When the waiting began: heartbeats count from then.

        called: Whether what had to be done before waiting is done, and recorded.
    """

    callbacks: list[str] = attrs.Factory(list)
    deadline: datetime | None = None
    since: datetime | None = None
    called: bool = False

    def dump(self) -> dict[str, JSONValue]:
        """Return what `load` makes the same of."""
        return {
            "callbacks": list(self.callbacks),
            "deadline": None if self.deadline is None else to_micros(self.deadline),
            "since": None if self.since is None else to_micros(self.since),
            "called": self.called,
        }

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> ExternalWait:
        """Return what was dumped."""
        deadline, since = stored["deadline"], stored["since"]
        return cls(
            list(stored["callbacks"]),
            None if deadline is None else from_micros(deadline),
            None if since is None else from_micros(since),
            stored["called"],
        )


class Frame:
    """One line of control, and the context of its current visit (see `statechain.asl.outcome.Context`).

    Attributes:
        path: ``""`` for the root; else the states and indexes that lead here.

        state: The state that it is in; `value` is that state's input, `text` its JSON text where that is known.

        number: Counts the visits of this path. Below a Parallel or Map it begins above every number used before, so
            that no two rounds of a loop or a retry share one.

        is_iteration: Whether it is an iteration of an inline Map, whose begin and end the history shows.

        children: The branches of the current round that have begun and have not succeeded.

        owes: Whether a visit that had an effect still waits to be made durable.

        is_open: Whether the visit has begun and has not been left.

        caught: The error that ended the current visit, where one did.

        resume_at: When the wait of the current visit ends, while it waits.

        round: Where the visits of the current round of branches began to count; 0 between rounds.

        attempting: Whether an at-most-once attempt has been recorded and has not ended.

        outside: What the current attempt remembers while it waits for the outside.

        turns: How many states it has visited in this process.

        token: The task token of the current attempt, while the process that made it is alive.
    """

    __slots__ = (
        "_is_own",
        "_moments",
        "_object",
        "_random",
        "_value",
        "_written",
        "attempting",
        "caught",
        "children",
        "entered",
        "entered_event",
        "first",
        "has_unsaved_effect",
        "is_iteration",
        "is_open",
        "item",
        "number",
        "outside",
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
        "steps",
        "text",
        "token",
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
        is_iteration: bool = False,
    ) -> None:
        self.run = run
        if run.root is None:
            run.root = self
        self.plan = plan
        self.path = path
        self._value = value
        self._is_own = False
        self.text = text
        self.variables: Mapping[str, JSONValue] = variables or NOTHING
        self.item = item
        self.is_iteration = is_iteration
        self.started_event = 0
        self.state = plan.start_at
        self.number = self.first = number
        self.children = NO_CHILDREN
        self.has_unsaved_effect = False
        self.steps = 0
        self.retries = NO_RETRIES
        self._clear(EPOCH, 0)
        self.is_open = False

    def _clear(self, entered: datetime, entered_event: int) -> None:
        self.entered = entered
        self.entered_event = entered_event
        self.is_open = True
        self.caught: StateError | None = None
        self.result: JSONValue = None
        self.result_text: str | None = None
        self.resume_at: datetime | None = None
        self.round = 0
        self.attempting = False
        self.outside: ExternalWait | None = None
        self.token: str | None = None
        self._moments: list[tuple[Any, ...]] = []
        self._written = 0
        self._object: dict[str, JSONValue] | None = None
        self._random: Random | None = None

    @property
    def value(self) -> JSONValue:
        """The input of the current state."""
        if self._value is UNREAD:
            self._value = decode(cast("str", self.text))
            self._is_own = True
        return self._value

    def set_input(self, value: JSONValue, text: str | None, *, is_own: bool = False) -> None:
        """Move to a state with this input; ``is_own``: nothing else holds any part of it."""
        self._value = value
        self._is_own = is_own
        self.text = text

    def is_input(self, value: JSONValue) -> bool:
        """Return whether this very object is the input of the current state, and its text is known."""
        return value is self._value and self.text is not None

    def text_of(self, output: JSONValue) -> str | None:
        """Return the text of what a visit puts out, where it is the input or the result as it was, and known."""
        if output is self._value:
            return self.text
        return self.result_text if output is self.result else None

    def hand_over_input(self) -> JSONValue:
        """Give the input away to code that may change it; here it is made of its text again."""
        value = self.value
        if not self._is_own:
            return decode(cast("str", self.text))
        self._value = UNREAD
        return value

    @property
    def type(self) -> str:
        """The type of the current state."""
        return self.plan.states[self.state].type

    def begin(self, state: State, now: datetime) -> None:
        """Begin a visit of a state."""
        self._clear(now, self.run.next_event())
        self.run.count(self.number)
        self.retries = [0] * len(state.retriers) if state.retriers else NO_RETRIES

    def begin_untracked(self, now: datetime) -> None:
        """Begin a visit of which nothing will be kept."""
        self.steps += 1
        self.entered = now
        self.entered_event = self.run.events + 1
        self._object = None
        self._random = None

    def leave(self, step: Next | Done, text: str | None) -> None:
        """Take what a visit put out; what it assigned may share parts with it."""
        is_own = self._is_own if step.output is self._value else text is not None and text is self.result_text
        self.set_input(step.output, text, is_own=is_own and not step.assigned)
        if step.assigned:
            self.variables = {**self.variables, **step.assigned}

    def advance(self, step: Next | Done) -> None:
        """Take what such a visit put out, and go where it leads."""
        self.leave(step, None)
        if type(step) is Next:
            self.state = step.state
            self.number += 1

    def go_to(self, step: Next) -> None:
        """Move to the state to which a visit that was recorded leads."""
        self.state = step.state
        self.number += 1
        if not self.path:
            self.run.ledger.current_state = step.state

    def revisit(self, state: State, visit: Visit | VisitOutline) -> None:
        """Move to where a stored visit began."""
        self._clear(visit.entered, visit.entered_event)
        self.state = visit.state
        self.number = visit.number
        self.retries = [0] * len(state.retriers)

    def resume(self, state: State, visit: Visit) -> None:
        """Take up a visit that storage remembers as not left."""
        self.revisit(state, visit)
        detail = cast("dict[str, Any]", decode(visit.detail or "{}"))
        self.retries = detail.get("retries") or self.retries
        self.resume_at = from_micros(detail["resume"]) if "resume" in detail else None
        self.round = detail.get("round", 0)
        self.attempting = detail.get("attempting", False)
        self.outside = ExternalWait.load(detail["outside"]) if "outside" in detail else None
        self.started_event = detail.get("started", 0)
        moments = detail.get("moments", ())
        self._moments = [(kind, event, from_micros(at), *facts) for kind, event, at, *facts in moments]
        self._written = len(self._moments)

    def retry(self) -> None:
        """Begin another attempt of the same visit."""
        self.round = 0
        self.children = NO_CHILDREN
        self.result = self.result_text = None
        self.outside = None
        self.token = None
        self._object = None
        self._random = None

    def note(self, kind: str, now: datetime, *facts: JSONValue) -> None:
        """Remember what happens now inside the visit, as the history will show it."""
        self._moments.append((kind, self.run.next_event(), now, *facts))

    def note_earlier(self, kind: str, event: int, now: datetime, *facts: JSONValue) -> None:
        """Remember what happened under an event's id that was counted before."""
        self._moments.append((kind, event, now, *facts))

    def has_noted(self, kind: str) -> bool:
        """Return whether something of a kind has happened in the current attempt."""
        for moment in reversed(self._moments):
            if moment[0] in {kind, "scheduled"}:
                return bool(moment[0] == kind)
        return False

    def last_noted(self, prefix: str) -> str | None:
        """Return the kind of what happened last in this visit, among the kinds that begin with a prefix."""
        kinds = (str(moment[0]) for moment in reversed(self._moments))
        return next((kind for kind in kinds if kind.startswith(prefix)), None)

    @property
    def visit_key(self) -> str:
        """Identify this visit for ever, however often it is run."""
        return f"{self.run.execution.id}/{self.path}/{self.number}"

    @property
    def attempt(self) -> int:
        """Count the attempts of this visit from 1."""
        return sum(self.retries) + 1

    @property
    def attempt_key(self) -> str:
        """Identify this attempt for ever, however often it is run."""
        return f"{self.visit_key}#{self.run.execution.redrive_count}.{self.attempt}"

    def object(self) -> dict[str, JSONValue]:
        """Return the context object of this visit, built on first use."""
        if self._object is None:
            self._object = self.run.describe()
            state: dict[str, JSONValue] = {"EnteredTime": timestamp(self.entered), "Name": self.state}
            if self.type in RETRIED:
                state["RetryCount"] = sum(self.retries)
            self._object["State"] = state
            if self.item is not None:
                self._object["Map"] = {"Item": dict(self.item)}
            if self.token is not None:
                self._object["Task"] = {"Token": self.token}
        return self._object

    def now(self) -> datetime:
        """Return when this visit began."""
        return self.entered

    def random(self) -> Random:
        """Return this attempt's random source; seeded by the attempt, so that running it again draws the same."""
        if self._random is None:
            self._random = self.rng("")
        return self._random

    def restart_draws(self) -> None:
        """Have an evaluation that is made again draw the same numbers again."""
        self._random = None

    def draw_anew(self) -> None:
        """Draw what follows from another random source, which is made of this one: never the same numbers again."""
        self._random = self.rng(f"~{self.random().getrandbits(64)}")

    def rng(self, purpose: str) -> Random:
        """Return a random source of this attempt for one purpose."""
        return Random(f"{self.visit_key}#{self.attempt}{purpose}")  # noqa: S311 -- reproducible by intent

    # Rows

    def left(self, exited: datetime, step: Next | Done) -> Visit:
        """Return the row of a visit that ended with a step, caught errors included."""
        exited_event = self.run.next_event()
        self.is_open = False
        return self._row(
            exited,
            exited_event,
            output=self.text,
            error=None if self.caught is None else self.caught.error,
            cause=None if self.caught is None else self.caught.cause,
            next=step.state if isinstance(step, Next) else None,
            detail=self._remember(exited_event, step),
        )

    def failed(self, exited: datetime, fault: StateError) -> Visit:
        """Return the row of a visit that failed for good; it can be taken up again by a redrive."""
        detail = self._details()
        if self.result_text is not None:
            detail["result"] = self.result
        if isinstance(fault, HeartbeatTimeout):
            detail["missed_heartbeat"] = True
        return self._row(exited, 0, error=fault.error, cause=fault.cause, detail=encode(detail) if detail else None)

    def waiting(self) -> Visit:
        """Return the row of a visit that is not left yet, with what it must remember."""
        detail = self._details()
        if self.resume_at is not None:
            detail["resume"] = to_micros(self.resume_at)
        if self.attempting:
            detail["attempting"] = True
        if self.outside is not None:
            detail["outside"] = self.outside.dump()
        self._written = len(self._moments)
        return self._row(None, 0, detail=encode(detail))

    def _row(self, exited: datetime | None, exited_event: int, **fields: str | None) -> Visit:
        return Visit(
            execution_id=self.run.execution.id,
            frame=self.path,
            number=self.number,
            state=self.state,
            type=self.type,
            entered=self.entered,
            exited=exited,
            entered_event=self.entered_event,
            exited_event=exited_event,
            **fields,
        )

    def _remember(self, exited_event: int, step: Next | Done) -> str | None:
        """Return what only the runtime reads, as JSON text; None where the row itself says all."""
        detail = self._details(tells_moments=not self._is_straight(exited_event))
        if detail.get("started") == self.entered_event - 1:
            del detail["started"]
        if step.assigned:
            detail["assigned"] = dict(step.assigned)
        if self.result_text is not None and self.result_text != self.text:
            detail["result"] = self.result
        if self.is_iteration and not self.run.has_room() and type(step) is Done:
            detail["full"] = True  # the history has no room for the iteration's end
        return encode(detail) if detail else None

    def _is_straight(self, exited_event: int) -> bool:
        """Return whether the visit went the way that the history can report from its events' ids alone."""
        if self.caught is not None or exited_event != self.entered_event + len(self._moments) + 1:
            return False
        return [moment[0] for moment in self._moments] == STRAIGHT

    def _details(self, *, tells_moments: bool = True) -> dict[str, JSONValue]:
        """Return what every row that needs a detail remembers."""
        detail: dict[str, JSONValue] = {}
        if tells_moments and len(self._moments) > self._written:
            moments = self._moments[self._written :]
            detail["moments"] = [[kind, event, to_micros(at), *facts] for kind, event, at, *facts in moments]
        if tells_moments and self._written:
            detail["after"] = self._written  # the rest is in earlier rows of the visit
        if any(self.retries):
            detail["retries"] = list(self.retries)
        if self.round:
            detail["round"] = self.round
        if self.started_event and self.number == self.first:
            detail["started"] = self.started_event
        return detail


def branch_path(frame: Frame, index: int) -> str:
    """Return the path of a line of control below the state that a frame is in."""
    return f"{branch_prefix(frame.path, frame.state)}[{index}]"
