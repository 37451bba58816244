"""Batches: finished executions → one execution of a target machine for each.

A batch freezes its sources when it begins, pages over the frozen items, and keeps one page and as many executions as
its concurrency in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Protocol, cast

import attrs

from statechain.chaining.bulk import Inputs, stream_bulk
from statechain.chaining.options import BatchExecutionOptions
from statechain.chaining.resumption import Resumption
from statechain.chaining.runner import BatchServices, Item, Runner, Target
from statechain.chaining.source import InputTransformer, item_input
from statechain.chaining.stored import describe_options, is_exclusive
from statechain.chaining.transformers import as_function, as_name, name_of
from statechain.errors import BatchNotFound, ExecutionNotFound
from statechain.launcher import ResultStream, first_error
from statechain.logs import BATCH
from statechain.records.batches import NAME_TAKEN, Batch, BatchItem, BatchStatus
from statechain.records.executions import Execution, ExecutionStatus, Source, new_id
from statechain.records.filters import ExecutionFilter
from statechain.records.results import BatchExecutionResult, BatchStopped
from statechain.storage.existing import why_nothing_matches, with_machine_ids
from statechain.storage.repository import CreateBatch, EndBatch, ResumeBatch
from statechain.storage.retrying import retry_while_unavailable

__all__ = [
    "LocalBatches",
    "StopFunction",
    "create_batch",
    "ended_executions",
    "new_batch",
    "stop_batch",
    "stored_item",
    "watch",
]

logger = logging.getLogger(__name__)

PAGE = 100
WATCH_SECONDS = 0.5
STOPPED = frozenset({BatchStatus.ABORTED, BatchStatus.FAILED})


class StopFunction(Protocol):
    """Stops one execution, and returns it as it ended."""

    async def __call__(self, execution_id: str, /, *, cause: str) -> Execution:
        """Raises ExecutionNotFound."""


def new_batch(
    target: Target,
    filter_: ExecutionFilter | None,
    source_state_name: str | None,
    options: BatchExecutionOptions,
    services: BatchServices,
    transformer: str | None = None,
    batch_id: str | None = None,
) -> Batch:
    """Return the record of a batch that is not stored yet; without a filter, of one that is given inputs."""
    return Batch(
        id=batch_id or new_id(),
        name_prefix=options.name_prefix or new_id(),
        state_machine_id=target.id,
        state_machine_revision=target.revision,
        # No state has an empty name.
        source_state_name=source_state_name or None,
        filter={} if filter_ is None else filter_.described(),
        options=describe_options(options, transformer),
        status=BatchStatus.RUNNING,
        start_time=services.clock.now(),
    )


async def create_batch(
    target: Target,
    filter_: ExecutionFilter,
    source_state_name: str | None,
    options: BatchExecutionOptions,
    services: BatchServices,
    transformer: str | None,
    *,
    batch_id: str | None = None,
    joins: bool = False,
) -> Batch:
    """Store a batch of what a filter means now, for a caller outside the engine; return it, or the one it joined."""
    resolved = await with_machine_ids(services.repository, filter_)
    batch = new_batch(target, resolved, source_state_name, options, services, transformer, batch_id=batch_id)
    stored = await services.journal.write_for_caller(CreateBatch(batch=batch, filter_=resolved, joins=joins))
    await _warn_if_empty(stored, resolved, services)
    return stored


async def _warn_if_empty(batch: Batch, filter_: ExecutionFilter, services: BatchServices) -> None:
    """Log why a batch that was just stored has no sources, where it has none."""
    if not batch.item_counts.total:
        why = await retry_while_unavailable(partial(why_nothing_matches, services.repository, filter_))
        logger.warning("the batch %s matches no execution: %s", batch.name_prefix, why)


async def stop_batch(batch_id: str, *, services: BatchServices, stop_execution: StopFunction) -> None:
    """Record a batch as ABORTED, cancel the tasks that run it here, and stop those of its executions that run."""
    ending = EndBatch(batch_id=batch_id, status=BatchStatus.ABORTED, end_time=services.clock.now())
    # First: workers elsewhere watch the status, and start no more of it within a second.
    await services.journal.write_for_caller(ending)
    running = tuple(services.running.get(batch_id, ()))
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
    after, still_run = -1, {ExecutionStatus.RUNNING}
    while items := await services.repository.batch_results(batch_id, status=still_run, after=after, page=PAGE):
        try:
            async with asyncio.TaskGroup() as stopping:  # at once, so that the journal commits them together
                for item in items:
                    if item.execution_id is not None:
                        stopping.create_task(_stop_item(item.execution_id, batch_id, stop_execution))
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None
        after = items[-1].index


async def _stop_item(execution_id: str, batch_id: str, stop_execution: StopFunction) -> None:
    with suppress(ExecutionNotFound):  # it has ended meanwhile, and was deleted
        await stop_execution(execution_id, cause=f"the batch {batch_id} was stopped")


@attrs.frozen
class LocalBatches:
    """The batches and bulk runs that this process runs by itself; `SharedBatches` has those that workers share."""

    _services: BatchServices

    def stream(
        self,
        target: Target,
        filter_: ExecutionFilter,
        source_state_name: str | None,
        options: BatchExecutionOptions,
        input_transformer: InputTransformer | str | None,
    ) -> ResultStream[BatchExecutionResult]:
        """Chain one execution of the target from each execution that the filter means when the stream is first used."""
        services, name = self._services, name_of(input_transformer)
        run = _StoredRun(target, options, as_function(input_transformer, services.tasks), services)
        produce = partial(run.create, filter_=filter_, source_state_name=source_state_name, transformer=name)
        return ResultStream(services.streams, produce, capacity=options.concurrent_batches)

    def stream_bulk(
        self, target: Target, inputs: Inputs, options: BatchExecutionOptions
    ) -> ResultStream[BatchExecutionResult]:
        """Run one execution of the target for each input."""
        return stream_bulk(target, inputs, options=options, services=self._services)

    async def create(
        self,
        target: Target,
        filter_: ExecutionFilter,
        source_state_name: str | None,
        options: BatchExecutionOptions,
        input_transformer: InputTransformer | str | None,
    ) -> Batch:
        """Store a batch of what a filter means now, which is run by `resume`; its transformer has a name."""
        name = as_name(input_transformer, self._services.tasks)
        return await create_batch(target, filter_, source_state_name, options, self._services, name)

    def resume(
        self,
        target: Target,
        batch: Batch,
        options: BatchExecutionOptions | None,
        input_transformer: InputTransformer | str | None,
    ) -> ResultStream[BatchExecutionResult]:
        """Run the frozen items of a stored batch again: what has ended is returned, what is missing is finished."""
        services = self._services
        resumption = Resumption.of(batch, options, input_transformer, services)
        options = resumption.options
        run = _StoredRun(target, options, resumption.transformer, services)
        # Workers that run its shards go on: what they have not claimed is to be theirs.
        is_shared = batch.status is BatchStatus.RUNNING and batch.is_distributed
        resuming = ResumeBatch(batch_id=batch.id) if is_shared else resumption.write
        produce = partial(run.resume, resuming=resuming)
        return ResultStream(services.streams, produce, capacity=options.concurrent_batches)

    async def stop(self, batch_id: str, stop_execution: StopFunction) -> None:
        """Record a batch as ABORTED, and stop what runs of it here and elsewhere."""
        await stop_batch(batch_id, services=self._services, stop_execution=stop_execution)


@attrs.frozen
class _StoredRun:
    """Runs a stored batch in this process, and records its end, unless the engine is interrupted."""

    target: Target
    options: BatchExecutionOptions
    transformer: InputTransformer | None
    services: BatchServices

    async def create(
        self,
        stream: ResultStream[BatchExecutionResult],
        *,
        filter_: ExecutionFilter,
        source_state_name: str | None,
        transformer: str | None,
    ) -> None:
        """Store a batch of what a filter means now, and run it."""
        resolved = await with_machine_ids(self.services.repository, filter_)
        batch = new_batch(self.target, resolved, source_state_name, self.options, self.services, transformer)
        async with self._opened(batch.id):
            stored = await self.services.journal.write(CreateBatch(batch=batch, filter_=resolved))
            await _warn_if_empty(stored, resolved, self.services)
            await self._run(stored, stream, is_resumed=False)

    async def resume(self, stream: ResultStream[BatchExecutionResult], *, resuming: ResumeBatch) -> None:
        """Run what is missing of a batch."""
        async with self._opened(resuming.batch_id):
            await self._run(await self.services.journal.write(resuming), stream, is_resumed=True)

    @asynccontextmanager
    async def _opened(self, batch_id: str) -> AsyncIterator[None]:
        """Have `stop_batch` find the task while it runs a batch, and record how that ended."""
        services, status = self.services, BatchStatus.ABORTED
        task = cast("asyncio.Task[None]", asyncio.current_task())
        services.running[batch_id].add(task)
        BATCH.set(batch_id)
        try:
            yield
            status = BatchStatus.SUCCEEDED
        except BatchStopped:
            status = BatchStatus.FAILED
            raise
        finally:
            services.running[batch_id].discard(task)
            if not services.running[batch_id]:
                del services.running[batch_id]
            if not services.streams.is_interrupted:  # else it stays RUNNING, for the worker that resumes it
                ending = EndBatch(batch_id=batch_id, status=status, end_time=services.clock.now())
                with suppress(BatchNotFound):  # it never came to be stored
                    await services.journal.write(ending)

    async def _run(self, batch: Batch, stream: ResultStream[BatchExecutionResult], *, is_resumed: bool) -> None:
        total, exclusive = batch.item_counts.total, is_exclusive(batch)
        runner = Runner(self.target, self.options, self.services, stream, total=total, exclusive=exclusive, batch=batch)
        await _unless_stopped(batch.id, self.services, runner.run(self._items(batch, is_resumed=is_resumed)))

    async def _items(self, batch: Batch, *, is_resumed: bool) -> AsyncIterator[Item]:
        """Page over the frozen items; of a batch that is resumed, each with its execution where that has ended."""
        after, size = -1, self.options.page_size
        while True:
            read = partial(self.services.repository.batch_items, batch.id, after=after, page=size)
            page = await retry_while_unavailable(read)
            ended = await ended_executions(batch.id, page, self.services) if is_resumed else {}
            for item in page:
                yield stored_item(item, batch.source_state_name, self.transformer, ended.get(item.index))
            if len(page) < size:
                return
            after = page[-1].index


async def _unless_stopped(batch_id: str, services: BatchServices, running: Coroutine[Any, Any, None]) -> None:
    """Await a batch's run; where the batch is stopped elsewhere, cut it short and raise BatchStopped."""
    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(watch(batch_id, services))
            await running
            watcher.cancel()
    except BaseExceptionGroup as errors:
        # Out of its group: a caller catches BatchStopped with the failure that caused it.
        raise first_error(errors) from first_error(errors).__cause__


