"""The facts that a running engine reports to observers.

The start and the end of an execution are reported once they are durable; what happens in between (states, attempts) is
reported as it happens in this process. Observers cannot change what happens, and must return at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

import attrs

from statechain.records.executions import Execution

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "ExecutionEnded",
    "ExecutionLeft",
    "ExecutionPoisoned",
    "ExecutionResumed",
    "ExecutionStarted",
    "ExecutionsClaimed",
    "Fact",
    "JournalFlushed",
    "LeaseRenewed",
    "Observer",
    "QueueCounted",
    "ShardEnded",
    "ShardStarted",
    "StateEntered",
    "StateLeft",
    "StateOutcome",
    "SuspectTakenUp",
    "SuspectsCounted",
    "emit",
]

logger = logging.getLogger(__name__)

StateOutcome: TypeAlias = Literal["SUCCEEDED", "CAUGHT", "FAILED", "CANCELLED"]


@attrs.frozen
class ExecutionStarted:
    """An execution was recorded as started by this engine.

    Attributes:
        execution: The execution.

        state_machine: The name of its state machine.
    """

    execution: Execution
    state_machine: str


@attrs.frozen
class ExecutionResumed:
    """An execution was taken over by this engine after its worker died or released it, or was redriven here.

    Attributes:
        execution: The execution.

        state_machine: The name of its state machine.
    """

    execution: Execution
    state_machine: str


@attrs.frozen
class ExecutionEnded:
    """An execution was recorded as ended by this engine.

    Attributes:
        execution: The execution.

        state_machine: The name of its state machine.
    """

    execution: Execution
    state_machine: str


@attrs.frozen
class ExecutionLeft:
    """An execution runs here no longer, though this engine did not end it.

    It was interrupted and can be recovered, or another took it over or ended it.

    Attributes:
        execution: The execution.

        state_machine: The name of its state machine.
    """

    execution: Execution
    state_machine: str


@attrs.frozen(kw_only=True)
class StateEntered:
    """A line of control entered a state, or took up a visit of it that a crash or an interruption had cut.

    Attributes:
        execution: The execution as it was when it began to run here.

        state_machine: The name of its state machine.

        frame: The line of control: ``""`` for the root, else such as ``"Each[17]"``.

        number: Counts the visits of that line of control.

        state: The state's name.

        type: The state's type, such as ``"Task"``.
    """

    execution: Execution
    state_machine: str
    frame: str
    number: int
    state: str
    type: str


@attrs.frozen(kw_only=True)
class StateLeft:
    """A line of control left a state; see `StateEntered` for what the two share.

    Attributes:
        outcome: ``"SUCCEEDED"``; ``"CAUGHT"`` where a Catcher answered an error; ``"FAILED"`` where none did;
            ``"CANCELLED"`` where the visit was interrupted, from outside or by a sibling that failed.

        next: The state that follows, or None.

        error: The name of the error, or None. Its cause is not reported here: it may hold payload.

        seconds: How long ago the visit began by the engine's clock, interruptions included.
    """

    execution: Execution
    state_machine: str
    frame: str
    number: int
    state: str
    type: str
    outcome: StateOutcome
    next: str | None
    error: str | None
    seconds: float


@attrs.frozen(kw_only=True)
class AttemptStarted:
    """An attempt of a Task began; see `StateEntered` for what the two share.

    Attributes:
        attempt: Counts the attempts of this visit from 1.

        resource: The Task's Resource.
    """

    execution: Execution
    state_machine: str
    frame: str
    number: int
    state: str
    attempt: int
    resource: str


@attrs.frozen(kw_only=True)
class AttemptEnded:
    """An attempt of a Task ended, in the same asyncio task in which it began; see `AttemptStarted` for what they share.

    Attributes:
        error: The name of the error, or None where it succeeded or was cancelled.

        is_cancelled: Whether it was interrupted.

        seconds: How long it took by the engine's clock; for an attempt that was resumed, since then.

        exception: What the handler raised, or None; None also for a `TaskError`, which is an answer. Its text may hold
            payload.
    """

    execution: Execution
    state_machine: str
    frame: str
    number: int
    state: str
    attempt: int
    resource: str
    error: str | None
    is_cancelled: bool
    seconds: float
    exception: BaseException | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen
class JournalFlushed:
    """The journal committed a group of writes.

    Attributes:
        writes: How many writes the commit served.

        seconds: How long it took, retries included.

        pending: How many writes came meanwhile, and wait for the next commit.
    """

    writes: int
    seconds: float
    pending: int = 0


@attrs.frozen
class LeaseRenewed:
    """The worker's lease was renewed.

    Attributes:
        worker_id: The worker.

        seconds: How long that took.

        lapses: How often, since the worker started, it was renewed too late: others may have taken over meanwhile.
    """

    worker_id: str
    seconds: float
    lapses: int


@attrs.frozen(kw_only=True)
class SuspectsCounted:
    """The worker counted the executions that no worker runs because workers died of them, or beside them.

    It is reported with each look while there are any, and once when there are none any more.

    Attributes:
        worker_id: The worker.

        count: How many there are.

        most_deaths: The most workers that died after taking up one of them.
    """

    worker_id: str
    count: int
    most_deaths: int


@attrs.frozen(kw_only=True)
class QueueCounted:
    """The worker counted the executions of a state machine with limits (see `Engine.set_machine_limits`).

    It is reported with each look, a third of a lease apart, for each such machine.

    Attributes:
        worker_id: The worker.

        state_machine: The name of the state machine; its id where it cannot be read.

        waiting: How many executions wait for a limit, or for a worker with a free slot.

        running: How many executions workers run, over all processes.
    """

    worker_id: str
    state_machine: str
    waiting: int
    running: int


@attrs.frozen(kw_only=True)
class SuspectTakenUp:
    """A suspect is tried again; `ExecutionResumed` follows.

    Attributes:
        execution: The execution.

        state_machine: The name of its state machine.

        deaths: How many workers died after they had taken it up.

        group_size: How many suspects the worker tries at once; 1: this one alone.
    """

    execution: Execution
    state_machine: str
    deaths: int
    group_size: int


@attrs.frozen(kw_only=True)
class ExecutionPoisoned:
    """A suspect was ended as FAILED: too many workers died while it was the only suspect that they ran.

    Attributes:
        execution: The execution.

        state_machine: The name of its state machine.

        deaths: How many workers died after they had taken it up.
    """

    execution: Execution
    state_machine: str
    deaths: int


@attrs.frozen(kw_only=True)
class ExecutionsClaimed:
    """The worker asked storage for executions without an owner; it does so several times a second.

    Attributes:
        worker_id: The worker.

        count: How many it was given.

        seconds: How long that took.

        limited: How many of them are of state machines with limits.
    """

    worker_id: str
    count: int
    seconds: float
    limited: int = 0


@attrs.frozen(kw_only=True)
class ShardStarted:
    """The worker claimed a shard of a DISTRIBUTED batch, and runs it.

    Attributes:
        batch_id: The batch.

        shard: The shard's number.

        claims: How many claims, this one included, there were since an item of the shard last ended.
    """

    batch_id: str
    shard: int
    claims: int


@attrs.frozen(kw_only=True)
class ShardEnded:
    """A shard runs here no longer; see `ShardStarted` for what the two share.

    Attributes:
        outcome: ``"DONE"`` where all of its items have ended; ``"LEFT"`` where another claim is to run the rest, or
            the batch has ended.

        seconds: How long it ran here.
    """

    batch_id: str
    shard: int
    outcome: Literal["DONE", "LEFT"]
    seconds: float


Fact: TypeAlias = (
    ExecutionStarted
    | ExecutionResumed
    | ExecutionEnded
    | ExecutionLeft
    | StateEntered
    | StateLeft
    | AttemptStarted
    | AttemptEnded
    | JournalFlushed
    | LeaseRenewed
    | SuspectsCounted
    | QueueCounted
    | SuspectTakenUp
    | ExecutionPoisoned
    | ExecutionsClaimed
    | ShardStarted
    | ShardEnded
)


class Observer(Protocol):
    """Receives the facts of an engine.

    For one execution the order is: started or resumed; for each visit entered, attempts, left, those of parallel lines
    of control interleaved; ended or left. Facts of an execution are reported in its own context (`contextvars`), the
    beginning and the end of an attempt in the same one.
    """

    def observe(self, fact: Fact) -> None:
        """Note a fact; called from the event loop, so it must not block. What it raises is logged."""


def emit(observers: Sequence[Observer], fact: Fact) -> None:
    """Notify all observers; one that raises harms neither the run nor the others."""
    for observer in observers:
        try:
            observer.observe(fact)
        except Exception:
            logger.exception("the observer %s raised at %s", type(observer).__qualname__, type(fact).__name__)
