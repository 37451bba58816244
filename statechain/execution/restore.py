"""What storage remembers of an execution: visit rows, folded back into where each line of control is.

Rows are read without their payloads, and what is kept of them is small. An output, the variables or the moments of a
visit are read when the frame that needs them is restored, so that an execution that is recovered needs about the
memory that it took when it ran straight through.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias, TypeVar

import attrs

from statechain.codec import JSONValue
from statechain.errors import DamagedRow, StateError
from statechain.execution.paths import branch_prefix
from statechain.payload import Payload
from statechain.records.details import NO_DETAIL, FormerEnd, VisitDetail
from statechain.storage.outlines import VisitOutline, read_outlines
from statechain.storage.retrying import retry_while_unavailable
from statechain.tasks.retry import TIMEOUT, HeartbeatTimeout

if TYPE_CHECKING:
    from statechain.records.executions import Visit
    from statechain.storage.repository import Repository

__all__ = ["NO_VISITS", "REDRIVEN", "Restored", "StoredRows", "StoredVisits", "detail_of"]

REDRIVEN = "Redriven"
"""The type of the row of a redrive: no visit, but an event in the execution's history."""

T = TypeVar("T")
Read: TypeAlias = "Callable[[Collection[int]], Awaitable[Mapping[int, Visit]]]"

READ_AHEAD: Final = 16
"""How many outputs of finished branches are read at once: they are asked for about in the order of their rows."""


class Restorable(Protocol):
    """A line of control that is moved to where it was: `statechain.execution.frame.Frame`."""

    number: int
    state: str
    variables: Mapping[str, JSONValue]
    input: Payload
    iteration_started: int

    @property
    def path(self) -> str:
        """The states and indexes that lead to it."""

    @property
    def is_iteration(self) -> bool:
        """Whether it is an iteration of an inline Map."""


class Restored(NamedTuple):
    """The last visit of a line of control, and what its rows remember beside their columns."""

    visit: Visit
    detail: VisitDetail

    @property
    def is_over(self) -> bool:
        """Whether the line of control has ended with it."""
        return self.visit.exited is not None and self.visit.next is None

    def failure(self) -> StateError:
        """Return the error that ended the visit, as it was when it was raised."""
        if self.visit.error == TIMEOUT and self.detail.missed_heartbeat:
            return HeartbeatTimeout(self.visit.cause)
        return StateError(self.visit.error, self.visit.cause)


class _Finished(NamedTuple):
    """The last row of a line of control that ended with an output."""

    number: int
    place: int


@attrs.define
class _Line:
    """A line of control that did not end with an output.

    Attributes:
        rows: The last row of each of its visits, in order.

        tail: The places of all rows of its last visit.

        is_reopened: Whether a redrive takes the last visit up again.
    """

    rows: list[VisitOutline] = attrs.Factory(list)
    tail: list[int] = attrs.Factory(list)
    is_reopened: bool = False

    def add(self, row: VisitOutline) -> None:
        """Add a row; one of the visit that is last replaces its outline."""
        self.is_reopened = False
        if self.rows and self.rows[-1].number == row.number:
            self.rows[-1] = row
            self.tail.append(row.place)
        else:
            self.rows.append(row)
            self.tail = [row.place]

    def reopen(self) -> None:
        """Take the last visit up again where it failed or was interrupted."""
        if not self.rows[-1].has_output:
            self.rows[-1] = attrs.evolve(self.rows[-1], exited=None)
            self.is_reopened = True


