"""The rarer writes: what each asks of the tables, step by step, without saying how it is asked.

A script is a generator that yields statements and is sent their rows; what it returns is the write's outcome. The
same scripts run on SQLite, in the writer's thread, and on PostgreSQL, over asyncpg, always inside one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import attrs
from sqlalchemy import Integer, case, delete, exists, literal, null, or_, select, type_coerce, update
from sqlalchemy.dialects.postgresql import insert

from statechain.clock import MICROSECOND, to_micros
from statechain.errors import ExecutionNotFound, InvalidToken, TaskTimedOut
from statechain.records.callbacks import CallbackStatus
from statechain.records.executions import ExecutionStatus
from statechain.storage.leases import lease_lost
from statechain.storage.queues import MachineLimited
from statechain.storage.repository import (
    AnswerCallback,
    CloseCallback,
    CreateStateMachine,
    DeleteExecutions,
    HeartbeatCallback,
    LimitStateMachine,
    RedriveExecution,
    ReleaseExecution,
    StartExecution,
    StopExecution,
    TakeActivity,
    TakeUpExecution,
)
from statechain_backends.sql import filters, queries
from statechain_backends.sql.compiler import named_row, param, row_params
from statechain_backends.sql.decoding import Row
from statechain_backends.sql.leases import queries as lease_queries
from statechain_backends.sql.queues import scripts as queue_scripts
from statechain_backends.sql.records import to_callback, to_execution, to_state_machine
from statechain_backends.sql.rows import end_row, execution_row, link_row, run_row, state_machine_row
from statechain_backends.sql.schema.tables import (
    callbacks,
    executions,
    links,
    runs,
    state_machines,
    visits,
)
from statechain_backends.sql.scripts.batches import BATCH_SCRIPTS
from statechain_backends.sql.scripts.redrives import redrive
from statechain_backends.sql.scripts.steps import Script, Steps
from statechain_backends.sql.statements import ADD_RUN, END_EXECUTION, EXECUTION, EXECUTION_BY_NAME
from statechain_backends.sql.text_escape import unescape_text

__all__ = ["LOST_EPOCHS", "SCRIPTS", "chunks"]

logger = logging.getLogger(__name__)

CHUNK = 500
LOST_EPOCHS = 1000
"""What is added to the epoch of an execution whose run's epoch is lost: more than any worker can hold."""

WAITING = CallbackStatus.WAITING.value

# SQLite took ON CONFLICT over from PostgreSQL: the clause of the one dialect compiles for the other.


# State machines

_NEWEST = (
    select(*state_machines.c)
    .where(state_machines.c.name == param("name"))
    .order_by(state_machines.c.revision.desc())
    .limit(1)
)
_ADD_MACHINE = (
    insert(state_machines).values(row_params(state_machines)).on_conflict_do_nothing().returning(state_machines.c.id)
)


def _create_state_machine(write: CreateStateMachine) -> Script:
    machine = write.machine
    while True:  # until no other adds a revision in between
        rows = yield _NEWEST, {"name": machine.name}
        if rows:
            newest = to_state_machine(rows[0])
            if (newest.definition, newest.type) == (machine.definition, machine.type):
                return newest
            added = attrs.evolve(machine, id=newest.id, revision=newest.revision + 1)
        else:
            added = attrs.evolve(machine, revision=1)
        rows = yield _ADD_MACHINE, named_row(state_machines, state_machine_row(added))
        if rows:
            return added


# Executions

_CHAINED = queries.chained_holder(param("machine"), param("source"), param("state"))
_ADD_EXECUTION = insert(executions).values(row_params(executions)).on_conflict_do_nothing().returning(executions.c.id)
_ADD_LINK = insert(links).values(row_params(links)).on_conflict_do_nothing().returning(links.c.target_execution_id)
_DROP_EXECUTION = delete(executions).where(executions.c.id == param("id_"))
_is_living = exists().where(executions.c.id == links.c.target_execution_id, executions.c.status.in_(filters.UNFAILED))
_FREE_KEY = update(links).where(links.c.exclusive == param("key"), ~_is_living).values(exclusive=null())


