"""Visits → the AWS-style event list, at read time and page by page; there is no second log.

The index of a history has all of its events without their payloads. A page reads the payloads of its own events, and
asks the plan again what each state made of its input, so that what a Task was given need not be stored.
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

import attrs

from statechain.asl.effort import TakesLong
from statechain.execution.frame import Frame
from statechain.execution.restore import NO_VISITS, StoredRows, detail_of
from statechain.execution.run import Run
from statechain.history.details import Scene, branch_of, effect_of
from statechain.history.events import Event
from statechain.history.index import Index
from statechain.history.visits import Line, Spot
from statechain.history.walk import Entry
from statechain.payload import Payload
from statechain.records.details import VisitDetail
from statechain.records.executions import Claim, Execution
from statechain.storage.journal.ledger import ExecutionWrites
from statechain.storage.retrying import retry_while_unavailable

if TYPE_CHECKING:
    from statechain.asl.outcome import FanOut
    from statechain.history.kept import KeptIndexes
    from statechain.records.executions import Visit
    from statechain.storage.repository import Repository
    from statechain.worker.revisions import Revision

__all__ = ["History"]

T = TypeVar("T")

READ_AT_ONCE = 32
LONG_INPUT = 10_000
"""From how many characters of a state's input on its events are made in a thread."""

MOST_FRAMES = 100
"""How many lines of control a reader remembers, so that their next visits need not be counted from the first."""


class History:
    """The history of an execution as it was when it was read; payloads are JSON texts (AWS, GetExecutionHistory)."""

    def __init__(self, index: Index, scenes: _Scenes, *, is_closed: bool) -> None:
        self._index = index
        self._scenes = scenes
        self._is_closed = is_closed

    @classmethod
    async def read(
        cls, repository: Repository, execution: Execution, revision: Revision, kept: KeptIndexes | None = None
    ) -> History:
        """Read the index of an execution's history, unless it was kept.

        While an execution runs that was never taken over, a gap is an event that is not written yet. The others keep
        their ids, so that each is the same when it is read again. Any other gap was left by a crash, and is closed.
        """
        # Only to make frames: nothing is written under epoch 0, which no claim has.
        ledger = ExecutionWrites(Claim(execution=execution, epoch=0, seq=0))
        run = Run(execution, revision.record, revision.plan, ledger, NO_VISITS)
        scenes = _Scenes(run, StoredRows.of(repository, execution.id))
        # Before the index: read after it, an execution that ends in between would have its gaps closed, and other ids.
        epochs = await retry_while_unavailable(lambda: repository.epochs([execution.id]))
        index = None if kept is None else kept.find(execution)
        if index is None:
            index = await Index.read(repository, execution, revision.plan)
            if kept is not None:
                kept.keep(execution, index)
        is_closed = epochs.get(execution.id) != 1 and index.ids[-1] != len(index.ids)
        return cls(index, scenes, is_closed=is_closed)

    def __len__(self) -> int:
        return len(self._index.ids)

    async def events(
        self, *, after: int = 0, limit: int | None = None, reverse: bool = False
    ) -> AsyncGenerator[Event, None]:
        """Yield events behind the one with an id, by id; ``reverse``: those before it (0: all), the last one first."""
        wanted = self._wanted(after, limit, reverse=reverse)
        found = await self._entries(wanted)
        async for event in self._made([found[id_] for id_ in wanted]):
            yield event

    async def page(
        self, *, after: int, limit: int, reverse: bool, failures: int
    ) -> tuple[Sequence[Event], Sequence[Event]]:
        """Return what `events` yields, and the first events that report a failure, by one walk."""
        wanted, failed = self._wanted(after, limit, reverse=reverse), self._index.failures[:failures]
        found = await self._entries({*wanted, *failed})
        page = [event async for event in self._made([found[id_] for id_ in wanted])]
        return page, [event async for event in self._made([found[id_] for id_ in failed])]

    def _wanted(self, after: int, limit: int | None, *, reverse: bool) -> Sequence[int]:
        """Return the stored ids of the events that a page has, in its order."""
        ids = self._index.ids
        if reverse:
            # Without gaps an id is a place, and needs no search.
            end = len(ids) if not after else after - 1 if self._is_closed else bisect_left(ids, after)
            begin = 0 if limit is None else max(0, end - limit)
        else:
            begin = after if self._is_closed else bisect_right(ids, after)
            end = len(ids) if limit is None else begin + limit
        return ids[begin:end][::-1] if reverse else ids[begin:end]

    async def _entries(self, ids: Collection[int]) -> Mapping[int, Entry]:
        """Return the entries with some stored ids, by these, numbered without the gaps that a crash can leave."""
        found = {entry.id: entry for entry in (await self._index.entries(ids) if ids else ())}
        if self._is_closed:
            for entry in found.values():
                entry.id, entry.previous = self._number(entry.id), self._number(entry.previous)
        return found

    def _number(self, id_: int) -> int:
        """Return the place of an event's id among all, from 1; 0 where there is no such event."""
        place = bisect_left(self._index.ids, id_)
        return place + 1 if place < len(self._index.ids) and self._index.ids[place] == id_ else 0

    async def _made(self, entries: Sequence[Entry]) -> AsyncGenerator[Event, None]:
        """Yield the events of some entries, with the payloads of a few in memory at a time."""
        for begin in range(0, len(entries), READ_AT_ONCE):
            page = entries[begin : begin + READ_AT_ONCE]
            await self._scenes.read(page)
            for entry in page:
                yield await self._event(entry)

    async def _event(self, entry: Entry) -> Event:
        event: Event = {
            "timestamp": entry.at,
            "type": entry.type,
            "id": entry.id,
            "previousEventId": entry.previous,
        }
        made = entry.details
        if callable(made):
            scene = await self._scenes.at(cast("Spot", entry.spot))
            made = await _off_loop(scene.frame, partial(made, scene))
        if made is not None:
            event[entry.key] = made
        return event


