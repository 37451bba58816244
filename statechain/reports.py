"""What storage answers an operator with: tasks that wait, results of batches, activity over time; immutable values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from statechain.records.batches import BatchStatus
from statechain.records.events import HistoryEvent
from statechain.records.executions import DurationStatistics, ExecutionStatus

__all__ = [
    "Activity",
    "Backlog",
    "BatchResult",
    "BatchTotals",
    "HistoryPage",
    "Redriven",
    "WaitingTask",
    "durations_of",
]


@attrs.frozen(kw_only=True)
class WaitingTask:
    """A task that waits for an answer from outside. Neither its token nor the token's hash is part of it.

    Attributes:
        id: Identifies the waiting: the visit, its attempt, and what it waits for.

        execution_id: The execution.

        execution_name: The execution's name.

        state_machine_id: The execution's state machine.

        state: The state that waits; None where a release wrote it that did not store the state.

        since: When it began to wait; None as above.

        activity: The activity whose workers the task is for, or None for a task token that a handler passed on.

        is_taken: Whether it can be answered: an activity's task can be once a worker has taken it.

        last_heartbeat: When its worker last reported, or took it; None before.
    """

    id: str
    execution_id: str
    execution_name: str
    state_machine_id: str
    state: str | None
    since: datetime | None
    activity: str | None
    is_taken: bool
    last_heartbeat: datetime | None


@attrs.frozen(kw_only=True)
class BatchResult:
    """An item of a batch, and what became of it.

    Attributes:
        index: Its place in the batch, from 0.

        name: The name of its execution.

        source_execution_id: What it is chained from; None where the batch was given inputs.

        execution_id: Its execution, or None where none was started.

        status: The execution's status, or None.

        error: The error's name: the execution's, or why none could be started.

        cause: The cause beside it.
    """

    index: int
    name: str
    source_execution_id: str | None
    execution_id: str | None
    status: ExecutionStatus | None
    error: str | None
    cause: str | None


@attrs.frozen(kw_only=True)
class Backlog:
    """What waits for a worker now, for autoscaling.

    Attributes:
        executions: RUNNING executions without an owner: submitted by a client, or left by a worker. Of a machine with
            limits no more are counted than its ``max_concurrency`` lets run now.

        shards: Shards of RUNNING batches without an owner; a batch that is not cut into shards yet counts as one. Those
            of DISTRIBUTED batches: what a caller resumes in another mode is run by its own process.

        running_shards: Shards of these batches that workers run.

        tickets: Tickets that wait with the dispatcher; None without one, or where it does not know.
    """

    executions: int
    shards: int
    running_shards: int
    tickets: int | None = None


@attrs.frozen(kw_only=True)
class Activity:
    """The executions that were started in an interval of time.

    Attributes:
        begin: Where the interval begins (exclusive).

        end: Where it ends (exclusive).

        counts: How many executions have each status; all statuses are there.

        durations: How long the newest of those that have ended took.
    """

    begin: datetime
    end: datetime
    counts: Mapping[ExecutionStatus, int]
    durations: DurationStatistics

    @property
    def total(self) -> int:
        """How many executions there are."""
        return sum(self.counts.values())

    @property
    def failures(self) -> int:
        """How many ended without success and were not stopped."""
        return self.counts[ExecutionStatus.FAILED] + self.counts[ExecutionStatus.TIMED_OUT]


@attrs.frozen(kw_only=True)
class BatchTotals:
    """How far a batch has come, as its shards last counted it.

    Attributes:
        status: The batch's status.

        total: How many items it has.

        ended: How many of them have ended; None where the batch is INLINE, which nothing counts while it runs.

        failed: How many of these did not succeed; None as above.
    """

    status: BatchStatus
    total: int
    ended: int | None
    failed: int | None


@attrs.frozen(kw_only=True)
class Redriven:
    """What a part of a batch's redrive did.

    Attributes:
        count: How many executions were redriven.

        last: The index of the last item that was looked at.

        is_more: Whether there may be more items behind it.
    """

    count: int
    last: int
    is_more: bool


@attrs.frozen(kw_only=True)
class HistoryPage:
    """A page of an execution's history.

    Attributes:
        events: The events of the page, in the order that was asked for.

        failures: The first events of the whole history that report a failure: their types end with Failed, TimedOut or
            Aborted.

        total: How many events the history has.
    """

    events: Sequence[HistoryEvent] = attrs.field(repr=False)
    failures: Sequence[HistoryEvent] = attrs.field(repr=False)
    total: int


def durations_of(took: Sequence[timedelta]) -> DurationStatistics:
    """Return statistics of durations; percentiles are by nearest rank."""
    seconds = sorted(each.total_seconds() for each in took)
    if not seconds:
        return DurationStatistics(count=0)

    def rank(percent: int) -> float:
        return seconds[math.ceil(len(seconds) * percent / 100) - 1]

    return DurationStatistics(
        count=len(seconds),
        min=seconds[0],
        mean=sum(seconds) / len(seconds),
        p50=rank(50),
        p95=rank(95),
        p99=rank(99),
        max=seconds[-1],
    )
