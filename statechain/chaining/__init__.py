"""The chain: finished executions → new executions."""

from typing import TYPE_CHECKING

from statechain.lazy import importer

if TYPE_CHECKING:
    from statechain.chaining.batch import collect as collect
    from statechain.chaining.batch import new_batch as new_batch
    from statechain.chaining.batch import resume_batch as resume_batch
    from statechain.chaining.batch import stop_batch as stop_batch
    from statechain.chaining.batch import stream_batch as stream_batch
    from statechain.chaining.bulk import stream_bulk as stream_bulk
else:
    # What runs batches brings the launcher and the journal; its options and results are needed before.
    __getattr__ = importer(
        __name__,
        {
            **dict.fromkeys(
                ("collect", "new_batch", "resume_batch", "stop_batch", "stream_batch"), "statechain.chaining.batch"
            ),
            "stream_bulk": "statechain.chaining.bulk",
        },
    )


__all__ = [
    "collect",
    "new_batch",
    "resume_batch",
    "stop_batch",
    "stream_batch",
    "stream_bulk",
]
