"""Visits → the index of a history: which events there are, in order, and where each one's payloads are.

The walk goes through the frames as the interpreter did. It reads visit rows without their payloads, so that the index
of a history is small, however much its states put out. Event ids are those that the run counted.

A redrive takes up visits that had failed, and their later rows no longer say how they had ended. So the rows before
each redrive are walked by themselves, and a walk adds only what comes after the redrive before it: a history that was
read before a redrive is the beginning of the one that is read after it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, cast

import attrs

from statechain.execution.restore import REDRIVEN, StoredRows
from statechain.execution.run import branch_prefix
from statechain.history import details as details
from statechain.history.events import ENDS, MOMENTS, WHOLE, Event, Service, details_key, fault_details
from statechain.records.details import Moment, MomentKind
from statechain.storage.outlines import VisitOutline, read_outlines

if TYPE_CHECKING:
    from statechain.asl.plan.plan import Plan, State
    from statechain.history.details import Details
    from statechain.records.details import VisitDetail
    from statechain.records.executions import Execution
    from statechain.storage.repository import Repository

__all__ = ["Entry", "Line", "Spot", "StoredVisit", "StoredVisits", "close_gaps", "index_of"]

SHORT_FACT = 80
"""Characters of the longest fact that the index keeps: the name of a state."""


@attrs.define(eq=False)
class StoredVisit:
    """A visit without its payloads: its last row, the places of all its rows, and its moments."""

    row: VisitOutline
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
        before = (self.moments or [])[: detail.after]
        self.moments = [*before, *map(_brief, detail.moments)] or None

    @property
    def is_done(self) -> bool:
        """Whether it is the last of a line of control that succeeded."""
        return self.row.has_output and self.row.next is None

    def known_moments(self) -> list[Moment]:
        """Return its moments; a Task that was scheduled, started and succeeded once stores none."""
        row = self.row
        if self.moments is not None:
            return self.moments
        if row.type != "Task" or row.exited_event != row.entered_event + 4 or row.exited is None:
            return []
        return [
            Moment(MomentKind.SCHEDULED, row.entered_event + 1, row.entered),
            Moment(MomentKind.STARTED, row.entered_event + 2, row.entered),
            Moment(MomentKind.SUCCEEDED, row.entered_event + 3, row.exited),
        ]


@attrs.define(eq=False)
class StoredVisits:
    """The visits of each line of control, by its path."""

    lines: dict[str, list[StoredVisit]] = attrs.Factory(dict)
    children: dict[str, list[int]] = attrs.Factory(dict)

    def add(self, row: VisitOutline, detail: VisitDetail) -> None:
        """Fold a row."""
        visits = self.lines.get(row.frame)
        if visits is None:
            visits = self.lines[row.frame] = []
            prefix, _, index = row.frame.rpartition("[")
            if prefix:
                self.children.setdefault(prefix, []).append(int(index[:-1]))
        if not visits or visits[-1].row.number != row.number:
            visits.append(StoredVisit(row))
        visits[-1].add(row, detail)


@attrs.frozen(eq=False)
class Line:
    """A line of control in one round: its visits, and the visit of the Parallel or Map that it is a branch of."""

    path: str
    plan: Plan
    visits: Sequence[StoredVisit]
    parent: Spot | None = None
    index: int = 0


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


@attrs.define(eq=False)
class Entry:
    """An event of the index; its details may have to be made of its visit's payloads."""

    id: int
    at: datetime
    type: str
    previous: int
    key: str
    details: Details
    spot: Spot | None


LONG = 1_000
"""How many visit rows make an index that is finished in a thread."""


async def index_of(repository: Repository, execution: Execution, plan: Plan) -> list[Entry]:
    """Return the events of an execution by id, as they were counted when they happened."""
    rows, stored = StoredRows.of(repository, execution.id), StoredVisits()
    started = {"input": execution.input_text, "inputDetails": WHOLE}
    entries = [Entry(1, execution.start_time, "ExecutionStarted", 0, details_key("ExecutionStarted"), started, None)]
    redrives = since = count = 0
    async for row in read_outlines(repository, execution.id):
        count += 1
        if row.type != REDRIVEN:
            stored.add(row, await rows.detail(row))
            continue
        redrives += 1
        walk = _Walk(stored, since)
        end = await _end_before(row, stored, rows, plan)
        walk.add_end(end, walk.root(plan), row.entered_event)
        since = walk.add_redrive(row, redrives)
        entries += walk.entries

    def finish() -> list[Entry]:
        walk = _Walk(stored, since)
        last = walk.root(plan)
        if execution.end_time is not None:
            walk.add_end(_end_of(execution), last, max(entry.id for entry in (*entries, *walk.entries)) + 1)
        return sorted([*entries, *walk.entries], key=lambda entry: entry.id)

    # 25,000 events take 0.2 s of processor time: in a thread, they do not hold the event loop.
    return finish() if count < LONG else await asyncio.to_thread(finish)


@attrs.frozen
class _End:
    """How an execution ended."""

    status: str
    at: datetime
    details: Event


