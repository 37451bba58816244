"""DISTRIBUTED batches as their callers see them: started, followed by what is in storage, and stopped."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from statechain.cancellation import GRACE, wait_ignoring_cancellation
from statechain.chaining.batch import StopFunction, create_batch, new_batch, stop_batch
from statechain.chaining.bulk import Inputs, store_bulk
from statechain.chaining.following import Begun, Follower, batch_status
from statechain.chaining.options import DISTRIBUTED, BatchExecutionOptions
from statechain.chaining.resumption import Resumption
from statechain.chaining.runner import BatchServices, Target
from statechain.chaining.source import InputTransformer
from statechain.errors import BatchNotFound, StatechainError
from statechain.guard import guarded
from statechain.launcher import ResultStream
from statechain.records.batches import Batch, BatchStatus
from statechain.records.executions import new_id
from statechain.records.results import BatchExecutionResult, BatchStopped
from statechain.storage.retrying import polling_delays, retry_while_unavailable

if TYPE_CHECKING:
    from statechain.chaining.shards.worker import ShardWorker
    from statechain.records.filters import ExecutionFilter

__all__ = ["BatchHandle", "SharedBatches"]

logger = logging.getLogger(__name__)


@guarded()
class BatchHandle:
    """A DISTRIBUTED batch that was started: workers run it, also after this process has ended."""

    def __init__(
        self, batch_id: str, services: BatchServices, stop_execution: StopFunction, *, redrives: bool = False
    ) -> None:
        self.guard = services.streams.guard
        self._id = batch_id
        self._redrives = redrives
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
            BatchNotFound: Storage has no such batch any more, as after a failover.
        """
        pauses = polling_delays()
        repository = self._services.repository
        while await batch_status(self._id, repository) is BatchStatus.RUNNING:  # noqa: ASYNC110 -- storage is asked
            await asyncio.sleep(next(pauses))
        batch = await retry_while_unavailable(partial(repository.batch, self._id))
        if batch is None:
            raise BatchNotFound(f"there is no batch {self._id!r}")
        return batch

    async def results(self) -> AsyncIterator[BatchExecutionResult]:
        """Yield a result for each item as it ends, as storage counts them; leaving early does not touch the batch.

        Raises:
            BatchStopped: The batch ended FAILED or was stopped; raised once all results have been taken.
        """
        follower = Follower(self._id, self._services, notes_begun=False, redrives=self._redrives)
        async for event in follower.follow():
            if isinstance(event, BatchExecutionResult):
                yield event

    async def stop(self) -> None:
        """End the batch as ABORTED: nothing more of it is started, and what runs is aborted.

        Raises:
            BatchNotFound: Storage has no such batch any more, as after a failover.
        """
        await stop_batch(self._id, services=self._services, stop_execution=self._stop_execution)


