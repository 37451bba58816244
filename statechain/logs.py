"""Standard logging with a structure: every record may have what it is about, and never a payload.

The ids and names are in one attribute of a record, ``statechain``, a flat dict of texts and numbers, which formatters
for JSON show as they are. The library's own records have it; `ContextFilter` gives it to those of handlers, and
`LogObserver` logs what a run does. Which logger, handler and format is the application's choice.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Protocol, TypeAlias

import attrs

from statechain.arguments import checked, with_method
from statechain.observers import (
    AttemptEnded,
    AttemptStarted,
    ExecutionEnded,
    ExecutionLeft,
    ExecutionPoisoned,
    ExecutionResumed,
    ExecutionsClaimed,
    ExecutionStarted,
    Fact,
    JournalFlushed,
    LeaseRenewed,
    QueueCounted,
    ShardEnded,
    ShardStarted,
    StateEntered,
    StateLeft,
    SuspectsCounted,
    SuspectTakenUp,
)
from statechain.records.executions import Execution, ExecutionStatus

__all__ = ["ATTEMPT", "BATCH", "EXECUTION", "AttemptTag", "ContextFilter", "LogObserver", "about", "here"]


class Attempt(Protocol):
    """What a record says of an attempt: of a `TaskContext`, no more than these."""

    @property
    def state_name(self) -> str:
        """The Task state."""

    @property
    def attempt(self) -> int:
        """Counts the attempts of its visit from 1."""


Tags: TypeAlias = "dict[str, str | int | float | None]"

EXECUTION: ContextVar[Execution | None] = ContextVar("statechain execution", default=None)
"""The execution that this asyncio task serves."""


@attrs.frozen
class AttemptTag:
    """The attempt of a handler that takes its input alone, for which no `TaskContext` is made."""

    state_name: str
    attempt: int


ATTEMPT: ContextVar[Attempt | None] = ContextVar("statechain attempt", default=None)
"""The attempt that this asyncio task, or worker thread, serves: set inside a handler's own task alone."""

BATCH: ContextVar[str | None] = ContextVar("statechain batch", default=None)
"""The stored batch that this asyncio task serves: what is started beneath it belongs to it."""

LEFT_LEVELS = {
    "SUCCEEDED": logging.DEBUG,
    "CAUGHT": logging.INFO,
    "FAILED": logging.WARNING,
    "CANCELLED": logging.INFO,
}


def about(execution: Execution | None = None, **more: str | float | None) -> dict[str, Tags]:
    """Return the ``extra`` of a record that is about an execution, and what else is named."""
    tags: Tags = {}
    if execution is not None:
        tags |= {
            "execution": execution.id,
            "execution_name": execution.name,
            "state_machine_id": execution.state_machine_id,
        }
    return {"statechain": {**tags, **more}}


def here() -> Tags:
    """Return what the code that runs now serves: batch, execution, state and attempt, as far as there are any."""
    tags: Tags = {}
    if (batch := BATCH.get()) is not None:
        tags["batch"] = batch
    if (execution := EXECUTION.get()) is not None:
        tags |= about(execution)["statechain"]
    if (attempt := ATTEMPT.get()) is not None:
        tags |= {"state": attempt.state_name, "attempt": attempt.attempt}
    return tags


class ContextFilter(logging.Filter):
    """Gives each record the ``statechain`` of the code that logs it: of handlers, and what they call.

    Add it to a handler of logging, not to a logger: only so does it see the records of other loggers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete the record; let every record pass."""
        # What the record says itself wins.
        record.statechain = {**here(), **getattr(record, "statechain", {})}
        return True


