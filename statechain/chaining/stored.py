"""What is stored of a batch: its options as a JSON-shaped mapping, and whether it chains what no other one chains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from statechain.chaining.options import DISTRIBUTED, SHARD_OPTIONS, STORED_OPTIONS, BatchExecutionOptions
from statechain.chaining.transformers import TRANSFORMER_OPTION
from statechain.codec import JSONValue

if TYPE_CHECKING:
    from statechain.records.batches import Batch

__all__ = ["describe_options", "is_exclusive"]


def describe_options(options: BatchExecutionOptions, transformer: str | None = None) -> dict[str, JSONValue]:
    """Return what options say, with the name of the batch's transformer; functions cannot be stored."""
    names = (*STORED_OPTIONS, *SHARD_OPTIONS) if options.mode == DISTRIBUTED else STORED_OPTIONS
    described: dict[str, JSONValue] = {name: getattr(options, name) for name in names}
    described[TRANSFORMER_OPTION] = transformer
    # What is None is left out, so that options compare equal (`does_the_same`) across releases that know more of them.
    return {name: value for name, value in described.items() if value is not None and not callable(value)}


def is_exclusive(batch: Batch) -> bool:
    """Return whether a batch is to chain only what no other chains to its target."""
    chained = cast("Mapping[str, JSONValue]", batch.filter.get("unchained_to") or {})
    by_state = chained.get("source_state_name")
    return chained.get("to") == batch.state_machine_id and by_state in {None, batch.source_state_name}
