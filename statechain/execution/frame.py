"""Where one line of control is, and what it remembers of the visit that it is in.

A `Frame` is one line of control (the root, a Parallel branch, a Map iteration) and at the same time the context that
its expressions see. Rows of visits fold back into frames in `statechain.execution.restore`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Final

from statechain.asl.outcome import FROM_INPUT, FROM_RESULT, Done, Next
from statechain.clock import EPOCH
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.execution.paths import branch_prefix
from statechain.execution.run import Run, timestamp
from statechain.payload import Payload
from statechain.records.details import (
    STRAIGHT,
    ExternalWait,
    Moment,
    MomentKind,
    RawMoment,
    VisitDetail,
    dump_moments,
)
from statechain.records.executions import Visit
from statechain.tasks.retry import HeartbeatTimeout

if TYPE_CHECKING:
    from statechain.asl.plan.plan import Plan, State
    from statechain.storage.outlines import VisitOutline

__all__ = ["Frame", "branch_path"]

RETRIED: Final = frozenset({"Task", "Parallel", "Map"})
"""The types of the states that can be tried again."""

# Shared by all frames, and never changed: most need none of their own.
NOTHING: Final[Mapping[str, JSONValue]] = {}
NO_RETRIES: Final[list[int]] = []
NO_CHILDREN: Final[dict[int, Frame]] = {}


class Frame:
    """One line of control, and the context of its current visit (see `statechain.asl.outcome.Context`).

    Attributes:
        path: ``""`` for the root; else the states and indexes that lead here.

        state: The state that it is in.

        input: That state's input; once the line of control has ended, its output.

        number: Counts the visits of this path. Below a Parallel or Map it begins above every number used before, so
            that no two rounds of a loop or a retry share one.

        is_iteration: Whether it is an iteration of an inline Map, whose begin and end the history shows.

        iteration_started: The event of that begin; 0 where it is not known, or there is none.

        children: The branches of the current round that have begun and have not succeeded.

        has_unsaved_effect: Whether a visit that had an effect still waits to be made durable.

        steps: How many states it has visited in this process.

    Of the current visit:

    Attributes:
        is_open: Whether the visit has begun and has not been left.

        result: What the state's effect came to, once it has.

        retries: How often each of the state's Retriers has answered.

        caught: The error that ended the visit, where one did.

        resume_at: When the wait of the visit ends, while it waits.

        round: Where the visits of the current round of branches began to count; 0 between rounds.

        attempting: Whether an at-most-once attempt has been recorded and has not ended.

        outside: What the current attempt remembers while it waits for the outside.

        token: The task token of the current attempt, while the process that made it is alive.
    """

    __slots__ = (
        "_moments",
        "_object",
        "_random",
        "_written",
        "attempting",
        "caught",
        "children",
        "entered",
        "entered_event",
        "first",
        "has_unsaved_effect",
        "input",
        "is_iteration",
        "is_open",
        "item",
        "iteration_started",
        "number",
        "outside",
        "path",
        "plan",
        "result",
        "resume_at",
        "retries",
        "round",
        "run",
        "state",
        "steps",
        "token",
        "variables",
    )

    def __init__(
        self,
        run: Run,
        plan: Plan,
        path: str,
        input: Payload,  # noqa: A002 -- the term of the field
        *,
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
        self.input = input
        self.variables: Mapping[str, JSONValue] = variables or NOTHING
        self.item = item
        self.is_iteration = is_iteration
        self.iteration_started = 0
        self.state = plan.start_at
        self.number = self.first = number
        self.children = NO_CHILDREN
        self.has_unsaved_effect = False
        self.steps = 0
        self.retries = NO_RETRIES
        self._open(EPOCH, 0)
        self.is_open = False
        self.forget_visit()

    def _open(self, entered: datetime, entered_event: int) -> None:
        self.entered = entered
        self.entered_event = entered_event
        self.is_open = True
        self.result: Payload | None = None
        self._moments: list[RawMoment] = []
        self._object: dict[str, JSONValue] | None = None
        self._random: Random | None = None

    def forget_visit(self) -> None:
        """Drop what only some visits set: those that wait, are caught or taken up again. A line begins without it."""
        self.caught: StateError | None = None
        self.resume_at: datetime | None = None
        self.round = 0
        self.attempting = False
        self.outside: ExternalWait | None = None
        self.token: str | None = None
        self._written = 0

    @property
    def type(self) -> str:
        """The type of the current state."""
        return self.plan.states[self.state].type

    # Visits

    def begin(self, state: State, now: datetime) -> None:
        """Begin a visit of a state; `forget_visit` has come between it and one that was more than plain."""
        run = self.run
        # The event comes first: where the history is full it raises, and the visit has not begun.
        self._open(now, run.next_event())
        run.count(self.number)
        self.retries = [0] * len(state.retriers) if state.retriers else NO_RETRIES

    def begin_untracked(self, now: datetime) -> None:
        """Begin a visit of which nothing will be kept."""
        self.steps += 1
        self.result = None
        self.entered = now
        self.entered_event = self.run.events + 1
        self._object = None
        self._random = None

    def output_of(self, step: Next | Done) -> Payload:
        """Return what a step puts out: the input or the result as it was, or what was made of them."""
        if step.origin is FROM_INPUT:
            return self.input
        if step.origin is FROM_RESULT and self.result is not None:
            return self.result
        return Payload(step.output)

    def put_out(self, output: Payload, assigned: Mapping[str, JSONValue] | None = None) -> None:
        """Take what a visit put out and assigned."""
        self.input = output
        if assigned:
            output.is_owned = False  # a variable may hold a part of it
            self.variables = {**self.variables, **assigned}

    def leave(
        self,
        state: State,
        following: str | None,
        output: Payload,
        assigned: Mapping[str, JSONValue] | None,
        exited: datetime,
    ) -> Visit:
        """Take what a visit put out; return its row, caught errors included. The text of the output is known."""
        # First what may raise: where the history is full, the visit stays as it was.
        event = self.run.next_event()
        detail = self._left_detail(event, output, assigned, is_end=following is None)
        self.is_open = False
        self.put_out(output, assigned)
        caught = self.caught
        return Visit(
            execution_id=self.run.execution.id,
            frame=self.path,
            number=self.number,
            state=state.name,
            type=state.type,
            entered=self.entered,
            exited=exited,
            entered_event=self.entered_event,
            exited_event=event,
            output=output.text,
            error=None if caught is None else caught.error,
            cause=None if caught is None else caught.cause,
            next=following,
            detail=detail,
        )

    def go_to(self, state: str) -> None:
        """Move to the state to which a visit leads."""
        self.state = state
        self.number += 1
        if not self.path:
            self.run.ledger.current_state = state

    def revisit(self, state: State, visit: Visit | VisitOutline) -> None:
        """Move to where a stored visit began."""
        self._open(visit.entered, visit.entered_event)
        self.forget_visit()
        self.state = visit.state
        self.number = visit.number
        # A list of its own, which `retry_delay` counts in.
        self.retries = [0] * len(state.retriers)

    def resume(self, state: State, visit: Visit, detail: VisitDetail) -> None:
        """Take up a visit that storage remembers as not left."""
        self.revisit(state, visit)
        if detail.retries:
            self.retries = list(detail.retries)
        self.resume_at = detail.resume_at
        self.round = detail.round
        self.attempting = detail.attempting
        self.outside = detail.outside
        self.iteration_started = detail.iteration_started
        self._moments = list(detail.moments)
        self._written = len(self._moments)

    def retry(self) -> None:
        """Begin another attempt of the same visit."""
        self.round = 0
        self.children = NO_CHILDREN
        self.result = None
        self.outside = None
        self.token = None
        self._object = None
        self._random = None

    # Moments

    def note(self, kind: MomentKind, now: datetime, *facts: JSONValue) -> None:
        """Remember what happens now inside the visit, as the history will show it."""
        self._moments.append((kind, self.run.next_event(), now, facts))

    def note_earlier(self, kind: MomentKind, event: int, now: datetime, *facts: JSONValue) -> None:
        """Remember what happened under an event's id that was counted before."""
        self._moments.append((kind, event, now, facts))

    def has_noted(self, kind: MomentKind) -> bool:
        """Return whether something of a kind has happened in the current attempt."""
        for moment in reversed(self._moments):
            if moment[0] in {kind, MomentKind.SCHEDULED}:
                return moment[0] is kind
        return False

    def last_of_map_run(self) -> MomentKind | None:
        """Return what happened last to the Map Run of this visit."""
        return next((moment[0] for moment in reversed(self._moments) if moment[0].is_of_map_run), None)

    def facts_of(self, kind: MomentKind) -> tuple[JSONValue, ...]:
        """Return the facts of what happened last of a kind in this visit; none where nothing did."""
        return next((moment[3] for moment in reversed(self._moments) if moment[0] is kind), ())

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
        # Retries count anew after a redrive: without its count, two attempts would share a callback, or a child.
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
        # Seeded by bytes, which Python hashes the same in all processes, unlike `hash`: names may have lone surrogates.
        seed = f"{self.visit_key}#{self.attempt}{purpose}".encode(errors="surrogatepass")
        return Random(seed)  # noqa: S311 -- reproducible by intent

    # Rows

    def failed(self, exited: datetime, fault: StateError) -> Visit:
        """Return the row of a visit that failed for good; it can be taken up again by a redrive."""
        moments, after = self._new_moments()
        detail = VisitDetail(
            moments=moments,
            after=after,
            retries=self.retries,
            round=self.round,
            iteration_started=self._iteration_started,
            result=self.result if self.result is not None and self.result.text is not None else None,
            missed_heartbeat=isinstance(fault, HeartbeatTimeout),
        )
        return self._unfinished(exited, detail, fault)

    def waiting(self) -> Visit:
        """Return the row of a visit that is not left yet, with what it must remember."""
        moments, after = self._new_moments()
        detail = VisitDetail(
            moments=moments,
            after=after,
            retries=self.retries,
            round=self.round,
            iteration_started=self._iteration_started,
            resume_at=self.resume_at,
            attempting=self.attempting,
            outside=self.outside,
        )
        self._written = len(self._moments)
        return self._unfinished(None, detail)

    def _unfinished(self, exited: datetime | None, detail: VisitDetail, fault: StateError | None = None) -> Visit:
        """Return the row of a visit that has put out nothing."""
        return Visit(
            execution_id=self.run.execution.id,
            frame=self.path,
            number=self.number,
            state=self.state,
            type=self.type,
            entered=self.entered,
            exited=exited,
            entered_event=self.entered_event,
            exited_event=0,
            error=None if fault is None else fault.error,
            cause=None if fault is None else fault.cause,
            detail=detail.dump(),
        )

    def _left_detail(
        self, exited_event: int, output: Payload, assigned: Mapping[str, JSONValue] | None, *, is_end: bool
    ) -> str | None:
        """Return what the row of a visit that ends must remember, as JSON text; None where the row itself says all."""
        is_brief = self._is_brief(exited_event)
        result = self.result
        has_retried = self.retries is not NO_RETRIES and any(self.retries)
        # The row says all: where the result is the output, it is not written twice.
        if is_brief and result is output and not (assigned or self.is_iteration or self.round or has_retried):
            return None  # a plain visit: most are
        if result is not None and (result is output or result.text is None or result.text == output.text):
            result = None
        started = self._iteration_started if self._iteration_started != self.entered_event - 1 else 0
        is_full = is_end and self.is_iteration and not self.run.has_room()
        if result is None and not (assigned or is_full or self.round or self._written or has_retried):
            if not is_brief:
                return dump_moments(self._moments, started)  # a plain visit between those of other branches
            if not started:
                return None
        moments, after = ((), 0) if is_brief else self._new_moments()
        detail = VisitDetail(
            moments=moments,
            after=after,
            retries=self.retries,
            round=self.round,
            iteration_started=started,
            assigned=assigned or NOTHING,
            result=result,
            is_full=is_full,
        )
        return detail.dump()

    def _is_brief(self, exited_event: int) -> bool:
        """Return whether the history has the moments of the visit, if any, from its events' ids alone."""
        moments = self._moments
        if not moments:
            return True
        # Its ids follow each other: no event of another branch came in between.
        if len(moments) != len(STRAIGHT) or exited_event != self.entered_event + len(STRAIGHT) + 1:
            return False
        return self.caught is None and (moments[0][0], moments[1][0], moments[2][0]) == STRAIGHT

    @property
    def _iteration_started(self) -> int:
        """The event of the start of the iteration that this visit is the first of; 0 where it is not."""
        return self.iteration_started if self.number == self.first else 0

    def _new_moments(self) -> tuple[Sequence[Moment], int]:
        """Return the moments since the visit's row before, and how many are in its earlier rows."""
        return [Moment._make(each) for each in self._moments[self._written :]], self._written


def branch_path(frame: Frame, index: int) -> str:
    """Return the path of a line of control below the state that a frame is in."""
    return f"{branch_prefix(frame.path, frame.state)}[{index}]"
