"""A stored batch and what a caller gives → how it is resumed: by workers, by the processes that resume it, or here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from statechain.chaining.options import DISTRIBUTED, BatchExecutionOptions
from statechain.chaining.stored import describe_options
from statechain.chaining.transformers import as_function, as_name, name_of, stored_transformer
from statechain.storage.repository import ResumeBatch

if TYPE_CHECKING:
    from statechain.chaining.runner import BatchServices
    from statechain.chaining.source import InputTransformer
    from statechain.records.batches import Batch

__all__ = ["Resumption"]


@attrs.frozen
class Resumption:
    """How a stored batch is resumed.

    Attributes:
        batch_id: The batch.

        options: How what is missing is run.

        transformer: What this process maps the sources' outputs with, unless the batch is DISTRIBUTED.

        write: What makes the batch RUNNING, and stores the options where it has others.
    """

    batch_id: str
    options: BatchExecutionOptions
    transformer: InputTransformer | None
    write: ResumeBatch

    @classmethod
    def of(
        cls,
        batch: Batch,
        options: BatchExecutionOptions | None,
        input_transformer: InputTransformer | str | None,
        services: BatchServices,
    ) -> Resumption:
        """Return how a batch is resumed with what a caller gives, or else with what it was stored with.

        Raises ValueError where the transformer is not registered, or is a function and the batch DISTRIBUTED.
        """
        chosen = options or BatchExecutionOptions.of(batch)
        given = input_transformer or stored_transformer(batch)
        is_distributed = chosen.mode == DISTRIBUTED
        name = as_name(given, services.tasks) if is_distributed else name_of(given)
        described = describe_options(chosen, name)
        return cls(
            batch.id,
            chosen,
            None if is_distributed else as_function(given, services.tasks),
            ResumeBatch(batch_id=batch.id, options=None if described == batch.options else described),
        )