async def _off_loop(frame: Frame, work: Callable[[], T]) -> T:
    """Do what a frame's input is needed for: in a thread where that takes long, so that it holds no event loop."""
    if len(frame.input.text or "") <= LONG_INPUT:
        with contextlib.suppress(TakesLong):
            return work()
    return await asyncio.to_thread(work)


@attrs.define
class _Cursor:
    """A frame, and the number of the visit in its line that it is at."""

    frame: Frame
    number: int = 0


class _Scenes:
    """Reads visits with their payloads, and moves frames to where they began."""

    def __init__(self, run: Run, rows: StoredRows) -> None:
        self._run = run
        self._stored = rows
        self._rows: dict[int, Visit] = {}
        self._cursors: dict[Line, _Cursor] = {}
        self._effect: tuple[Spot, int, FanOut | None] | None = None

    async def read(self, entries: Collection[Entry]) -> None:
        """Read what the details of some entries are made of, all at once."""
        spots = {entry.spot for entry in entries if callable(entry.details) and entry.spot is not None}
        places = {place for spot in spots for place in spot.visit.places}
        places |= {spot.line.visits[spot.number - 1].row.place for spot in spots if spot.number}
        kept = {place: row for place, row in self._rows.items() if place in places}
        missing = sorted(places - kept.keys())
        # What the page before had read, and this one needs too, is not read again.
        self._rows = {**kept, **dict(zip(missing, await self._stored.at(missing), strict=True))}

    async def at(self, spot: Spot) -> Scene:
        """Return the scene of a visit."""
        frame = await self._frame(spot)
        rows = [await self._row(place) for place in spot.visit.places]
        return Scene(frame, spot.state, rows[-1], detail_of(rows))

    async def _row(self, place: int) -> Visit:
        if place not in self._rows:
            (row,) = await self._stored.at([place])
            return row
        return self._rows[place]

    async def _frame(self, spot: Spot) -> Frame:
        """Return the frame of a line of control, moved to where a visit began."""
        line = spot.line
        # Taken out and put back last: the dict is in the order of use, and the first one is dropped.
        cursor = self._cursors.pop(line, None)
        # A frame only moves on: for an earlier visit it begins anew.
        if cursor is None or cursor.number > spot.number:
            cursor = _Cursor(await self._begin(line))
        if cursor.number < spot.number:
            await self._move(cursor, spot)
        self._cursors[line] = cursor
        if len(self._cursors) > MOST_FRAMES:
            del self._cursors[next(iter(self._cursors))]
        cursor.frame.revisit(spot.state, spot.visit.row)
        return cursor.frame

    async def _begin(self, line: Line) -> Frame:
        """Return a frame that is before the first state of a line of control."""
        if line.parent is None:
            return Frame(self._run, line.plan, "", Payload.of_text(self._run.execution.input_text))
        above = await self._frame(line.parent)
        # Entries of one Map follow each other: its items are evaluated once for all of them.
        if self._effect is None or self._effect[0] is not line.parent or self._effect[1] != line.attempt:
            effect = await _off_loop(above, partial(effect_of, above, line.parent.state, line.attempt))
            self._effect = line.parent, line.attempt, effect
        above.retries = [line.attempt]  # an item's expressions see the Map's frame
        branch = await _off_loop(above, partial(branch_of, self._effect[2], line.index))
        if branch is None:
            return Frame(self._run, line.plan, line.path, Payload(None), variables=above.variables, item=above.item)
        item = above.item if branch.item is None else branch.item
        return Frame(self._run, line.plan, line.path, Payload(branch.input), variables=above.variables, item=item)

    async def _move(self, cursor: _Cursor, spot: Spot) -> None:
        """Take what the visits before one put out and assigned."""
        frame = cursor.frame
        passed = [visit.row for visit in spot.line.visits[cursor.number : spot.number] if visit.row.has_output]
        for row in passed:
            # Looked for in the text: most details assign nothing, and are not decoded.
            if row.has_detail and VisitDetail.may_assign(row.detail):
                detail = VisitDetail.load((await self._row(row.place)).detail)
                frame.variables = {**frame.variables, **detail.assigned}
        if passed:
            frame.input = Payload.of_text(cast("str", (await self._row(passed[-1].place)).output))
        cursor.number = spot.number
