"""Batches of an engine: stopped, resumed, and run in the background.

A batch that its caller awaits is a method of the state machine that it starts; see `statechain.engine.machine`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from statechain.arguments import BATCH_ID, MACHINE, TEXT, checked
from statechain.chaining.arguments import FILTER, OPTIONS, TRANSFORMER
from statechain.chaining.options import DISTRIBUTED, BatchExecutionOptions
from statechain.chaining.source import InputTransformer
from statechain.engine.lookup import EngineLookup
from statechain.engine.machine import StateMachine
from statechain.errors import StatechainError
from statechain.guard import guarded
from statechain.records.batches import Batch
from statechain.records.filters import ExecutionFilter
from statechain.records.results import BatchExecutionResult

if TYPE_CHECKING:
    from statechain.launcher import ResultStream
    from statechain.records.filters import HasId

__all__ = ["EngineBatches"]

logger = logging.getLogger(__name__)


@guarded()
class EngineBatches(EngineLookup):
    """The methods of `Engine` about batches; it sets the attributes that they need."""

    _works: bool

    @checked(id=BATCH_ID)
    async def stop_batch(self, id: str) -> Batch:  # noqa: A002
        """End a batch as ABORTED and return it: no more of its executions start, and those that run are aborted.

        Idempotent.

        Arguments:
            id: The batch.

        Returns:
            The batch, ABORTED, or as it had ended before.

        Raises:
            BatchNotFound: There is no such batch.
        """
        await self._services.local_batches.stop(id, self._services.stop_execution)
        return await self.get_batch(id)

    @checked(id=BATCH_ID, options=OPTIONS, input_transformer=TRANSFORMER)
    async def resume_batch(
        self,
        id: str,  # noqa: A002
        *,
        options: BatchExecutionOptions | None = None,
        input_transformer: InputTransformer | str | None = None,
    ) -> Batch:
        """Finish what is missing of a stored batch, in any process, and return the batch.

        The items that were stored when it began are gone through in order: executions that ended are left as they
        are, those that run are awaited, the rest are started. Any number of processes may resume one batch: they share
        its items, and ``concurrent_batches`` counts over all of them. A DISTRIBUTED batch is shared with all workers.
        Cancelling the await stops the batch.

        Arguments:
            id: The batch.

            options: How to run what is missing; the options that the batch was stored with by default, which they
                replace. Callbacks are not stored, so give them again:
                ``attrs.evolve(BatchExecutionOptions.of(batch), ...)``.

            input_transformer: Maps each source's output to the input. A function is not stored, so give it again; one
                that was given by name is found by that name.

        Returns:
            The batch as it ended.

        Raises:
            BatchNotFound: There is no such batch.

            BatchStopped: More items failed than the options tolerate, or the batch was stopped meanwhile.

            ValueError: No transformer is registered under its name; or the batch is a Map Run: redrive its execution.
        """
        batch = await self._resumable(id)
        async with await self._resumed(batch, options, input_transformer) as stream:
            async for _ in stream:
                pass
        return await self.get_batch(id)

    @checked(id=BATCH_ID, input_transformer=TRANSFORMER)
    async def join_batch(
        self,
        id: str,  # noqa: A002
        *,
        input_transformer: InputTransformer | str | None = None,
    ) -> Batch:
        """Take part in a stored batch until it is over, together with other processes that resume or join it.

        It is for workers, to whom the batch does not belong: unlike `resume_batch`, cancelling the await does not stop
        it. No more of it is begun here then, and the rest is left to others. A batch that had ended is resumed.

        Arguments:
            id: The batch.

            input_transformer: Maps each source's output to the input, as `resume_batch` takes it.

        Returns:
            The batch as it ended, in any status.

        Raises:
            BatchNotFound: There is no such batch.

            ValueError: No transformer is registered under its name; or the batch is a Map Run: redrive its execution.
        """
        batch = await self._resumable(id)
        revision = await self._revisions.get(batch.state_machine_id, batch.state_machine_revision)
        target = StateMachine(self._services, revision)
        return await self._services.shared_batches.join(target, batch, input_transformer)

    @checked(
        state_machine_id=MACHINE,
        filter=FILTER,
        source_state_name=TEXT.or_none(),
        options=OPTIONS,
        input_transformer=TRANSFORMER,
    )
    async def start_batch(
        self,
        state_machine_id: HasId | str,
        filter: ExecutionFilter,  # noqa: A002
        source_state_name: str | None = None,
        *,
        options: BatchExecutionOptions | None = None,
        input_transformer: str | None = None,
    ) -> Batch:
        """Store a batch, run it in the background, and return as soon as it is stored.

        Workers run a DISTRIBUTED batch. Any other batch runs here: leaving the engine waits for it, and if it is
        interrupted it can be resumed.

        Arguments:
            state_machine_id: The machine that an execution is started of, for each source: itself, its name or its id.

            filter: The executions to chain from.

            source_state_name: Chain this state's output instead of the final output.

            options: How it runs; see `StateMachine.execute_batch`.

            input_transformer: The name of what maps each source's output to the input (`TaskRegistry.transformer`).

        Returns:
            The batch as it is stored, its sources counted.

        Raises:
            StateMachineNotFound: There is no such state machine, or the filter names one that does not exist.

            ValueError: The transformer is a function, or this engine has handlers and none of its name.
        """
        target = await self.get_state_machine(state_machine_id)
        chosen = options or BatchExecutionOptions()
        if chosen.mode == DISTRIBUTED:
            handle = await target.start_batch(
                filter, source_state_name, options=chosen, input_transformer=input_transformer
            )
            return await self.get_batch(handle.id)
        batches = self._services.local_batches
        stored = await batches.create(target, filter, source_state_name, chosen, input_transformer)
        # Resumed at once: the batch is stored, so that a crash from here on leaves it to be resumed elsewhere.
        self._run_batch(stored, await self._resumed(stored, chosen, None))
        return stored

    @checked(id=BATCH_ID, options=OPTIONS)
    async def continue_batch(self, id: str, *, options: BatchExecutionOptions | None = None) -> Batch:  # noqa: A002
        """Resume a batch as `resume_batch` does, but in the background, and return it at once.

        Arguments:
            id: The batch.

            options: How to run what is missing; the options that the batch was stored with by default.

        Returns:
            The batch as it is when its resumption begins.

        Raises:
            BatchNotFound: There is no such batch.

            ValueError: It is a Map Run: redrive its execution.
        """
        batch = await self._resumable(id)
        self._run_batch(batch, await self._resumed(batch, options, None))
        return batch

    async def _resumable(self, id_: str) -> Batch:
        """Return a batch that a caller may resume: a Map Run goes on with its execution alone."""
        batch = await self.get_batch(id_)
        if batch.parent_execution_id is not None:
            raise ValueError(f"the batch {id_!r} is a Map Run: redrive its execution {batch.parent_execution_id!r}")
        return batch

    async def _resumed(
        self, batch: Batch, options: BatchExecutionOptions | None, input_transformer: InputTransformer | str | None
    ) -> ResultStream[BatchExecutionResult]:
        revision = await self._revisions.get(batch.state_machine_id, batch.state_machine_revision)
        target = StateMachine(self._services, revision)
        is_distributed = (options or BatchExecutionOptions.of(batch)).mode == DISTRIBUTED
        if self._works or is_distributed:  # a client runs no shards
            return self._services.shared_batches.resume(target, batch, options, input_transformer)
        return self._services.local_batches.resume(target, batch, options, input_transformer)

    def _run_batch(self, batch: Batch, stream: ResultStream[BatchExecutionResult]) -> None:
        """Take a batch's results among the tasks of the engine; how it ended is in storage."""

        async def run() -> None:
            try:
                async with stream:
                    async for _ in stream:
                        pass
            except StatechainError as error:
                logger.warning("the batch %s ended: %s", batch.name_prefix, error)

        self.worker.tasks().create_task(run(), name="statechain batch")