def _end_of(execution: Execution) -> _End:
    details: Event = {"output": execution.output_text, "outputDetails": WHOLE}
    if execution.output_text is None:
        details = fault_details(execution.error, execution.cause)
    return _End(execution.status, cast("datetime", execution.end_time), details)


async def _end_before(row: VisitOutline, stored: StoredVisits, rows: StoredRows, plan: Plan) -> _End:
    """Return the end that a redrive took back. Where its row lacks it, the root's last visit has the error, if any."""
    end = await rows.former_end(row)
    if end is not None:
        return _End(end.status, end.ended or row.entered, fault_details(end.error, end.cause))
    root = stored.lines.get("")
    if root and root[-1].row.exited is not None:
        (last,) = await rows.at([root[-1].row.place])
        return _End("FAILED", row.entered, fault_details(last.error, last.cause))
    return _End("ABORTED" if plan.timeout_seconds is None else "TIMED_OUT", row.entered, {})


def close_gaps(entries: Sequence[Entry]) -> None:
    """Number entries without the gaps that a crash can leave."""
    numbers = {entry.id: place for place, entry in enumerate(entries, start=1)}
    for entry in entries:
        entry.id, entry.previous = numbers[entry.id], numbers.get(entry.previous, 0)


class _Walk:
    """Collects the entries of an index while it walks the frames: those behind a redrive, whose event is ``since``."""

    def __init__(self, stored: StoredVisits, since: int) -> None:
        self._stored = stored
        self._since = since
        self.entries: list[Entry] = []

    def add(
        self,
        event: int,
        at: datetime,
        type_: str,
        made: Details,
        previous: int = 0,
        *,
        spot: Spot | None = None,
        key: str | None = None,
    ) -> int:
        """Add an event; return its id. Its details object is named by its type, unless a key is given."""
        if event > self._since:
            previous = max(previous, self._since)
            self.entries.append(Entry(event, at, type_, previous, key or details_key(type_), made, spot))
        return event

    def add_end(self, end: _End, previous: int, event: int) -> None:
        """Add the end of the execution; a stop follows no event."""
        self.add(event, end.at, ENDS[end.status], end.details, previous)
        if end.status == "ABORTED":
            self.entries[-1].previous = 0

    def add_redrive(self, row: VisitOutline, number: int) -> int:
        """Add a redrive, which follows the end that it takes back."""
        redriven = {"redriveCount": number}
        return self.add(row.exited_event, row.entered, "ExecutionRedriven", redriven, row.entered_event)

    def root(self, plan: Plan) -> int:
        """Add the events of the root line of control; return its last event."""
        return self.line(Line("", plan, self._stored.lines.get("", ())), previous=0)

    def line(self, line: Line, previous: int) -> int:
        """Add the events of one line of control; return its last event."""
        for number in range(len(line.visits)):
            previous = self._visit(Spot(line, number), previous)
        return previous

    def _visit(self, spot: Spot, previous: int) -> int:
        row, state = spot.visit.row, spot.state
        around = row.entered_event if spot.line.path else previous
        type_ = f"{state.type}StateEntered"
        key = "stateEnteredEventDetails"
        previous = self.add(row.entered_event, row.entered, type_, details.entered, previous, spot=spot, key=key)
        if state.type == "Task":
            previous = self._task(spot, previous, around)
        elif state.type in {"Map", "Parallel"}:
            previous = self._fan_out(spot, previous, around)
        else:
            for moment in spot.visit.known_moments():
                previous = self._evaluation(spot, moment, around)
        if not row.has_output or row.exited is None:
            return previous
        type_, key = f"{state.type}StateExited", "stateExitedEventDetails"
        return self.add(row.exited_event, row.exited, type_, details.exited, previous, spot=spot, key=key)

    def _evaluation(self, spot: Spot, moment: Moment, previous: int) -> int:
        """Add a failed evaluation; one on entry into a state of the root follows what came before the entry."""
        made = partial(details.evaluation_failed, moment)
        return self.add(moment.event, moment.at, "EvaluationFailed", made, previous, spot=spot)

    # Tasks

    def _task(self, spot: Spot, previous: int, around: int) -> int:
        service = Service.of(spot.state.resource or "")
        entered, attempt = spot.visit.row.entered_event, 0
        for moment in spot.visit.known_moments():
            if moment.kind is MomentKind.EVALUATION_FAILED:
                previous = self._evaluation(spot, moment, around if previous == entered else previous)
                continue
            made: Details = service.started()
            if moment.kind is MomentKind.SCHEDULED:
                made = partial(details.scheduled, service, attempt)
                attempt += 1
            elif moment.kind is MomentKind.SUBMITTED:
                made = partial(details.submitted, service, moment)
            elif moment.kind is MomentKind.SUCCEEDED:
                made = partial(details.succeeded, service)
            elif moment.kind in {MomentKind.FAILED, MomentKind.TIMED_OUT}:
                made = partial(details.failed, service, moment)
            type_ = service.prefix + MOMENTS[moment.kind]
            previous = self.add(moment.event, moment.at, type_, made, previous, spot=spot)
        return previous

    # Parallel and Map

    def _fan_out(self, spot: Spot, previous: int, around: int) -> int:
        state, moments = spot.state, spot.visit.known_moments()
        rounds = [cast("int", moment.facts[0]) for moment in moments if moment.kind is MomentKind.STARTED]
        is_distributed = any(moment.kind.is_of_map_run for moment in moments)
        begun = chain = previous
        for moment in moments:
            if moment.event <= self._since and moment.kind is not MomentKind.STARTED:
                continue  # the branches go on after the redrive: they decide what comes next
            if moment.kind is MomentKind.STARTED:
                made = details.iterations if state.type == "Map" else None
                begun = chain = self.add(
                    moment.event, moment.at, f"{state.type}StateStarted", made, previous, spot=spot
                )
                since = cast("int", moment.facts[0])
                until = next((number for number in rounds if number > since), None)
                if not is_distributed:
                    chain = self._branches(spot, chain, since, until)
                previous = chain
            elif moment.kind is MomentKind.EVALUATION_FAILED:
                is_on_entry = previous == spot.visit.row.entered_event
                previous = chain = self._evaluation(spot, moment, around if is_on_entry else previous)
            elif moment.kind.is_of_map_run:
                previous = chain = self._map_run(spot, moment, previous)
            elif moment.kind is MomentKind.SUCCEEDED:
                previous = self.add(moment.event, moment.at, f"{state.type}StateSucceeded", None, previous)
            elif moment.kind is MomentKind.FAILED:
                previous = chain = self.add(moment.event, moment.at, f"{state.type}StateFailed", None, chain)
            elif moment.kind is MomentKind.ITERATION_STARTED:
                self._iteration(moment, begun)
            else:
                self._cut(moment, chain)
        return chain

    def _map_run(self, spot: Spot, moment: Moment, previous: int) -> int:
        make = details.map_run_failed if moment.kind is MomentKind.RUN_FAILED else details.map_run_started
        return self.add(moment.event, moment.at, MOMENTS[moment.kind], partial(make, moment), previous, spot=spot)

    def _cut(self, moment: Moment, previous: int) -> None:
        """Add what a failure did to a branch: an iteration failed or aborted, or the state that a branch was in."""
        if moment.kind is MomentKind.ABORTED:
            self.add(moment.event, moment.at, f"{moment.facts[0]}StateAborted", None, previous)
            return
        self._iteration(moment, previous)

    def _iteration(self, moment: Moment, previous: int) -> None:
        index, name = moment.facts
        self.add(moment.event, moment.at, MOMENTS[moment.kind], {"name": name, "index": index}, previous)

    def _branches(self, spot: Spot, started: int, since: int, until: int | None) -> int:
        """Add the events of every branch in one round; return the event that decided: the failure's, or the last.

        A failure from before the redrive decides nothing: the branch is taken up again.
        """
        last = started
        decided: tuple[datetime, int] | None = None
        lines = self._round(spot, since, until)
        ends = sorted(line.visits[-1].row.exited_event for line in lines if line.visits[-1].is_done)
        for line in lines:
            end = self._branch(spot, line, [started, *ends])
            final = line.visits[-1].row
            last = max(last, end)
            if not final.has_output and final.exited is not None and end > self._since:
                decided = min(decided or (final.exited, end), (final.exited, end))
        return last if decided is None else decided[1]

    def _round(self, spot: Spot, since: int, until: int | None) -> list[Line]:
        """Return the lines of control below a visit that have visits in one round."""
        prefix, plans = branch_prefix(spot.line.path, spot.state.name), spot.state.plans
        lines = []
        for index in sorted(self._stored.children.get(prefix, ())):
            path = f"{prefix}[{index}]"
            visits = [
                visit
                for visit in self._stored.lines[path]
                if visit.row.number >= since and (until is None or visit.row.number < until)
            ]
            if visits:
                lines.append(Line(path, plans[min(index, len(plans) - 1)], visits, spot, index))
        return lines

    def _branch(self, spot: Spot, line: Line, ends: Sequence[int]) -> int:
        """Add the events of a branch, which follows the round's start or, in a Map, the iteration that made room."""
        if spot.state.type != "Map":
            return self.line(line, ends[0])
        first, last = line.visits[0], line.visits[-1]
        iteration = {"name": spot.state.name, "index": line.index}
        begun = first.row.entered_event - 1 if first.started is None else first.started
        previous = ends[max(0, bisect_left(ends, begun) - 1)]
        previous = self.line(line, self.add(begun, first.row.entered, "MapIterationStarted", iteration, previous))
        if last.row.exited is not None and last.is_done and not last.is_full:
            event = last.row.exited_event + 1
            return self.add(event, last.row.exited, "MapIterationSucceeded", dict(iteration), previous)
        return previous


def _brief(moment: Moment) -> Moment:
    """Return a moment of the index, where long facts are left out."""
    if not moment.facts:
        return moment
    short = (None if isinstance(fact, str) and len(fact) > SHORT_FACT else fact for fact in moment.facts)
    return moment._replace(facts=tuple(short))