class LogObserver:
    """An observer that logs what a run does: executions at INFO, states and attempts at DEBUG, failures at WARNING.

    Arguments:
        logger: Where to; the logger ``statechain.run`` unless given.
    """

    @checked(logger=with_method("isEnabledFor", "a logger, as logging.getLogger(name) returns it").or_none())
    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("statechain.run")

    def observe(self, fact: Fact) -> None:
        """Log a fact, where its level is wanted."""
        level = _level_of(fact)
        # Before anything is made of the fact: there are several for each state, and most are logged nowhere.
        if not self._logger.isEnabledFor(level):
            return
        match fact:
            case ExecutionStarted() | ExecutionResumed() | ExecutionEnded() | ExecutionLeft():
                self._log_execution(level, fact)
            case StateEntered() | StateLeft():
                self._log_state(level, fact)
            case AttemptStarted() | AttemptEnded():
                self._log_attempt(level, fact)
            case JournalFlushed():
                tags: Tags = {"writes": fact.writes, "seconds": fact.seconds, "pending": fact.pending}
                self._log(level, "the journal committed %s writes", (fact.writes,), tags)
            case LeaseRenewed():
                tags = {"worker": fact.worker_id, "seconds": fact.seconds, "lapses": fact.lapses}
                self._log(level, "the lease of worker %s was renewed", (fact.worker_id,), tags)
            case ExecutionsClaimed():
                pass  # several a second; the executions themselves are logged
            case ShardStarted() | ShardEnded():
                self._log_shard(level, fact)
            case QueueCounted() | SuspectsCounted() | SuspectTakenUp() | ExecutionPoisoned():
                pass  # recovery logs suspects itself

    def _log(self, level: int, message: str, arguments: tuple[object, ...], tags: Tags) -> None:
        self._logger.log(level, message, *arguments, extra={"statechain": {**here(), **tags}})

    def _log_execution(
        self, level: int, fact: ExecutionStarted | ExecutionResumed | ExecutionEnded | ExecutionLeft
    ) -> None:
        execution = fact.execution
        tags = about(execution, state_machine=fact.state_machine)["statechain"]
        what = "was left"
        if isinstance(fact, ExecutionEnded):
            what = f"ended {execution.status}"
            tags |= {"status": str(execution.status), "error": execution.error}
        elif not isinstance(fact, ExecutionLeft):
            what = "was started" if isinstance(fact, ExecutionStarted) else "was resumed"
        self._log(level, "execution %s of %s %s", (execution.name, fact.state_machine, what), tags)

    def _log_shard(self, level: int, fact: ShardStarted | ShardEnded) -> None:
        tags: Tags = {"batch": fact.batch_id, "shard": fact.shard}
        if isinstance(fact, ShardStarted):
            tags |= {"claims": fact.claims}
            self._log(level, "shard %s was claimed", (fact.shard,), tags)
        else:
            tags |= {"outcome": fact.outcome, "seconds": fact.seconds}
            self._log(level, "shard %s ended: %s", (fact.shard, fact.outcome), tags)

    def _log_state(self, level: int, fact: StateEntered | StateLeft) -> None:
        tags = about(fact.execution, state_machine=fact.state_machine, state=fact.state, frame=fact.frame)["statechain"]
        if isinstance(fact, StateEntered):
            self._log(level, "state %s was entered", (fact.state,), tags)
            return
        tags |= {"outcome": fact.outcome, "error": fact.error, "next": fact.next, "seconds": fact.seconds}
        self._log(level, "state %s was left: %s", (fact.state, fact.outcome), tags)

    def _log_attempt(self, level: int, fact: AttemptStarted | AttemptEnded) -> None:
        tags = about(
            fact.execution,
            state_machine=fact.state_machine,
            state=fact.state,
            frame=fact.frame,
            attempt=fact.attempt,
            resource=fact.resource,
        )["statechain"]
        arguments = (fact.attempt, fact.state)
        if isinstance(fact, AttemptStarted):
            self._log(level, "attempt %s of state %s began", arguments, tags)
            return
        tags |= {"error": fact.error, "seconds": fact.seconds}
        if fact.error is None:
            self._log(level, "attempt %s of state %s ended", arguments, tags)
        else:
            self._log(level, "attempt %s of state %s failed: %s", (*arguments, fact.error), tags)


def _level_of(fact: Fact) -> int:
    match fact:
        case ExecutionEnded():
            return logging.INFO if fact.execution.status is ExecutionStatus.SUCCEEDED else logging.WARNING
        case ExecutionStarted() | ExecutionResumed() | ExecutionLeft():
            return logging.INFO
        case StateLeft():
            return LEFT_LEVELS[fact.outcome]
        case AttemptEnded():
            return logging.DEBUG if fact.error is None else logging.WARNING
        case StateEntered() | AttemptStarted() | JournalFlushed() | LeaseRenewed():
            return logging.DEBUG
        case ExecutionsClaimed() | ShardStarted() | ShardEnded():
            return logging.DEBUG
        case QueueCounted() | SuspectsCounted() | SuspectTakenUp() | ExecutionPoisoned():
            return logging.DEBUG
