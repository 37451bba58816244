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
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

import attrs

from statechain.filters import Cursor, ExecutionFilter, ExecutionKey
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
    Link,
    StateMachineRecord,
    Visit,
)
from statechain.storage.leases import Heart, LeaseStorage
from statechain.storage.outlines import VisitOutline

__all__ = [
    "Advance",
    "AnswerCallback",
    "BeatCallback",
    "CloseCallback",
    "CreateBatch",
    "CreateStateMachine",
    "DeleteExecutions",
    "End",
    "EndBatch",
    "FailBatchItem",
    "Heart",
    "JoinBatchItem",
    "RedriveExecution",
    "ReleaseExecution",
    "Repository",
    "StartExecution",
    "StopExecution",
    "TakeActivity",
    "TakeUpExecution",
    "Write",
]

OutcomeT_co = TypeVar("OutcomeT_co", covariant=True)


class Write(Generic[OutcomeT_co]):
    """One write; its type parameter is what `Repository.commit` answers for it.

    Committing the same write again, after a reply was lost, has no further effect and the same outcome.
    Two writes are never equal, and none shows its payload when it is printed.
    """

    __slots__ = ()

    @property
    def key(self) -> str | None:
        """What this write alone may touch in its commit: two writes with the same key never share one."""
        return None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CreateStateMachine(Write[StateMachineRecord]):
    """Create a state machine, or a new revision of it.

    Outcome: the newest revision stored under ``machine.name`` where its definition and type are the same texts;
    else ``machine`` itself, stored as the next revision, with the id that the name already has.
    """

    machine: StateMachineRecord

    @property
    def key(self) -> str:
        """Two writes for one name never share a commit."""
        return self.machine.name


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StartExecution(Write[Execution]):
    """Record a RUNNING execution, its owner's claim (epoch 1, seq 0) and, where it has a source, its link.

    Outcome: the execution that holds the name in its machine now: this one (compare ids), or an earlier one,
    in which case nothing is written.

    Attributes:
        execution: The execution, RUNNING.

        owner: The worker that will run it; None leaves it to whoever claims it.

        exclusive: Start it only where no execution of the same machine was chained from the same source (and
            state) that runs or succeeded; where one was, that one is the outcome. Two such starts at once cannot
            both succeed.
    """

    execution: Execution
    owner: str | None
    exclusive: bool = False

    @property
    def key(self) -> str:
        """Two writes for one name never share a commit."""
        return f"{self.execution.state_machine_id}/{self.execution.name}"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class End:
    """How an execution ends."""

    status: ExecutionStatus
    end_time: datetime
    output_text: str | None = None
    error: str | None = None
    cause: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Advance(Write[None]):
    """Append visits to an execution and, with ``end``, end it: the one transition that running makes.

    It takes effect only while the execution is RUNNING under exactly this epoch and seq; then seq grows by the
    number of visits, and ``claims`` is set back to 0. Outcome: None, also where this very write was committed before
    (the same epoch, and these very visits and this end there); else the error `LeaseLost`. After a failover that lost
    a claim two workers may have the same epoch: what the other one wrote is no commit of this write.

    Attributes:
        execution_id: The execution.

        epoch: The epoch of the writer's claim.

        seq: How many visit rows there are before this write; the first of ``visits`` gets the next place.

        visits: What to append, in order; may be empty.

        current_state: The state that the root line of control is in after this write.

        end: How the execution ends with this write, or None.

        opened: Callbacks that begin to wait with this write; one whose id there is already stays as it is.

        closed: The ids of callbacks for which nobody waits any more: those still WAITING become CLOSED.
    """

    execution_id: str
    epoch: int
    seq: int
    visits: Sequence[Visit]
    current_state: str | None
    end: End | None = None
    opened: Sequence[Callback] = ()
    closed: Sequence[str] = ()

    @property
    def key(self) -> str:
        """Two writes for one execution never share a commit."""
        return self.execution_id


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AnswerCallback(Write[Callback]):
    """Answer a waiting task: with an output, or without one as failed, which need not name an error.

    Outcome: the callback as answered, also where it had been given this very answer before. Errors: `InvalidToken`
    where no callback ever had the token; `TaskTimedOut` where it is not WAITING, where its execution is not RUNNING,
    or where that was redriven since.
    """

    token_hash: str
    output_text: str | None = None
    error: str | None = None
    cause: str | None = None

    @property
    def status(self) -> CallbackStatus:
        """How the callback is answered: FAILED unless there is an output."""
        return CallbackStatus.FAILED if self.output_text is None else CallbackStatus.SUCCEEDED

    @property
    def key(self) -> str:
        """Two writes for one token never share a commit."""
        return self.token_hash