def _start_exclusively(write: StartExecution) -> Script:
    """Start an execution where none of its kind runs or succeeded; a unique key decides between two at once."""
    execution, source = write.execution, write.execution.source
    if source is None:
        raise ValueError("an exclusive start has a source")
    name = {"machine": execution.state_machine_id, "name": execution.name}
    chain = {
        "machine": execution.state_machine_id,
        "source": source.execution_id,
        "state": source.state_name,
    }
    link = named_row(links, link_row(execution, source, exclusive=True))
    # The key of an execution that failed since: its source may be chained again.
    yield _FREE_KEY, {"key": link["exclusive"]}
    while True:  # retry: the conflicting row may not be visible yet
        for question, parameters in ((EXECUTION_BY_NAME, name), (_CHAINED, chain)):
            rows = yield question, parameters
            if rows:
                return to_execution(rows[0])
        queue = yield from queue_scripts.queue_of(execution.state_machine_id, write.owner)
        if isinstance(queue, MachineLimited):
            return queue
        rows = yield _ADD_EXECUTION, named_row(executions, execution_row(execution))
        if not rows:
            continue
        rows = yield _ADD_LINK, link
        if rows:
            yield ADD_RUN, named_row(runs, run_row(execution, write.owner, is_queued=queue))
            return execution
        # Another start has the key. This one is taken back by hand, and the loop finds that other one.
        yield _DROP_EXECUTION, {"id_": execution.id}


_END_RUN = delete(runs).where(runs.c.execution_id == param("id_")).returning(runs.c.epoch, runs.c.current_state)


def _stop(write: StopExecution) -> Script:
    rows = yield _END_RUN, {"id_": write.execution_id}
    if rows:
        epoch, state = rows[0]
        names = ("status", "output", "error", "cause", "end_time")
        ended = dict(zip(names, end_row(write.end), strict=True))
        yield END_EXECUTION, {"id_": write.execution_id, "current_state": state, "epoch": _epoch_above(epoch), **ended}
    return (yield from _found(write.execution_id))


def _epoch_above(epoch: object) -> int:
    """Return an epoch under which no worker can write; the one that is stored may be no number."""
    return epoch + 1 if isinstance(epoch, int) else LOST_EPOCHS


def _found(execution_id: str) -> Script:
    rows = yield EXECUTION, {"id": execution_id}
    return to_execution(rows[0]) if rows else ExecutionNotFound(f"there is no execution {execution_id!r}")


_LEAVE = (
    update(runs)
    .where(runs.c.execution_id == param("id_"), runs.c.epoch == param("of_epoch"))
    .values(
        owner=null(),
        claims=param("new_claims"),
        claimable_after=lease_queries.elapsed() + param("backoff"),
        suspect_since=lease_queries.suspicion(type_coerce(param("new_claims"), Integer)),
    )
)


_TAKE_UP = (
    update(runs)
    .where(runs.c.execution_id == param("id_"), runs.c.epoch == param("of_epoch"))
    .values(
        claims=param("new_claims"),
        backoff=param("new_backoff"),
        suspect_since=lease_queries.suspicion(type_coerce(param("new_claims"), Integer)),
    )
    .returning(runs.c.execution_id)
)
_RUN_EPOCH = select(runs.c.epoch).where(runs.c.execution_id == param("id_"))


