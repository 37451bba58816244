"""Records → the JSON objects that programs read, the same on the command line and in the console."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs

from statechain.records.batches import Batch
from statechain.records.executions import Execution

__all__ = ["batch_json", "execution_json", "instant"]


def instant(at: datetime | None) -> str | None:
    """Return a time for programs."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def execution_json(execution: Execution, machine: str | None = None) -> dict[str, Any]:
    """Return an execution as a JSON object."""
    source = execution.source
    return {
        "id": execution.id,
        "name": execution.name,
        "state_machine": machine,
        "state_machine_id": execution.state_machine_id,
        "state_machine_revision": execution.state_machine_revision,
        "status": str(execution.status),
        "current_state": execution.current_state,
        "start_time": instant(execution.start_time),
        "end_time": instant(execution.end_time),
        "input": execution.input,
        "output": execution.output,
        "error": execution.error,
        "cause": execution.cause,
        "source": None if source is None else attrs.asdict(source),
        "redrive_count": execution.redrive_count,
        "key": execution.key,
        "priority": execution.priority,
    }


def batch_json(batch: Batch, machine: str | None = None) -> dict[str, Any]:
    """Return a batch as a JSON object."""
    return {
        "id": batch.id,
        "name_prefix": batch.name_prefix,
        "state_machine": machine,
        "state_machine_id": batch.state_machine_id,
        "state_machine_revision": batch.state_machine_revision,
        "source_state_name": batch.source_state_name,
        "status": str(batch.status),
        "start_time": instant(batch.start_time),
        "end_time": instant(batch.end_time),
        "item_counts": attrs.asdict(batch.item_counts),
        "parent_execution_id": batch.parent_execution_id,
        "filter": dict(batch.filter),
        "options": dict(batch.options),
    }