class StoredVisits:
    """Where each line of control is, rows that were superseded left out.

    Attributes:
        is_empty: Whether there are no visits.

        redrives: When the execution was redriven, in order.

        last_event: The highest id of a history event; the items of distributed Maps count separate events.

        highest_number: The highest number of a visit.
    """

    def __init__(self, rows: StoredRows | None = None) -> None:
        self._rows = rows or StoredRows("", _nothing)
        self._lines: dict[str, _Line] = {}
        self._finished: dict[str, _Finished] = {}
        self._outputs: _ReadAhead | None = None
        self._distributed: set[str] = set()
        self._parallels: set[str] = set()
        self.is_empty = True
        self.redrives: list[datetime] = []
        self.last_event = 0
        self.highest_number = 0

    @classmethod
    async def load(cls, repository: Repository, execution_id: str) -> StoredVisits:
        """Read and fold the visit rows of an execution; an outage of storage is waited out."""
        past = cls(StoredRows.of(repository, execution_id))
        async for row in read_outlines(repository, execution_id):
            await past._add(row)
        return past

    async def _add(self, row: VisitOutline) -> None:
        # Also for rows that are superseded later: an event's id is never given twice.
        self._count(row.frame, self._last_event_of(row))
        if row.type == REDRIVEN:
            self.redrives.append(row.entered)
            self.reopen_failed()
            return
        self.is_empty = False
        self.highest_number = max(self.highest_number, row.number)
        # Once a visit is left its exit has the highest id; only an open one needs a look inside.
        if row.exited_event == 0 and row.has_detail:
            self._count_inside(row, await self._rows.detail(row))
        if row.has_output and row.next is None and row.exited is not None:
            # An output is all that is needed of a line of control that ended well; its rows are dropped.
            self._lines.pop(row.frame, None)
            self._finished[row.frame] = _Finished(row.number, row.place)
        else:
            self._finished.pop(row.frame, None)  # another round of branches
            self._lines.setdefault(row.frame, _Line()).add(row)

    def _count_inside(self, row: VisitOutline, detail: VisitDetail) -> None:
        """Count what happened inside a visit that was not left: its row has no separate event for it."""
        if row.type == "Parallel":
            self._parallels.add(branch_prefix(row.frame, row.state))
        if any(moment.kind.is_of_map_run for moment in detail.moments):
            self._distributed.add(branch_prefix(row.frame, row.state))
        self._count(row.frame, max([detail.iteration_started, *(moment.event for moment in detail.moments)]))
        self.highest_number = max(self.highest_number, detail.round)

    def _last_event_of(self, row: VisitOutline) -> int:
        """Return the last event that a row shows: the end of an iteration follows at once on its last visit's exit.

        The branches of a Parallel have no such event. A Parallel's row is written before those of its branches.
        """
        # MapIterationSucceeded and MapIterationFailed have no row: their id is the one after the last exit.
        is_end = row.frame and row.next is None and row.exited_event
        is_iteration_end = is_end and row.frame.rpartition("[")[0] not in self._parallels
        return max(row.entered_event, row.exited_event + (1 if is_iteration_end else 0))

    def _count(self, path: str, event: int) -> None:
        """Note an event, unless it is one of a distributed Map's item."""
        if not self._is_in_item(path):
            self.last_event = max(self.last_event, event)

    def _is_in_item(self, path: str) -> bool:
        while self._distributed and path:
            path = path.rpartition("[")[0]
            if path in self._distributed:
                return True
        return False

    def reopen_failed(self) -> None:
        """Take up what failed or was interrupted, as a redrive does: retries count anew, what succeeded stays."""
        for line in self._lines.values():
            line.reopen()

    @property
    def redriven_at(self) -> datetime | None:
        """When the execution was last redriven."""
        return self.redrives[-1] if self.redrives else None

    # Lines of control; each is asked for in the round of branches that began to count at `since`

    def has_visits(self, path: str, since: int) -> bool:
        """Return whether a line of control has visits."""
        finished = self._finished.get(path)
        return (finished is not None and finished.number >= since) or bool(self._since(path, since))

    def failed(self, path: str, since: int) -> bool:
        """Return whether a line of control ended with an error."""
        rows = self._since(path, since)
        return bool(rows) and rows[-1].exited is not None and not rows[-1].has_output

    def began(self, path: str, since: int) -> datetime | None:
        """Return when a line of control entered its first state; None where it has not, or has ended well."""
        rows = self._since(path, since)
        return rows[0].entered if rows else None

    def _since(self, path: str, since: int) -> Sequence[VisitOutline]:
        line = self._lines.get(path)
        # A round of branches begins above all numbers before it, so that lower ones are an earlier round's.
        if line is None or line.rows[-1].number < since:
            return ()
        return [row for row in line.rows if row.number >= since]

    async def restore(self, frame: Restorable) -> Restored | None:
        """Move a frame to where it stood; return its last visit, or None where it had not begun."""
        finished = self._finished.get(frame.path)
        # The same path in an earlier round has a lower number, and plays no part.
        if finished is not None and finished.number >= frame.number:
            if self._outputs is None:
                self._outputs = _ReadAhead(self._rows, (each.place for each in self._finished.values()))
            last = Restored(await self._outputs.row(finished.place), NO_DETAIL)
            self._take(frame, last.visit, finished.place)
        elif rows := self._since(frame.path, frame.number):
            last = await self._restore_open(frame, rows)
        else:
            return None
        visit = last.visit
        frame.number = visit.number if visit.exited is None else visit.number + 1
        frame.state = visit.state if visit.exited is None else visit.next or visit.state
        return last

    async def _restore_open(self, frame: Restorable, rows: Sequence[VisitOutline]) -> Restored:
        """Give a frame its variables and the last output; return its last visit as its rows report it."""
        if frame.is_iteration:
            detail = await self._rows.detail(rows[0])
            # An iteration's start is written only where it is not the event right before its first state.
            frame.iteration_started = detail.iteration_started or rows[0].entered_event - 1
        for row in rows:
            if row.has_output and row.has_detail and VisitDetail.may_assign(row.detail):
                frame.variables = {**frame.variables, **(await self._rows.detail(row)).assigned}
        line, last = self._lines[frame.path], rows[-1]
        tail = await self._rows.at(line.tail)
        visit = tail[-1]
        with self._rows.reading(last.place):
            detail = detail_of(tail)
        if last.has_output:
            self._take(frame, visit, last.place)
            return Restored(visit, detail)
        if outputs := [row.place for row in rows if row.has_output]:
            (before,) = await self._rows.at(outputs[-1:])
            self._take(frame, before, outputs[-1])
        if not line.is_reopened:
            return Restored(visit, detail)
        return Restored(attrs.evolve(visit, exited=None, error=None, cause=None), detail.reopened())

    def _take(self, frame: Restorable, visit: Visit, place: int) -> None:
        """Give a frame the output of a visit; here it is decoded, so that one that cannot be is known by its row."""
        with self._rows.reading(place):
            if visit.output is None:
                raise TypeError("it has no output")
            frame.input = Payload.of_text(visit.output)
            frame.input.value  # noqa: B018 -- decoded here


