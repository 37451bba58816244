"""Rows that are read → records: one of the two places that know in which order the columns are.

A row has the columns of its query in `queries`. What can be unpacked is a row: a driver's tuple, an asyncpg record, a
row of SQLAlchemy. `rows` makes the rows that are written.
"""

from __future__ import annotations

from datetime import timedelta

from statechain.errors import DamagedRow
from statechain.records.batches import Batch, BatchItem, BatchStatus, ItemCounts
from statechain.records.callbacks import Callback, CallbackStatus
from statechain.records.executions import (
    Claim,
    DurationStatistics,
    Execution,
    ExecutionStatus,
    Link,
    Source,
    StateMachineRecord,
    Suspect,
    Visit,
)
from statechain.records.filters import ExecutionKey
from statechain.storage.leases import SuspectGroup, WorkerLease
from statechain.storage.outlines import VisitOutline
from statechain_backends.sql.decoding import (
    Row,
    json_object,
    member,
    moment,
    moment_or_none,
    number,
    payload,
    payload_or_none,
    reads,
    text,
    text_or_none,
)
from statechain_backends.sql.text_escape import unescape_text

__all__ = [
    "to_batch",
    "to_batch_item",
    "to_batch_status",
    "to_callback",
    "to_callback_or_failure",
    "to_claim",
    "to_execution",
    "to_execution_key",
    "to_link",
    "to_state_machine",
    "to_statistics",
    "to_suspect",
    "to_suspect_group",
    "to_visit",
    "to_visit_outline",
    "to_worker_lease",
]

RUNTIME = "States.Runtime"

SECOND = 1_000_000
"""In microseconds."""


@reads("state_machines", 0, 1)
def to_state_machine(row: Row) -> StateMachineRecord:
    """Return a state machine from a row of its table."""
    id_, revision, name, type_, definition, created = row
    return StateMachineRecord(
        id=text(id_, "id"),
        name=text(name, "name"),
        revision=number(revision, "revision"),
        type=text(type_, "type"),
        definition=payload(definition, "definition"),
        created=moment(created, "created"),
    )


@reads("executions", 0)
def to_execution(row: Row) -> Execution:
    """Return an execution from a row of `queries.EXECUTION`."""
    id_, name, machine, revision, status, input_, output, error, cause, start, end, state, *rest = row
    source, source_state, redrives, key, priority = rest
    source_id = text_or_none(source, "source_execution_id")
    return Execution(
        id=text(id_, "id"),
        name=text(name, "name"),
        state_machine_id=text(machine, "state_machine_id"),
        state_machine_revision=number(revision, "state_machine_revision"),
        status=member(ExecutionStatus, status, "status"),
        input_text=payload(input_, "input"),
        output_text=payload_or_none(output, "output"),
        error=text_or_none(error, "error"),
        cause=text_or_none(cause, "cause"),
        start_time=moment(start, "start_time"),
        end_time=moment_or_none(end, "end_time"),
        current_state=text_or_none(state, "current_state"),
        source=None if source_id is None else Source(source_id, text_or_none(source_state, "source_state_name")),
        redrive_count=number(redrives, "redrive_count"),
        key=text_or_none(key, "key"),
        priority=number(priority or 0, "priority"),
    )


@reads("executions", 1)
def to_execution_key(row: Row) -> ExecutionKey:
    """Return the key of an execution from its start time, id and redrive count."""
    start, id_, redrives = row
    return ExecutionKey(moment(start, "start_time"), text(id_, "id"), number(redrives, "redrive_count"))


@reads("runs", 4)
def to_claim(row: Row) -> Claim:
    """Return a claim from epoch, seq, claims and how long suspected, followed by a row of `queries.EXECUTION`."""
    epoch, seq, claims, suspected, *execution = row
    return Claim(
        execution=to_execution(execution),
        epoch=number(epoch, "epoch"),
        seq=number(seq, "seq"),
        claims=number(claims, "claims"),
        suspected=_micros(suspected),
    )


@reads("runs", 4)
def to_suspect(row: Row) -> Suspect:
    """Return a suspect from a row of `lease_queries.suspects`."""
    deaths, suspected, is_running, due, *execution = row
    return Suspect(
        execution=to_execution(execution),
        deaths=deaths,
        suspected=_micros(suspected),
        is_running=bool(is_running),
        due=_micros(due),
    )


def to_suspect_group(row: Row) -> SuspectGroup:
    """Return a group of suspects from a row of `lease_queries.suspect_groups`."""
    deaths, count, due = row
    return SuspectGroup(deaths=deaths, count=count, due=_micros(due))


def to_worker_lease(row: Row) -> WorkerLease:
    """Return a worker's lease from a row of `lease_queries.leases`."""
    id_, until, renewals, length, is_over = row
    return WorkerLease(
        worker_id=unescape_text(id_),
        until=until,
        renewals=renewals,
        length=None if length is None else _micros(length),
        is_over=bool(is_over),
    )


def _micros(micros: int) -> timedelta:
    return timedelta(microseconds=int(micros))


@reads("visits", 0, 1)
def to_visit(row: Row) -> Visit:
    """Return a visit from a row of its table."""
    (id_, _, frame, count, state, type_, entered, exited, first, last, output, error, cause, next_, detail) = row
    return Visit(
        execution_id=text(id_, "execution_id"),
        frame=text(frame, "frame"),
        number=number(count, "number"),
        state=text(state, "state"),
        type=text(type_, "type"),
        entered=moment(entered, "entered"),
        exited=moment_or_none(exited, "exited"),
        entered_event=number(first, "entered_event"),
        exited_event=number(last, "exited_event"),
        output=payload_or_none(output, "output"),
        error=text_or_none(error, "error"),
        cause=text_or_none(cause, "cause"),
        next=text_or_none(next_, "next"),
        detail=payload_or_none(detail, "detail"),
    )


