"""The walk through an execution's visits: which events there are, in the order in which the interpreter made them.

It goes through the frames as the interpreter did. Event ids are those that the run counted. A walk makes the entries of
some events only, and passes over each visit that has none of them: it costs little more than the visits that it sees.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, cast

import attrs

from statechain.execution.paths import branch_prefix
from statechain.history import details as details
from statechain.history.events import ENDS, MOMENTS, Event, Service, details_key
from statechain.history.visits import Line, Spot, StoredVisit, StoredVisits
from statechain.records.details import Moment, MomentKind
from statechain.storage.outlines import VisitOutline

if TYPE_CHECKING:
    from statechain.asl.plan.plan import Plan
    from statechain.history.details import Details

__all__ = ["End", "Entry", "Walk"]

FAILED_MOMENTS = frozenset({MomentKind.ABORTED, MomentKind.EVALUATION_FAILED, MomentKind.FAILED, MomentKind.TIMED_OUT})
FAILURES = ("Aborted", "Failed", "TimedOut")
"""How the types of events end that report a failure."""


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


@attrs.frozen
class End:
    """How an execution ended."""

    status: str
    at: datetime
    details: Event


class Walk:
    """Walks the frames, behind a redrive whose event is ``since``; makes the entries with some ids, or all (None).

    Attributes:
        ids: The ids of all events that it came by.

        failures: The ids of those that report a failure.

        entries: The entries that were asked for.
    """

    def __init__(self, stored: StoredVisits, since: int, wanted: frozenset[int] | None = None) -> None:
        self._stored = stored
        self._since = since
        self._wanted = wanted
        self.ids: list[int] = []
        self.failures: list[int] = []
        self.entries: list[Entry] = []
        self._rounds: dict[str, list[int]] = {}

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
        # Up to a redrive, the events are those of the stretch before it.
        if event > self._since:
            self.ids.append(event)
            if type_.endswith(FAILURES):
                self.failures.append(event)
            if self._wanted is None or event in self._wanted:
                # What came before it may be in the stretch before: then it follows the redrive.
                previous = max(previous, self._since)
                self.entries.append(Entry(event, at, type_, previous, key or details_key(type_), made, spot))
        return event

    def add_end(self, end: End, previous: int, event: int) -> None:
        """Add the end of the execution; a stop follows no event."""
        self.add(event, end.at, ENDS[end.status], end.details, previous)
        if end.status == "ABORTED" and self.entries and self.entries[-1].id == event:
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
        if state.type not in {"Map", "Parallel"}:
            events = spot.visit.events()
            # Nothing of it is wanted, which its ids alone show: its entries are not made.
            if self._wanted is not None and self._wanted.isdisjoint(events):
                return self._pass_over(spot.visit, events)
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

    def _pass_over(self, visit: StoredVisit, events: Sequence[int]) -> int:
        """Note the events of a visit without branches; return the one that the next visit follows."""
        self.ids += [event for event in events if event > self._since]
        for moment in visit.moments or ():
            if moment.kind in FAILED_MOMENTS and moment.event > self._since:
                self.failures.append(moment.event)
        return events[-1] if visit.row.type == "Task" or visit.is_left else visit.row.entered_event

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
                attempt += moment.event > self._since  # with a redrive, retries count anew
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
        rounds = _rounds(moments)
        is_distributed = any(moment.kind.is_of_map_run for moment in moments)
        begun = chain = previous
        for moment in moments:
            if moment.event <= self._since and moment.kind is not MomentKind.STARTED:
                continue  # the branches go on after the redrive: they decide what comes next
            if moment.kind is MomentKind.STARTED:
                since = cast("int", moment.facts[0])
                attempt = rounds[since]
                made = partial(details.iterations, attempt) if state.type == "Map" else None
                begun = chain = self.add(
                    moment.event, moment.at, f"{state.type}StateStarted", made, previous, spot=spot
                )
                if not is_distributed:
                    chain = self._branches(spot, chain, since, attempt)
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

    def _branches(self, spot: Spot, started: int, since: int, attempt: int) -> int:
        """Add the events of every branch in one round; return the event that decided: the failure's, or the last.

        A failure from before the redrive decides nothing: the branch is taken up again.
        """
        last = started
        decided: tuple[datetime, int] | None = None
        lines = self._round(spot, since, attempt)
        ends = [started, *sorted(line.visits[-1].row.exited_event for line in lines if line.visits[-1].is_done)]
        for line in lines:
            end = self._branch(spot, line, ends)
            final = line.visits[-1].row
            last = max(last, end)
            # The first failure decided, and cancelled the others.
            if not final.has_output and final.exited is not None and end > self._since:
                decided = min(decided or (final.exited, end), (final.exited, end))
        return last if decided is None else decided[1]

    def _round(self, spot: Spot, since: int, attempt: int) -> list[Line]:
        """Return the lines of control below a visit that have visits in one round."""
        prefix, plans = branch_prefix(spot.line.path, spot.state.name), spot.state.plans
        until = self._next_round(prefix, spot, since)
        lines = []
        for index in sorted(self._stored.children.get(prefix, ())):
            path = f"{prefix}[{index}]"
            every = self._stored.lines[path]
            begin = bisect_left(every, since, key=_number_of)
            visits = every[begin : bisect_left(every, until, begin, key=_number_of)]
            if visits:
                # A Parallel has a plan for each branch, a Map one for all.
                lines.append(Line(path, plans[min(index, len(plans) - 1)], visits, spot, index, attempt))
        return lines

    def _next_round(self, prefix: str, spot: Spot, since: int) -> int:
        """Return where the next round of branches under the same paths begins to count, or a number beyond all.

        A retry has its branches under the same paths, with higher numbers, and so has a later visit of the state: in a
        loop, or after a retry of what the state is in.
        """
        rounds = self._rounds.get(prefix)
        if rounds is None:
            visits = [each for each in self._stored.lines[spot.line.path] if each.row.state == spot.state.name]
            rounds = self._rounds[prefix] = sorted(each for visit in visits for each in _rounds(visit.known_moments()))
        place = bisect_right(rounds, since)
        return rounds[place] if place < len(rounds) else sys.maxsize

    def _branch(self, spot: Spot, line: Line, ends: Sequence[int]) -> int:
        """Add the events of a branch, which follows the round's start or, in a Map, the iteration that made room."""
        if spot.state.type != "Map":
            return self.line(line, ends[0])
        first, last = line.visits[0], line.visits[-1]
        iteration = {"name": spot.state.name, "index": line.index}
        # As `StoredVisits._restore_open` has it: not stored where it is the event before the entry.
        begun = first.row.entered_event - 1 if first.started is None else first.started
        previous = ends[max(0, bisect_left(ends, begun) - 1)]
        previous = self.line(line, self.add(begun, first.row.entered, "MapIterationStarted", iteration, previous))
        if last.row.exited is not None and last.is_done and not last.is_full:
            event = last.row.exited_event + 1
            return self.add(event, last.row.exited, "MapIterationSucceeded", dict(iteration), previous)
        return previous


def _rounds(moments: Sequence[Moment]) -> dict[int, int]:
    """Return where each round of a visit's branches began to count, in order, and which attempt it is, from 0."""
    rounds: dict[int, int] = {}
    attempt = 0
    for moment in moments:
        if moment.kind is MomentKind.STARTED:
            rounds[cast("int", moment.facts[0])] = attempt
            attempt += 1
        elif moment.kind is MomentKind.FAILED:
            attempt = 0  # what comes after it is of a redrive, with which retries count anew
    return rounds


def _number_of(visit: StoredVisit) -> int:
    return visit.row.number
