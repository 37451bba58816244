"""What the contract's tests write: records with defaults, and the few steps that nearly every test begins with.

Times are samples, not the clock's: each execution starts a second after the one made before it.
"""

# ruff: noqa: S101 -- asserts are what tests are made of

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import attrs

from statechain.errors import StatechainError
from statechain.records.batches import Batch, BatchStatus
from statechain.records.callbacks import Callback
from statechain.records.executions import Execution, ExecutionStatus, Source, StateMachineRecord, Visit, new_id
from statechain.records.filters import ExecutionFilter
from statechain.storage.repository import (
    Advance,
    CreateBatch,
    DeleteExecutions,
    End,
    RedriveExecution,
    ReleaseExecution,
    Repository,
    StartExecution,
    Write,
)

__all__ = [
    "ENDINGS",
    "FAILURES",
    "advance",
    "batch",
    "bury",
    "callback",
    "chained",
    "commit",
    "deleting",
    "ending",
    "execution",
    "finish",
    "freeze",
    "ids",
    "machine",
    "moment",
    "orphan",
    "redriving",
    "seed",
    "start",
    "visit",
]

T = TypeVar("T")

# With microseconds, so that a storage that rounds to milliseconds is found out.
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ENDINGS = tuple(status for status in ExecutionStatus if status.is_terminal)
FAILURES = tuple(status for status in ENDINGS if status is not ExecutionStatus.SUCCEEDED)

_seconds = itertools.count()


def moment(seconds: float = 0) -> datetime:
    """Return a time that many seconds after the samples' noon."""
    return NOON + timedelta(seconds=seconds)


# Records


def machine(name: str = "orders", **fields: Any) -> StateMachineRecord:  # noqa: ANN401 -- any field's type
    """Return a state machine that is not stored yet."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "name": name,
        "revision": 1,
        "type": "STANDARD",
        "definition": '{"StartAt":"Price"}',
        "created": moment(),
    }
    return StateMachineRecord(**{**defaults, **fields})


def execution(**fields: Any) -> Execution:  # noqa: ANN401
    """Return a RUNNING execution of ``machine-a`` that is not stored yet, named after its id."""
    # UUIDv7, ordered by time: claims by id take these in the order in which they were made.
    key = new_id()
    defaults: dict[str, Any] = {
        "id": key,
        "name": f"name-{key}",
        "state_machine_id": "machine-a",
        "state_machine_revision": 1,
        "status": ExecutionStatus.RUNNING,
        "input_text": '{"order":1}',
        "start_time": moment(next(_seconds)),
        "current_state": "First",
    }
    return Execution(**{**defaults, **fields})


def chained(source: Execution, *, state: str | None = None, **fields: Any) -> Execution:  # noqa: ANN401
    """Return an execution of ``machine-b`` that is chained from a source and not stored yet."""
    return execution(**{"state_machine_id": "machine-b", "source": Source(source.id, state), **fields})


def visit(of: Execution, number: int = 0, **fields: Any) -> Visit:  # noqa: ANN401
    """Return a completed visit in the root frame."""
    defaults: dict[str, Any] = {
        "execution_id": of.id,
        "frame": "",
        "number": number,
        "state": f"State{number}",
        "type": "Task",
        "entered": moment(number),
        "exited": moment(number + 0.5),
        "entered_event": 2 * number + 1,
        "exited_event": 2 * number + 2,
        "output": f"[{number}]",
        "next": f"State{number + 1}",
    }
    return Visit(**{**defaults, **fields})


def callback(of: Execution, key: str = "task", **fields: Any) -> Callback:  # noqa: ANN401
    """Return a callback that begins to wait under the token hash ``hash-<id>``."""
    key = f"{of.id}/{key}"
    return Callback(**{"id": key, "execution_id": of.id, "token_hash": f"hash-{key}", **fields})


def batch(**fields: Any) -> Batch:  # noqa: ANN401
    """Return a batch that chains into ``machine-b`` and is not stored yet."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "name_prefix": "invoice",
        "state_machine_id": "machine-b",
        "state_machine_revision": 1,
        "source_state_name": None,
        "filter": {},
        "options": {},
        "status": BatchStatus.RUNNING,
        "start_time": moment(next(_seconds)),
    }
    return Batch(**{**defaults, **fields})


