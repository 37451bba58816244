"""What a `Repository` is asked, answered from the tables: the same on SQLite and PostgreSQL.

A backend says how a statement is fetched; everything else about reading is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, TypeVar

from statechain.clock import to_micros
from statechain.records.executions import ExecutionStatus
from statechain.reports import Backlog
from statechain_backends.sql import filters, queries, reports
from statechain_backends.sql.batch_counts import counted
from statechain_backends.sql.compiler import Parameters, param
from statechain_backends.sql.decoding import Row, readable
from statechain_backends.sql.leases import queries as lease_queries
from statechain_backends.sql.records import (
    to_batch,
    to_batch_item,
    to_batch_status,
    to_callback_or_failure,
    to_execution,
    to_execution_key,
    to_link,
    to_state_machine,
    to_statistics,
    to_suspect,
    to_suspect_group,
    to_visit,
    to_visit_outline,
)
from statechain_backends.sql.sized import MOST_IDS, Sized, asking
from statechain_backends.sql.statements import EXECUTION, EXECUTION_BY_NAME
from statechain_backends.sql.text_escape import unescape_text
from statechain_backends.sql.waits import to_wait, waits_of

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from statechain.records.batches import Batch, BatchItem, BatchStatus
    from statechain.records.callbacks import Callback
    from statechain.records.executions import DurationStatistics, Execution, Link, StateMachineRecord, Suspect, Visit
    from statechain.records.filters import Cursor, ExecutionFilter, ExecutionKey
    from statechain.reports import BatchResult, WaitingTask
    from statechain.storage.leases import SuspectGroup
    from statechain.storage.outlines import VisitOutline
    from statechain.storage.waits import ExecutionWait

__all__ = ["Reads"]

_MACHINE = queries.state_machine(param("name_or_id"), None)
_REVISION = queries.state_machine(param("name_or_id"), param("revision"))
_MACHINES = queries.state_machines_newest()
_STATISTICS = queries.statistics(param("machine"))
_COUNTS = {of_machine: reports.counts(of_machine=of_machine) for of_machine in (False, True)}
_DURATIONS = {
    (of_machine, limits): reports.durations(of_machine=of_machine, limits_branches=limits)
    for of_machine in (False, True)
    for limits in (False, True)
}
_UNOWNED = reports.count_unowned()
_BACKLOG = reports.backlog()
_VISITS = queries.visits_page(param("execution"), param("after"), None)
_VISITS_PAGE = queries.visits_page(param("execution"), param("after"), param("page"))
_OUTLINES = queries.visit_outlines_page(param("execution"), param("after"), param("page"))
_LAST_OUTPUT = queries.last_output(param("execution"), param("state"))
_BATCH = queries.batch_uncounted(param("id"))
_BATCH_STATUS = queries.batch_status(param("id"))
_ITEMS = queries.batch_items_page(param("batch"), param("after"), param("page"))
_RESULTS = reports.batch_results_page(param("batch"), None, param("after"), None, param("page"))

T = TypeVar("T")
_SUSPECT_GROUPS = lease_queries.suspect_groups()

CHUNK = 500
EARLIEST, LATEST = -(2**63), 2**63 - 1
"""Times before and after all others, in microseconds."""

_EXECUTIONS_WITH = Sized(queries.executions_with)

WAITS = 100
_WAITS = waits_of([param(f"id_{place}") for place in range(WAITS)])
_EPOCHS = lease_queries.epochs([param(f"id_{place}") for place in range(CHUNK)])


class Reads(ABC):
    """The reading half of a repository.

    One row that cannot be read is a `DamagedRow`; a list leaves it out and logs it.
    """

    _limits_branches: ClassVar[bool] = False
    """Whether the database needs a limit in each branch of a page (see `filters.executions_page`)."""

    @abstractmethod
    async def _fetch(self, statement: Executable, parameters: Parameters = None) -> Sequence[Row]:
        """Return the rows of a statement, read from what was committed."""

    async def _page(
        self, fetch: Callable[[int], Awaitable[Sequence[Row]]], read: Callable[[Row], T], page: int
    ) -> list[T]:
        """Return at most ``page`` records; fewer only where there are no more, what rows are left out."""
        asked = page
        while True:
            rows = await fetch(asked)
            found = readable(rows, read)
            if len(found) >= page or len(rows) < asked:
                return found[:page]
            # A short page would be taken for the last one: ask for more than was left out.
            asked += max(page, len(rows) - len(found))

    async def state_machine(self, name_or_id: str, revision: int | None = None) -> StateMachineRecord | None:
        """Return a revision of a state machine."""
        asked = {"name_or_id": name_or_id}
        if revision is None:
            rows = await self._fetch(_MACHINE, asked)
        else:
            rows = await self._fetch(_REVISION, {**asked, "revision": revision})
        return to_state_machine(rows[0]) if rows else None

    async def state_machines(self) -> Sequence[StateMachineRecord]:
        """Return the newest revision of every state machine, by name."""
        return readable(await self._fetch(_MACHINES, {}), to_state_machine)

    async def execution(self, execution_id: str) -> Execution | None:
        """Return an execution."""
        rows = await self._fetch(EXECUTION, {"id": execution_id})
        return to_execution(rows[0]) if rows else None

    async def executions_with(self, ids: Sequence[str]) -> Sequence[Execution]:
        """Return executions by id."""
        found: list[Execution] = []
        for start in range(0, len(ids), MOST_IDS):
            rows = await self._fetch(*asking(_EXECUTIONS_WITH, ids[start : start + MOST_IDS]))
            found.extend(readable(rows, to_execution))
        return found

    async def execution_by_name(self, state_machine_id: str, name: str) -> Execution | None:
        """Return the execution that holds a name."""
        rows = await self._fetch(EXECUTION_BY_NAME, {"machine": state_machine_id, "name": name})
        return to_execution(rows[0]) if rows else None

    async def executions(self, filter_: ExecutionFilter, *, after: Cursor | None, page: int) -> Sequence[Execution]:
        """Return a page of executions."""

        def fetch(asked: int) -> Awaitable[Sequence[Row]]:
            return self._fetch(filters.executions_page(filter_, after, asked, limits_branches=self._limits_branches))

        return await self._page(fetch, to_execution, page)

    async def execution_keys(
        self, filter_: ExecutionFilter, *, after: Cursor | None, page: int
    ) -> Sequence[ExecutionKey]:
        """Return the keys of a page of executions."""

        def fetch(asked: int) -> Awaitable[Sequence[Row]]:
            limits = self._limits_branches
            return self._fetch(filters.execution_keys_page(filter_, after, asked, limits_branches=limits))

        return await self._page(fetch, to_execution_key, page)

    async def count_executions(self, filter_: ExecutionFilter) -> int:
        """Return how many executions a filter means."""
        (count,) = (await self._fetch(filters.count_executions(filter_)))[0]
        return int(count)

    async def statistics(self, state_machine_id: str) -> Mapping[ExecutionStatus, DurationStatistics]:
        """Return counts and durations by status."""
        return dict(readable(await self._fetch(_STATISTICS, {"machine": state_machine_id}), to_statistics))

    async def count_by_status(
        self,
        *,
        state_machine_id: str | None = None,
        start_after: datetime | None = None,
        start_before: datetime | None = None,
    ) -> Mapping[ExecutionStatus, int]:
        """Return how many executions in a window have each status."""
        asked = _window(state_machine_id, start_after, start_before)
        (row,) = await self._fetch(_COUNTS["machine" in asked], asked)
        return dict(zip(ExecutionStatus, row, strict=True))

    async def durations(
        self,
        *,
        state_machine_id: str | None = None,
        start_after: datetime | None = None,
        start_before: datetime | None = None,
        most: int,
    ) -> Sequence[timedelta]:
        """Return how long the newest executions in a window took."""
        asked = _window(state_machine_id, start_after, start_before)
        rows = await self._fetch(_DURATIONS["machine" in asked, self._limits_branches], {**asked, "most": most})
        return [timedelta(microseconds=micros) for micros, *_ in rows]

    async def visits(self, execution_id: str, *, after: int = 0, page: int | None = None) -> Sequence[Visit]:
        """Return visit rows in the order in which they were written."""
        asked: dict[str, object] = {"execution": execution_id, "after": after}
        if page is None:
            rows = await self._fetch(_VISITS, asked)
        else:
            rows = await self._fetch(_VISITS_PAGE, {**asked, "page": page})
        return [to_visit(row) for row in rows]

    async def visit_outlines(self, execution_id: str, *, after: int = 0, page: int) -> Sequence[VisitOutline]:
        """Return a page of visit rows without their payloads."""
        asked = {"execution": execution_id, "after": after, "page": page}
        return [to_visit_outline(row) for row in await self._fetch(_OUTLINES, asked)]

    async def visits_at(self, execution_id: str, places: Collection[int]) -> Mapping[int, Visit]:
        """Return the visit rows at some places."""
        found: dict[int, Visit] = {}
        wanted = sorted(places)
        for start in range(0, len(wanted), CHUNK):
            rows = await self._fetch(queries.visits_at(execution_id, wanted[start : start + CHUNK]))
            found.update((row[1], to_visit(row)) for row in map(tuple, rows))
        return found

    async def last_output(self, execution_id: str, state: str) -> str | None:
        """Return the output of the last completed visit of a state."""
        rows = await self._fetch(_LAST_OUTPUT, {"execution": execution_id, "state": state})
        for (output,) in rows:
            return str(output)
        return None

    async def links(
        self,
        *,
        source_execution_id: str | None = None,
        target_execution_id: str | None = None,
        target_state_machine_id: str | None = None,
        after: Link | None = None,
        page: int,
    ) -> Sequence[Link]:
        """Return links by (created, target)."""
        wanted = source_execution_id, target_execution_id, target_state_machine_id
        return await self._page(lambda asked: self._fetch(queries.links_page(*wanted, after, asked)), to_link, page)

    async def suspect_groups(self) -> Sequence[SuspectGroup]:
        """Return how many suspects without an owner there are, by their deaths."""
        return [to_suspect_group(row) for row in await self._fetch(_SUSPECT_GROUPS, {})]

    async def suspects(self, *, page: int) -> Sequence[Suspect]:
        """Return suspects, the most deaths first."""
        return [to_suspect(row) for row in await self._fetch(lease_queries.suspects(page))]

    async def epochs(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Return the epochs of running executions; a last page is filled up, so that one statement serves all."""
        found: dict[str, int] = {}
        for start in range(0, len(ids), CHUNK):
            page = ids[start : start + CHUNK]
            rows = await self._fetch(_EPOCHS, {f"id_{place}": page[place % len(page)] for place in range(CHUNK)})
            found.update((unescape_text(id_), epoch) for id_, epoch in rows)
        return found

    async def callbacks(self, ids: Sequence[str]) -> Sequence[Callback]:
        """Return callbacks by id."""
        found: list[Callback] = []
        for start in range(0, len(ids), CHUNK):
            rows = await self._fetch(queries.callbacks_with(ids[start : start + CHUNK]))
            found.extend(to_callback_or_failure(row) for row in rows)
        return found

    async def count_unowned(self) -> int:
        """Return how many RUNNING executions have no owner."""
        ((count,),) = await self._fetch(_UNOWNED, {})
        return int(count)

    async def backlog(self) -> Backlog:
        """Return what waits for a worker."""
        ((unowned, shards, running_shards),) = await self._fetch(_BACKLOG, {})
        return Backlog(executions=int(unowned), shards=int(shards), running_shards=int(running_shards))

    async def waiting_tasks(
        self,
        *,
        execution_id: str | None = None,
        state_machine_id: str | None = None,
        state: str | None = None,
        task_id: str | None = None,
        since_before: datetime | None = None,
        after: WaitingTask | None = None,
        page: int,
    ) -> Sequence[WaitingTask]:
        """Return tasks that wait for an answer."""
        wanted = reports.waiting_tasks(execution_id, state_machine_id, state, task_id)
        return await self._page(
            lambda asked: self._fetch(reports.waiting_tasks_page(wanted, since_before, after, asked)),
            reports.to_waiting_task,
            page,
        )

    async def waits(self, ids: Sequence[str]) -> Mapping[str, ExecutionWait]:
        """Return what executions wait for; a last page is filled up, so that one statement serves all."""
        found: dict[str, ExecutionWait] = {}
        for start in range(0, len(ids), WAITS):
            page = ids[start : start + WAITS]
            rows = await self._fetch(_WAITS, {f"id_{place}": page[place % len(page)] for place in range(WAITS)})
            found.update((id_, wait) for id_, wait in readable(rows, to_wait) if wait is not None)
        return found

    async def batch(self, batch_id: str, *, is_counted: bool = True) -> Batch | None:
        """Return a batch."""
        found = [to_batch(row) for row in await self._fetch(_BATCH, {"id": batch_id})]
        for batch in await counted(found, self._fetch) if is_counted else found:
            return batch
        return None

    async def batch_status(self, batch_id: str) -> BatchStatus | None:
        """Return a batch's status."""
        rows = await self._fetch(_BATCH_STATUS, {"id": batch_id})
        return to_batch_status(rows[0]) if rows else None

    async def batches(
        self,
        *,
        state_machine_id: str | None = None,
        status: BatchStatus | None = None,
        parent_execution_id: str | None = None,
        after: Batch | None = None,
        page: int,
        is_counted: bool = True,
    ) -> Sequence[Batch]:
        """Return batches, newest first."""
        wanted = state_machine_id, status, parent_execution_id, after
        found = await self._page(lambda asked: self._fetch(queries.batches_page(*wanted, asked)), to_batch, page)
        return await counted(found, self._fetch) if is_counted else found

    async def batch_items(self, batch_id: str, *, after: int = -1, page: int) -> Sequence[BatchItem]:
        """Return items with their sources' outputs."""
        wanted = {"batch": batch_id, "after": after}
        return await self._page(lambda asked: self._fetch(_ITEMS, {**wanted, "page": asked}), to_batch_item, page)

    async def batch_results(
        self,
        batch_id: str,
        *,
        status: Collection[ExecutionStatus] | None = None,
        after: int = -1,
        until: int | None = None,
        page: int,
    ) -> Sequence[BatchResult]:
        """Return items with their executions."""

        async def fetch(asked: int) -> Sequence[Row]:
            if status is None and until is None:
                return await self._fetch(_RESULTS, {"batch": batch_id, "after": after, "page": asked})
            return await self._fetch(reports.batch_results_page(batch_id, status, after, until, asked))

        return await self._page(fetch, reports.to_batch_result, page)


def _window(machine: str | None, after: datetime | None, before: datetime | None) -> dict[str, object]:
    """Return the parameters of a window."""
    begin = EARLIEST if after is None else to_micros(after)
    window = {"begin": begin, "end": LATEST if before is None else to_micros(before)}
    return {**window, **({} if machine is None else {"machine": machine})}