@attrs.frozen
class SharedBatches:
    """The batches in shards of one engine: stored, for workers to run, and followed where a caller awaits them.

    Arguments:
        services: What a batch needs of the engine.

        shards: What runs shards here.

        stop_execution: Stops one execution.

        tasks: Returns the group of the tasks that the engine waits for when it is left.
    """

    _services: BatchServices
    _shards: ShardWorker
    _stop_execution: StopFunction
    _tasks: Callable[[], asyncio.TaskGroup]

    async def start(
        self,
        target: Target,
        filter_: ExecutionFilter,
        source_state_name: str | None,
        options: BatchExecutionOptions,
        transformer: str | None,
        *,
        batch_id: str | None = None,
    ) -> BatchHandle:
        """Store a batch for workers to run, and return once its sources are frozen.

        With a name prefix of the caller's, a batch that runs and does the same is joined instead.
        """
        stored = await create_batch(
            target,
            filter_,
            source_state_name,
            options,
            self._services,
            transformer,
            batch_id=batch_id,
            joins=options.name_prefix is not None,
        )
        return await self._begun(stored.id, options)

    async def start_bulk(
        self, target: Target, inputs: Inputs, options: BatchExecutionOptions, *, batch_id: str | None = None
    ) -> BatchHandle:
        """Store inputs for workers to run, and return once all of them are stored."""
        batch = new_batch(target, None, None, options, self._services, batch_id=batch_id)
        await store_bulk(batch, inputs, self._services)
        return await self._begun(batch.id, options)

    async def _begun(self, batch_id: str, options: BatchExecutionOptions) -> BatchHandle:
        await self._shards.announce(batch_id)
        return BatchHandle(batch_id, self._services, self._stop_execution, redrives=options.redrive_failed)

    def stream(
        self, begin: Callable[..., Awaitable[BatchHandle]], options: BatchExecutionOptions
    ) -> ResultStream[BatchExecutionResult]:
        """Begin a batch, under a given ``batch_id``, when the stream is first used, and follow it.

        A caller that is cancelled stops the batch, also where that comes while it is stored. One that was joined has
        another id, and goes on.
        """

        async def produce(stream: ResultStream[BatchExecutionResult]) -> None:
            # Known before it is stored: a caller that is cancelled meanwhile stops it, whether its reply came or not.
            batch_id = new_id()
            async with self._stopping(batch_id):
                handle = await begin(batch_id=batch_id)
                with self._shards.served.awaiting(handle.id):
                    await self._follow(handle.id, options, stream)

        return ResultStream(self._services.streams, produce, capacity=max(1, options.concurrent_batches))

    def resume(
        self,
        target: Target,
        batch: Batch,
        options: BatchExecutionOptions | None,
        input_transformer: InputTransformer | str | None,
    ) -> ResultStream[BatchExecutionResult]:
        """Finish a stored batch in shards, and follow it; a caller that is cancelled stops it.

        A DISTRIBUTED batch is run by all workers, any other by the processes that resume it. Results come only where
        there are callbacks, which need them.
        """
        resumption = Resumption.of(batch, options, input_transformer, self._services)

        async def produce(stream: ResultStream[BatchExecutionResult]) -> None:
            options = resumption.options
            async with self._stopping(batch.id), self._joined(target, resumption):
                if options.on_execution_start is None and options.on_execution_complete is None:
                    await Follower(batch.id, self._services, notes_begun=False, redrives=False).wait()
                else:
                    await self._follow(batch.id, options, stream)

        return ResultStream(self._services.streams, produce, capacity=max(1, resumption.options.concurrent_batches))

    async def join(self, target: Target, batch: Batch, input_transformer: InputTransformer | str | None) -> Batch:
        """Run shards of a stored batch here until it is over, and return it.

        A caller that is cancelled leaves the rest to others; the shards that run here go on until the engine is left.
        """
        async with self._joined(target, Resumption.of(batch, None, input_transformer, self._services)):
            return await BatchHandle(batch.id, self._services, self._stop_execution).wait()

    @asynccontextmanager
    async def _joined(self, target: Target, resumption: Resumption) -> AsyncIterator[None]:
        """Make a batch RUNNING, and while inside run its shards here."""
        batch_id, function = resumption.batch_id, resumption.transformer
        is_distributed = resumption.options.mode == DISTRIBUTED  # then this engine runs its shards anyway
        # Before it is RUNNING: a look that finds it then knows with which machine.
        with nullcontext() if is_distributed else self._shards.served.joined(batch_id, target, function):
            await self._services.journal.write_for_caller(resumption.write)
            await self._shards.announce(batch_id)
            yield

    @asynccontextmanager
    async def _stopping(self, batch_id: str) -> AsyncIterator[None]:
        """While inside, run a batch's shards also while the engine is being left; stop it where its caller fails."""
        try:
            with self._shards.served.awaiting(batch_id):
                # The engine may be left already, and run no more shards: it waits for what it runs in the background.
                self._shards.revive(self._tasks())
                yield
        except BatchStopped:
            raise
        except BaseException:
            if not self._services.streams.is_interrupted:  # else workers go on with it
                await wait_ignoring_cancellation(asyncio.ensure_future(self._stop(batch_id)), GRACE)
            raise

    async def _stop(self, batch_id: str) -> None:
        """Stop a batch in a task that goes on without the caller: what keeps it from that is logged."""
        try:
            with suppress(BatchNotFound):  # it never came to be stored
                await stop_batch(batch_id, services=self._services, stop_execution=self._stop_execution)
        except StatechainError as error:
            logger.warning("the batch %s could not be stopped for its caller: %s", batch_id, error)

    async def _follow(
        self, batch_id: str, options: BatchExecutionOptions, stream: ResultStream[BatchExecutionResult]
    ) -> None:
        """Call the callbacks for what happens to a batch's items, and hand the results out, until it is over."""
        on_start, on_complete = options.on_execution_start, options.on_execution_complete
        follower = Follower(batch_id, self._services, notes_begun=on_start is not None, redrives=options.redrive_failed)
        async with aclosing(follower.follow()) as events:
            async for event in events:
                if isinstance(event, Begun):
                    await _call(on_start, event.source_execution_id, event.index)
                else:
                    await _call(on_complete, event.source_execution_id, event.index, event.error)
                    # The follower waits with its caller: results that are not taken stay in storage.
                    await stream.has_room()
                    stream.put(event)


async def _call(callback: Callable[..., Any] | None, *facts: object) -> None:
    if callback is not None:
        called = callback(*facts)
        if inspect.isawaitable(called):
            await called
