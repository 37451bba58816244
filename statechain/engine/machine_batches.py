"""Batches of a state machine: one execution for each of many sources or inputs."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from functools import partial
from typing import TYPE_CHECKING, cast

import attrs

from statechain.arguments import INPUTS, checked
from statechain.chaining.arguments import FILTER, OPTIONS, STATE_NAME, TRANSFORMER
from statechain.chaining.options import DISTRIBUTED, BatchExecutionOptions
from statechain.chaining.source import InputTransformer
from statechain.chaining.transformers import as_name
from statechain.codec import JSONInput
from statechain.guard import Guard, guarded
from statechain.records.filters import ExecutionFilter
from statechain.records.results import BatchStopped

if TYPE_CHECKING:
    from statechain.chaining.distributed import BatchHandle
    from statechain.chaining.runner import Target
    from statechain.engine.services import EngineServices
    from statechain.launcher import ResultStream
    from statechain.records.results import BatchExecutionResult

__all__ = ["MachineBatches"]


@guarded("stream_batch", "stream_bulk")
class MachineBatches:
    """The methods of `StateMachine` about batches; it sets the attributes that they need."""

    guard: Guard
    _services: EngineServices

    @property
    def _machine(self) -> Target:
        return cast("Target", self)

    async def execute_batch(
        self,
        filter: ExecutionFilter,  # noqa: A002
        source_state_name: str | None = None,
        *,
        options: BatchExecutionOptions | None = None,
        input_transformer: InputTransformer | str | None = None,
    ) -> list[BatchExecutionResult]:
        """Start one execution from each execution that matches a filter, and return how each of them ended.

        The matching executions are stored as the batch's sources when it begins. The output of a source, or of one of
        its states, becomes the input of its new execution. The batch is stored, too: `Engine.get_batch` shows how far
        it is, and `Engine.resume_batch` finishes it after a crash.

        >>> results = await invoices.execute_batch(  # doctest: +SKIP
        ...     ExecutionFilter(state_machine_id=orders.id, status="SUCCEEDED"),
        ...     options=BatchExecutionOptions(concurrent_batches=10),
        ... )
        >>> [result.output for result in results if result.error is None]  # doctest: +SKIP

        Arguments:
            filter: The executions to chain from. One that has no output, such as a RUNNING one, is a failed item.

            source_state_name: The state of the source whose output becomes the input; by default, or where it is empty,
                the source's own output does.

            options: Concurrency, tolerated failures, names and callbacks. By default, items run one after the other,
                and any number may fail.

            input_transformer: Maps each source's output to the input; sync or async. A function, or the name of one
                that is registered by `TaskRegistry.transformer`; a DISTRIBUTED batch takes a name only, and is run by
                the workers that have it.

        Returns:
            A `BatchExecutionResult` for each source, in the order of the filter. An item that failed has an ``error``
            and does not raise.

        Raises:
            BatchStopped: More items failed than the options tolerate, or `Engine.stop_batch` was called. It has the
                results so far.

            StateMachineNotFound: The filter names a state machine that does not exist.

            ValueError: No transformer is registered under its name, or that of a DISTRIBUTED batch is a function.

        An exception of a callback ends the batch and is raised. Cancelling the await aborts the executions that run.
        """
        stream = self.stream_batch(filter, source_state_name, options=options, input_transformer=input_transformer)
        return await _collected(stream)

    @checked(filter=FILTER, source_state_name=STATE_NAME, options=OPTIONS, input_transformer=TRANSFORMER)
    def stream_batch(
        self,
        filter: ExecutionFilter,  # noqa: A002
        source_state_name: str | None = None,
        *,
        options: BatchExecutionOptions | None = None,
        input_transformer: InputTransformer | str | None = None,
    ) -> ResultStream[BatchExecutionResult]:
        """Run a batch as `execute_batch` does, but yield each result as it completes, in bounded memory.

        >>> async with invoices.stream_batch(ExecutionFilter(state_machine_id="orders")) as results:  # doctest: +SKIP
        ...     async for result in results:
        ...         print(result.index, result.error)

        Arguments:
            filter: The executions to chain from.

            source_state_name: The state of the source whose output becomes the input.

            options: Concurrency, tolerated failures, names and callbacks.

            input_transformer: Maps each source's output to the input; sync or async. A function, or the name of one
                that is registered by `TaskRegistry.transformer`; a DISTRIBUTED batch takes a name only, and is run by
                the workers that have it.

        Returns:
            An async iterator of `BatchExecutionResult`, in the order of completion. The batch starts when it is first
            used. Use it with ``async with``: leaving early then aborts the executions that still run.

        Raises:
            BatchStopped: As for `execute_batch`, after the earlier results were taken; it has no results itself.

            StateMachineNotFound: The filter names a state machine that does not exist; raised with the first result.

            ValueError: No transformer is registered under its name, or that of a DISTRIBUTED batch is a function.
        """
        options = options or BatchExecutionOptions()
        if options.mode == DISTRIBUTED:
            name = as_name(input_transformer, self._services.tasks)
            shared = self._services.shared_batches
            # Called when the stream is first used: one that is never used has stored nothing.
            begin = partial(shared.start, self._machine, filter, source_state_name, options, name)
            return shared.stream(begin, options)
        local = self._services.local_batches
        return local.stream(self._machine, filter, source_state_name, options, input_transformer)

    @checked(filter=FILTER, source_state_name=STATE_NAME, options=OPTIONS, input_transformer=TRANSFORMER)
    async def start_batch(
        self,
        filter: ExecutionFilter,  # noqa: A002
        source_state_name: str | None = None,
        *,
        options: BatchExecutionOptions | None = None,
        input_transformer: str | None = None,
    ) -> BatchHandle:
        """Start a DISTRIBUTED batch, and return once its sources are stored: workers run it, even if this process ends.

        Each worker of the storage that has the machine's handlers takes shards of the batch (see
        `BatchExecutionOptions`). In an engine with ``role="client"`` only the others run it.

        Arguments:
            filter: The executions to chain from.

            source_state_name: The state of the source whose output becomes the input; by default, or where it is empty,
                the source's own output does.

            options: Concurrency over all workers, tolerated failures and names. Callbacks are not called.

            input_transformer: The name under which the workers have registered what maps a source's output to the input
                (`TaskRegistry.transformer`). A worker without it leaves the batch to others.

        Returns:
            A handle of the batch, to wait for its end, take its results, or stop it.

        Raises:
            StateMachineNotFound: The filter names a state machine that does not exist.

            ValueError: The transformer is a function, or this engine has handlers and none of its name.
        """
        chosen = attrs.evolve(options or BatchExecutionOptions(), mode=DISTRIBUTED)
        name = as_name(input_transformer, self._services.tasks)
        return await self._services.shared_batches.start(self._machine, filter, source_state_name, chosen, name)

    async def execute_bulk(
        self,
        inputs: Iterable[JSONInput] | AsyncIterable[JSONInput],
        *,
        options: BatchExecutionOptions | None = None,
    ) -> list[BatchExecutionResult]:
        """Run one execution for each input, and return how each of them ended.

        >>> results = await orders.execute_bulk([{"id": 1}, {"id": 2}])  # doctest: +SKIP

        Only the executions are stored, not the inputs: an interrupted run is finished by calling it again with the
        same inputs and the same ``name_prefix``. With ``mode="DISTRIBUTED"`` the inputs are stored first, as a batch
        that all workers share and `Engine.resume_batch` finishes.

        Arguments:
            inputs: The inputs, from a list, a generator or an async generator; each is taken when there is room for
                its execution.

            options: Concurrency, tolerated failures, names and callbacks. By default, items run one after the other,
                and any number may fail.

        Returns:
            A `BatchExecutionResult` for each input, in the order of the inputs. An item that failed has an ``error``
            and does not raise.

        Raises:
            BatchStopped: More items failed than the options tolerate. It has the results so far.

        An exception of the inputs or of a callback ends the run and is raised. Cancelling the await aborts the
        executions that run.
        """
        return await _collected(self.stream_bulk(inputs, options=options))

    @checked(inputs=INPUTS, options=OPTIONS)
    def stream_bulk(
        self,
        inputs: Iterable[JSONInput] | AsyncIterable[JSONInput],
        *,
        options: BatchExecutionOptions | None = None,
    ) -> ResultStream[BatchExecutionResult]:
        """Run as `execute_bulk` does, but yield each result as it completes, in bounded memory.

        >>> async with orders.stream_bulk({"id": number} for number in range(1000)) as results:  # doctest: +SKIP
        ...     async for result in results:
        ...         print(result.index, result.error)

        Arguments:
            inputs: The inputs; each is taken when there is room for its execution.

            options: Concurrency, tolerated failures, names and callbacks.

        Returns:
            An async iterator of `BatchExecutionResult`, in the order of completion. The run starts when it is first
            used. Use it with ``async with``: leaving early then aborts the executions that still run.

        Raises:
            BatchStopped: More items failed than the options tolerate; raised after the earlier results were taken,
                and without results.
        """
        options = options or BatchExecutionOptions()
        if options.mode == DISTRIBUTED:
            shared = self._services.shared_batches
            return shared.stream(partial(shared.start_bulk, self._machine, inputs, options), options)
        return self._services.local_batches.stream_bulk(self._machine, inputs, options)

    @checked(inputs=INPUTS, options=OPTIONS)
    async def start_bulk(
        self,
        inputs: Iterable[JSONInput] | AsyncIterable[JSONInput],
        *,
        options: BatchExecutionOptions | None = None,
    ) -> BatchHandle:
        """Start a DISTRIBUTED batch of inputs, and return once they are stored: workers run it without this process.

        >>> handle = await orders.start_bulk({"id": number} for number in range(1000))  # doctest: +SKIP
        >>> batch = await handle.wait()  # doctest: +SKIP

        Arguments:
            inputs: The inputs, from a list, a generator or an async generator; they are stored page by page, in bounded
                memory. One that is no JSON, or too large, is an item that has failed, with `InvalidPayload`.

            options: Concurrency over all workers, tolerated failures and names. Callbacks are not called.

        Returns:
            A handle of the batch, to wait for its end, take its results, or stop it.

        Raises:
            RepositoryError: Items were deleted while they were stored.

        What the inputs raise is raised, and nothing is stored then.
        """
        chosen = attrs.evolve(options or BatchExecutionOptions(), mode=DISTRIBUTED)
        return await self._services.shared_batches.start_bulk(self._machine, inputs, chosen)


async def _collected(stream: ResultStream[BatchExecutionResult]) -> list[BatchExecutionResult]:
    """Return all results of a batch by index; a BatchStopped gets all that ended."""
    results: list[BatchExecutionResult] = []
    async with stream:
        try:
            async for result in stream:
                results.append(result)  # noqa: PERF401 -- what came before a stop must survive it
        except BatchStopped as stop:
            stop.results = sorted(results, key=lambda result: result.index)
            raise
    return sorted(results, key=lambda result: result.index)