@reads("visits", 0, 1)
def to_visit_outline(row: Row) -> VisitOutline:
    """Return a visit without its payloads from a row of `queries.visit_outlines_page`."""
    _, place, frame, count, state, type_, entered, exited, first, last, *rest = row
    has_output, error, next_, has_detail, detail = rest
    return VisitOutline(
        place=number(place, "seq"),
        frame=text(frame, "frame"),
        number=number(count, "number"),
        state=text(state, "state"),
        type=text(type_, "type"),
        entered=moment(entered, "entered"),
        exited=moment_or_none(exited, "exited"),
        entered_event=number(first, "entered_event"),
        exited_event=number(last, "exited_event"),
        has_output=bool(has_output),
        error=text_or_none(error, "error"),
        next=text_or_none(next_, "next"),
        has_detail=bool(has_detail),
        detail=payload_or_none(detail, "detail"),
    )


@reads("links", 0)
def to_link(row: Row) -> Link:
    """Return a link from a row of `queries.LINK`."""
    target, source, source_state, target_machine, created = row
    return Link(
        source_execution_id=text(source, "source_execution_id"),
        source_state_name=text_or_none(source_state, "source_state_name"),
        target_execution_id=text(target, "target_execution_id"),
        target_state_machine_id=text(target_machine, "target_state_machine_id"),
        created=moment(created, "created"),
    )


@reads("callbacks", 0)
def to_callback(row: Row) -> Callback:
    """Return a callback from a row of its table."""
    id_, execution_id, redrives, token_hash, activity, input_, status, output, error, cause, beat, state, since = row
    return Callback(
        id=text(id_, "id"),
        execution_id=text(execution_id, "execution_id"),
        redrive_count=number(redrives, "redrive_count"),
        token_hash=text_or_none(token_hash, "token_hash"),
        activity=text_or_none(activity, "activity"),
        input_text=payload_or_none(input_, "input"),
        status=member(CallbackStatus, status, "status"),
        output_text=payload_or_none(output, "output"),
        error=text_or_none(error, "error"),
        cause=text_or_none(cause, "cause"),
        last_heartbeat=moment_or_none(beat, "beat"),
        state=text_or_none(state, "state"),
        since=moment_or_none(since or None, "since"),
    )


def to_callback_or_failure(row: Row) -> Callback:
    """Return a callback; one that cannot be read has failed, so that its task does not wait for ever."""
    try:
        return to_callback(row)
    except DamagedRow as damage:
        id_, execution_id, *_ = row
        failed = CallbackStatus.FAILED
        return Callback(
            id=str(unescape_text(id_)), execution_id=str(execution_id), status=failed, error=RUNTIME, cause=str(damage)
        )


@reads("batches", 0)
def to_batch(row: Row) -> Batch:
    """Return a batch from a row of its table followed by its counts."""
    (id_, prefix, machine, revision, source_state, filter_, options, status, start, end, parent, *counts) = row
    return Batch(
        id=text(id_, "id"),
        name_prefix=text(prefix, "name_prefix"),
        state_machine_id=text(machine, "state_machine_id"),
        state_machine_revision=number(revision, "state_machine_revision"),
        source_state_name=text_or_none(source_state, "source_state_name"),
        filter=json_object(filter_, "filter"),
        options=json_object(options, "options"),
        status=member(BatchStatus, status, "status"),
        start_time=moment(start, "start_time"),
        end_time=moment_or_none(end, "end_time"),
        item_counts=_to_item_counts(counts),
        parent_execution_id=text_or_none(parent, "parent_execution_id"),
    )


@reads("batches")
def to_batch_status(row: Row) -> BatchStatus:
    """Return the status in a row of `queries.batch_status`."""
    (status,) = row
    return member(BatchStatus, status, "status")


def _to_item_counts(row: Row) -> ItemCounts:
    pending, running, succeeded, failed, timed_out, aborted, total = row
    return ItemCounts(
        pending=pending,
        running=running,
        succeeded=succeeded,
        failed=failed,
        timed_out=timed_out,
        aborted=aborted,
        total=total,
    )


@reads("batch_items", 0)
def to_batch_item(row: Row) -> BatchItem:
    """Return a batch item from a row of `queries.batch_items`; one whose source or input cannot be read has failed."""
    index, source, name, status, output, error, cause, input_text = row
    item_name, source_id = text(name, "name"), text(source, "source_execution_id") or None
    error, cause = text_or_none(error, "error"), text_or_none(cause, "cause")
    source_status = source_output = given = None
    try:
        if status is not None:
            source_status = member(ExecutionStatus, status, "status")
        source_output, given = payload_or_none(output, "output"), payload_or_none(input_text, "input")
    except (TypeError, ValueError) as problem:
        table, key = ("batch_items", item_name) if source_id is None else ("executions", source_id)
        error, cause, source_status = DamagedRow.__name__, str(DamagedRow(table, (key,), str(problem))), None
    return BatchItem(
        index=number(index, "index"),
        source_execution_id=source_id,
        name=item_name,
        source_status=source_status,
        source_output=source_output,
        error=error,
        cause=cause,
        input_text=given,
    )


@reads("executions")
def to_statistics(row: Row) -> tuple[ExecutionStatus, DurationStatistics]:
    """Return a status with its statistics from a row of `queries.statistics`, whose durations are microseconds."""
    status, count, *durations = row
    seconds = (None if duration is None else float(duration) / SECOND for duration in durations)
    shortest, mean, p50, p95, p99, longest = seconds
    return member(ExecutionStatus, status, "status"), DurationStatistics(
        count=count, min=shortest, mean=mean, p50=p50, p95=p95, p99=p99, max=longest
    )
