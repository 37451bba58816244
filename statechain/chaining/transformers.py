"""Input transformers as callers give them: a function, or the name of one that is registered in a `TaskRegistry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from statechain.chaining.source import InputTransformer

if TYPE_CHECKING:
    from statechain.records.batches import Batch
    from statechain.tasks.registry import TaskRegistry

__all__ = ["TRANSFORMER_OPTION", "as_function", "as_name", "name_of", "stored_transformer"]

TRANSFORMER_OPTION = "input_transformer"
"""Where a batch has the name of its transformer among its stored options."""


def as_function(transformer: InputTransformer | str | None, tasks: TaskRegistry | None) -> InputTransformer | None:
    """Return the function that is given or named. Raises ValueError where none is registered under the name."""
    if not isinstance(transformer, str):
        return transformer
    found = None if tasks is None else tasks.find_transformer(transformer)
    if found is None:
        raise ValueError(_unknown(transformer))
    return found


def as_name(transformer: InputTransformer | str | None, tasks: TaskRegistry | None) -> str | None:
    """Return a transformer's name, for workers of other processes, to which no function can be sent.

    Raises ValueError for a function, and for a name that this engine's handlers do not have; a client without handlers
    leaves that to the workers.
    """
    if transformer is not None and not isinstance(transformer, str):
        raise ValueError(
            "the input_transformer of a DISTRIBUTED batch must be a name, since other processes run it: register the "
            'function by @tasks.transformer("NAME") in the TaskRegistry of each worker, and give that name'
        )
    if transformer is not None and tasks is not None and tasks.find_transformer(transformer) is None:
        raise ValueError(_unknown(transformer))
    return transformer


def name_of(transformer: InputTransformer | str | None) -> str | None:
    """Return what of a transformer can be stored: its name, where it was given by name."""
    return transformer if isinstance(transformer, str) else None


def stored_transformer(batch: Batch) -> str | None:
    """Return the name of the transformer that a batch is stored with."""
    return cast("str | None", batch.options.get(TRANSFORMER_OPTION))


def _unknown(name: str) -> str:
    return (
        f"no input_transformer is registered under the name {name!r}: "
        f'register it by @tasks.transformer("{name}") in the TaskRegistry that the engine is given'
    )
