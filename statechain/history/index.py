"""The index of a history: the ids of its events, in order, and the entries of those that are asked for.

It reads visit rows without their payloads, so that it is small, however much an execution's states put out. A first
walk only notes the ids of all events; the entries of a page are made by another walk (see `walk`).

A redrive takes up visits that had failed, and their later rows no longer say how they had ended. So what was stored
before each redrive stays as it was then, in a stretch, and a walk of a stretch adds only what comes after the redrive
before it: a history that was read before a redrive is the beginning of the one that is read after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

import attrs

from statechain.execution.restore import REDRIVEN, StoredRows
from statechain.history.events import WHOLE, details_key, fault_details
from statechain.history.visits import StoredVisits
from statechain.history.walk import End, Entry, Walk
from statechain.records.details import NO_DETAIL
from statechain.storage.outlines import VisitOutline, read_outlines

if TYPE_CHECKING:
    from statechain.asl.plan.plan import Plan
    from statechain.history.events import Event
    from statechain.records.executions import Execution
    from statechain.storage.repository import Repository

__all__ = ["Index"]

T = TypeVar("T")
LONG = 300
"""How many visit rows make an index that is walked in a thread."""


class Index:
    """The ids of an execution's events, as they were counted when they happened, and the entries of any of them.

    Attributes:
        ids: The ids, in order.

        failures: The ids of the events that report a failure, in order.
    """

    def __init__(self, execution: Execution, plan: Plan, stretches: Sequence[_Stretch], rows: int) -> None:
        self._execution = execution
        self._plan = plan
        self._stretches = stretches
        self._is_long = rows >= LONG
        self.ids: Sequence[int] = ()
        self.failures: Sequence[int] = ()

    @classmethod
    async def read(cls, repository: Repository, execution: Execution, plan: Plan) -> Index:
        """Read the visits of an execution, and count its events."""
        rows, stored = StoredRows.of(repository, execution.id), StoredVisits()
        stretches: list[_Stretch] = []
        since = count = 0
        async for row in read_outlines(repository, execution.id):
            count += 1
            if row.type != REDRIVEN:
                stored.add(row, await rows.detail(row) if row.has_detail else NO_DETAIL)
                continue
            stretches.append(_Stretch(stored, since, row, await _end_before(row, stored, rows, plan)))
            # Visits that go on after the redrive are copied when they change: this stretch stays as it was.
            stored, since = stored.fork(), row.exited_event
        index = cls(execution, plan, [*stretches, _Stretch(stored, since)], count)
        await index._in_thread(index._count)
        return index

    async def entries(self, ids: Collection[int]) -> list[Entry]:
        """Return the entries that have some ids, in order."""
        return await self._in_thread(partial(self._entries, frozenset(ids)))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do what takes long where there are many rows; in a thread, it does not hold the event loop."""
        return await asyncio.to_thread(work) if self._is_long else work()

    def _count(self) -> None:
        walks = self._walks(frozenset())
        # Event 1, the start of the execution, has no row.
        self.ids = sorted([1, *(id_ for walk in walks for id_ in walk.ids)])
        self.failures = sorted(id_ for walk in walks for id_ in walk.failures)

    def _entries(self, wanted: frozenset[int]) -> list[Entry]:
        execution = self._execution
        started = {"input": execution.input_text, "inputDetails": WHOLE}
        first = Entry(1, execution.start_time, "ExecutionStarted", 0, details_key("ExecutionStarted"), started, None)
        entries = [entry for walk in self._walks(wanted) for entry in walk.entries]
        return sorted([*([first] if 1 in wanted else ()), *entries], key=lambda entry: entry.id)

    def _walks(self, wanted: frozenset[int]) -> list[Walk]:
        """Walk each stretch that has a wanted event, all of them where none is wanted; make those entries."""
        found = []
        for number, stretch in enumerate(self._stretches, 1):
            if not wanted or any(stretch.may_have(id_) for id_ in wanted):
                found.append(self._walk(stretch, number, wanted))
        return found

    def _walk(self, stretch: _Stretch, number: int, wanted: frozenset[int]) -> Walk:
        walk = Walk(stretch.stored, stretch.since, wanted)
        behind = walk.root(self._plan)
        if stretch.redriven is not None and stretch.end is not None:
            walk.add_end(stretch.end, behind, stretch.redriven.entered_event)
            walk.add_redrive(stretch.redriven, number)
        elif self._execution.end_time is not None:
            # The end has no row: its id is the one after all others.
            walk.add_end(_end_of(self._execution), behind, max(*walk.ids, 1, stretch.since) + 1)
        return walk


@attrs.frozen(eq=False)
class _Stretch:
    """What happened between two redrives, the beginning or the end of what is stored.

    Attributes:
        stored: The visits as they were when it ended.

        since: The event that it begins behind.

        redriven: The row of the redrive that it ends with; None for the last stretch.

        end: How the execution had ended before that redrive.
    """

    stored: StoredVisits
    since: int
    redriven: VisitOutline | None = None
    end: End | None = None

    def may_have(self, event: int) -> bool:
        """Return whether an event is not outside of the stretch."""
        return event > self.since and (self.redriven is None or event <= self.redriven.exited_event)


def _end_of(execution: Execution) -> End:
    details: Event = {"output": execution.output_text, "outputDetails": WHOLE}
    if execution.output_text is None:
        details = fault_details(execution.error, execution.cause)
    return End(execution.status, cast("datetime", execution.end_time), details)


async def _end_before(row: VisitOutline, stored: StoredVisits, rows: StoredRows, plan: Plan) -> End:
    """Return the end that a redrive took back. Where its row lacks it, the root's last visit has the error, if any."""
    end = await rows.former_end(row)
    if end is not None:
        return End(end.status, end.ended or row.entered, fault_details(end.error, end.cause))
    root = stored.lines.get("")
    if root and root[-1].row.exited is not None:
        (last,) = await rows.at([root[-1].row.place])
        return End("FAILED", row.entered, fault_details(last.error, last.cause))
    return End("ABORTED" if plan.timeout_seconds is None else "TIMED_OUT", row.entered, {})