@attrs.frozen(kw_only=True, eq=False, repr=False)
class BeatCallback(Write[Callback]):
    """Tell that the work behind a token goes on: set ``beat``. Outcome: the callback. Errors as in `AnswerCallback`."""

    token_hash: str
    beat: datetime

    @property
    def key(self) -> str:
        """Two writes for one token never share a commit."""
        return self.token_hash


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CloseCallback(Write[Callback | None]):
    """Stop waiting: a callback that is WAITING becomes CLOSED, an answered one stays as it is.

    Outcome: the callback as it stands then, so that an answer and a timeout cannot both win; None without one.
    """

    id: str

    @property
    def key(self) -> str:
        """Two writes for one callback never share a commit."""
        return self.id


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TakeActivity(Write[Callback | None]):
    """Give a worker the activity's oldest task (by id) that is WAITING and has no token: set its token and ``beat``.

    Outcome: that callback; the one that has this token already, where there is one; None where there is nothing to do.
    Only callbacks of RUNNING executions that were not redriven since are given out, and each one once.
    """

    activity: str
    token_hash: str
    beat: datetime

    @property
    def key(self) -> str:
        """Two writes for one activity never share a commit."""
        return self.activity


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StopExecution(Write[Execution]):
    """End an execution from outside, whoever runs it: the epoch is raised, so that its worker can write no more.

    Outcome: the execution as it stands then; one that had ended is left as it is. `ExecutionNotFound` as an error.
    """

    execution_id: str
    end: End

    @property
    def key(self) -> str:
        """Two writes for one execution never share a commit."""
        return self.execution_id


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RedriveExecution(Write[Claim | None]):
    """Make an execution that ended without success RUNNING again, claimed by ``owner``, its redrive count raised.

    It takes effect only where the execution's redrive count is still ``redrive_count``. Outcome: the claim, also where
    this very write was committed before (RUNNING, the count one higher, and still under the claim that it gave to
    ``owner``); else None. `ExecutionNotFound` as an error.
    """

    execution_id: str
    owner: str
    redrive_count: int

    @property
    def key(self) -> str:
        """Two writes for one execution never share a commit."""
        return self.execution_id


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TakeUpExecution(Write[None]):
    """Record that a claimed execution begins to run: ``claims`` is set, under exactly this epoch.

    Progress sets ``claims`` back to 0; what is left of it is the number of take-ups that a death followed. One that
    leaves 0 becomes a suspect where its worker dies now. Outcome: None; else the error `LeaseLost`.

    Attributes:
        execution_id: The execution.

        epoch: The epoch of the claim.

        claims: What ``claims`` is set to.

        backoff: How long after the death of its worker the execution may not be claimed.
    """

    execution_id: str
    epoch: int
    claims: int
    backoff: timedelta

    @property
    def key(self) -> str:
        """Two writes for one execution never share a commit."""
        return self.execution_id


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ReleaseExecution(Write[None]):
    """Leave an execution to whoever claims it next: it has no owner, and ``claims`` is set, under exactly this epoch.

    Where it is not RUNNING, or under another epoch, nothing happens. Outcome: None.

    Attributes:
        execution_id: The execution.

        epoch: The epoch of the claim.

        claims: What ``claims`` is set to; above 0 it is a suspect.

        backoff: How long a suspect may not be claimed.
    """

    execution_id: str
    epoch: int
    claims: int
    backoff: timedelta = timedelta(0)

    @property
    def key(self) -> str:
        """Two writes for one execution never share a commit."""
        return self.execution_id


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CreateBatch(Write[Batch]):
    """Store a batch and freeze its sources: one row for each execution that ``select`` means now, in its order.

    Limit and offset apply. Index 0 is the first in the filter's order; the item's name is
    ``f"{batch.name_prefix}-{source id}"``. Outcome: the batch, all of its items as pending: none is counted here.
    """

    batch: Batch
    select: ExecutionFilter

    @property
    def key(self) -> str:
        """Two writes for one batch never share a commit."""
        return self.batch.id


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FailBatchItem(Write[None]):
    """Record that an item failed before an execution could be started."""

    batch_id: str
    index: int
    error: str
    cause: str | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class JoinBatchItem(Write[None]):
    """Let an item stand for an execution that chains its source already: the item takes that execution's name."""

    batch_id: str
    index: int
    name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class EndBatch(Write[Batch]):
    """Set a batch's status: an end with its time, or RUNNING (and no time) to resume it.

    A batch that is not RUNNING keeps its status unless the new one is RUNNING. Outcome: the batch, all of its items as
    pending: none is counted here, since other writes would wait for that. `BatchNotFound` as an error.
    """

    batch_id: str
    status: BatchStatus
    end_time: datetime | None

    @property
    def key(self) -> str:
        """Two writes for one batch never share a commit."""
        return self.batch_id


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DeleteExecutions(Write[int]):
    """Delete executions that were seen to have ended, with their visits, links and callbacks, all or none.

    One that is RUNNING, or was redriven since it was seen, stays, so that the write means the same however late it
    comes. Outcome: how many of them are not there any more, whoever deleted them.

    Attributes:
        redrive_counts: The redrive count with which each execution was seen, by its id.
    """

    redrive_counts: Mapping[str, int]


