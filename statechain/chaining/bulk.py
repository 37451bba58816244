"""Bulk runs: inputs → one execution of a target machine for each, run here as they come, or stored for workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sized
from contextlib import aclosing, nullcontext

from statechain.cancellation import GRACE, wait_ignoring_cancellation
from statechain.chaining.options import BatchExecutionOptions
from statechain.chaining.runner import BatchServices, Item, Runner, Target
from statechain.codec import JSONInput, encode
from statechain.errors import InvalidPayload, StatechainError
from statechain.launcher import ResultStream
from statechain.limits import Limits
from statechain.records.batches import Batch, BatchItem
from statechain.records.executions import new_id
from statechain.records.results import BatchExecutionResult
from statechain.storage.repository import AddBatchItems, CreateBatch, DropBatchItems

__all__ = ["Inputs", "store_bulk", "stream_bulk"]

logger = logging.getLogger(__name__)

Inputs = Iterable[JSONInput] | AsyncIterable[JSONInput]

PAGE_ITEMS = 256
"""How many inputs are stored in one write at most."""

PAGE_CHARACTERS = 256 * 1024
"""How large the inputs of one write are at most, but for a last one that is larger than what was left."""

DROPPED_AT_ONCE = 1000


def stream_bulk(
    target: Target,
    inputs: Inputs,
    *,
    options: BatchExecutionOptions,
    services: BatchServices,
) -> ResultStream[BatchExecutionResult]:
    """Run one execution of the target for each input, pulled as there is room.

    Nothing of it is stored but its executions, for the inputs exist only here. A tolerated percentage counts against
    ``len(inputs)``, and plays no part where there is none.
    """

    async def produce(stream: ResultStream[BatchExecutionResult]) -> None:
        total = len(inputs) if isinstance(inputs, Sized) else None
        runner = Runner(target, options, services, stream, total=total, exclusive=False, batch=None)
        await runner.run(_bulk_items(inputs, options.name_prefix or new_id()))

    return ResultStream(services.streams, produce, capacity=options.concurrent_batches)


async def store_bulk(batch: Batch, inputs: Inputs, services: BatchServices) -> None:
    """Store a batch with its inputs, a page of which is in memory at a time: with all of them, or not at all.

    An input that is no JSON, or too large, is an item that has failed. Where the inputs raise, or the caller is
    cancelled, what was stored is deleted.
    """
    count = 0
    try:
        async with aclosing(_pages(batch, inputs, services.limits)) as pages:
            async for page in pages:
                count += len(page)
                await services.journal.write_for_caller(AddBatchItems(batch_id=batch.id, items=page))
        await services.journal.write_for_caller(CreateBatch(batch=batch, filter_=None, item_count=count))
    except BaseException:
        # In a task that goes on without the caller: what it does not come to belongs to no batch, and nothing reads it.
        await wait_ignoring_cancellation(asyncio.ensure_future(_drop(batch, count, services)), GRACE)
        raise


async def _drop(batch: Batch, count: int, services: BatchServices) -> None:
    """Delete the items of a batch that was given up, unless it was created all the same."""
    try:
        # From the last on: in memory an index is a place in a list, and those behind a gap would move.
        for end in range(count, 0, -DROPPED_AT_ONCE):
            first = max(0, end - DROPPED_AT_ONCE)
            await services.journal.write(DropBatchItems(batch_id=batch.id, first=first, last=end - 1))
    except StatechainError as error:
        logger.warning("inputs of the batch %s are left to `statechain doctor --fix`: %s", batch.name_prefix, error)


async def _pages(batch: Batch, inputs: Inputs, limits: Limits) -> AsyncGenerator[list[BatchItem]]:
    page: list[BatchItem] = []
    characters = 0
    async with aclosing(_numbered(inputs)) as numbered:
        async for index, value in numbered:
            item = _stored_item(f"{batch.name_prefix}-{index}", index, value, limits)
            characters += len(item.input_text or "")
            page.append(item)
            # Both bounds: other writes wait for the commit of a page.
            if len(page) >= PAGE_ITEMS or characters >= PAGE_CHARACTERS:
                yield page
                page, characters = [], 0
    if page:
        yield page


def _stored_item(name: str, index: int, value: JSONInput, limits: Limits) -> BatchItem:
    try:
        text = encode(value, max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)
    except InvalidPayload as refused:
        cause = f"item {index}: {refused}"
        return BatchItem(index=index, source_execution_id=None, name=name, error=InvalidPayload.__name__, cause=cause)
    return BatchItem(index=index, source_execution_id=None, name=name, input_text=text)


async def _numbered(inputs: Inputs) -> AsyncGenerator[tuple[int, JSONInput]]:
    """Yield the inputs with their indexes; a generator of them is closed."""
    index = 0
    if isinstance(inputs, AsyncIterable):
        async with aclosing(inputs) if isinstance(inputs, AsyncGenerator) else nullcontext():
            async for value in inputs:
                yield index, value
                index += 1
    else:
        for value in inputs:
            yield index, value
            index += 1


async def _bulk_items(inputs: Inputs, prefix: str) -> AsyncIterator[Item]:
    async with aclosing(_numbered(inputs)) as numbered:
        async for index, value in numbered:
            yield _bulk_item(index, prefix, value)


def _bulk_item(index: int, prefix: str, value: JSONInput) -> Item:
    async def load_input() -> JSONInput:
        return value

    return Item(index, f"{prefix}-{index}", None, load_input)
