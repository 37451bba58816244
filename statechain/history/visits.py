"""Visit rows of an execution, folded into the visits of each line of control, without their payloads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

import attrs

from statechain.records.details import Moment, MomentKind
from statechain.storage.outlines import VisitOutline

if TYPE_CHECKING:
    from statechain.asl.plan.plan import Plan, State
    from statechain.records.details import VisitDetail

__all__ = ["Line", "Spot", "StoredVisit", "StoredVisits"]

SHORT_FACT = 80
"""Characters of the longest fact that the index keeps: the name of a state."""


@attrs.define(eq=False)
class StoredVisit:
    """A visit without its payloads: its last row, the places of all its rows, and its moments."""

    row: VisitOutline
    generation: int = 0
    places: list[int] = attrs.Factory(list)
    moments: list[Moment] | None = None
    started: int | None = None
    is_full: bool = False

    def add(self, row: VisitOutline, detail: VisitDetail) -> None:
        """Add a row of the visit; each row has the moments since the row before."""
        self.row = row
        self.places.append(row.place)
        self.started = detail.iteration_started or self.started
        self.is_full = detail.is_full
        # A visit that went straight in the end has no moments, after 0 of them: those of its earlier rows are dropped.
        before = (self.moments or [])[: detail.after]
        self.moments = [*before, *map(_brief, detail.moments)] or None

    @property
    def is_done(self) -> bool:
        """Whether it is the last of a line of control that succeeded."""
        return self.row.has_output and self.row.next is None

    @property
    def is_left(self) -> bool:
        """Whether its state was exited, which is its last event."""
        return self.row.has_output and self.row.exited is not None

    @property
    def is_straight(self) -> bool:
        """Whether it is of a Task that was scheduled, started and succeeded once, of which no moments are stored."""
        row = self.row
        is_task = row.type == "Task" and self.moments is None
        # Entered, scheduled, started, succeeded, exited: five ids in a row.
        return is_task and row.exited_event == row.entered_event + 4 and row.exited is not None

    def known_moments(self) -> list[Moment]:
        """Return its moments, those of a straight Task as well."""
        row = self.row
        if self.moments is not None:
            return self.moments
        if not self.is_straight:
            return []
        return [
            Moment(MomentKind.SCHEDULED, row.entered_event + 1, row.entered),
            Moment(MomentKind.STARTED, row.entered_event + 2, row.entered),
            Moment(MomentKind.SUCCEEDED, row.entered_event + 3, cast("datetime", row.exited)),
        ]

    def events(self) -> list[int]:
        """Return the ids of its events, those of its branches left out."""
        row = self.row
        if self.is_straight:
            return list(range(row.entered_event, row.exited_event + (1 if row.has_output else 0)))
        inside = [moment.event for moment in self.moments or ()]
        return [row.entered_event, *inside, *([row.exited_event] if self.is_left else ())]


@attrs.define(eq=False)
class StoredVisits:
    """The visits of each line of control, by its path; a visit of an earlier generation is copied before it changes."""

    lines: dict[str, list[StoredVisit]] = attrs.Factory(dict)
    children: dict[str, list[int]] = attrs.Factory(dict)
    generation: int = 0

    def fork(self) -> StoredVisits:
        """Return the same visits, to which rows can be added while these stay as they are."""
        lines = {path: list(visits) for path, visits in self.lines.items()}
        children = {prefix: list(indices) for prefix, indices in self.children.items()}
        return StoredVisits(lines, children, self.generation + 1)

    def add(self, row: VisitOutline, detail: VisitDetail) -> None:
        """Fold a row."""
        visits = self.lines.get(row.frame)
        if visits is None:
            visits = self.lines[row.frame] = []
            prefix, _, index = row.frame.rpartition("[")
            if prefix:
                self.children.setdefault(prefix, []).append(int(index[:-1]))
        if not visits or visits[-1].row.number != row.number:
            visits.append(StoredVisit(row, self.generation))
        elif visits[-1].generation != self.generation:
            visits[-1] = attrs.evolve(visits[-1], generation=self.generation, places=list(visits[-1].places))
        visits[-1].add(row, detail)


@attrs.frozen(eq=False)
class Line:
    """A line of control in one round: its visits, and the visit of the Parallel or Map that it is a branch of.

    ``attempt`` counts the rounds of that visit from 0.
    """

    path: str
    plan: Plan
    visits: Sequence[StoredVisit]
    parent: Spot | None = None
    index: int = 0
    attempt: int = 0


@attrs.frozen(eq=False)
class Spot:
    """A visit in its line of control."""

    line: Line
    number: int

    @property
    def visit(self) -> StoredVisit:
        """The visit."""
        return self.line.visits[self.number]

    @property
    def state(self) -> State:
        """The state that it visits."""
        return self.line.plan.states[self.visit.row.state]


def _brief(moment: Moment) -> Moment:
    """Return a moment of the index, where long facts are left out."""
    if not moment.facts:
        return moment
    # Causes, say; `Scene.whole` has them where they are shown.
    short = (None if isinstance(fact, str) and len(fact) > SHORT_FACT else fact for fact in moment.facts)
    return moment._replace(facts=tuple(short))
