"""What all lines of control of one execution share, and how moments are written down."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.execution.slots import UNLIMITED
from statechain.payload import Payload
from statechain.records.executions import Execution
from statechain.tasks.retry import RUNTIME

if TYPE_CHECKING:
    from statechain.asl.plan.plan import Plan
    from statechain.execution.restore import StoredVisits
    from statechain.execution.running import RunningExecution
    from statechain.execution.slots import Slot
    from statechain.observers import Observer
    from statechain.records.executions import StateMachineRecord
    from statechain.storage.journal.ledger import ExecutionWrites
    from statechain.storage.repository import End

__all__ = ["Run", "timestamp"]

UNCOUNTED: Final = 1 << 62
"""More than any bound: what an execution that is taken up again has assigned is counted with its next Assign."""


class Scope(Protocol):
    """The variables of a line of control, and the lines below it: `statechain.execution.frame.Frame`."""

    @property
    def variables(self) -> Mapping[str, JSONValue]:
        """The variables in scope, outer scopes included."""

    @property
    def children(self) -> Mapping[int, Scope]:
        """The branches that have begun and have not succeeded, by their index."""


class Run:
    """What all lines of control of one execution share.

    Attributes:
        events: The id of the history event that happened last.

        place: Its place among the executions that run at once.

        observers: What is notified of events.

        before: The execution as it had ended before it was redriven, where that is known.

        live: What this process knows of it while it runs, or None where it is only looked at.

        root: The line of control that all others are below.

        end: How the execution ended, where a line has written that with the last visit.

        assigned_bytes: A bound of the size of its variables (see `statechain.execution.variables`).

        lapses: How often the worker's lease had lapsed when the execution was last written.

    ``most_events`` bounds the history of a STANDARD execution, its end included.
    """

    __slots__ = (
        "_events_before_end",
        "_input",
        "_shown",
        "assigned_bytes",
        "before",
        "end",
        "events",
        "execution",
        "is_express",
        "lapses",
        "ledger",
        "live",
        "machine",
        "observers",
        "past",
        "place",
        "plan",
        "root",
    )

    def __init__(
        self,
        execution: Execution,
        machine: StateMachineRecord,
        plan: Plan,
        ledger: ExecutionWrites,
        past: StoredVisits,
        *,
        place: Slot | None = None,
        observers: Sequence[Observer] = (),
        before: Execution | None = None,
        live: RunningExecution | None = None,
        lapses: int = 0,
        most_events: int = sys.maxsize,
    ) -> None:
        self.execution = execution
        self.machine = machine
        self.plan = plan
        self.ledger = ledger
        self.past = past
        self._input: Payload | None = None
        self.place = place or UNLIMITED
        self.observers = observers
        self.before = before
        self.lapses = lapses
        self.is_express = machine.type == "EXPRESS"
        self.live = live
        # The start of the execution is event 1, and has no row.
        self.events = max(1, past.last_event)
        self.root: Scope | None = None
        self.end: End | None = None
        # What was assigned before the crash is not known: the first Assign counts all.
        self.assigned_bytes = UNCOUNTED if past.last_event else 0
        # AWS's quota for STANDARD (25,000 events); its last event is the end.
        self._events_before_end = sys.maxsize if self.is_express else most_events - 1
        ledger.highest_number = past.highest_number
        self._shown = (execution.id, execution.name, execution.start_time, "")

    @property
    def input(self) -> JSONValue:
        """The input, as the context object shows it."""
        if self._input is None:  # few states ask for it
            self._input = Payload.of_text(self.execution.input_text)
        return self._input.value

    @property
    def is_unobserved_express(self) -> bool:
        """Whether nothing is kept of a visit, and nothing is notified of it."""
        return self.is_express and not self.observers

    @property
    def is_lost(self) -> bool:
        """Whether the execution is no longer this worker's: others have ended it, or taken it over."""
        return self.ledger.is_lost or (self.live is not None and self.live.is_lost)

    @property
    def is_left(self) -> bool:
        """Whether the execution goes on, or ended, elsewhere: it was lost, or the engine leaves it to be resumed."""
        return self.is_lost or (self.live is not None and self.live.is_interrupted)

    def next_event(self) -> int:
        """Return the id of the history event that happens now; raise StateError where only the end has room."""
        if self.events >= self._events_before_end:
            raise self.history_is_full()
        self.events += 1
        return self.events

    def has_room(self, events: int = 1) -> bool:
        """Return whether the history has room for some events before the end."""
        return self.events + events <= self._events_before_end

    def history_is_full(self) -> StateError:
        """Return the error of an execution whose history has room for its end alone."""
        most = self._events_before_end + 1
        return StateError(RUNTIME, f"The execution reached the maximum number of history events ({most}).")

    def count(self, number: int) -> None:
        """Note a visit's number."""
        ledger = self.ledger
        if number > ledger.highest_number:  # noqa: PLR1730 -- the most frequent call, in which `max` takes most of the time
            ledger.highest_number = number

    def next_round(self) -> int:
        """Return a number above that of any visit so far: where the visits of a round of branches begin to count."""
        self.ledger.highest_number += 1
        return self.ledger.highest_number

    def apart(self, *, path: str, label: str, input: JSONValue, began: datetime) -> Run:  # noqa: A002
        """Return the run of a distributed Map's item: it counts its own events, and shows as its own execution.

        Arguments:
            path: The item's line of control.

            label: The Map's label, or its name.

            input: The item's input.

            began: When the item began.
        """
        own = copy.copy(self)
        own.events = 1
        own.root = None
        own.assigned_bytes = 0
        own._input = Payload(input)  # noqa: SLF001 -- its own copy
        own._shown = (f"{self._shown[0]}/{path}", path, began, f"/{label}")  # noqa: SLF001 -- its own copy
        return own

    def describe(self) -> dict[str, JSONValue]:
        """Return the part of the context object that is the same for every visit."""
        id_, name, began, label = self._shown
        execution: dict[str, JSONValue] = {
            "Id": id_,
            "Input": self.input,
            "Name": name,
            "RoleArn": "",
            "StartTime": timestamp(began),
            "RedriveCount": self.execution.redrive_count,
        }
        if self.past.redriven_at is not None:
            execution["RedriveTime"] = timestamp(self.past.redriven_at)
        return {
            "Execution": execution,
            "StateMachine": {"Id": f"{self.machine.id}{label}", "Name": f"{self.machine.name}{label}"},
        }


def timestamp(moment: datetime) -> str:
    """Return a moment as the context object shows it: ISO 8601 in UTC, to the millisecond where that is not 0."""
    milliseconds = moment.microsecond // 1000
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{milliseconds:03d}Z" if milliseconds else "Z")
