"""Records to rows and rows to records: the one place that knows in which order the columns stand.

A row that is written has the columns of its table in `schema`; a row that is read, those of its query in `queries`.
Whatever can be unpacked is a row: a driver's tuple, an asyncpg record, a row of SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from statechain.codec import JSONValue, decode, encode
from statechain.filters import ExecutionKey
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
    ItemCounts,
    Link,
    Source,
    StateMachineRecord,
    Visit,
)
from statechain.storage.outlines import VisitOutline
from statechain_backends.texts import restored

if TYPE_CHECKING:
    from statechain.storage.repository import End

__all__ = [
    "Row",
    "batch_row",
    "callback_row",
    "end_row",
    "execution_row",
    "from_micros",
    "link_row",
    "run_row",
    "state_machine_row",
    "to_batch",
    "to_batch_item",
    "to_callback",
    "to_claim",
    "to_execution",
    "to_execution_key",
    "to_link",
    "to_micros",
    "to_micros_or_none",
    "to_state_machine",
    "to_statistics",
    "to_visit",
    "to_visit_outline",
    "visit_row",
]

Row: TypeAlias = Iterable[Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000


def to_micros(moment: datetime) -> int:
    """Return a moment as microseconds since the epoch."""
    past = moment - EPOCH
    return (past.days * 86_400 + past.seconds) * SECOND + past.microseconds


def from_micros(micros: int) -> datetime:
    """Return the moment that lies so many microseconds after the epoch."""
    return EPOCH + timedelta(microseconds=micros)


def to_micros_or_none(moment: datetime | None) -> int | None:
    """Return a moment as microseconds since the epoch, or None for none."""
    return None if moment is None else to_micros(moment)


def _from_micros_or_none(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


# Records to rows


def state_machine_row(machine: StateMachineRecord) -> tuple[object, ...]:
    """Return the row of `schema.state_machines`."""
    created = to_micros(machine.created)
    return machine.id, machine.revision, machine.name, machine.type, machine.definition, created


def execution_row(execution: Execution) -> tuple[object, ...]:
    """Return the row of `schema.executions` for an execution that starts; where it stands is in its run's row."""
    source = execution.source
    return (
        execution.id,
        execution.name,
        execution.state_machine_id,
        execution.state_machine_revision,
        execution.status.value,
        execution.input_text,
        execution.output_text,
        execution.error,
        execution.cause,
        to_micros(execution.start_time),
        to_micros_or_none(execution.end_time),
        None,
        None if source is None else source.execution_id,
        None if source is None else source.state_name,
        execution.redrive_count,
        1,
    )


def run_row(execution: Execution, owner: str | None) -> tuple[object, ...]:
    """Return the row of `schema.runs` for an execution that starts."""
    return execution.id, owner, 1, 0, 0, execution.current_state


def end_row(end: End) -> tuple[object, ...]:
    """Return status, output, error, cause and end time of an execution that ends."""
    end_time = to_micros(end.end_time)
    return end.status.value, end.output_text, end.error, end.cause, end_time


def visit_row(seq: int, visit: Visit) -> tuple[object, ...]:
    """Return the row of `schema.visits` for a visit at a place, counted from 1."""
    return (
        visit.execution_id,
        seq,
        visit.frame,
        visit.number,
        visit.state,
        visit.type,
        to_micros(visit.entered),
        to_micros_or_none(visit.exited),
        visit.entered_event,
        visit.exited_event,
        visit.output,
        visit.error,
        visit.cause,
        visit.next,
        visit.detail,
    )


def link_row(execution: Execution, source: Source, *, exclusive: bool) -> tuple[object, ...]:
    """Return the row of `schema.links` for an execution chained from a source."""
    machine = execution.state_machine_id
    key = encode([machine, source.execution_id, source.state_name]) if exclusive else None
    created = to_micros(execution.start_time)
    return execution.id, source.execution_id, source.state_name, machine, created, key


def batch_row(batch: Batch) -> tuple[object, ...]:
    """Return the row of `schema.batches`."""
    return (
        batch.id,
        batch.name_prefix,
        batch.state_machine_id,
        batch.state_machine_revision,
        batch.source_state_name,
        encode(dict(batch.filter)),
        encode(dict(batch.options)),
        batch.status.value,
        to_micros(batch.start_time),
        to_micros_or_none(batch.end_time),
    )


def callback_row(callback: Callback) -> tuple[object, ...]:
    """Return the row of `schema.callbacks`."""
    return (
        callback.id,
        callback.execution_id,
        callback.redrive_count,
        callback.token_hash,
        callback.activity,
        callback.input_text,
        callback.status.value,
        callback.output_text,
        callback.error,
        callback.cause,
        to_micros_or_none(callback.beat),
    )


# Rows to records


