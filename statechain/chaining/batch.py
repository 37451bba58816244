"""Batches: finished executions, or plain inputs → one execution of a target machine for each.

A batch freezes its sources when it begins, pages over the frozen items, and keeps one page and as many executions as
its concurrency in memory.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sized
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import attrs

from statechain.asl.outcome import Tolerance
from statechain.chaining.source import InputTransformer, item_input
from statechain.chaining.stored import describe_filter, describe_options
from statechain.codec import JSONValue
from statechain.errors import (
    BatchNotFound,
    BatchStopped,
    ExecutionAlreadyExists,
    ExecutionFailed,
    ExecutionNotFound,
    InputTransformerError,
    InvalidPayload,
    SourceNotFinished,
    SourceStateNotFound,
)
from statechain.filters import ExecutionFilter
from statechain.launcher import Stream, Streams, exceeds, first_fault, launch
from statechain.logs import BATCH
from statechain.records import Batch, BatchItem, BatchStatus, Execution, ExecutionStatus, Source, new_id
from statechain.storage.patience import patiently
from statechain.storage.repository import CreateBatch, EndBatch, FailBatchItem, Write

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.storage.journal import Journal
    from statechain.storage.repository import Repository

__all__ = [
    "BatchExecutionOptions",
    "BatchExecutionResult",
    "BatchServices",
    "Target",
    "collect",
    "resume_batch",
    "stream_batch",
    "stream_bulk",
]

OnStart: TypeAlias = Callable[[Any, int], "Awaitable[None] | None"]
OnComplete: TypeAlias = Callable[[Any, int, "Exception | None"], "Awaitable[None] | None"]
ITEM_ERRORS = (
    ExecutionAlreadyExists,
    ExecutionNotFound,
    InputTransformerError,
    InvalidPayload,
    SourceNotFinished,
    SourceStateNotFound,
)


def _at_least(least: int) -> Callable[[object, attrs.Attribute[int], int], None]:
    def check(_instance: object, attribute: attrs.Attribute[int], value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{attribute.name} must be a whole number of at least {least}, not {value!r}")

    return check


def _is_percentage(_instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise ValueError(f"{attribute.name} must be a number from 0 to 100, not {value!r}")


def _is_prefix(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{attribute.name} must be a text of printable characters")


@attrs.frozen(kw_only=True)
class BatchExecutionOptions:
    """How a batch runs.

    Attributes:
        name_prefix: Executions are named ``f"{name_prefix}-{source_execution_id}"`` (in bulk, ``-{index}``), so that
            the same batch, run again, finishes what is missing and runs nothing twice. Unique where it is left out.

        concurrent_batches: How many run at once, started in order; 0 or 1 is one after the other.

        stop_on_error: Stop at the first failure: a tolerance of none.

        tolerated_failure_count: Stop when more than this many failed.

        tolerated_failure_percentage: Stop when more than this part of all items failed, from 0 to 100.

        redrive_failed: An execution that had ended without success before is redriven instead of returned.

        on_execution_start: Called with (source execution id, index) before each item begins; sync or async. In bulk
            the id is None.

        on_execution_complete: Called with (source execution id, index, error or None) after each item has ended.

        page_size: How many items are read from storage at a time.
    """

    name_prefix: str | None = attrs.field(default=None, validator=attrs.validators.optional(_is_prefix))
    concurrent_batches: int = attrs.field(default=1, validator=_at_least(0))
    stop_on_error: bool = False
    tolerated_failure_count: int | None = attrs.field(default=None, validator=attrs.validators.optional(_at_least(0)))
    tolerated_failure_percentage: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_is_percentage)
    )
    redrive_failed: bool = False
    on_execution_start: OnStart | None = None
    on_execution_complete: OnComplete | None = None
    page_size: int = attrs.field(default=100, validator=_at_least(1))

    @property
    def tolerance(self) -> Tolerance | None:
        """How many failures are tolerated; None for any number."""
        if self.stop_on_error:
            return Tolerance()
        if self.tolerated_failure_count is None and self.tolerated_failure_percentage is None:
            return None
        return Tolerance(self.tolerated_failure_count, self.tolerated_failure_percentage)


@attrs.frozen(kw_only=True)
class BatchExecutionResult:
    """How one item of a batch ended.

    Attributes:
        source_execution_id: The source; None in bulk.

        index: The item's place in the batch, from 0.

        execution: The execution as it ended; None where none could be started.

        error: None where it SUCCEEDED; else an ExecutionFailed, InputTransformerError, SourceNotFinished, …
    """

    source_execution_id: str | None
    index: int
    execution: Execution | None
    error: Exception | None


class Target(Protocol):
    """The machine that a batch runs, as the batch sees it."""

    @property
    def id(self) -> str:
        """The machine's id."""

    @property
    def revision(self) -> int:
        """The revision that new executions run."""

    async def run_chained(
        self,
        input: JSONValue,  # noqa: A002 -- the term of the field
        *,
        name: str,
        source: Source | None,
        exclusive: bool,
        redrive_failed: bool,
    ) -> Execution:
        """Start an execution, or join the one that has its name (or, exclusive, its chain), and wait for its end.

        Cancelling the await aborts what it started: ABORTED is recorded before the cancellation goes on.
        """