def _take_up(write: TakeUpExecution) -> Script:
    new = {"new_claims": write.claims, "new_backoff": write.backoff // MICROSECOND}
    rows = yield _TAKE_UP, {"id_": write.execution_id, "of_epoch": write.epoch, **new}
    if rows:
        return None
    rows = yield _RUN_EPOCH, {"id_": write.execution_id}
    return lease_lost(write.execution_id, write.epoch, *(next(iter(rows)) if rows else [None]))


def _release(write: ReleaseExecution) -> Steps:
    backoff = write.backoff // MICROSECOND
    new = {"new_claims": write.claims, "backoff": backoff}
    yield _LEAVE, {"id_": write.execution_id, "of_epoch": write.epoch, **new}


def _delete(write: DeleteExecutions) -> Script:
    counts, gone = write.redrive_counts, 0
    for ids in chunks(sorted(counts)):  # in one order, so that two deletions at once do not lock each other out
        named = select(executions.c.id, executions.c.status, executions.c.redrive_count).where(executions.c.id.in_(ids))
        rows = yield named.order_by(executions.c.id).with_for_update(), None
        found = [(unescape_text(id_), ExecutionStatus(status), count) for id_, status, count in rows]
        ended = [id_ for id_, status, count in found if status.is_terminal and count == counts[id_]]
        if ended:
            linked = or_(links.c.target_execution_id.in_(ended), links.c.source_execution_id.in_(ended))
            yield delete(executions).where(executions.c.id.in_(ended)), None
            yield delete(visits).where(visits.c.execution_id.in_(ended)), None
            yield delete(callbacks).where(callbacks.c.execution_id.in_(ended)), None
            yield delete(links).where(linked), None
        gone += len(ids) - len(found) + len(ended)
    return gone


def chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    """Yield ids in portions that one statement takes."""
    left = iter(ids)
    while chunk := list(islice(left, CHUNK)):
        yield chunk


# Callbacks

_BY_TOKEN = select(*callbacks.c).where(callbacks.c.token_hash == param("token"))
_is_waiting = callbacks.c.status == literal(WAITING, literal_execute=True)  # as the partial index says it
_is_awaited = _is_waiting & exists().where(
    executions.c.id == callbacks.c.execution_id,
    executions.c.status == ExecutionStatus.RUNNING.value,
    executions.c.redrive_count == callbacks.c.redrive_count,
)
_awaited = update(callbacks).where(callbacks.c.token_hash == param("token"), _is_awaited).returning(*callbacks.c)
_ANSWER = _awaited.values({name: param(f"new_{name}") for name in ("status", "output", "error", "cause")})
_BEAT = _awaited.values(beat=param("new_beat"))
_CLOSE = (
    update(callbacks)
    .where(callbacks.c.id == param("id_"))
    .values(status=case((callbacks.c.status == WAITING, CallbackStatus.CLOSED.value), else_=callbacks.c.status))
    .returning(*callbacks.c)
)
_free = (
    select(callbacks.c.id)
    .where(
        callbacks.c.activity == param("of_activity"),
        callbacks.c.activity.is_not(None),
        callbacks.c.token_hash.is_(None),
        _is_awaited,
    )
    .order_by(callbacks.c.id)
    .limit(1)
    .with_for_update(of=callbacks, skip_locked=True)
    .cte("free")
)
_TAKE = (
    update(callbacks)
    # From a CTE, which is run once: a subquery with a limit could be run, and lock another row, for each row looked at.
    .where(callbacks.c.id == select(_free.c.id).scalar_subquery())
    .values(token_hash=param("new_token"), beat=param("new_beat"))
    .returning(*callbacks.c)
)


def _answer(write: AnswerCallback) -> Script:
    answer = {
        "token": write.token_hash,
        "new_status": write.status.value,
        "new_output": write.output_text,
        "new_error": write.error,
        "new_cause": write.cause,
    }
    rows = yield _ANSWER, answer
    if rows:
        return to_callback(rows[0])
    rows = yield _BY_TOKEN, {"token": write.token_hash}
    if rows:
        callback = to_callback(rows[0])
        if write.is_given_to(callback):
            return callback
    return _refusal(rows)


def _beat(write: HeartbeatCallback) -> Script:
    rows = yield _BEAT, {"token": write.token_hash, "new_beat": to_micros(write.heartbeat)}
    if rows:
        return to_callback(rows[0])
    rows = yield _BY_TOKEN, {"token": write.token_hash}
    return _refusal(rows)


def _refusal(rows: Sequence[Row]) -> InvalidToken | TaskTimedOut:
    if rows:
        return TaskTimedOut("the task under this token is over")
    return InvalidToken("no task ever waited under this token")


def _close(write: CloseCallback) -> Script:
    rows = yield _CLOSE, {"id_": write.id}
    return to_callback(rows[0]) if rows else None


def _take(write: TakeActivity) -> Script:
    rows = yield _BY_TOKEN, {"token": write.token_hash}
    if not rows:
        taken = {"new_token": write.token_hash, "new_beat": to_micros(write.heartbeat)}
        rows = yield _TAKE, {"of_activity": write.activity, **taken}
    return to_callback(rows[0]) if rows else None


SCRIPTS: Mapping[type, Callable[[Any], Script]] = {
    AnswerCallback: _answer,
    HeartbeatCallback: _beat,
    CloseCallback: _close,
    CreateStateMachine: _create_state_machine,
    DeleteExecutions: _delete,
    LimitStateMachine: queue_scripts.limit_state_machine,
    RedriveExecution: redrive,
    ReleaseExecution: _release,
    StartExecution: _start_exclusively,
    StopExecution: _stop,
    TakeActivity: _take,
    TakeUpExecution: _take_up,
    **BATCH_SCRIPTS,
}
"""What each kind of write asks, but for advances and starts that are not exclusive, which come in hundreds."""