async def watch(batch_id: str, services: BatchServices) -> None:
    """Raise BatchStopped once a batch has ended FAILED or ABORTED."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        status = await retry_while_unavailable(partial(services.repository.batch_status, batch_id))
        if status is None or status in STOPPED:
            raise BatchStopped([])


async def ended_executions(batch_id: str, page: Sequence[BatchItem], services: BatchServices) -> dict[int, Execution]:
    """Return the executions that represent some items and have ended, by the items' indexes: two queries for all."""
    if not page:
        return {}
    first, last = page[0].index, page[-1].index
    read = partial(services.repository.batch_results, batch_id, after=first - 1, page=last - first + 1)
    indexes = {
        each.execution_id: each.index
        for each in await retry_while_unavailable(read)
        if each.execution_id is not None and each.status is not None and each.status.is_terminal
    }
    found = await retry_while_unavailable(partial(services.repository.executions_with, list(indexes)))
    # Looked at again: one may have been redriven between the two queries.
    return {indexes[each.id]: each for each in found if each.status.is_terminal}


def stored_item(
    item: BatchItem, state_name: str | None, transformer: InputTransformer | None, ended: Execution | None
) -> Item:
    """Return what to run for an item of a stored batch."""
    source = None if item.source_execution_id is None else Source(item.source_execution_id, state_name)
    load_input = partial(item_input, item, state_name, transformer)
    text = item.passed_text if transformer is None else None
    return Item(item.index, item.name, source, load_input, text, ended, was_refused=item.error == NAME_TAKEN)
