"""The seam between the library and a database: one way to write, a handful of reads, leases.

A repository knows nothing of the language: payloads and details are opaque JSON texts. It opens its storage when
entered, creating or upgrading the schema, and closes it when left. Every failure is a `RepositoryError` whose
``__cause__`` is the driver's; `RepositoryUnavailable` where the same call may succeed later. A row that cannot be read
is a `DamagedRow` and touches only its own execution: a list leaves it out and logs it, a claim ends its execution. A
connection is never held while anything else is awaited. Ids and names compare bytewise; times are kept to the
microsecond.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from statechain.records.batches import Batch, BatchItem, BatchStatus
from statechain.records.callbacks import Callback
from statechain.records.executions import (
    DurationStatistics,
    Execution,
    ExecutionStatus,
    Link,
    StateMachineRecord,
    Visit,
)
from statechain.records.filters import Cursor, ExecutionFilter, ExecutionKey
from statechain.reports import Backlog, BatchResult, WaitingTask
from statechain.storage.leases import LeaseRenewer, LeaseStorage
from statechain.storage.outlines import VisitOutline
from statechain.storage.queues import QueueStorage
from statechain.storage.shards import ShardStorage
from statechain.storage.waits import ExecutionWait
from statechain.storage.writes import (
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

__all__ = [
    "AddBatchItems",
    "Advance",
    "AnswerCallback",
    "CloseCallback",
    "CreateBatch",
    "CreateStateMachine",
    "DeleteExecutions",
    "DropBatchItems",
    "End",
    "EndBatch",
    "FailBatchItem",
    "HeartbeatCallback",
    "JoinBatchItem",
    "LeaseRenewer",
    "LimitStateMachine",
    "RedriveExecution",
    "ReleaseExecution",
    "Repository",
    "ResumeBatch",
    "StartExecution",
    "StopExecution",
    "TakeActivity",
    "TakeUpExecution",
    "Write",
    "items_missing",
]


@runtime_checkable
class Repository(LeaseStorage, QueueStorage, ShardStorage, Protocol):
    """Durable storage for executions. Implementations: memory, SQLite, PostgreSQL, and third parties'.

    Attributes:
        commits_in_process: Whether this process makes the commits itself, so that little else of it runs meanwhile.
    """

    commits_in_process: bool

    async def __aenter__(self) -> Self:
        """Open the storage; create or upgrade its schema, safely from many processes at once."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it; what was committed stays."""

    async def commit(self, writes: Sequence[Write[object]]) -> Sequence[object]:
        """Commit writes in one transaction; return one outcome for each, in order.

        An outcome is what the write's docstring says, or a `StatechainError` instance where that write alone was
        refused. No two writes of one commit have the same key. Raises RepositoryError where the whole
        commit failed: then nothing of it, or (after a lost reply) all of it, is stored. A `CreateBatch` comes alone
        from an engine, beside other commits: it must not hold them up, however many sources there are.
        """

    async def state_machine(self, name_or_id: str, revision: int | None = None) -> StateMachineRecord | None:
        """Return a revision of a state machine, the newest unless one is named; an id wins over a name."""

    async def state_machines(self) -> Sequence[StateMachineRecord]:
        """Return the newest revision of every state machine, by name."""

    async def execution(self, execution_id: str) -> Execution | None:
        """Return an execution."""

    async def executions_with(self, ids: Sequence[str]) -> Sequence[Execution]:
        """Return the executions with these ids, as far as they exist, in any order."""

    async def execution_by_name(self, state_machine_id: str, name: str) -> Execution | None:
        """Return the execution that holds a name in a machine."""

    async def executions(self, filter_: ExecutionFilter, *, after: Cursor | None, page: int) -> Sequence[Execution]:
        """Return at most ``page`` executions in the filter's order, after the cursor (None: from the first on).

        The filter's offset applies where there is no cursor; its limit is the caller's business.
        """

    async def execution_keys(
        self, filter_: ExecutionFilter, *, after: Cursor | None, page: int
    ) -> Sequence[ExecutionKey]:
        """Return the keys of the executions that `executions` would return, and load no payloads."""

    async def count_executions(self, filter_: ExecutionFilter) -> int:
        """Return how many executions a filter means; its limit and offset play no part."""

    async def statistics(self, state_machine_id: str) -> Mapping[ExecutionStatus, DurationStatistics]:
        """Return counts and durations for each status that occurs."""

    async def count_by_status(
        self,
        *,
        state_machine_id: str | None = None,
        start_after: datetime | None = None,
        start_before: datetime | None = None,
    ) -> Mapping[ExecutionStatus, int]:
        """Return how many executions that were started in a window (exclusive) have each status; 0 for none."""

    async def durations(
        self,
        *,
        state_machine_id: str | None = None,
        start_after: datetime | None = None,
        start_before: datetime | None = None,
        most: int,
    ) -> Sequence[timedelta]:
        """Return how long the newest executions took that were started in a window and have ended, the newest first."""

    async def visits(self, execution_id: str, *, after: int = 0, page: int | None = None) -> Sequence[Visit]:
        """Return an execution's visit rows in the order in which they were written, skipping the first ``after``."""

    async def visit_outlines(self, execution_id: str, *, after: int = 0, page: int) -> Sequence[VisitOutline]:
        """Return at most ``page`` visit rows without their payloads, in order, behind the place ``after``."""

    async def visits_at(self, execution_id: str, places: Collection[int]) -> Mapping[int, Visit]:
        """Return the visit rows at these places (counted from 1), as far as they exist, by place."""

    async def last_output(self, execution_id: str, state: str) -> str | None:
        """Return the output text of the last completed visit of a state, in any frame; None without one."""

    async def links(
        self,
        *,
        source_execution_id: str | None = None,
        target_execution_id: str | None = None,
        target_state_machine_id: str | None = None,
        after: Link | None = None,
        page: int,
    ) -> Sequence[Link]:
        """Return links that match all that is given, by (created, target), after a link."""

    async def epochs(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Return the epochs of those of some executions that are RUNNING, by id: claims under others are lost."""

    async def callbacks(self, ids: Sequence[str]) -> Sequence[Callback]:
        """Return the callbacks with these ids, as far as they exist, in any order."""

    async def count_unowned(self) -> int:
        """Return how many RUNNING executions have no owner: submitted, or left by a worker, and not claimed yet."""

    async def backlog(self) -> Backlog:
        """Return what waits for a worker, as of one moment; its tickets are not storage's to know."""

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
        """Return tasks that wait for an answer and match all that is given, by (since, id), after a task.

        Those whose beginning is not known come first, and count as older than any moment.
        """

    async def waits(self, ids: Sequence[str]) -> Mapping[str, ExecutionWait]:
        """Return what RUNNING executions wait for, by their ids, in one query for many; one that runs is left out."""

    async def batch(self, batch_id: str, *, is_counted: bool = True) -> Batch | None:
        """Return a batch, its items counted now; uncounted, which is quick for any number, all of them are pending."""

    async def batch_status(self, batch_id: str) -> BatchStatus | None:
        """Return a batch's status, and count nothing."""

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
        """Return batches that match all that is given, newest first, after a batch; counted or not, as in `batch`."""

    async def batch_items(self, batch_id: str, *, after: int = -1, page: int) -> Sequence[BatchItem]:
        """Return items with an index above ``after``, with their sources' outputs as of now, in one query."""

    async def batch_results(
        self,
        batch_id: str,
        *,
        status: Collection[ExecutionStatus] | None = None,
        after: int = -1,
        until: int | None = None,
        page: int,
    ) -> Sequence[BatchResult]:
        """Return items with an index above ``after`` and of at most ``until``, and their executions, in order.

        Given statuses, only items whose execution has one of them; FAILED includes those that could not be started.
        """
