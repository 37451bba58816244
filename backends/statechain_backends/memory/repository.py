"""Storage in the process's memory: the reference of the contract, for tests and for work that may be lost.

Records are immutable and payloads are texts, so nothing is shared that could be changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Self

import attrs

from statechain.errors import BatchNotFound, ExecutionNotFound, InvalidToken, TaskTimedOut
from statechain.records.batches import BatchStatus
from statechain.records.callbacks import Callback, CallbackStatus
from statechain.records.executions import Claim, Execution, ExecutionStatus, Link
from statechain.storage.findings import Finding
from statechain.storage.leases import lease_lost
from statechain.storage.queues import MachineLimited
from statechain.storage.repository import (
    AddBatchItems,
    Advance,
    AnswerCallback,
    CloseCallback,
    CreateBatch,
    CreateStateMachine,
    DeleteExecutions,
    DropBatchItems,
    End,
    EndBatch,
    FailBatchItem,
    HeartbeatCallback,
    JoinBatchItem,
    LimitStateMachine,
    RedriveExecution,
    ReleaseExecution,
    ResumeBatch,
    StartExecution,
    StopExecution,
    TakeActivity,
    TakeUpExecution,
    Write,
    items_missing,
)
from statechain.storage.shards import is_begun_elsewhere
from statechain_backends.memory.leases import MemoryLeases
from statechain_backends.memory.reads import LIVING, Item, Run

__all__ = ["MemoryRepository"]


class MemoryRepository(MemoryLeases):
    """A `Repository` in memory; it keeps what it has while the object exists, also when closed and entered again."""

    commits_in_process = True

    def __init__(self, url: str = "memory://") -> None:
        if url.partition("://")[2]:
            raise ValueError("memory:// takes no path or options: each repository is a storage of its own")
        super().__init__()
        self._apply: dict[type, Callable[[Any], object]] = {
            CreateStateMachine: self._create_state_machine,
            StartExecution: self._start,
            Advance: self._advance,
            StopExecution: self._stop,
            RedriveExecution: self._redrive,
            ReleaseExecution: self._release,
            AddBatchItems: self._add_items,
            DropBatchItems: self._drop_items,
            CreateBatch: self._create_batch,
            ResumeBatch: self._resume_batch,
            FailBatchItem: self._fail_item,
            JoinBatchItem: self._join_item,
            EndBatch: self._end_batch,
            LimitStateMachine: self._limit,
            DeleteExecutions: self._delete,
            AnswerCallback: self._answer,
            HeartbeatCallback: self._beat,
            CloseCallback: self._close,
            TakeActivity: self._take,
            TakeUpExecution: self._take_up,
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

    async def check(self, *, repair: bool = False) -> AsyncIterator[Finding]:
        """Yield nothing: records in memory cannot be damaged.

        Arguments:
            repair: Plays no part; a database would be repaired.
        """
        del repair
        nothing: Sequence[Finding] = ()
        for finding in nothing:
            yield finding

    # Writing

    async def commit(self, writes: Sequence[Write[object]]) -> Sequence[object]:
        """Apply writes in order."""
        # One transaction, since nothing is awaited in between. Nothing is rolled back: a refused write changed nothing.
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
            # `_stored` without what has moved: the status does not change with a step.
            living = (other for other in chain if self._stored[other].status in LIVING)
            other = next(living, None) if write.exclusive else None
            if other is not None:
                return self._executions[other]
        queue = self._queue_for(execution.state_machine_id, write.owner)
        if isinstance(queue, MachineLimited):
            return queue
        if source is not None:
            chain.append(execution.id)
            self._links[execution.id] = Link(
                source_execution_id=source.execution_id,
                source_state_name=source.state_name,
                target_execution_id=execution.id,
                target_state_machine_id=execution.state_machine_id,
                created=execution.start_time,
            )
        self._names[execution.state_machine_id, execution.name] = execution.id
        self._stored[execution.id] = execution
        self._visits[execution.id] = []
        self._epochs[execution.id] = 1
        self._runs[execution.id] = Run(write.owner, 0 if write.owner is None else 1, queue=queue)
        return execution

    def _advance(self, write: Advance) -> object:
        execution_id = write.execution_id
        run, visits = self._runs.get(execution_id), self._visits.get(execution_id, [])
        grown = write.seq + len(write.visits)
        # The guard: the epoch is the fencing token, and `seq` the place in the journal of the execution.
        if run is None or run.epoch != write.epoch or len(visits) != write.seq:
            # Idempotent: after a lost reply the same write finds its own visits, its own end and its epoch there.
            ended_here = run is None and write.end is not None and self._epochs.get(execution_id) == write.epoch
            moved_here = run is not None and run.epoch == write.epoch and write.end is None
            execution, end = self._executions.get(execution_id), write.end
            is_own_end = end is None or (
                execution is not None and (execution.status, execution.end_time) == (end.status, end.end_time)
            )
            is_own = is_own_end and visits[write.seq :] == [*write.visits]
            if (ended_here or moved_here) and is_own and len(visits) == grown:
                return None
            return lease_lost(execution_id, write.epoch, None if run is None else run.epoch)
        visits.extend(write.visits)
        # Progress: earlier deaths are not held against it.
        run.claims = 0
        if write.end is not None:
            self._end(execution_id, write.end, write.current_state)
        else:
            self._moved[execution_id] = write.current_state
        for callback in write.opened:
            if callback.id not in self._callbacks:
                self._keep(callback)
        for each in write.closed:
            self._close(CloseCallback(id=each))
        return None

    def _end(self, execution_id: str, end: End, current_state: str | None) -> None:
        self._epochs[execution_id] = self._runs.pop(execution_id).epoch
        # A state noted here would be set on the record of the end.
        self._moved.pop(execution_id, None)
        self._stored[execution_id] = self._stored[execution_id].ended(
            status=end.status,
            end_time=end.end_time,
            output_text=end.output_text,
            error=end.error,
            cause=end.cause,
            current_state=current_state,
        )

    def _stop(self, write: StopExecution) -> object:
        run = self._runs.get(write.execution_id)
        if write.execution_id not in self._executions:
            return ExecutionNotFound(f"there is no execution {write.execution_id!r}")
        if run is not None:
            # The fence: the worker that runs it writes under the former epoch, and may not take this end for its own.
            run.epoch += 1
            self._end(write.execution_id, write.end, self._executions[write.execution_id].current_state)
        return self._executions[write.execution_id]

    def _redrive(self, write: RedriveExecution) -> object:
        execution = self._executions.get(write.execution_id)
        if execution is None:
            return ExecutionNotFound(f"there is no execution {write.execution_id!r}")
        epoch = self._epochs[execution.id] + 1  # of the last end
        if execution.status not in LIVING and execution.redrive_count == write.redrive_count:
            queue = self._queue_for(execution.state_machine_id, write.owner)
            if isinstance(queue, MachineLimited):
                return queue
            self._revive(execution)
            self._runs[execution.id] = Run(write.owner, epoch, queue=queue)
        run = self._runs.get(execution.id)
        redriven = self._executions[execution.id]
        if redriven.redrive_count != write.redrive_count + 1:
            return None
        # The claim that this write gave is good until a later one.
        if write.owner is not None and (run is None or (run.owner, run.epoch) != (write.owner, epoch)):
            return None
        if run is None:  # without an owner the redrive counts, also where the execution has ended since
            return Claim(execution=redriven, epoch=self._epochs[execution.id], seq=0)
        return Claim(execution=redriven, epoch=run.epoch, seq=len(self._visits[execution.id]), claims=run.claims)

    def _revive(self, execution: Execution) -> None:
        self._executions[execution.id] = attrs.evolve(
            execution,
            status=ExecutionStatus.RUNNING,
            end_time=None,
            output_text=None,
            error=None,
            cause=None,
            redrive_count=execution.redrive_count + 1,
        )

    # Callbacks

    def _keep(self, callback: Callback) -> Callback:
        self._callbacks[callback.id] = callback
        if callback.token_hash is not None:
            self._tokens[callback.token_hash] = callback.id
        return callback

    def _answer(self, write: AnswerCallback) -> object:
        callback = self._callbacks.get(self._tokens.get(write.token_hash, ""))
        if callback is None:
            return InvalidToken("no task ever waited under this token")
        if write.is_given_to(callback):
            return callback
        if not self._is_awaited(callback):
            return _task_is_over()
        answered = attrs.evolve(
            callback, status=write.status, output_text=write.output_text, error=write.error, cause=write.cause
        )
        return self._keep(answered)

    def _beat(self, write: HeartbeatCallback) -> object:
        callback = self._callbacks.get(self._tokens.get(write.token_hash, ""))
        if callback is None:
            return InvalidToken("no task ever waited under this token")
        return (
            self._keep(attrs.evolve(callback, last_heartbeat=write.heartbeat))
            if self._is_awaited(callback)
            else _task_is_over()
        )

    def _close(self, write: CloseCallback) -> object:
        callback = self._callbacks.get(write.id)
        if callback is None or callback.status is not CallbackStatus.WAITING:
            return callback
        return self._keep(attrs.evolve(callback, status=CallbackStatus.CLOSED))

    def _take(self, write: TakeActivity) -> object:
        taken = self._tokens.get(write.token_hash)
        # The reply to this very write was lost: the same token has the same task.
        if taken is not None:
            return self._callbacks[taken]
        free = (
            callback
            for callback in self._callbacks.values()
            if callback.activity == write.activity and callback.token_hash is None and self._is_awaited(callback)
        )
        # An id begins with that of its execution: the oldest execution has the first task.
        oldest = min(free, key=lambda callback: callback.id, default=None)
        if oldest is None:
            return None
        return self._keep(attrs.evolve(oldest, token_hash=write.token_hash, last_heartbeat=write.heartbeat))

    # Batches

    def _create_batch(self, write: CreateBatch) -> object:
        batch = write.batch
        if write.joins:
            running = (each for each in self._batches.values() if each.status is BatchStatus.RUNNING)
            batch = next((each for each in running if each.does_the_same(batch)), batch)
        if batch.id not in self._batches and write.filter_ is None:
            if len(self._items.setdefault(batch.id, [])) != write.item_count:
                return items_missing(write)
            self._batches[batch.id] = batch
        elif batch.id not in self._batches and write.filter_ is not None:
            selected = self._select(write.filter_)
            stop = None if write.filter_.limit is None else write.filter_.offset + write.filter_.limit
            self._items[batch.id] = [
                Item(execution.id, f"{batch.name_prefix}-{execution.id}")
                for execution in selected[write.filter_.offset : stop]
            ]
            self._batches[batch.id] = batch
        return self._uncounted(self._batches[batch.id])

    def _add_items(self, write: AddBatchItems) -> None:
        items = self._items.setdefault(write.batch_id, [])
        items += [
            Item(each.source_execution_id, each.name, each.error, each.cause, each.input_text)
            for each in write.items
            # Pages come without gaps: a page that is added again has no index that is new.
            if each.index >= len(items)
        ]

    def _drop_items(self, write: DropBatchItems) -> None:
        # Compare: the batch may have been created by the write whose reply was lost.
        if write.batch_id not in self._batches:
            del self._items.get(write.batch_id, [])[write.first : write.last + 1]

    def _resume_batch(self, write: ResumeBatch) -> object:
        batch = self._batches.get(write.batch_id)
        if batch is None:
            return BatchNotFound(f"there is no batch {write.batch_id!r}")
        before = batch
        if write.options is not None:
            batch = attrs.evolve(batch, options=write.options)
        if batch.status is not BatchStatus.RUNNING:
            batch = attrs.evolve(batch, status=BatchStatus.RUNNING, end_time=None)
            self._reopen_shards(batch.id)
        self._batches[batch.id] = batch
        if is_begun_elsewhere(before, batch):
            self._cut(batch, was_begun=True)
        return self._uncounted(batch)

    def _fail_item(self, write: FailBatchItem) -> object:
        for item in self._items_at(write):
            item.error, item.cause = write.error, write.cause
        return None

    def _join_item(self, write: JoinBatchItem) -> object:
        for item in self._items_at(write):
            item.name = write.name
        return None

    def _items_at(self, write: FailBatchItem | JoinBatchItem) -> Sequence[Item]:
        """Return the item that a write is about; none where there is no such one."""
        return self._items.get(write.batch_id, [])[write.index : write.index + 1]

    def _end_batch(self, write: EndBatch) -> object:
        batch = self._batches.get(write.batch_id)
        if batch is None:
            return BatchNotFound(f"there is no batch {write.batch_id!r}")
        if batch.status is BatchStatus.RUNNING:
            batch = self._batches[batch.id] = attrs.evolve(batch, status=write.status, end_time=write.end_time)
        return self._uncounted(batch)

    def _delete(self, write: DeleteExecutions) -> object:
        counts = write.redrive_counts
        found = [self._executions[each] for each in counts if each in self._executions]
        # One that was redriven since it was seen is not what was to be deleted.
        ended = [each for each in found if each.status.is_terminal and each.redrive_count == counts[each.id]]
        for execution in ended:
            del self._executions[execution.id], self._names[execution.state_machine_id, execution.name]
            del self._epochs[execution.id], self._visits[execution.id]
        gone = {execution.id for execution in ended}
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
        # What is gone already counts: a deletion that is made again, after a lost reply, answers the same.
        return len(counts) - len(found) + len(ended)


def _task_is_over() -> TaskTimedOut:
    return TaskTimedOut("the task under this token is over")
