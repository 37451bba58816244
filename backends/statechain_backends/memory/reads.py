"""What a memory repository holds, and what it is asked: the reading half, the reference for all backends.

Records are immutable and payloads are texts, so nothing is shared that could be changed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from statechain.records.batches import NAME_TAKEN, Batch, BatchItem, BatchStatus, ItemCounts
from statechain.records.callbacks import Callback
from statechain.records.executions import (
    DurationStatistics,
    Execution,
    ExecutionStatus,
    Link,
    StateMachineRecord,
    Visit,
)
from statechain.records.filters import Chained, Cursor, ExecutionFilter, ExecutionKey
from statechain.storage.outlines import VisitOutline, outline

__all__ = ["LIVING", "Item", "MemoryReads", "Run"]

LIVING = frozenset({ExecutionStatus.RUNNING, ExecutionStatus.SUCCEEDED})


@attrs.define
class Run:
    """What exists of an execution only while it is RUNNING."""

    owner: str | None
    epoch: int
    claims: int = 0
    backoff: float = 0.0
    claimable_after: float = 0.0
    suspect_since: float = 0.0
    queue: str | None = None


@attrs.define
class Item:
    """An item of a batch: a frozen source, or an input."""

    source_execution_id: str | None
    name: str
    error: str | None = None
    cause: str | None = None
    input_text: str | None = None


class MemoryReads:
    """The tables, and the reads of a `Repository`."""

    def __init__(self) -> None:
        self._machines: dict[str, list[StateMachineRecord]] = {}
        self._stored: dict[str, Execution] = {}
        self._moved: dict[str, str | None] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._epochs: dict[str, int] = {}
        self._runs: dict[str, Run] = {}
        self._visits: dict[str, list[Visit]] = {}
        self._links: dict[str, Link] = {}
        self._chains: dict[tuple[str, str | None, str], list[str]] = {}
        self._batches: dict[str, Batch] = {}
        self._items: dict[str, list[Item]] = {}
        self._callbacks: dict[str, Callback] = {}
        self._tokens: dict[str, str] = {}

    @property
    def _executions(self) -> dict[str, Execution]:
        """The executions."""
        # A step only notes the state; a record is made of it when one is read, which is much more seldom.
        while self._moved:
            execution_id, state = self._moved.popitem()
            self._stored[execution_id] = self._stored[execution_id].moved_to(state)
        return self._stored

    async def state_machine(self, name_or_id: str, revision: int | None = None) -> StateMachineRecord | None:
        """Return a revision of a state machine."""
        by_id = [each for each in self._machines.values() if each and each[0].id == name_or_id]
        revisions = by_id[0] if by_id else self._machines.get(name_or_id, [])
        chosen = [each for each in revisions if revision is None or each.revision == revision]
        return chosen[-1] if chosen else None

    async def state_machines(self) -> Sequence[StateMachineRecord]:
        """Return the newest revision of every state machine, by name."""
        return [self._machines[name][-1] for name in sorted(self._machines, key=str.encode)]

    async def execution(self, execution_id: str) -> Execution | None:
        """Return an execution."""
        return self._executions.get(execution_id)

    async def executions_with(self, ids: Sequence[str]) -> Sequence[Execution]:
        """Return the executions with these ids."""
        return [self._executions[each] for each in ids if each in self._executions]

    async def execution_by_name(self, state_machine_id: str, name: str) -> Execution | None:
        """Return the execution that holds a name."""
        holder = self._names.get((state_machine_id, name))
        return None if holder is None else self._executions[holder]

    async def executions(self, filter_: ExecutionFilter, *, after: Cursor | None, page: int) -> Sequence[Execution]:
        """Return a page of executions."""
        found = self._select(filter_)
        if after is None:
            return found[filter_.offset : filter_.offset + page]
        place = (after.start_time, after.id)
        newest = filter_.order == "newest_first"
        keyed = (((each.start_time, each.id), each) for each in found)
        later = (each for key, each in keyed if (key < place if newest else key > place))
        return [each for each, _ in zip(later, range(page), strict=False)]

    async def execution_keys(
        self, filter_: ExecutionFilter, *, after: Cursor | None, page: int
    ) -> Sequence[ExecutionKey]:
        """Return the keys of a page of executions."""
        return [ExecutionKey.of(each) for each in await self.executions(filter_, after=after, page=page)]

    async def count_executions(self, filter_: ExecutionFilter) -> int:
        """Return how many executions a filter means."""
        return len(self._select(filter_))

    def _select(self, filter_: ExecutionFilter) -> list[Execution]:
        chained = None if filter_.unchained_to is None else self._chained_to(filter_.unchained_to)
        found = [
            execution
            for execution in self._executions.values()
            if _matches(execution, filter_) and (chained is None or execution.id not in chained)
        ]
        return sorted(found, key=lambda each: (each.start_time, each.id), reverse=filter_.order == "newest_first")

    def _chained_to(self, chained: Chained) -> set[str]:
        """Return the sources from which a living execution of the target was chained."""
        return {
            link.source_execution_id
            for link in self._links.values()
            if link.target_state_machine_id == chained.to
            and chained.source_state_name in {None, link.source_state_name}
            and self._executions[link.target_execution_id].status in LIVING
        }

    async def statistics(self, state_machine_id: str) -> Mapping[ExecutionStatus, DurationStatistics]:
        """Return counts and durations by status."""
        durations: dict[ExecutionStatus, list[float]] = {}
        for execution in self._executions.values():
            if execution.state_machine_id == state_machine_id:
                taken = durations.setdefault(execution.status, [])
                taken.append(
                    0.0 if execution.end_time is None else (execution.end_time - execution.start_time).total_seconds()
                )
        return {
            status: _statistics(sorted(taken)) if status.is_terminal else DurationStatistics(count=len(taken))
            for status, taken in durations.items()
        }

    async def visits(self, execution_id: str, *, after: int = 0, page: int | None = None) -> Sequence[Visit]:
        """Return visit rows in the order in which they were written."""
        return tuple(self._visits.get(execution_id, [])[after : None if page is None else after + page])

    async def visit_outlines(self, execution_id: str, *, after: int = 0, page: int) -> Sequence[VisitOutline]:
        """Return a page of visit rows without their payloads."""
        rows = self._visits.get(execution_id, [])[after : after + page]
        return [outline(visit, place) for place, visit in enumerate(rows, after + 1)]

    async def visits_at(self, execution_id: str, places: Collection[int]) -> Mapping[int, Visit]:
        """Return the visit rows at some places."""
        rows = self._visits.get(execution_id, [])
        return {place: rows[place - 1] for place in places if 0 < place <= len(rows)}

    async def last_output(self, execution_id: str, state: str) -> str | None:
        """Return the output of the last completed visit of a state."""
        visits = reversed(self._visits.get(execution_id, []))
        return next((visit.output for visit in visits if visit.state == state and visit.output is not None), None)

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
        found = [
            link
            for link in self._links.values()
            if source_execution_id in {None, link.source_execution_id}
            and target_execution_id in {None, link.target_execution_id}
            and target_state_machine_id in {None, link.target_state_machine_id}
            and (after is None or _place(link) > _place(after))
        ]
        return sorted(found, key=_place)[:page]

    async def epochs(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Return the epochs of running executions."""
        return {each: run.epoch for each in ids if (run := self._runs.get(each)) is not None}

    async def callbacks(self, ids: Sequence[str]) -> Sequence[Callback]:
        """Return callbacks by id."""
        return [self._callbacks[each] for each in ids if each in self._callbacks]

    async def batch(self, batch_id: str, *, is_counted: bool = True) -> Batch | None:
        """Return a batch."""
        batch = self._batches.get(batch_id)
        return None if batch is None else self._counted(batch) if is_counted else self._uncounted(batch)

    async def batch_status(self, batch_id: str) -> BatchStatus | None:
        """Return a batch's status."""
        batch = self._batches.get(batch_id)
        return None if batch is None else batch.status

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
        found = [
            batch
            for batch in self._batches.values()
            if state_machine_id in {None, batch.state_machine_id}
            and status in {None, batch.status}
            and parent_execution_id in {None, batch.parent_execution_id}
            and (after is None or (batch.start_time, batch.id) < (after.start_time, after.id))
        ]
        found.sort(key=lambda batch: (batch.start_time, batch.id), reverse=True)
        return [self._counted(batch) if is_counted else self._uncounted(batch) for batch in found[:page]]

    async def batch_items(self, batch_id: str, *, after: int = -1, page: int) -> Sequence[BatchItem]:
        """Return items with their sources' outputs."""
        batch = self._batches.get(batch_id)
        if batch is None:
            return []
        items = self._items[batch_id][after + 1 : after + 1 + page]
        return [await self._item(batch, index, item) for index, item in enumerate(items, start=after + 1)]

    async def _item(self, batch: Batch, index: int, item: Item) -> BatchItem:
        source = self._executions.get(item.source_execution_id or "")
        output = None if source is None else source.output_text
        if source is not None and batch.source_state_name is not None:
            output = await self.last_output(source.id, batch.source_state_name)
        return BatchItem(
            index=index,
            source_execution_id=item.source_execution_id,
            name=item.name,
            source_status=None if source is None else source.status,
            source_output=output,
            error=item.error,
            cause=item.cause,
            input_text=item.input_text,
        )

    def _represented(self, batch: Batch, item: Item) -> str | None:
        """Return the id of the execution that an item represents."""
        return None if item.error == NAME_TAKEN else self._names.get((batch.state_machine_id, item.name))

    def _settled(self, batch: Batch) -> Iterable[tuple[range, ItemCounts]]:  # noqa: ARG002 -- what is in shards knows more
        """Return the items that need not be looked at, in ranges, and how they are counted."""
        return ()

    def _kind(self, item: Item, status: ExecutionStatus | None) -> str:
        """Return as what an item is counted whose execution has a status."""
        if status is None:
            return "pending" if item.error is None else "failed"
        return status.lower()

    def _uncounted(self, batch: Batch) -> Batch:
        total = len(self._items[batch.id])
        return attrs.evolve(batch, item_counts=ItemCounts(pending=total, total=total))

    def _counted(self, batch: Batch) -> Batch:
        counts, settled = Counter[str](), set[int]()
        for indexes, of_range in self._settled(batch):
            settled.update(indexes)
            counts.update(attrs.asdict(of_range))
        for index, item in enumerate(self._items[batch.id]):
            if index not in settled:
                target = self._represented(batch, item)
                counts[self._kind(item, None if target is None else self._executions[target].status)] += 1
        return attrs.evolve(batch, item_counts=ItemCounts(**{**counts, "total": len(self._items[batch.id])}))


def _matches(execution: Execution, filter_: ExecutionFilter) -> bool:
    return (
        (filter_.status is None or execution.status in filter_.status)
        and filter_.state_machine_id in {None, execution.state_machine_id}
        and (filter_.name is None or filter_.name in execution.name)
        and (filter_.text is None or filter_.text in execution.name or execution.id.startswith(filter_.text))
        and filter_.current_state in {None, execution.current_state}
        and (filter_.start_after is None or execution.start_time > filter_.start_after)
        and (filter_.start_before is None or execution.start_time < filter_.start_before)
    )


def _place(link: Link) -> tuple[object, str]:
    return link.created, link.target_execution_id


def _statistics(durations: Sequence[float]) -> DurationStatistics:
    def rank(percent: int) -> float:
        # The nearest rank, as in SQL: no value between two durations.
        return durations[math.ceil(len(durations) * percent / 100) - 1]

    return DurationStatistics(
        count=len(durations),
        min=durations[0],
        mean=sum(durations) / len(durations),
        p50=rank(50),
        p95=rank(95),
        p99=rank(99),
        max=durations[-1],
    )
