"""What an execution did, per state: visits → marks on a graph. `svg`, `mermaid`, `dot` and `timeline` draw them.

Nothing here reads a clock: what still runs is measured against the moment that the caller gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar

import attrs

from statechain.asl.grammar import STATE_TYPES
from statechain.records.executions import Execution, ExecutionStatus, Visit
from statechain.storage.outlines import VisitOutline

__all__ = [
    "COLOURS",
    "AnyVisit",
    "Mark",
    "Standing",
    "Trace",
    "folded",
    "printable",
    "seconds_of",
    "shortened",
    "spoken",
    "standing_of",
    "trace_of",
]

AnyVisit: TypeAlias = Visit | VisitOutline
"""A visit, or one without its payloads, which no picture shows."""

V = TypeVar("V", bound=Visit | VisitOutline)
Standing: TypeAlias = Literal["succeeded", "caught", "failed", "running", "stopped"]
"""The state of a visit: left, left by a catcher, failed, under way, or interrupted when the execution ended."""

GRAVITY: tuple[Standing, ...] = ("succeeded", "caught", "stopped", "running", "failed")


COLOURS: dict[Standing, tuple[str, str]] = {
    "succeeded": ("#e3f4e8", "#1f7a3d"),
    "caught": ("#fdf1d8", "#8f5d05"),
    "failed": ("#fde4e2", "#b92b22"),
    "running": ("#e1eefc", "#2469c4"),
    "stopped": ("#eceaf4", "#6b5fa0"),
}
"""Fill and line of a state by the state of it."""


@attrs.frozen(kw_only=True)
class Mark:
    """What an execution did in one state, over all its visits.

    Attributes:
        standing: The gravest of its visits.

        visits: How many there were.

        seconds: How long they took together.

        retries: How often the state was tried again.

        error: The error of the last visit that failed or was caught.
    """

    standing: Standing
    visits: int
    seconds: float
    retries: int = 0
    error: str | None = None

    def described(self) -> str:
        """Return it as a short text: how often, how long, what went wrong."""
        parts = [f"×{self.visits}"] if self.visits > 1 else []
        parts.append("running" if self.standing == "running" else spoken(self.seconds))
        if self.retries:
            parts.append(f"{self.retries} {'retry' if self.retries == 1 else 'retries'}")
        return " · ".join(parts)


@attrs.frozen(kw_only=True)
class Trace:
    """What an execution did, as its graph shows it.

    Attributes:
        title: The execution's name, its status and how long it took.

        status: The execution's status.

        marks: By the state's name.

        taken: The ways that were gone: from state, to state (None is the end), and whether a catcher took it.
    """

    title: str
    status: ExecutionStatus
    marks: Mapping[str, Mark]
    taken: frozenset[tuple[str, str | None, bool]]

    def standing(self, state: str) -> Standing | None:
        """Return the state of a state of the machine; None where it was not visited."""
        mark = self.marks.get(state)
        return None if mark is None else mark.standing

    def lines(self, state: str, most: int) -> list[str]:
        """Return what a picture says of a state, as lines of at most that many characters."""
        mark = self.marks.get(state)
        if mark is None:
            return []
        is_wrong = mark.error is not None and mark.standing != "succeeded"
        return (
            [mark.described(), shortened(mark.error, most)]
            if is_wrong and mark.error is not None
            else [mark.described()]
        )


def folded(rows: Iterable[V]) -> list[V]:
    """Return the visits in the order of their entries, rows that a later one supersedes left out."""
    latest: dict[tuple[str, int], V] = {}
    for row in rows:
        if row.type in STATE_TYPES:  # not a redrive, say, which is no visit of a state
            # A visit that waits has rows before its last one.
            latest[row.frame, row.number] = row
    return sorted(latest.values(), key=lambda visit: (visit.entered_event, visit.number))


def standing_of(visit: AnyVisit, execution: Execution) -> Standing:
    """Return the state of a visit, given that of the execution."""
    if visit.exited is None:
        return "stopped" if execution.status.is_terminal else "running"
    if visit.error is None and visit.has_output:
        return "succeeded"
    # A Catcher makes an output of the error; a visit that failed has none.
    return "caught" if visit.has_output else "failed"


def seconds_of(visit: AnyVisit, execution: Execution, now: datetime) -> float:
    """Return how long a visit took, or has taken by now."""
    until = visit.exited or execution.end_time or now
    # The workers' clocks may differ: a visit is not drawn backwards.
    return max(0.0, (until - visit.entered).total_seconds())


def trace_of(execution: Execution, rows: Iterable[AnyVisit], now: datetime) -> Trace:
    """Return what an execution did; ``rows`` are its visits as stored."""
    marks: dict[str, Mark] = {}
    taken: set[tuple[str, str | None, bool]] = set()
    for visit in folded(rows):
        standing = standing_of(visit, execution)
        seconds = seconds_of(visit, execution, now)
        new = Mark(standing=standing, visits=1, seconds=seconds, retries=visit.retries, error=visit.error)
        marks[visit.state] = _both(marks[visit.state], new) if visit.state in marks else new
        if standing in {"succeeded", "caught"} or visit.type == "Fail":
            taken.add((visit.state, visit.next, standing == "caught"))
    current = execution.current_state
    if execution.status is ExecutionStatus.RUNNING and current is not None and current not in marks:
        marks[current] = Mark(standing="running", visits=1, seconds=0.0)  # a Task leaves no row before it has ended
    took = spoken(((execution.end_time or now) - execution.start_time).total_seconds())
    title = f"{execution.name} · {execution.status} · {took}"
    return Trace(title=title, status=execution.status, marks=marks, taken=frozenset(taken))


def _both(one: Mark, other: Mark) -> Mark:
    return Mark(
        standing=max(one.standing, other.standing, key=GRAVITY.index),
        visits=one.visits + other.visits,
        seconds=one.seconds + other.seconds,
        retries=one.retries + other.retries,
        error=other.error or one.error,
    )


def spoken(seconds: float) -> str:
    """Return a duration for people, to about three figures."""
    if seconds < 0.0005:
        return "<1 ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def printable(text: str) -> str:
    """Return a string in which what could steer a terminal, or is no character at all, is replaced."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def shortened(text: str, most: int) -> str:
    """Return a string on one line, as `printable` shows it, cut with an ellipsis where it is longer than ``most``."""
    line = " ".join(printable(text).split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"