@runtime_checkable
class Repository(LeaseStorage, Protocol):
    """Durable storage for executions. Implementations: memory, SQLite, PostgreSQL, and third parties'."""

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

    async def execution_by_name(self, state_machine_id: str, name: str) -> Execution | None:
        """Return the execution that holds a name in a machine."""

    async def executions(self, select: ExecutionFilter, *, after: Cursor | None, page: int) -> Sequence[Execution]:
        """Return at most ``page`` executions in the filter's order, after the cursor (None: from the first on).

        The filter's offset applies where there is no cursor; its limit is the caller's business.
        """

    async def execution_keys(
        self, select: ExecutionFilter, *, after: Cursor | None, page: int
    ) -> Sequence[ExecutionKey]:
        """Return the keys of the executions that `executions` would return, and load no payloads."""

    async def count_executions(self, select: ExecutionFilter) -> int:
        """Return how many executions a filter means; its limit and offset play no part."""

    async def statistics(self, state_machine_id: str) -> Mapping[ExecutionStatus, DurationStatistics]:
        """Return counts and durations for each status that occurs."""

    async def visits(self, execution_id: str, *, after: int = 0, page: int | None = None) -> Sequence[Visit]:
        """Return an execution's visit rows in the order in which they were written, skipping the first ``after``."""

    async def visit_outlines(self, execution_id: str, *, after: int = 0, page: int) -> Sequence[VisitOutline]:
        """Return at most ``page`` visit rows without their payloads, in order, behind the place ``after``."""

    async def visits_at(self, execution_id: str, places: Collection[int]) -> Mapping[int, Visit]:
        """Return the visit rows at these places (counted from 1), as far as they exist, by place."""

    async def last_output(self, execution_id: str, state: str) -> str | None:
        """Return the output text of the last completed visit of a state, in whatever frame; None without one."""

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

    async def batch(self, batch_id: str) -> Batch | None:
        """Return a batch, its items counted now."""

    async def batch_status(self, batch_id: str) -> BatchStatus | None:
        """Return a batch's status, and count nothing."""

    async def batches(
        self,
        *,
        state_machine_id: str | None = None,
        status: BatchStatus | None = None,
        after: Batch | None = None,
        page: int,
    ) -> Sequence[Batch]:
        """Return batches that match all that is given, newest first, after a batch."""

    async def batch_items(self, batch_id: str, *, after: int = -1, page: int) -> Sequence[BatchItem]:
        """Return items with an index above ``after``, with their sources' outputs as of now, in one query."""