@attrs.frozen
class BatchServices:
    """What a batch needs of the engine; ``running`` holds the tasks that run stored batches here, by batch."""

    repository: Repository
    journal: Journal
    clock: Clock
    streams: Streams
    running: defaultdict[str, set[asyncio.Task[None]]] = attrs.field(factory=lambda: defaultdict(set))


@attrs.frozen
class _Item:
    """One thing to run: where its input comes from, and what it is called."""

    index: int
    name: str
    source: Source | None
    make_input: Callable[[], Awaitable[JSONValue]]

    @property
    def source_id(self) -> str | None:
        return None if self.source is None else self.source.execution_id


def stream_batch(
    target: Target,
    select: ExecutionFilter,
    source_state_name: str | None,
    *,
    options: BatchExecutionOptions,
    input_transformer: InputTransformer | None,
    services: BatchServices,
) -> Stream[BatchExecutionResult]:
    """Chain one execution of the target from each execution that the filter means when the stream is first used."""

    async def produce(stream: Stream[BatchExecutionResult]) -> None:
        batch = Batch(
            id=new_id(),
            name_prefix=options.name_prefix or new_id(),
            state_machine_id=target.id,
            state_machine_revision=target.revision,
            source_state_name=source_state_name,
            filter=describe_filter(select),
            options=describe_options(options),
            status=BatchStatus.RUNNING,
            start_time=services.clock.now(),
        )
        opening = CreateBatch(batch=batch, select=select)
        chained = select.unchained_to
        exclusive = chained is not None and (chained.to, chained.source_state_name) == (target.id, source_state_name)
        await _run_stored(target, batch.id, opening, options, input_transformer, services, stream, exclusive=exclusive)

    return Stream(services.streams, produce, capacity=options.concurrent_batches)


def resume_batch(
    target: Target,
    batch: Batch,
    *,
    options: BatchExecutionOptions,
    input_transformer: InputTransformer | None,
    services: BatchServices,
) -> Stream[BatchExecutionResult]:
    """Run the frozen items of a stored batch again: what has ended is returned, what is missing is finished."""

    async def produce(stream: Stream[BatchExecutionResult]) -> None:
        opening = EndBatch(batch_id=batch.id, status=BatchStatus.RUNNING, end_time=None)
        exclusive = batch.filter.get("unchained_to") == {"to": target.id, "source_state_name": batch.source_state_name}
        await _run_stored(target, batch.id, opening, options, input_transformer, services, stream, exclusive=exclusive)

    return Stream(services.streams, produce, capacity=options.concurrent_batches)


def stream_bulk(
    target: Target,
    inputs: Iterable[JSONValue] | AsyncIterable[JSONValue],
    *,
    options: BatchExecutionOptions,
    services: BatchServices,
) -> Stream[BatchExecutionResult]:
    """Run one execution of the target for each input, pulled as there is room.

    Nothing of it is stored but its executions, for the inputs exist only here. A tolerated percentage counts against
    ``len(inputs)``, and plays no part where there is none.
    """

    async def produce(stream: Stream[BatchExecutionResult]) -> None:
        total = len(inputs) if isinstance(inputs, Sized) else None
        runner = _Runner(target, options, services, stream, total=total, exclusive=False, batch=None)
        await runner.run(_bulk_items(inputs, options.name_prefix or new_id()))

    return Stream(services.streams, produce, capacity=options.concurrent_batches)


async def collect(stream: Stream[BatchExecutionResult]) -> list[BatchExecutionResult]:
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


async def _run_stored(
    target: Target,
    batch_id: str,
    opening: Write[Batch],
    options: BatchExecutionOptions,
    transformer: InputTransformer | None,
    services: BatchServices,
    stream: Stream[BatchExecutionResult],
    *,
    exclusive: bool,
) -> None:
    """Open a batch in storage and run it; once it is there its end is recorded, whatever ends it."""
    status = BatchStatus.ABORTED
    task = cast("asyncio.Task[None]", asyncio.current_task())
    services.running[batch_id].add(task)
    BATCH.set(batch_id)
    try:
        batch = await services.journal.write(opening)
        total = batch.item_counts.total
        runner = _Runner(target, options, services, stream, total=total, exclusive=exclusive, batch=batch)
        await runner.run(_stored_items(batch, options, transformer, services))
        status = BatchStatus.SUCCEEDED
    except BatchStopped:
        status = BatchStatus.FAILED
        raise
    finally:
        services.running[batch_id].discard(task)
        if not services.running[batch_id]:
            del services.running[batch_id]
        with suppress(BatchNotFound):  # it never came to be stored
            await services.journal.write(EndBatch(batch_id=batch_id, status=status, end_time=services.clock.now()))


