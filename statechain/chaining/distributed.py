"""DISTRIBUTED batches as their callers see them: started, followed by what is in storage, and stopped."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from statechain.cancellation import GRACE, wait_ignoring_cancellation
from statechain.chaining.batch import new_batch, stop_batch
from statechain.chaining.options import BatchExecutionOptions
from statechain.chaining.runner import ITEM_ERRORS, BatchServices, Target, failure_of
from statechain.errors import BatchNotFound, StatechainError
from statechain.launcher import ResultStream
from statechain.records.batches import Batch, BatchStatus
from statechain.records.executions import Execution
from statechain.records.results import BatchExecutionResult, BatchStopped
from statechain.reports import BatchResult
from statechain.storage.existing import why_nothing_matches, with_machine_ids
from statechain.storage.repository import CreateBatch
from statechain.storage.retrying import backoff_delays, retry_while_unavailable
from statechain.storage.shards import OVER, Shard

if TYPE_CHECKING:
    from statechain.chaining.shards import ShardWorker
    from statechain.records.filters import ExecutionFilter

__all__ = ["BatchHandle", "SharedBatches"]

logger = logging.getLogger(__name__)

FIRST_POLL = 0.05
LONGEST_POLL = 0.5
ERRORS = {error.__name__: error for error in ITEM_ERRORS}

StopExecution = Callable[..., Awaitable[Execution]]


class BatchHandle:
    """A DISTRIBUTED batch that was started: workers run it, what becomes of this process."""

    def __init__(self, batch_id: str, services: BatchServices, stop_execution: StopExecution) -> None:
        self._id = batch_id
        self._services = services
        self._stop_execution = stop_execution

    @property
    def id(self) -> str:
        """The batch's id."""
        return self._id

    def __repr__(self) -> str:
        return f"<BatchHandle {self._id}>"

    async def wait(self) -> Batch:
        """Return the batch once it has ended, in any status; cancelling the wait does not touch it.

        Raises:
            BatchNotFound: It was deleted meanwhile.
        """
        pauses = backoff_delays(FIRST_POLL, LONGEST_POLL)
        while await _status(self._id, self._services) is BatchStatus.RUNNING:  # noqa: ASYNC110 -- storage is asked
            await asyncio.sleep(next(pauses))
        batch = await retry_while_unavailable(partial(self._services.repository.batch, self._id))
        if batch is None:
            raise BatchNotFound(f"there is no batch {self._id!r}")
        return batch

    async def results(self) -> AsyncIterator[BatchExecutionResult]:
        """Yield a result for each item, a shard's at a time once it is over; leaving early does not touch the batch.

        Raises:
            BatchStopped: The batch ended FAILED or was stopped; raised once all results have been taken.
        """
        async for result in _results(self._id, self._services):
            yield result

    async def stop(self) -> None:
        """End the batch as ABORTED: nothing more of it is started, and what runs is aborted.

        Raises:
            BatchNotFound: It was deleted meanwhile.
        """
        await stop_batch(self._id, services=self._services, stop_execution=self._stop_execution)


@attrs.frozen
class SharedBatches:
    """The DISTRIBUTED batches of one engine: stored, for workers to run, and followed where a caller awaits them."""

    _services: BatchServices
    _shards: ShardWorker
    _stop_execution: StopExecution

    async def start(
        self,
        target: Target,
        filter_: ExecutionFilter,
        source_state_name: str | None,
        options: BatchExecutionOptions,
        transformer: str | None,
    ) -> BatchHandle:
        """Store a batch for workers to run, and return once its sources are frozen."""
        services = self._services
        filter_ = await with_machine_ids(services.repository, filter_)
        batch = new_batch(target, filter_, source_state_name, options, services, transformer)
        stored = await services.journal.write_for_caller(CreateBatch(batch=batch, filter_=filter_))
        if not stored.item_counts.total:
            why = await retry_while_unavailable(partial(why_nothing_matches, services.repository, filter_))
            logger.warning("the batch %s matches no execution: %s", batch.name_prefix, why)
        return await self._begun(batch.id)

    async def _begun(self, batch_id: str) -> BatchHandle:
        await self._shards.begin(batch_id)
        return BatchHandle(batch_id, self._services, self._stop_execution)

    def stream(
        self, begin: Callable[[], Awaitable[BatchHandle]], options: BatchExecutionOptions
    ) -> ResultStream[BatchExecutionResult]:
        """Start a batch when the stream is first used, and follow it; a caller that is cancelled stops it."""

        async def produce(stream: ResultStream[BatchExecutionResult]) -> None:
            handle = await begin()
            try:
                with self._shards.awaiting(handle.id):
                    async for result in handle.results():
                        await _call(options.on_execution_start, result.source_execution_id, result.index)
                        await _call(
                            options.on_execution_complete, result.source_execution_id, result.index, result.error
                        )
                        await stream.has_room()
                        stream.put(result)
            except BatchStopped:
                raise
            except BaseException:
                if not self._services.streams.is_interrupted:  # else workers go on with it
                    await wait_ignoring_cancellation(asyncio.ensure_future(handle.stop()), GRACE)
                raise

        return ResultStream(self._services.streams, produce, capacity=max(1, options.concurrent_batches))


async def _call(callback: Callable[..., Any] | None, *facts: object) -> None:
    if callback is not None:
        called = callback(*facts)
        if inspect.isawaitable(called):
            await called


async def _status(batch_id: str, services: BatchServices) -> BatchStatus | None:
    return await retry_while_unavailable(partial(services.repository.batch_status, batch_id))


async def _results(batch_id: str, services: BatchServices) -> AsyncIterator[BatchExecutionResult]:
    """Follow a batch shard by shard; what had begun when it was stopped is among the results."""
    seen: set[int] = set()
    pauses = backoff_delays(FIRST_POLL, LONGEST_POLL)
    while True:
        status = await _status(batch_id, services)  # before the shards: they are then as they were at its end, at least
        if status is None:
            raise BatchNotFound(f"there is no batch {batch_id!r}")
        is_over = status is not BatchStatus.RUNNING
        shards = await retry_while_unavailable(partial(services.repository.shards, batch_id))
        for shard in shards:
            if shard.number not in seen and (is_over or shard.status in OVER):
                seen.add(shard.number)
                pauses = backoff_delays(FIRST_POLL, LONGEST_POLL)
                for result in await _results_of(shard, services):
                    yield result
        if is_over:
            if status is not BatchStatus.SUCCEEDED:
                raise BatchStopped([])
            return
        await asyncio.sleep(next(pauses))


async def _results_of(shard: Shard, services: BatchServices) -> list[BatchExecutionResult]:
    """Return the results of those items of a shard that were begun."""
    size = shard.last - shard.first + 1
    read = partial(services.repository.batch_results, shard.batch_id, after=shard.first - 1, page=size)
    items = await retry_while_unavailable(read)
    ids = [item.execution_id for item in items if item.execution_id is not None]
    found = await retry_while_unavailable(partial(services.repository.executions_with, ids))
    executions = {each.id: each for each in found}
    results = (_result(item, executions.get(item.execution_id or "")) for item in items)
    return [result for result in results if result is not None]


def _result(item: BatchResult, execution: Execution | None) -> BatchExecutionResult | None:
    if execution is None and item.error is None:
        return None
    if execution is not None:
        error: Exception | None = failure_of(execution)
    else:
        error = ERRORS.get(item.error or "", StatechainError)(item.cause or item.error or "")
    return BatchExecutionResult(
        source_execution_id=item.source_execution_id, index=item.index, execution=execution, error=error
    )
