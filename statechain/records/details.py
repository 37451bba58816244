"""What a visit remembers beside its row: moments, retries, waits. One record, stored as JSON text in one column.

A Task that is scheduled, started and succeeds once remembers nothing: the history has all of it from the events' ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias, cast

import attrs

from statechain.clock import from_micros, to_micros
from statechain.codec import JSONValue, decode, encode, encode_plain
from statechain.payload import Payload

__all__ = [
    "NO_DETAIL",
    "STRAIGHT",
    "ExternalWait",
    "FormerEnd",
    "Moment",
    "MomentKind",
    "RawMoment",
    "VisitDetail",
    "dump_moments",
]


class MomentKind(StrEnum):
    """What can happen inside a visit, and is shown in its history."""

    SCHEDULED = "scheduled"
    STARTED = "started"
    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    ABORTED = "aborted"
    EVALUATION_FAILED = "evaluation_failed"
    ITERATION_STARTED = "iteration_started"
    ITERATION_FAILED = "iteration_failed"
    ITERATION_ABORTED = "iteration_aborted"
    RUN_STARTED = "run_started"
    RUN_REDRIVEN = "run_redriven"
    RUN_SUCCEEDED = "run_succeeded"
    RUN_FAILED = "run_failed"
    RUN_ABORTED = "run_aborted"

    @property
    def is_of_map_run(self) -> bool:
        """Whether it is about the Map Run of a distributed Map."""
        return self in MAP_RUN

    @property
    def is_of_iteration(self) -> bool:
        """Whether it is about an iteration of an inline Map."""
        return self in ITERATION


MAP_RUN: Final = frozenset(kind for kind in MomentKind if kind.value.startswith("run_"))
ITERATION: Final = frozenset(kind for kind in MomentKind if kind.value.startswith("iteration_"))
# A lookup in the class of an enumeration takes several times as long, and each moment of a history needs one.
KINDS: Final = {kind.value: kind for kind in MomentKind}
STRAIGHT: Final = (MomentKind.SCHEDULED, MomentKind.STARTED, MomentKind.SUCCEEDED)
"""The moments of a Task that is scheduled, started and succeeds once."""


class Moment(NamedTuple):
    """Something that happened inside a visit.

    Attributes:
        kind: What happened.

        event: The id of its history event.

        at: When it happened.

        facts: What the event's details say: a failure's error and cause, the number of a round, and so on.
    """

    kind: MomentKind
    event: int
    at: datetime
    facts: tuple[JSONValue, ...] = ()

    def dump(self) -> list[JSONValue]:
        """Return what `load` makes the same of."""
        return [self.kind, self.event, to_micros(self.at), *self.facts]

    @classmethod
    def load(cls, stored: Sequence[Any]) -> Moment:
        """Return what was dumped."""
        kind, event, micros, *facts = stored
        return cls(KINDS[kind], event, from_micros(micros), tuple(facts))


RawMoment: TypeAlias = "tuple[MomentKind, int, datetime, tuple[JSONValue, ...]]"
"""The fields of a `Moment`, which is made only for a row: most visits store none."""


def dump_moments(moments: Iterable[RawMoment], iteration_started: int) -> str:
    """Return the text of a `VisitDetail` that has no more than these, in a fifth of the time that it takes."""
    rows: list[JSONValue] = [[kind, event, to_micros(at), *facts] for kind, event, at, facts in moments]
    return encode_plain({"moments": rows, "started": iteration_started} if iteration_started else {"moments": rows})


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


NOTHING: Final[Mapping[str, JSONValue]] = {}


@attrs.frozen(kw_only=True, repr=False)
class VisitDetail:
    """What a row of a visit remembers beside its columns.

    Attributes:
        moments: What happened inside the visit since its row before.

        after: How many moments are in the earlier rows of the visit.

        retries: How often each of the state's Retriers has answered.

        round: Where the visits of the current round of branches began to count; 0 between rounds.

        iteration_started: The event of the start of the Map iteration that the visit begins; 0 where it begins none,
            or that event is the one before the visit's entry.

        resume_at: When the wait of the visit ends, while it waits.

        attempting: Whether an at-most-once attempt has been recorded and has not ended.

        outside: What the current attempt remembers while it waits for the outside.

        assigned: The variables that the visit assigned.

        result: The result of the state's effect, where the output is another one.

        missed_heartbeat: Whether the error States.Timeout that ended the visit was a missed heartbeat.

        is_full: Whether the history had no room for the end of the iteration that the visit ends.
    """

    moments: Sequence[Moment] = ()
    after: int = 0
    retries: Sequence[int] = ()
    round: int = 0
    iteration_started: int = 0
    resume_at: datetime | None = None
    attempting: bool = False
    outside: ExternalWait | None = None
    assigned: Mapping[str, JSONValue] = NOTHING
    result: Payload | None = None
    missed_heartbeat: bool = False
    is_full: bool = False

    def dump(self) -> str | None:
        """Return the JSON text that `load` makes the same of; None where there is nothing to remember."""
        members: dict[str, JSONValue] = {
            "moments": [*map(Moment.dump, self.moments)],
            "after": self.after,
            "retries": list(self.retries) if any(self.retries) else None,
            "round": self.round,
            "started": self.iteration_started,
            "resume": None if self.resume_at is None else to_micros(self.resume_at),
            "attempting": self.attempting,
            "outside": None if self.outside is None else self.outside.dump(),
            "assigned": dict(self.assigned),
            "missed_heartbeat": self.missed_heartbeat,
            "full": self.is_full,
        }
        # What is false is left out: `load` puts the same in its place.
        stored: dict[str, JSONValue] = {name: member for name, member in members.items() if member}
        if not stored and self.result is None:
            return None
        # Variables were looked at when they were assigned, and the rest was made here.
        text = encode_plain(stored)
        if self.result is None:
            return text
        before = f"{text[:-1]}," if stored else "{"
        return f'{before}"result":{self.result.encoded()}}}'  # its text is known: it is not encoded once more

    @classmethod
    def load(cls, text: str | None) -> VisitDetail:
        """Return what was dumped. Raises ValueError, TypeError or LookupError where the text is none of a detail."""
        if text is None:
            return NO_DETAIL
        stored = cast("dict[str, Any]", decode(text))
        if not isinstance(stored, dict):
            raise TypeError("its detail is not an object")
        resume = stored.get("resume")
        return cls(
            moments=tuple(map(Moment.load, stored.get("moments", ()))),
            after=stored.get("after", 0),
            retries=tuple(stored.get("retries", ())),
            round=stored.get("round", 0),
            iteration_started=stored.get("started", 0),
            resume_at=None if resume is None else from_micros(resume),
            attempting=stored.get("attempting", False),
            outside=ExternalWait.load(stored["outside"]) if "outside" in stored else None,
            assigned=stored.get("assigned", NOTHING),
            result=Payload(stored["result"]) if "result" in stored else None,
            missed_heartbeat=stored.get("missed_heartbeat", False),
            is_full=stored.get("full", False),
        )

    @staticmethod
    def may_assign(text: str | None) -> bool:
        """Return whether a detail may have assigned variables, without decoding it; one that is not known may."""
        # A quote in a string is escaped: this is the name of a member, be it one of a payload, which costs a look only.
        return text is None or '"assigned":' in text

    @classmethod
    def joined(cls, details: Iterable[VisitDetail]) -> VisitDetail:
        """Return the detail of a visit's last row, with the moments of all its rows: each has those since the last."""
        moments: list[Moment] = []
        last = NO_DETAIL
        for last in details:
            # A brief row has none and counts from 0: all that happened follows from its event ids then.
            del moments[last.after :]
            moments += last.moments
        return attrs.evolve(last, moments=moments, after=0)

    def reopened(self) -> VisitDetail:
        """Return what stays when a redrive takes the visit up again: retries count anew."""
        return VisitDetail(moments=self.moments, round=self.round, iteration_started=self.iteration_started)


NO_DETAIL: Final = VisitDetail()


@attrs.frozen(repr=False)
class FormerEnd:
    """The detail of a redrive's row: how the execution had ended before it.

    Attributes:
        status: The execution's status.

        ended: When it ended; None where that is not known.

        error: The error name, or None.

        cause: The cause beside it, or None.
    """

    status: str
    ended: datetime | None
    error: str | None
    cause: str | None

    def dump(self) -> str:
        """Return the JSON text that `load` makes the same of."""
        ended = 0 if self.ended is None else to_micros(self.ended)
        return encode({"status": self.status, "ended": ended, "error": self.error, "cause": self.cause})

    @classmethod
    def load(cls, text: str | None) -> FormerEnd | None:
        """Return what was dumped; None where the row has no detail."""
        if text is None:
            return None
        stored = cast("dict[str, Any]", decode(text))
        ended = from_micros(stored["ended"]) if stored["ended"] else None
        return cls(stored["status"], ended, stored["error"], stored["cause"])
