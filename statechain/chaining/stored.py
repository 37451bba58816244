"""A batch's filter and options as JSON-shaped mappings, to be stored with it and read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from statechain.chaining.options import STORED_OPTIONS, BatchExecutionOptions
from statechain.codec import JSONValue
from statechain.filters import ExecutionFilter

if TYPE_CHECKING:
    from statechain.records import Batch

__all__ = ["describe_filter", "describe_options", "read_options", "takes_unchained"]


def describe_filter(select: ExecutionFilter) -> dict[str, JSONValue]:
    """Return what a filter says, without what it leaves open."""
    chained = select.unchained_to
    described: dict[str, JSONValue] = {
        "status": None if select.status is None else [str(status) for status in sorted(select.status)],
        "state_machine_id": select.state_machine_id,
        "name": select.name,
        "current_state": select.current_state,
        "start_after": None if select.start_after is None else select.start_after.isoformat(),
        "start_before": None if select.start_before is None else select.start_before.isoformat(),
        "limit": select.limit,
        "offset": select.offset or None,
        "order": select.order,
        "unchained_to": None if chained is None else {"to": chained.to, "source_state_name": chained.source_state_name},
    }
    return {name: value for name, value in described.items() if value is not None}


def describe_options(options: BatchExecutionOptions) -> dict[str, JSONValue]:
    """Return what options say; callbacks cannot be stored."""
    return {name: getattr(options, name) for name in STORED_OPTIONS if getattr(options, name) is not None}


def read_options(described: Mapping[str, JSONValue]) -> dict[str, Any]:
    """Return the arguments that made the options."""
    return {name: value for name, value in described.items() if name in STORED_OPTIONS}


def takes_unchained(batch: Batch) -> bool:
    """Tell whether a batch is to chain only what nobody else chains to its target."""
    chained = cast("Mapping[str, JSONValue]", batch.filter.get("unchained_to") or {})
    by_state = chained.get("source_state_name")
    return chained.get("to") == batch.state_machine_id and by_state in {None, batch.source_state_name}
