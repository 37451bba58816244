"""The chain: finished executions → new executions."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statechain.chaining.batch import collect as collect
    from statechain.chaining.batch import resume_batch as resume_batch
    from statechain.chaining.batch import stream_batch as stream_batch
    from statechain.chaining.batch import stream_bulk as stream_bulk
else:

    def __getattr__(name: str) -> object:
        """Import what runs batches with the first one: its options and results are needed before."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from statechain.chaining import batch  # noqa: PLC0415 -- it brings the launcher and the journal

        return getattr(batch, name)


__all__ = ["collect", "resume_batch", "stream_batch", "stream_bulk"]
