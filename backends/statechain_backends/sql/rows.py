"""Records → the rows that are written: one of the two places that know in which order the columns are.

A row has the columns of its table in `schema`. `records` makes records of the rows that are read.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from statechain.clock import to_micros
from statechain.codec import encode
from statechain.records.batches import Batch, BatchItem
from statechain.records.callbacks import Callback
from statechain.records.executions import (
    Execution,
    Source,
    StateMachineRecord,
    Visit,
)

if TYPE_CHECKING:
    from statechain.storage.repository import End

__all__ = [
    "NO_PLACE",
    "batch_item_row",
    "batch_row",
    "callback_row",
    "end_row",
    "execution_row",
    "link_row",
    "queue_place",
    "run_row",
    "state_machine_row",
    "to_micros_or_none",
    "visit_row",
]

NO_PLACE = (None, None, None)
"""Queue, key and rank of a run whose machine has no queue."""


def to_micros_or_none(at: datetime | None) -> int | None:
    """Return a moment as microseconds since the epoch, or None for none."""
    return None if at is None else to_micros(at)


def state_machine_row(machine: StateMachineRecord) -> tuple[object, ...]:
    """Return the row of `schema.state_machines`."""
    created = to_micros(machine.created)
    return machine.id, machine.revision, machine.name, machine.type, machine.definition, created


def execution_row(execution: Execution) -> tuple[object, ...]:
    """Return the row of `schema.executions` for an execution that starts; its state is in its run's row."""
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
        execution.key,
        execution.priority or None,
    )


def run_row(execution: Execution, owner: str | None, *, is_queued: bool) -> tuple[object, ...]:
    """Return the row of `schema.runs` for an execution that starts."""
    epoch = 0 if owner is None else 1
    place = queue_place(execution.state_machine_id, execution.key, execution.priority) if is_queued else NO_PLACE
    return execution.id, owner, epoch, 0, 0, execution.current_state, None, None, None, *place


def queue_place(state_machine_id: str, key: str | None, priority: int | None) -> tuple[object, ...]:
    """Return queue, key and rank of a run whose machine has a queue."""
    return state_machine_id, key or "", -(priority or 0)


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
        None if visit.exited is None else to_micros(visit.exited),
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
        batch.parent_execution_id,
    )


def batch_item_row(batch_id: str, item: BatchItem) -> tuple[object, ...]:
    """Return the row of `schema.batch_items`; an item without a source has an empty id there."""
    return batch_id, item.index, item.source_execution_id or "", item.name, item.error, item.cause, item.input_text


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
        to_micros_or_none(callback.last_heartbeat),
        callback.state,
        0 if callback.since is None else to_micros(callback.since),
    )