async def _stored_items(
    batch: Batch, options: BatchExecutionOptions, transformer: InputTransformer | None, services: BatchServices
) -> AsyncIterator[_Item]:
    """Page over the frozen items."""
    after = -1
    while True:
        page = await patiently(partial(services.repository.batch_items, batch.id, after=after, page=options.page_size))
        for item in page:
            yield _stored_item(item, batch.source_state_name, transformer)
        if len(page) < options.page_size:
            return
        after = page[-1].index


def _stored_item(item: BatchItem, state_name: str | None, transformer: InputTransformer | None) -> _Item:
    source = Source(item.source_execution_id, state_name)
    return _Item(item.index, item.name, source, lambda: item_input(item, state_name, transformer))


async def _bulk_items(inputs: Iterable[JSONValue] | AsyncIterable[JSONValue], prefix: str) -> AsyncIterator[_Item]:
    index = 0
    if isinstance(inputs, AsyncIterable):
        async for value in inputs:
            yield _bulk_item(index, prefix, value)
            index += 1
    else:
        for value in inputs:
            yield _bulk_item(index, prefix, value)
            index += 1


def _bulk_item(index: int, prefix: str, value: JSONValue) -> _Item:
    async def make_input() -> JSONValue:
        return value

    return _Item(index, f"{prefix}-{index}", None, make_input)


class _Stop(Exception):
    """The tolerance is exceeded; ``__cause__`` is the failure that did it."""


@attrs.define(eq=False)
class _Runner:
    """Runs the items of one batch."""

    _target: Target
    _options: BatchExecutionOptions
    _services: BatchServices
    _stream: Stream[BatchExecutionResult]
    _total: int | None = attrs.field(kw_only=True)
    _exclusive: bool = attrs.field(kw_only=True)
    _batch: Batch | None = attrs.field(kw_only=True)
    _failures: int = attrs.field(default=0, init=False)
    _first_error: Exception | None = attrs.field(default=None, init=False)

    async def run(self, items: AsyncIterator[_Item]) -> None:
        """Run all items. Raises BatchStopped, or the fault of a callback or of storage."""
        try:
            await launch(items, self._run_item, concurrency=self._options.concurrent_batches)
        except BaseExceptionGroup as faults:
            fault = first_fault(faults)
            if isinstance(fault, _Stop):
                raise BatchStopped([]) from self._first_error
            raise fault from None

    async def _run_item(self, item: _Item) -> None:
        await self._tell(self._options.on_execution_start, item.source_id, item.index)
        try:
            result = await self._attempt(item)
        except asyncio.CancelledError:
            await self._end_cancelled(item)
            raise
        try:
            await self._tell(self._options.on_execution_complete, item.source_id, item.index, result.error)
            self._count(result)
            await self._stream.has_room()
        finally:  # whatever stops the batch meanwhile: what has ended is among the results
            self._stream.put(result)

    def _count(self, result: BatchExecutionResult) -> None:
        """Raise _Stop where the failures are more than is tolerated."""
        if result.error is None:
            return
        self._failures += 1
        self._first_error = self._first_error or result.error
        tolerance = self._options.tolerance
        if tolerance is not None and exceeds(tolerance, self._failures, self._total):
            raise _Stop

    async def _attempt(self, item: _Item) -> BatchExecutionResult:
        """Run one item; whatever is wrong with it alone is its result."""
        try:
            execution = await self._target.run_chained(
                await item.make_input(),
                name=item.name,
                source=item.source,
                exclusive=self._exclusive,
                redrive_failed=self._options.redrive_failed,
            )
        except ITEM_ERRORS as fault:
            await self._record_failure(item, fault)
            return _result(item, None, fault)
        return _result(item, execution, _failure(execution))

    async def _record_failure(self, item: _Item, fault: Exception) -> None:
        if self._batch is not None:
            error, cause = type(fault).__name__, str(fault)
            await self._services.journal.write(
                FailBatchItem(batch_id=self._batch.id, index=item.index, error=error, cause=cause)
            )

    async def _end_cancelled(self, item: _Item) -> None:
        """Tell how an item ended that was cancelled with its siblings: as its execution was recorded."""
        find = partial(self._services.repository.execution_by_name, self._target.id, item.name)
        execution = await patiently(find)
        error: Exception | None = ExecutionNotFound(f"item {item.index} was cancelled before its execution was started")
        if execution is not None:
            error = _failure(execution)
        self._stream.put(_result(item, execution, error))
        await self._tell(self._options.on_execution_complete, item.source_id, item.index, error)

    async def _tell(self, callback: Callable[..., Any] | None, *facts: object) -> None:
        if callback is not None:
            told = callback(*facts)
            if inspect.isawaitable(told):
                await told


def _failure(execution: Execution) -> ExecutionFailed | None:
    return None if execution.status is ExecutionStatus.SUCCEEDED else ExecutionFailed(execution)


def _result(item: _Item, execution: Execution | None, error: Exception | None) -> BatchExecutionResult:
    return BatchExecutionResult(
        source_execution_id=item.source_id, index=item.index, execution=execution, error=error
    )
