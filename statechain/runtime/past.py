"""What storage remembers of an execution: visit rows, folded back into where each line of control stands."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import attrs

from statechain.codec import JSONValue, decode, encode
from statechain.errors import StateError
from statechain.records import Visit
from statechain.runtime.retry import TIMEOUT, HeartbeatTimeout
from statechain.runtime.run import UNREAD

if TYPE_CHECKING:
    from statechain.runtime.frame import Frame

__all__ = ["NO_PAST", "REDRIVEN", "Past", "failure_of"]

REDRIVEN = "Redriven"
"""The type of the row that tells of a redrive: no visit, but an event in the execution's history."""

KEPT_BY_A_REDRIVE = ("moments", "round", "started")


@attrs.define
class Past:
    """The visits of each line of control, rows that were superseded left out.

    Attributes:
        visits: By the path of the line of control, in order.

        redrives: The rows that tell of redrives, in order.

        last_event: The highest id of a history event.

        highest_number: The highest number of a visit.
    """

    visits: dict[str, list[Visit]] = attrs.Factory(dict)
    redrives: list[Visit] = attrs.Factory(list)
    last_event: int = 0
    highest_number: int = 0
    _moments: dict[tuple[str, int], list[Any]] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def fold(cls, rows: Iterable[Visit]) -> Past:
        """Fold visit rows, in the order in which they were written."""
        past = cls()
        for row in rows:
            past.last_event = max(past.last_event, row.entered_event, row.exited_event + _own_end(row))
            if row.type == REDRIVEN:
                past.redrives.append(row if row.detail else past._with_its_end(row))
                past.reopen()
                continue
            past.highest_number = max(past.highest_number, row.number)
            past._gather(row)
            visits = past.visits.setdefault(row.frame, [])
            if visits and visits[-1].number == row.number:
                visits[-1] = row
            else:
                visits.append(row)
        for visits in past.visits.values():
            visits[:] = [past._complete(visit) for visit in visits]
        past._look_into_open_visits()
        return past

    def _gather(self, row: Visit) -> None:
        """Collect the moments of a visit, of which each row tells those since the row before."""
        key = (row.frame, row.number)
        if row.detail is None or (row.exited is not None and '"after":' not in row.detail):
            self._moments.pop(key, None)
            return
        detail = cast("dict[str, Any]", decode(row.detail))
        moments = self._moments.setdefault(key, [])
        del moments[detail.get("after", 0) :]
        moments += detail.get("moments", ())

    def _complete(self, visit: Visit) -> Visit:
        """Return a visit whose row tells all of its moments."""
        moments = self._moments.get((visit.frame, visit.number))
        if not moments:
            return visit
        detail = cast("dict[str, Any]", decode(visit.detail or "{}"))
        detail.pop("after", None)
        return attrs.evolve(visit, detail=encode({**detail, "moments": list(moments)}))

    def _look_into_open_visits(self) -> None:
        """Count the events inside visits that were not left, which the rows themselves do not count."""
        for visits in self.visits.values():
            if visits[-1].exited_event == 0 and visits[-1].detail:
                detail = cast("dict[str, Any]", decode(visits[-1].detail))
                events = [moment[1] for moment in detail.get("moments", ())]
                self.last_event = max(self.last_event, detail.get("started", 0), *events)
                self.highest_number = max(self.highest_number, detail.get("round", 0))

    def reopen(self) -> None:
        """Take up what failed or was cut short, as a redrive does: retries count anew, what succeeded stays."""
        for visits in self.visits.values():
            last = self._complete(visits[-1])
            if last.output is None:
                detail = cast("dict[str, Any]", decode(last.detail or "{}"))
                kept = {key: detail[key] for key in KEPT_BY_A_REDRIVE if key in detail}
                visits[-1] = attrs.evolve(last, exited=None, error=None, cause=None, detail=encode(kept))

    def _with_its_end(self, row: Visit) -> Visit:
        """Complete the row of a redrive that does not know what end it took back: that of the root, it seems."""
        last = self.visits[""][-1] if self.visits.get("") else None
        if last is None or last.exited is None:
            return row
        end: dict[str, JSONValue] = {"status": "FAILED", "error": last.error, "cause": last.cause}
        return attrs.evolve(row, detail=encode(end))

    @property
    def redriven_at(self) -> datetime | None:
        """When the execution was last redriven."""
        return self.redrives[-1].entered if self.redrives else None

    def of(self, path: str, since: int) -> list[Visit]:
        """Return the visits of one line of control in the round that began to count there."""
        return [visit for visit in self.visits.get(path, ()) if visit.number >= since]

    def failed(self, path: str, since: int) -> bool:
        """Tell whether a line of control ended with an error in the round that began to count there."""
        visits = self.of(path, since)
        return bool(visits) and visits[-1].exited is not None and visits[-1].output is None

    def restore(self, frame: Frame) -> Visit | None:
        """Move a frame to where it stood; return its last visit, or None where it had not begun."""
        last = None
        if not self.visits:
            return last
        for visit in self.of(frame.path, frame.number):
            last = visit
            if visit.output is None:
                continue
            frame.take(UNREAD, visit.output)
            assigned = cast("dict[str, Any]", decode(visit.detail)).get("assigned") if visit.detail else None
            if assigned:
                frame.variables = {**frame.variables, **assigned}
        if last is not None:
            frame.number = last.number if last.exited is None else last.number + 1
            frame.state = last.state if last.exited is None else last.next or last.state
        return last


NO_PAST = Past()
"""The past of an execution that was just started; only a redrive adds to one."""


def failure_of(visit: Visit) -> StateError:
    """Return the error that ended a visit, as it was when it was raised."""
    if visit.error == TIMEOUT and visit.detail is not None:
        detail = cast("dict[str, Any]", decode(visit.detail))
        if detail.get("missed_heartbeat"):
            return HeartbeatTimeout(visit.cause)
    return StateError(visit.error, visit.cause)


def _own_end(row: Visit) -> int:
    """Return how many events may follow a visit's exit that no row tells of: the end of the iteration that it ends."""
    return 1 if row.frame and row.next is None and row.exited_event else 0
