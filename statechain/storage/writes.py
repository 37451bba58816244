"""The writes that `Repository.commit` takes: what each one changes, when it takes effect, and what its outcome is.

They are values. A write is idempotent, so that one whose reply was lost can be committed again; most name by ``key``
what they touch, and no two writes of one commit have the same key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Generic, TypeVar

import attrs

from statechain.codec import JSONValue, same_json
from statechain.errors import RepositoryError
from statechain.records.batches import Batch, BatchItem, BatchStatus
from statechain.records.callbacks import Callback, CallbackStatus
from statechain.records.executions import Claim, Execution, ExecutionStatus, StateMachineRecord, Visit, record
from statechain.records.filters import ExecutionFilter
from statechain.records.queues import MachineLimits

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
    "LimitStateMachine",
    "RedriveExecution",
    "ReleaseExecution",
    "ResumeBatch",
    "StartExecution",
    "StopExecution",
    "TakeActivity",
    "TakeUpExecution",
    "Write",
    "items_missing",
]

OutcomeT_co = TypeVar("OutcomeT_co", covariant=True)


def _key(field: str) -> Any:  # noqa: ANN401 -- a property, which `Write` declares
    return property(attrgetter(field), doc="What this write alone may touch in its commit.")


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
    ``machine`` comes as revision 1 of a new id.
    """

    machine: StateMachineRecord

    key = _key("machine.name")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LimitStateMachine(Write[None]):
    """Set a machine's limits in the place of its former ones, from the next claim on.

    With limits, its RUNNING executions are in its queue from then on: those that are owned count. Without any, those
    that wait in it are claimed like all others. Outcome: None.

    Attributes:
        state_machine_id: The machine.

        limits: Its limits.

        unchanged: The names of those that stay as they are stored, even if ``limits`` has others: another process may
            have set them since they were read.
    """

    state_machine_id: str
    limits: MachineLimits
    unchanged: Collection[str] = ()

    key = _key("state_machine_id")


