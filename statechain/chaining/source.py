"""A source → its output, final or of one state → the input of the execution that is chained from it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from statechain.codec import JSONInput, JSONValue, decode
from statechain.errors import (
    DamagedRow,
    ExecutionNotFound,
    InputTransformerError,
    InvalidPayload,
    RepositoryError,
    SourceNotFinished,
    SourceStateNotFound,
)
from statechain.records.batches import BatchItem
from statechain.records.executions import Execution, ExecutionStatus, Source

if TYPE_CHECKING:
    from statechain.storage.repository import Repository

__all__ = [
    "InputTransformer",
    "as_source",
    "chained_input",
    "item_input",
    "naming_transformer",
    "transform",
]

InputTransformer: TypeAlias = Callable[[Any], "JSONInput | Awaitable[JSONInput]"]
"""Maps a source's output to an input; sync or async. It runs in the event loop, so it must not block."""


def as_source(source: str | Execution | Source) -> Source:
    """Return what an id, an execution or a source means."""
    if isinstance(source, Source):
        return source
    return Source(source if isinstance(source, str) else source.id)


async def chained_input(repository: Repository, source: Source, transformer: InputTransformer | None) -> JSONInput:
    """Return the input that a source gives.

    Raises ExecutionNotFound, SourceNotFinished, SourceStateNotFound, InputTransformerError.
    """
    execution = await repository.execution(source.execution_id)
    if execution is None:
        raise ExecutionNotFound(f"there is no execution {source.execution_id!r} to chain from")
    text = execution.output_text
    if source.state_name is not None and execution.status.is_terminal:
        text = await repository.last_output(execution.id, source.state_name)
    return await transform(_output(text, execution.id, execution.status, source.state_name), transformer)


async def item_input(item: BatchItem, state_name: str | None, transformer: InputTransformer | None) -> JSONInput:
    """Return the input that an item of a batch gives; raises what `chained_input` raises, and InvalidPayload."""
    if item.source_status is None and item.error == DamagedRow.__name__:
        # So marked by `to_batch_item`: the row of the source, or of the input, cannot be read.
        raise RepositoryError(item.cause)
    if item.source_execution_id is None:
        if item.input_text is None:
            raise InvalidPayload(item.cause or "the input was refused")
        return decode(item.input_text)
    if item.source_status is None:
        raise ExecutionNotFound(f"the source {item.source_execution_id!r} was deleted after the batch had begun")
    output = _output(item.source_output, item.source_execution_id, item.source_status, state_name)
    return await transform(output, transformer)


def _output(text: str | None, execution_id: str, status: ExecutionStatus, state_name: str | None) -> JSONValue:
    if not status.is_terminal:
        raise SourceNotFinished(f"execution {execution_id!r} is still running: wait for its end to chain from it")
    if text is not None:
        return decode(text)
    if state_name is not None:
        raise SourceStateNotFound(f"execution {execution_id!r} never completed a state {state_name!r}")
    raise SourceNotFinished(f"execution {execution_id!r} ended {status}, without an output: name a state to chain from")


@contextmanager
def naming_transformer(*, is_there: bool) -> Iterator[None]:
    """Have an InvalidPayload say that it is about what a transformer returned, where there is one."""
    try:
        yield
    except InvalidPayload as refused:
        if not is_there:
            raise
        message = f"the result of the input_transformer cannot be kept: {refused}"
        raise InvalidPayload(message, is_too_large=refused.is_too_large) from refused


async def transform(output: JSONValue, transformer: InputTransformer | None) -> JSONInput:
    """Map an output to an input. Raises InputTransformerError from what the transformer raised."""
    if transformer is None:
        return output
    try:
        mapped = transformer(output)
        return await mapped if inspect.isawaitable(mapped) else mapped
    except Exception as error:
        raise InputTransformerError(f"the input_transformer raised {type(error).__name__}: {error}") from error