class StoredRows:
    """The whole visit rows of an execution, read by their places."""

    def __init__(self, execution_id: str, read: Read) -> None:
        self._execution_id = execution_id
        self._read = read

    @classmethod
    def of(cls, repository: Repository, execution_id: str) -> StoredRows:
        """Return the rows of a stored execution; an outage of storage is waited out."""

        async def read(places: Collection[int]) -> Mapping[int, Visit]:
            return await retry_while_unavailable(partial(repository.visits_at, execution_id, places))

        return cls(execution_id, read)

    async def at(self, places: Collection[int]) -> list[Visit]:
        """Return the rows at some places, in their order."""
        rows = await self._read(places)
        for place in places:
            if place not in rows:
                raise DamagedRow("visits", (self._execution_id, place), "it is missing")
        return [rows[place] for place in places]

    async def detail(self, row: VisitOutline) -> VisitDetail:
        """Return the detail of a row, which is read where it is long."""
        return await self._load(row, VisitDetail.load)

    async def former_end(self, row: VisitOutline) -> FormerEnd | None:
        """Return how the execution had ended before a redrive, whose row this is; None where it does not say."""
        return await self._load(row, FormerEnd.load)

    async def _load(self, row: VisitOutline, load: Callable[[str | None], T]) -> T:
        text = row.detail
        if text is None and row.has_detail:
            (whole,) = await self.at([row.place])
            text = whole.detail
        with self.reading(row.place):
            return load(text)

    @contextmanager
    def reading(self, place: int) -> Iterator[None]:
        """Raise DamagedRow where the contents of a row are none that can be read."""
        try:
            yield
        # What decoding raises where a detail is JSON, but not of the shape that was written.
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise DamagedRow("visits", (self._execution_id, place), f"{type(error).__name__}: {error}") from error


class _ReadAhead:
    """The rows in which branches ended, read some at a time: each is taken once, about in order."""

    def __init__(self, rows: StoredRows, places: Iterable[int]) -> None:
        self._rows = rows
        self._places = sorted(places)
        self._read: dict[int, Visit] = {}
        self._turn = asyncio.Lock()

    async def row(self, place: int) -> Visit:
        """Return a row; those behind it are read with it."""
        # Branches are restored beside each other: without a turn each would read the same rows.
        async with self._turn:
            if place not in self._read:
                begin = bisect_left(self._places, place)
                ahead = self._places[begin : begin + READ_AHEAD]
                # What was read before and not taken is dropped, so that memory stays small.
                self._read = dict(zip(ahead, await self._rows.at(ahead), strict=True))
            return self._read.pop(place)


def detail_of(rows: Sequence[Visit]) -> VisitDetail:
    """Return the detail of a visit, with the moments of all its rows."""
    return VisitDetail.joined(VisitDetail.load(row.detail) for row in rows)


async def _nothing(_places: Collection[int]) -> Mapping[int, Visit]:
    return {}


NO_VISITS = StoredVisits()
"""The past of an execution that was just started; nothing adds to it."""