@record(kw_only=True, eq=False, repr=False)
class StartExecution(Write[Execution]):
    """Record a RUNNING execution, its owner's claim (epoch 1, seq 0) and, where it has a source, its link.

    Without an owner it has epoch 0, so that epoch 1 is always the first claim.

    Outcome: the execution that holds the name in its machine now: this one (compare ids), or an earlier one,
    in which case nothing is written. `MachineLimited` as an error where there is an owner, and the machine has limits.

    Attributes:
        execution: The execution, RUNNING.

        owner: The worker that will run it; None leaves it to the worker that claims it.

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


@record(kw_only=True, eq=False, repr=False)
class End:
    """How an execution ends.

    Attributes:
        status, end_time: SUCCEEDED, FAILED, TIMED_OUT or ABORTED, and when.

        output_text: The output as JSON text, where it SUCCEEDED; else None.

        error, cause: The name of the error, and what happened; None where there is none.
    """

    status: ExecutionStatus
    end_time: datetime
    output_text: str | None = None
    error: str | None = None
    cause: str | None = None


@record(kw_only=True, eq=False, repr=False)
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

        closed: The ids of callbacks for which nothing waits any more: those still WAITING become CLOSED.
    """

    execution_id: str
    epoch: int
    seq: int
    visits: Sequence[Visit]
    current_state: str | None
    end: End | None = None
    opened: Sequence[Callback] = ()
    closed: Sequence[str] = ()

    key = _key("execution_id")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AnswerCallback(Write[Callback]):
    """Answer a waiting task: with an output, or without one as failed, which need not name an error.

    Outcome: the callback as answered, also where it had been given this very answer before. Errors: `InvalidToken`
    where no callback ever had the token; `TaskTimedOut` where it is not WAITING, where its execution is not RUNNING,
    or where that was redriven since.

    Attributes:
        token_hash: The SHA-256 of the token, as hexadecimal digits.

        output_text, error, cause: As in `End`.
    """

    token_hash: str
    output_text: str | None = None
    error: str | None = None
    cause: str | None = None

    @property
    def status(self) -> CallbackStatus:
        """How the callback is answered: FAILED unless there is an output."""
        return CallbackStatus.FAILED if self.output_text is None else CallbackStatus.SUCCEEDED

    def is_given_to(self, callback: Callback) -> bool:
        """Return whether a callback has this very answer."""
        if (callback.status, callback.error, callback.cause) != (self.status, self.error, self.cause):
            return False
        if callback.output_text is None or self.output_text is None:
            # One is None: the same answer only where both are.
            return callback.output_text is self.output_text
        # By value: an answer that is given again may be encoded in another way.
        return same_json(callback.output_text, self.output_text)

    key = _key("token_hash")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HeartbeatCallback(Write[Callback]):
    """Set ``last_heartbeat``: the work behind a token goes on. Outcome: the callback. Errors as in `AnswerCallback`."""

    token_hash: str
    heartbeat: datetime

    key = _key("token_hash")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CloseCallback(Write[Callback | None]):
    """Stop waiting: a callback that is WAITING becomes CLOSED, an answered one stays as it is.

    Outcome: the callback as it is then, so that an answer and a timeout cannot both win; None without one.
    """

    id: str

    key = _key("id")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TakeActivity(Write[Callback | None]):
    """Give a worker the activity's oldest task (by id) that is WAITING and has no token: set token and heartbeat.

    Outcome: that callback; the one that has this token already, where there is one; None where there is nothing to do.
    Only callbacks of RUNNING executions that were not redriven since are given out, and each one once.

    Attributes:
        activity: The activity's name.

        token_hash: The SHA-256 of the token under which the worker will answer.

        heartbeat: When it takes the task.
    """

    activity: str
    token_hash: str
    heartbeat: datetime

    key = _key("activity")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StopExecution(Write[Execution]):
    """End an execution from outside: the epoch is raised, so that the worker that runs it can write no more.

    Outcome: the execution as it is then; one that had ended is left as it is. `ExecutionNotFound` as an error.
    """

    execution_id: str
    end: End

    key = _key("execution_id")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RedriveExecution(Write[Claim | None]):
    """Make an execution that ended without success RUNNING again, claimed by ``owner``, its redrive count raised.

    It takes effect only where the execution's redrive count is still ``redrive_count``. Outcome: the claim, also where
    this very write was committed before (RUNNING, the count one higher, and still under the claim that it gave to
    ``owner``); else None. `ExecutionNotFound` as an error, and `MachineLimited` where there is an owner and the machine
    has limits.

    Without an owner any worker may claim it. The outcome is no right to run it then, and is not None wherever the count
    is one higher: also where a worker claimed it before the reply arrived, and where it has ended since.

    Attributes:
        owner: The worker that will run it; None leaves it to the worker that claims it.

        redrive_count: How often it had been redriven when it was read.
    """

    execution_id: str
    owner: str | None
    redrive_count: int

    key = _key("execution_id")


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

    key = _key("execution_id")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ReleaseExecution(Write[None]):
    """Leave an execution to the next worker that claims it: no owner, and ``claims`` is set, under exactly this epoch.

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

    key = _key("execution_id")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CreateBatch(Write[Batch]):
    """Store a batch and freeze its sources: one row for each execution that ``filter_`` means now, in its order.

    Limit and offset apply. Index 0 is the first in the filter's order; the item's name is
    ``f"{batch.name_prefix}-{source id}"``. Outcome: the batch, all of its items as pending: none is counted here.

    Attributes:
        batch: The batch.

        filter_: What its sources are. None where it was given inputs: `AddBatchItems` have stored its items.

        item_count: How many items there are then; where some are missing, `items_missing` is the outcome.

        joins: Whether the outcome is a RUNNING batch that does the same (`Batch.does_the_same`), where there is one. Of
            two such writes at the same time, one stores its batch.
    """

    batch: Batch
    filter_: ExecutionFilter | None
    item_count: int = 0
    joins: bool = False

    key = _key("batch.id")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AddBatchItems(Write[None]):
    """Store items of a batch that is not there yet, page by page: `CreateBatch` makes them visible, all at once.

    An item whose index is there already stays as it is. What a crash leaves behind belongs to no batch.

    Attributes:
        batch_id: The batch.

        items: Some of its items, in order, without gaps to those before.
    """

    batch_id: str
    items: Sequence[BatchItem]

    key = _key("batch_id")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DropBatchItems(Write[None]):
    """Delete items by index, ``first`` to ``last``, unless their batch is there: it was given up before that."""

    batch_id: str
    first: int
    last: int

    key = _key("batch_id")


def items_missing(write: CreateBatch) -> RepositoryError:
    """Return the refusal of a batch some of whose items are not there any more."""
    return RepositoryError(
        f"items of the batch {write.batch.name_prefix!r} were deleted while it was stored, as "
        "`statechain doctor --fix` deletes those of no batch: start it again"
    )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FailBatchItem(Write[None]):
    """Record that an item failed before an execution could be started; with None as its error, that it did not.

    While the error is `NAME_TAKEN`, the item does not represent the execution that has its name.
    """

    batch_id: str
    index: int
    error: str | None
    cause: str | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class JoinBatchItem(Write[None]):
    """Let an item represent an execution that chains its source already: the item takes that execution's name."""

    batch_id: str
    index: int
    name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class EndBatch(Write[Batch]):
    """End a RUNNING batch; one that has ended keeps its status and its time.

    Outcome: the batch, all of its items as pending: none is counted here, since other writes would wait for that.
    `BatchNotFound` as an error.
    """

    batch_id: str
    status: BatchStatus = attrs.field(validator=attrs.validators.not_(attrs.validators.in_([BatchStatus.RUNNING])))
    end_time: datetime

    key = _key("batch_id")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResumeBatch(Write[Batch]):
    """Make a batch RUNNING, or join one that is, so that what is missing of it is finished in shards.

    Where the batch had ended, its shards are PENDING again, under higher epochs and with nothing counted: a worker that
    still runs one has lost it. Outcome: the batch, all of its items as pending; `BatchNotFound` as an error.

    Attributes:
        batch_id: The batch.

        options: Its options from now on, as they are stored; None leaves them as they are.
    """

    batch_id: str
    options: Mapping[str, JSONValue] | None = None

    key = _key("batch_id")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DeleteExecutions(Write[int]):
    """Delete executions that were seen to have ended, with their visits, links and callbacks, all or none.

    One that is RUNNING, or was redriven since it was seen, stays, so that the write means the same however late it
    comes. Outcome: how many of them are not there any more, those that another process deleted among them.

    Attributes:
        redrive_counts: The redrive count with which each execution was seen, by its id.
    """

    redrive_counts: Mapping[str, int]
