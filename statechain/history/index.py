"""The index of a history: the ids of its events, in order, and the entries of those that are asked for.

It reads visit rows without their payloads, so that it is small, however much an execution's states put out. A first
walk only notes the ids of all events; the entries of a page are made by another walk (see `walk`).

A redrive takes up visits that had failed, and their later rows no longer say how they had ended. So the rows before
each redrive are walked by themselves, and a walk adds only what comes after the redrive before it: a history that was
read before a redrive is the beginning of the one that is read after it.
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

    def __init__(self, execution: Execution, plan: Plan, stored: StoredVisits, earlier: _Earlier, rows: int) -> None:
        self._execution = execution
        self._plan = plan
        self._stored = stored
        self._earlier = earlier
        self._is_long = rows >= LONG
        self.ids: Sequence[int] = ()
        self.failures: Sequence[int] = ()

    @classmethod
    async def read(cls, repository: Repository, execution: Execution, plan: Plan) -> Index:
        """Read the visits of an execution, and count its events."""
        rows, stored, earlier = StoredRows.of(repository, execution.id), StoredVisits(), _Earlier()
        started = {"input": execution.input_text, "inputDetails": WHOLE}
        first = Entry(1, execution.start_time, "ExecutionStarted", 0, details_key("ExecutionStarted"), started, None)
        earlier.entries.append(first)
        count = 0
        async for row in read_outlines(repository, execution.id):
            count += 1
            if row.type != REDRIVEN:
                stored.add(row, await rows.detail(row) if row.has_detail else NO_DETAIL)
                continue
            earlier.redrives += 1
            walk = Walk(stored, earlier.since)
            end = await _end_before(row, stored, rows, plan)
            walk.add_end(end, walk.root(plan), row.entered_event)
            earlier.since = walk.add_redrive(row, earlier.redrives)
            earlier.entries += walk.entries
            earlier.failures += walk.failures
        index = cls(execution, plan, stored, earlier, count)
        await index._in_thread(index._count)
        return index

    async def entries(self, ids: Collection[int]) -> list[Entry]:
        """Return the entries that have some ids, in order."""
        return await self._in_thread(partial(self._entries, frozenset(ids)))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do what takes long where there are many rows; in a thread, it does not hold the event loop."""
        return await asyncio.to_thread(work) if self._is_long else work()

    def _count(self) -> None:
        walk = self._walk(frozenset())
        self.ids = sorted([*(entry.id for entry in self._earlier.entries), *walk.ids])
        self.failures = sorted([*self._earlier.failures, *walk.failures])

    def _entries(self, wanted: frozenset[int]) -> list[Entry]:
        earlier = [attrs.evolve(entry) for entry in self._earlier.entries if entry.id in wanted]
        return sorted([*earlier, *self._walk(wanted).entries], key=lambda entry: entry.id)

    def _walk(self, wanted: frozenset[int]) -> Walk:
        """Walk behind the last redrive to the end; make the entries that have some ids."""
        walk = Walk(self._stored, self._earlier.since, wanted)
        behind = walk.root(self._plan)
        if self._execution.end_time is not None:
            event = max(*walk.ids, self._earlier.entries[-1].id, self._earlier.since) + 1
            walk.add_end(_end_of(self._execution), behind, event)
        return walk


@attrs.define(eq=False)
class _Earlier:
    """What came before the last redrive: its entries, all of them made, and the event of the redrive."""

    entries: list[Entry] = attrs.Factory(list)
    failures: list[int] = attrs.Factory(list)
    redrives: int = 0
    since: int = 0


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