def to_state_machine(row: Row) -> StateMachineRecord:
    """Return a state machine from a row of its table."""
    id_, revision, name, type_, definition, created = row
    return StateMachineRecord(
        id=id_,
        name=restored(name),
        revision=revision,
        type=type_,
        definition=definition,
        created=from_micros(created),
    )


def to_execution(row: Row) -> Execution:
    """Return an execution from a row of `queries.EXECUTION`."""
    id_, name, machine, revision, status, input_, output, error, cause, start, end, state, *source, redrives = row
    return Execution(
        id=id_,
        name=restored(name),
        state_machine_id=machine,
        state_machine_revision=revision,
        status=ExecutionStatus(status),
        input_text=input_,
        output_text=output,
        error=restored(error),
        cause=restored(cause),
        start_time=from_micros(start),
        end_time=_from_micros_or_none(end),
        current_state=restored(state),
        source=None if source[0] is None else Source(source[0], restored(source[1])),
        redrive_count=redrives,
    )


def to_execution_key(row: Row) -> ExecutionKey:
    """Return the key of an execution from its start time, id and redrive count."""
    start, id_, redrives = row
    return ExecutionKey(from_micros(start), id_, redrives)


def to_claim(row: Row) -> Claim:
    """Return a claim from epoch, seq and claims, followed by a row of `queries.EXECUTION`."""
    epoch, seq, claims, *execution = row
    return Claim(execution=to_execution(execution), epoch=epoch, seq=seq, claims=claims)


def to_visit(row: Row) -> Visit:
    """Return a visit from a row of its table."""
    (id_, _, frame, number, state, type_, entered, exited, first, last, output, error, cause, next_, detail) = row
    return Visit(
        execution_id=id_,
        frame=restored(frame),
        number=number,
        state=restored(state),
        type=type_,
        entered=from_micros(entered),
        exited=_from_micros_or_none(exited),
        entered_event=first,
        exited_event=last,
        output=output,
        error=restored(error),
        cause=restored(cause),
        next=restored(next_),
        detail=detail,
    )


def to_visit_outline(row: Row) -> VisitOutline:
    """Return a visit without its payloads from a row of `queries.visit_outlines_page`."""
    _, place, frame, number, state, type_, entered, exited, first, last, has_output, next_, has_detail, detail = row
    return VisitOutline(
        place=place,
        frame=restored(frame),
        number=number,
        state=restored(state),
        type=type_,
        entered=from_micros(entered),
        exited=_from_micros_or_none(exited),
        entered_event=first,
        exited_event=last,
        has_output=bool(has_output),
        next=restored(next_),
        has_detail=bool(has_detail),
        detail=detail,
    )


def to_link(row: Row) -> Link:
    """Return a link from a row of `queries.LINK`."""
    target, source, source_state, target_machine, created = row
    return Link(
        source_execution_id=source,
        source_state_name=restored(source_state),
        target_execution_id=target,
        target_state_machine_id=target_machine,
        created=from_micros(created),
    )


def to_callback(row: Row) -> Callback:
    """Return a callback from a row of its table."""
    id_, execution_id, redrives, token_hash, activity, input_, status, output, error, cause, beat = row
    return Callback(
        id=id_,
        execution_id=execution_id,
        redrive_count=redrives,
        token_hash=token_hash,
        activity=restored(activity),
        input_text=input_,
        status=CallbackStatus(status),
        output_text=output,
        error=restored(error),
        cause=restored(cause),
        beat=_from_micros_or_none(beat),
    )


def to_batch(row: Row) -> Batch:
    """Return a batch from a row of its table followed by its counts."""
    (id_, prefix, machine, revision, source_state, filter_, options, status, start, end, *counts) = row
    return Batch(
        id=id_,
        name_prefix=restored(prefix),
        state_machine_id=machine,
        state_machine_revision=revision,
        source_state_name=restored(source_state),
        filter=cast("dict[str, JSONValue]", decode(filter_)),
        options=cast("dict[str, JSONValue]", decode(options)),
        status=BatchStatus(status),
        start_time=from_micros(start),
        end_time=_from_micros_or_none(end),
        item_counts=_to_item_counts(counts),
    )


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


def to_batch_item(row: Row) -> BatchItem:
    """Return a batch item from a row of `queries.batch_items`."""
    index, source, name, status, output, error, cause = row
    return BatchItem(
        index=index,
        source_execution_id=source,
        name=restored(name),
        source_status=None if status is None else ExecutionStatus(status),
        source_output=output,
        error=restored(error),
        cause=restored(cause),
    )


def to_statistics(row: Row) -> tuple[ExecutionStatus, DurationStatistics]:
    """Return a status with its statistics from a row of `queries.statistics`, whose durations are microseconds."""
    status, count, *durations = row
    seconds = (None if duration is None else float(duration) / SECOND for duration in durations)
    shortest, mean, p50, p95, p99, longest = seconds
    return ExecutionStatus(status), DurationStatistics(
        count=count, min=shortest, mean=mean, p50=p50, p95=p95, p99=p99, max=longest
    )