def ending(status: ExecutionStatus = ExecutionStatus.SUCCEEDED, **fields: Any) -> End:  # noqa: ANN401
    """Return an end that looks as its status demands."""
    succeeded = status is ExecutionStatus.SUCCEEDED
    outcome = {"output_text": '{"total":9.5}'} if succeeded else {"error": "Card.Declined", "cause": "card 42"}
    return End(**{"status": status, "end_time": moment(next(_seconds) + 0.25), **outcome, **fields})


def advance(of: Execution, *visits: Visit, seq: int = 0, epoch: int = 1, **fields: Any) -> Advance:  # noqa: ANN401
    """Return a transition of an execution, by default its first one under the claim of its start."""
    defaults: dict[str, Any] = {"current_state": of.current_state}
    return Advance(execution_id=of.id, epoch=epoch, seq=seq, visits=visits, **{**defaults, **fields})


# Steps


def deleting(*ended: Execution) -> DeleteExecutions:
    """Return the deletion of executions, as they were when they were last read."""
    return DeleteExecutions(redrive_counts={each.id: each.redrive_count for each in ended})


def redriving(ended: Execution, *, owner: str | None = "worker") -> RedriveExecution:
    """Return the redrive of an execution, as it was when it was last read."""
    return RedriveExecution(execution_id=ended.id, owner=owner, redrive_count=ended.redrive_count)


async def commit(repository: Repository, write: Write[T]) -> T:
    """Commit one write and return its outcome, or raise the error that it was refused with."""
    (outcome,) = await repository.commit([write])
    if isinstance(outcome, StatechainError):
        raise outcome
    return cast("T", outcome)


async def bury(repository: Repository, *workers: str) -> None:
    """Release what workers own that are known to be dead: their leases are as they were last seen."""
    dead = [lease for lease in await repository.workers() if lease.worker_id in workers]
    assert sorted(await repository.release_dead(dead)) == sorted(workers)


async def start(repository: Repository, *, owner: str | None = "worker", **fields: Any) -> Execution:  # noqa: ANN401
    """Store a new execution, which must be the one that holds its name."""
    made = execution(**fields)
    held = await commit(repository, StartExecution(execution=made, owner=owner))
    assert held == made
    return made


async def orphan(repository: Repository, **fields: Any) -> Execution:  # noqa: ANN401
    """Store a new execution that was begun under epoch 1, and has no owner any more."""
    made = await start(repository, **fields)
    await commit(repository, ReleaseExecution(execution_id=made.id, epoch=1, claims=0))
    return made


async def finish(
    repository: Repository,
    *visits: Visit,
    of: Execution | None = None,
    status: ExecutionStatus = ExecutionStatus.SUCCEEDED,
    **fields: Any,  # noqa: ANN401
) -> Execution:
    """Store an execution (or take one that has just started) with its visits and its end; return it as it is."""
    begun = of or await start(repository, **fields)
    await commit(repository, advance(begun, *visits, end=ending(status)))
    ended = await repository.execution(begun.id)
    assert ended is not None
    return ended


async def seed(repository: Repository, *wanted: Execution) -> None:
    """Store executions as they are given, ended ones too, in two commits."""
    # Nothing is stored as ended: a start is RUNNING, and an end is a later transition.
    begun = [attrs.evolve(each, status=ExecutionStatus.RUNNING, end_time=None, output_text=None) for each in wanted]
    starts = [StartExecution(execution=attrs.evolve(each, error=None, cause=None), owner="worker") for each in begun]
    await repository.commit(starts)
    ends = [
        advance(
            each,
            end=End(
                status=each.status,
                end_time=each.end_time,
                output_text=each.output_text,
                error=each.error,
                cause=each.cause,
            ),
        )
        for each in wanted
        if each.end_time is not None
    ]
    assert list(await repository.commit(ends)) == [None] * len(ends)


async def freeze(repository: Repository, filter_: ExecutionFilter | None = None, **fields: Any) -> Batch:  # noqa: ANN401
    """Store a batch of the executions that a filter means; return it with its counts."""
    return await commit(repository, CreateBatch(batch=batch(**fields), filter_=filter_ or ExecutionFilter()))


def ids(executions: Sequence[Execution]) -> list[str]:
    """Return the ids of executions, in their order."""
    return [each.id for each in executions]
