"""Storage in the process's memory: the reference of the contract, for tests and for work that may be lost.

Records are immutable and payloads are texts, so nothing is shared that anybody could change.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import attrs

from statechain.errors import BatchNotFound, ExecutionNotFound, InvalidToken, LeaseLost, TaskTimedOut
from statechain.filters import Chained, Cursor, ExecutionFilter
from statechain.records import (
    Batch,
    BatchItem,
    BatchStatus,
    Callback,
    CallbackStatus,
    Claim,
    DurationStatistics,
    Execution,
    ExecutionStatus,
    ItemCounts,
    Link,
    StateMachineRecord,
    Visit,
)
from statechain.storage.repository import (
    Advance,
    AnswerCallback,
    BeatCallback,
    CloseCallback,
    CreateBatch,
    CreateStateMachine,
    DeleteExecutions,
    EndBatch,
    FailBatchItem,
    Heart,
    RedriveExecution,
    ReleaseExecution,
    StartExecution,
    StopExecution,
    TakeActivity,
    Write,
)

__all__ = ["MemoryRepository"]

LIVING = frozenset({ExecutionStatus.RUNNING, ExecutionStatus.SUCCEEDED})


@attrs.define
class _Run:
    """What exists of an execution only while it is RUNNING."""

    owner: str | None
    epoch: int
    claims: int = 0


@attrs.define
class _Item:
    """A frozen source of a batch."""

    source_execution_id: str
    name: str
    error: str | None = None
    cause: str | None = None


class MemoryRepository:
    """A `Repository` in memory; it keeps what it has while the object lives, also when closed and entered again."""

    def __init__(self, url: str = "memory://") -> None:
        if url.partition("://")[2]:
            raise ValueError("memory:// takes nothing behind it: each repository is a storage of its own")
        self._machines: dict[str, list[StateMachineRecord]] = {}
        self._executions: dict[str, Execution] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._epochs: dict[str, int] = {}
        self._runs: dict[str, _Run] = {}
        self._visits: dict[str, list[Visit]] = {}
        self._links: dict[str, Link] = {}
        self._chains: dict[tuple[str, str | None, str], list[str]] = {}
        self._batches: dict[str, Batch] = {}
        self._items: dict[str, list[_Item]] = {}
        self._leases: dict[str, float] = {}
        self._callbacks: dict[str, Callback] = {}
        self._tokens: dict[str, str] = {}
        self._apply: dict[type, Callable[[Any], object]] = {
            CreateStateMachine: self._create_state_machine,
            StartExecution: self._start,
            Advance: self._advance,
            StopExecution: self._stop,
            RedriveExecution: self._redrive,
            ReleaseExecution: self._release,
            CreateBatch: self._create_batch,
            FailBatchItem: self._fail_item,
            EndBatch: self._end_batch,
            DeleteExecutions: self._delete,
            AnswerCallback: self._answer,
            BeatCallback: self._beat,
            CloseCallback: self._close,
            TakeActivity: self._take,
        }

    def __repr__(self) -> str:
        return "<MemoryRepository>"

    async def __aenter__(self) -> Self:
        """Open it; there is nothing to do."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it; there is nothing to do."""

    # Writing

    async def commit(self, writes: Sequence[Write[object]]) -> Sequence[object]:
        """Apply writes in order; nothing runs in between, so they are one transaction."""
        return [self._apply[type(write)](write) for write in writes]

    def _create_state_machine(self, write: CreateStateMachine) -> object:
        machine = write.machine
        revisions = self._machines.setdefault(machine.name, [])
        if not revisions:
            revisions.append(attrs.evolve(machine, revision=1))
        elif (revisions[-1].definition, revisions[-1].type) != (machine.definition, machine.type):
            newest = revisions[-1]
            revisions.append(attrs.evolve(machine, id=newest.id, revision=newest.revision + 1))
        return revisions[-1]

    def _start(self, write: StartExecution) -> object:
        execution = write.execution
        holder = self._names.get((execution.state_machine_id, execution.name))
        if holder is not None:
            return self._executions[holder]
        source = execution.source
        if source is not None:
            chain = self._chains.setdefault((source.execution_id, source.state_name, execution.state_machine_id), [])
            living = (other for other in map(self._executions.__getitem__, chain) if other.status in LIVING)
            other = next(living, None) if write.exclusive else None
            if other is not None:
                return other
            chain.append(execution.id)
            self._links[execution.id] = Link(
                source_execution_id=source.execution_id,
                source_state_name=source.state_name,
                target_execution_id=execution.id,
                target_state_machine_id=execution.state_machine_id,
                created=execution.start_time,
            )
        self._names[execution.state_machine_id, execution.name] = execution.id
        self._executions[execution.id] = execution
        self._visits[execution.id] = []
        self._epochs[execution.id] = 1
        self._runs[execution.id] = _Run(write.owner, 1)
        return execution

    def _advance(self, write: Advance) -> object:
        execution_id = write.execution_id
        run, visits = self._runs.get(execution_id), self._visits.get(execution_id, [])
        grown = write.seq + len(write.visits)
        if run is None or run.epoch != write.epoch or len(visits) != write.seq:
            ended_here = run is None and write.end is not None and self._epochs.get(execution_id) == write.epoch
            moved_here = run is not None and run.epoch == write.epoch and write.end is None
            if (ended_here or moved_here) and len(visits) == grown:
                return None
            return LeaseLost(f"execution {execution_id} is run by another worker, or has ended")
        visits.extend(write.visits)
        run.claims = 0
        self._executions[execution_id] = attrs.evolve(
            self._executions[execution_id], current_state=write.current_state
        )
        for callback in write.opened:
            self._keep(callback)
        for each in write.closed:
            self._close(CloseCallback(id=each))
        if write.end is not None:
            self._end(execution_id, write.end)
        return None

    def _end(self, execution_id: str, end: Any) -> None:  # noqa: ANN401 -- an End
        del self._runs[execution_id]
        fields = attrs.asdict(end, recurse=False)
        self._executions[execution_id] = attrs.evolve(self._executions[execution_id], **fields)

    def _stop(self, write: StopExecution) -> object:
        run = self._runs.get(write.execution_id)
        if write.execution_id not in self._executions:
            return ExecutionNotFound(f"there is no execution {write.execution_id!r}")
        if run is not None:
            self._epochs[write.execution_id] = run.epoch + 1
            self._end(write.execution_id, write.end)
        return self._executions[write.execution_id]

    def _redrive(self, write: RedriveExecution) -> object:
        execution = self._executions.get(write.execution_id)
        if execution is None:
            return ExecutionNotFound(f"there is no execution {write.execution_id!r}")
        if execution.status in LIVING:
            return None
        epoch = self._epochs[execution.id] = self._epochs[execution.id] + 1
        self._runs[execution.id] = _Run(write.owner, epoch)
        redriven = attrs.evolve(
            execution,
            status=ExecutionStatus.RUNNING,
            end_time=None,
            output_text=None,
            error=None,
            cause=None,
            redrive_count=execution.redrive_count + 1,
        )
        self._executions[execution.id] = redriven
        return Claim(execution=redriven, epoch=epoch, seq=len(self._visits[execution.id]))

    def _release(self, write: ReleaseExecution) -> object:
        run = self._runs.get(write.execution_id)
        if run is not None and run.epoch == write.epoch:
            run.owner, run.claims = None, write.claims
        return None

    # Callbacks

    def _keep(self, callback: Callback) -> Callback:
        self._callbacks[callback.id] = callback
        if callback.token_hash is not None:
            self._tokens[callback.token_hash] = callback.id
        return callback

    def _is_awaited(self, callback: Callback) -> bool:
        execution = self._executions.get(callback.execution_id)
        return (
            callback.status is CallbackStatus.WAITING
            and execution is not None
            and execution.status is ExecutionStatus.RUNNING
            and execution.redrive_count == callback.redrive_count
        )

    def _answer(self, write: AnswerCallback) -> object:
        callback = self._callbacks.get(self._tokens.get(write.token_hash, ""))
        if callback is None:
            return InvalidToken("no task ever waited under this token")
        status = CallbackStatus.SUCCEEDED if write.error is None else CallbackStatus.FAILED
        answered = attrs.evolve(
            callback, status=status, output_text=write.output_text, error=write.error, cause=write.cause
        )
        if callback == answered:
            return callback
        return self._keep(answered) if self._is_awaited(callback) else _task_is_over()

    def _beat(self, write: BeatCallback) -> object:
        callback = self._callbacks.get(self._tokens.get(write.token_hash, ""))
        if callback is None:
            return InvalidToken("no task ever waited under this token")
        return self._keep(attrs.evolve(callback, beat=write.beat)) if self._is_awaited(callback) else _task_is_over()

    def _close(self, write: CloseCallback) -> object:
        callback = self._callbacks.get(write.id)
        if callback is None or callback.status is not CallbackStatus.WAITING:
            return callback
        return self._keep(attrs.evolve(callback, status=CallbackStatus.CLOSED))

    def _take(self, write: TakeActivity) -> object:
        taken = self._tokens.get(write.token_hash)
        if taken is not None:
            return self._callbacks[taken]
        free = (
            callback
            for callback in self._callbacks.values()
            if callback.activity == write.activity and callback.token_hash is None and self._is_awaited(callback)
        )
        oldest = min(free, key=lambda callback: callback.id, default=None)
        if oldest is None:
            return None
        return self._keep(attrs.evolve(oldest, token_hash=write.token_hash, beat=write.beat))

    # Batches

    def _create_batch(self, write: CreateBatch) -> object:
        batch = write.batch
        if batch.id not in self._batches:
            selected = self._select(write.select)
            stop = None if write.select.limit is None else write.select.offset + write.select.limit
            self._items[batch.id] = [
                _Item(execution.id, f"{batch.name_prefix}-{execution.id}")
                for execution in selected[write.select.offset : stop]
            ]
            self._batches[batch.id] = batch
        return self._counted(self._batches[batch.id])

    def _fail_item(self, write: FailBatchItem) -> object:
        item = self._items[write.batch_id][write.index]
        item.error, item.cause = write.error, write.cause
        return None

    def _end_batch(self, write: EndBatch) -> object:
        batch = self._batches.get(write.batch_id)
        if batch is None:
            return BatchNotFound(f"there is no batch {write.batch_id!r}")
        if batch.status is BatchStatus.RUNNING or write.status is BatchStatus.RUNNING:
            batch = self._batches[batch.id] = attrs.evolve(batch, status=write.status, end_time=write.end_time)
        return self._counted(batch)

    def _delete(self, write: DeleteExecutions) -> object:
        select = write.select
        stop = None if select.limit is None else select.offset + select.limit
        chosen = [execution for execution in self._select(select) if execution.status.is_terminal]
        chosen = chosen[select.offset : stop]
        for execution in chosen:
            del self._executions[execution.id], self._names[execution.state_machine_id, execution.name]
            del self._epochs[execution.id], self._visits[execution.id]
        gone = {execution.id for execution in chosen}
        self._links = {
            target: link
            for target, link in self._links.items()
            if target not in gone and link.source_execution_id not in gone
        }
        self._chains = {
            chain: kept
            for chain, targets in self._chains.items()
            if (kept := [target for target in targets if target not in gone])
        }
        self._callbacks = {each.id: each for each in self._callbacks.values() if each.execution_id not in gone}
        self._tokens = {token: each for token, each in self._tokens.items() if each in self._callbacks}
        return len(chosen)

    # Reading

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

    async def execution_by_name(self, state_machine_id: str, name: str) -> Execution | None:
        """Return the execution that holds a name."""
        holder = self._names.get((state_machine_id, name))
        return None if holder is None else self._executions[holder]

    async def executions(self, select: ExecutionFilter, *, after: Cursor | None, page: int) -> Sequence[Execution]:
        """Return a page of executions."""
        found = self._select(select)
        if after is None:
            return found[select.offset : select.offset + page]
        place = (after.start_time, after.id)
        newest = select.order == "newest_first"
        keyed = (((each.start_time, each.id), each) for each in found)
        later = (each for key, each in keyed if (key < place if newest else key > place))
        return [each for each, _ in zip(later, range(page), strict=False)]

    async def count_executions(self, select: ExecutionFilter) -> int:
        """Return how many executions a filter means."""
        return len(self._select(select))

    def _select(self, select: ExecutionFilter) -> list[Execution]:
        chained = None if select.unchained_to is None else self._chained_to(select.unchained_to)
        found = [
            execution
            for execution in self._executions.values()
            if _matches(execution, select) and (chained is None or execution.id not in chained)
        ]
        return sorted(found, key=lambda each: (each.start_time, each.id), reverse=select.order == "newest_first")

    def _chained_to(self, chained: Chained) -> set[str]:
        """Return the sources from which a living execution of the target was chained."""
        return {
            link.source_execution_id
            for link in self._links.values()
            if link.target_state_machine_id == chained.to
            and link.source_state_name == chained.source_state_name
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

    async def callbacks(self, ids: Sequence[str]) -> Sequence[Callback]:
        """Return callbacks by id."""
        return [self._callbacks[each] for each in ids if each in self._callbacks]

    async def batch(self, batch_id: str) -> Batch | None:
        """Return a batch."""
        batch = self._batches.get(batch_id)
        return None if batch is None else self._counted(batch)

    async def batches(
        self,
        *,
        state_machine_id: str | None = None,
        status: BatchStatus | None = None,
        after: Batch | None = None,
        page: int,
    ) -> Sequence[Batch]:
        """Return batches, newest first."""
        found = [
            batch
            for batch in self._batches.values()
            if state_machine_id in {None, batch.state_machine_id}
            and status in {None, batch.status}
            and (after is None or (batch.start_time, batch.id) < (after.start_time, after.id))
        ]
        found.sort(key=lambda batch: (batch.start_time, batch.id), reverse=True)
        return [self._counted(batch) for batch in found[:page]]

    async def batch_items(self, batch_id: str, *, after: int = -1, page: int) -> Sequence[BatchItem]:
        """Return items with their sources' outputs."""
        batch = self._batches.get(batch_id)
        if batch is None:
            return []
        items = self._items[batch_id][after + 1 : after + 1 + page]
        return [await self._item(batch, index, item) for index, item in enumerate(items, start=after + 1)]

    async def _item(self, batch: Batch, index: int, item: _Item) -> BatchItem:
        source = self._executions.get(item.source_execution_id)
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
        )

    def _counted(self, batch: Batch) -> Batch:
        counts = dict.fromkeys(("pending", "running", "succeeded", "failed", "timed_out", "aborted"), 0)
        for item in self._items[batch.id]:
            target = self._names.get((batch.state_machine_id, item.name))
            if target is not None:
                counts[self._executions[target].status.lower()] += 1
            else:
                counts["pending" if item.error is None else "failed"] += 1
        return attrs.evolve(batch, item_counts=ItemCounts(**counts, total=len(self._items[batch.id])))

    # Leases

    async def heartbeat(self, worker_id: str, lease: timedelta) -> None:
        """Register a worker or renew its lease."""
        self._leases[worker_id] = time.monotonic() + lease.total_seconds()

    def heart(self, worker_id: str, lease: timedelta) -> Heart:
        """Return what renews a worker's lease; any thread may do it."""
        return _Heart(self, worker_id, lease)

    async def claim(
        self,
        worker_id: str,
        *,
        page: int,
        leaving: Collection[tuple[str, int]] = (),
        running: Collection[str] | None = None,
    ) -> Sequence[Claim]:
        """Take over executions that no live worker owns."""
        now = time.monotonic()
        alive = {worker for worker, until in tuple(self._leases.items()) if until > now}
        orphans = [
            self._executions[each]
            for each, run in self._runs.items()
            if run.owner not in alive or (running is not None and run.owner == worker_id and each not in running)
        ]
        orphans = [each for each in orphans if (each.state_machine_id, each.state_machine_revision) not in leaving]
        orphans.sort(key=lambda execution: (execution.start_time, execution.id))
        return [self._claim(execution, worker_id) for execution in orphans[:page]]

    def _claim(self, execution: Execution, worker_id: str) -> Claim:
        run = self._runs[execution.id]
        run.owner, run.epoch, run.claims = worker_id, run.epoch + 1, run.claims + 1
        self._epochs[execution.id] = run.epoch
        return Claim(execution=execution, epoch=run.epoch, seq=len(self._visits[execution.id]), claims=run.claims)

    async def release(self, worker_id: str) -> None:
        """Give up all that a worker owns."""
        self._leases.pop(worker_id, None)
        for run in self._runs.values():
            if run.owner == worker_id:
                run.owner, run.claims = None, 0


@attrs.frozen
class _Heart:
    """A heartbeat in memory: one assignment, which any thread may make."""

    repository: MemoryRepository
    worker_id: str
    lease: timedelta

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        pass

    async def beat(self) -> None:
        """Renew the lease."""
        await self.repository.heartbeat(self.worker_id, self.lease)


def _matches(execution: Execution, select: ExecutionFilter) -> bool:
    return (
        (select.status is None or execution.status in select.status)
        and select.state_machine_id in {None, execution.state_machine_id}
        and (select.name is None or select.name in execution.name)
        and select.current_state in {None, execution.current_state}
        and (select.start_after is None or execution.start_time > select.start_after)
        and (select.start_before is None or execution.start_time < select.start_before)
    )


def _task_is_over() -> TaskTimedOut:
    return TaskTimedOut("the task under this token is over")


def _place(link: Link) -> tuple[object, str]:
    return link.created, link.target_execution_id


def _statistics(durations: Sequence[float]) -> DurationStatistics:
    def rank(percent: int) -> float:
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


