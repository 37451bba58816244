"""What an operator asks of a memory repository: counts and durations in a window, tasks that wait, batches' results."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from statechain.records.callbacks import Callback, CallbackStatus
from statechain.records.executions import Execution, ExecutionStatus
from statechain.reports import BatchResult, WaitingTask
from statechain.storage.waits import Awaited, ExecutionWait, wait_of
from statechain_backends.memory.reads import Item, MemoryReads, Run

__all__ = ["MemoryReports"]

BEGINNING = datetime.min.replace(tzinfo=UTC)


class MemoryReports(MemoryReads):
    """The reports of a `Repository`."""

    async def count_by_status(
        self,
        *,
        state_machine_id: str | None = None,
        start_after: datetime | None = None,
        start_before: datetime | None = None,
    ) -> Mapping[ExecutionStatus, int]:
        """Return how many executions in a window have each status."""
        counts = dict.fromkeys(ExecutionStatus, 0)
        for execution in self._started(state_machine_id, start_after, start_before):
            counts[execution.status] += 1
        return counts

    async def durations(
        self,
        *,
        state_machine_id: str | None = None,
        start_after: datetime | None = None,
        start_before: datetime | None = None,
        most: int,
    ) -> Sequence[timedelta]:
        """Return how long the newest executions in a window took."""
        found = list(self._started(state_machine_id, start_after, start_before))
        found.sort(key=lambda each: (each.start_time, each.id.encode()), reverse=True)
        return [each.duration for each in found if each.duration is not None][:most]

    def _started(self, machine: str | None, after: datetime | None, before: datetime | None) -> Iterator[Execution]:
        for each in self._executions.values():
            is_inside = (after is None or each.start_time > after) and (before is None or each.start_time < before)
            if is_inside and machine in {None, each.state_machine_id}:
                yield each

    async def count_unowned(self) -> int:
        """Return how many RUNNING executions have no owner."""
        return sum(run.owner is None for run in self._runs.values())

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
        found = [
            _waiting_task(callback, self._executions[callback.execution_id])
            for callback in self._callbacks.values()
            if self._is_awaited(callback)
            and execution_id in {None, callback.execution_id}
            and state_machine_id in {None, self._executions[callback.execution_id].state_machine_id}
            and state in {None, callback.state}
            and task_id in {None, callback.id}
            and (since_before is None or callback.since is None or callback.since < since_before)
        ]
        return sorted((each for each in found if after is None or _place(each) > _place(after)), key=_place)[:page]

    async def waits(self, ids: Sequence[str]) -> Mapping[str, ExecutionWait]:
        """Return what executions wait for."""
        found = {id_: self._wait(id_, self._runs[id_]) for id_ in ids if id_ in self._runs}
        return {id_: wait for id_, wait in found.items() if wait is not None}

    def _wait(self, id_: str, run: Run) -> ExecutionWait | None:
        callbacks = [each for each in self._callbacks.values() if each.execution_id == id_ and self._is_awaited(each)]
        oldest = min(callbacks, key=lambda each: (each.since or BEGINNING, each.id), default=None)
        awaited = None if oldest is None else Awaited(oldest.state, oldest.activity, oldest.token_hash is not None)
        visits = self._visits.get(id_)
        visit = visits[-1] if visits else None
        return wait_of(is_owned=run.owner is not None, is_queued=run.queue is not None, awaited=awaited, visit=visit)

    def _is_awaited(self, callback: Callback) -> bool:
        execution = self._executions.get(callback.execution_id)
        return (
            callback.status is CallbackStatus.WAITING
            and execution is not None
            and execution.status is ExecutionStatus.RUNNING
            and execution.redrive_count == callback.redrive_count
        )

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
        items = list(self._items.get(batch_id, ()))[after + 1 : None if until is None else until + 1]
        results = (self._result(batch_id, index, item) for index, item in enumerate(items, start=after + 1))
        wanted = [each for each in results if status is None or _has(each, status)]
        return wanted[:page]

    def _result(self, batch_id: str, index: int, item: Item) -> BatchResult:
        execution_id = self._represented(self._batches[batch_id], item)
        execution = None if execution_id is None else self._executions[execution_id]
        return BatchResult(
            index=index,
            name=item.name,
            source_execution_id=item.source_execution_id,
            execution_id=execution_id,
            status=None if execution is None else execution.status,
            error=item.error if execution is None or execution.error is None else execution.error,
            cause=item.cause if execution is None or execution.cause is None else execution.cause,
        )


def _has(result: BatchResult, status: Collection[ExecutionStatus]) -> bool:
    if result.status is None:
        return result.error is not None and ExecutionStatus.FAILED in status
    return result.status in status


def _waiting_task(callback: Callback, execution: Execution) -> WaitingTask:
    return WaitingTask(
        id=callback.id,
        execution_id=execution.id,
        execution_name=execution.name,
        state_machine_id=execution.state_machine_id,
        state=callback.state,
        since=callback.since,
        activity=callback.activity,
        is_taken=callback.token_hash is not None,
        last_heartbeat=callback.last_heartbeat,
    )


def _place(task: WaitingTask) -> tuple[datetime, bytes]:
    return task.since or BEGINNING, task.id.encode()
