"""Items → executions of one machine, by the launcher: what a batch and a bulk run do with each of their items."""

from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import attrs

from statechain.asl.outcome import Tolerance
from statechain.chaining.options import BatchExecutionOptions
from statechain.chaining.source import naming_transformer
from statechain.codec import JSONInput
from statechain.errors import (
    ExecutionAlreadyExists,
    ExecutionNotFound,
    InputTransformerError,
    InvalidPayload,
    RepositoryUnavailable,
    SourceNotFinished,
    SourceStateNotFound,
)
from statechain.launcher import Place, StreamGroup, exceeds, first_error, launch_in_places
from statechain.limits import DEFAULT_LIMITS, Limits
from statechain.payload import Payload
from statechain.records.batches import Batch
from statechain.records.executions import Execution, ExecutionStatus, Source
from statechain.records.results import BatchExecutionResult, BatchStopped, ExecutionFailed
from statechain.storage.repository import FailBatchItem, JoinBatchItem
from statechain.storage.retrying import retry_while_unavailable

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.execution.running import Follower
    from statechain.observers import Observer
    from statechain.storage.journal.journal import Journal
    from statechain.storage.repository import Repository
    from statechain.tasks.registry import TaskRegistry

__all__ = ["BatchServices", "Item", "JoinedCallback", "Runner", "Target"]

# What is wrong with one item alone; any other error ends the batch.
ITEM_ERRORS = (
    ExecutionAlreadyExists,
    ExecutionNotFound,
    InputTransformerError,
    InvalidPayload,
    SourceNotFinished,
    SourceStateNotFound,
)


JoinedCallback: TypeAlias = Callable[[str], Awaitable[None]]
"""Is given the name of the execution of another name that an item represents."""


class Begun(Protocol):
    """The execution of an item that was begun, which no task needs to await where it runs here."""

    @property
    def end(self) -> Execution | None:
        """The execution as it ended here; None where it runs, or `conclude` knows more."""

    def follow(self, follower: Follower, /) -> bool:
        """Resolve a follower once the execution is over here; return False where it does not run here."""

    async def conclude(self) -> tuple[Execution, BaseException | None]:
        """Return the execution once it ended, and what it failed by here.

        Cancelling the await aborts what was begun: ABORTED is recorded before the cancellation goes on.
        """

    async def abort(self) -> None:
        """Abort the execution, which nothing concludes: ABORTED is recorded, unless the engine is interrupted."""


class Target(Protocol):
    """The machine that a batch runs, as the batch sees it."""

    @property
    def id(self) -> str:
        """The machine's id."""

    @property
    def revision(self) -> int:
        """The revision that new executions run."""

    def begin_chained(
        self,
        given: Payload,
        *,
        name: str,
        source: Source | None,
        joins: JoinedCallback | None,
        redrive_failed: bool,
        key: str | None,
        priority: int,
        succeeding: Callable[[], None] | None = None,
    ) -> Begun:
        """Begin an execution, or join the one that has its name.

        ``given`` is its input, which is its own from now on.

        With ``joins``, one that chains the same source already is joined, under any name, and reported. ``succeeding``
        is called when it has SUCCEEDED here, and that is about to be written.
        """


@attrs.frozen
class BatchServices:
    """What a batch needs of the engine.

    Attributes:
        tasks: The handlers that the engine was given, which have the input transformers; None without any.

        limits: What bounds inputs that are stored.

        observers: Receive what becomes of shards.

        running: The tasks that run stored batches here, by batch.
    """

    repository: Repository
    journal: Journal
    clock: Clock
    streams: StreamGroup
    tasks: TaskRegistry | None = None
    limits: Limits = DEFAULT_LIMITS
    observers: Sequence[Observer] = ()
    running: defaultdict[str, set[asyncio.Task[None]]] = attrs.field(factory=lambda: defaultdict(set))


@attrs.frozen
class Item:
    """One thing to run: where its input comes from, and what it is called.

    ``text`` is the input where a stored one is passed on as it is, so that it need not be loaded. ``ended`` is
    the execution of its name, where it is known to have ended before. ``was_refused`` says that its name was taken when
    it was run before.
    """

    index: int
    name: str
    source: Source | None
    load_input: Callable[[], Awaitable[JSONInput]]
    text: str | None = None
    ended: Execution | None = None
    was_refused: bool = False

    @property
    def source_id(self) -> str | None:
        """The source execution, or None in bulk."""
        return None if self.source is None else self.source.execution_id


class Results(Protocol):
    """What takes the results of a run, such as a `ResultStream`."""

    @property
    def is_full(self) -> bool:
        """Whether there is no room for a result."""

    async def has_room(self) -> None:
        """Return once there is room for a result."""

    def put(self, result: BatchExecutionResult) -> None:
        """Take a result, room or no room."""


class _Stop(Exception):
    """The tolerance is exceeded; ``__cause__`` is the failure that did it."""


@attrs.define(eq=False)
class Runner:
    """Runs the items of one batch; ``failures`` counts those that did not succeed.

    Where it ``overlaps``, an item that has succeeded leaves its place before its end is written, so that one commit has
    the end of the one and the start of the next. It is for what no caller awaits item by item.
    """

    _target: Target
    _options: BatchExecutionOptions
    _services: BatchServices
    _stream: Results
    _total: int | None = attrs.field(kw_only=True)
    _exclusive: bool = attrs.field(kw_only=True)
    _batch: Batch | None = attrs.field(kw_only=True)
    _overlaps: bool = attrs.field(kw_only=True, default=False)
    failures: int = attrs.field(default=0, init=False)
    _first_error: Exception | None = attrs.field(default=None, init=False)
    _calls_back: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Note whether the options have a function that is called for each item."""
        options = self._options
        functions = options.on_execution_start, options.on_execution_complete, options.key
        self._calls_back = any(callable(each) for each in functions)

    async def run(self, items: AsyncIterator[Item]) -> None:
        """Run all items. Raises BatchStopped, or the error of a callback or of storage."""
        try:
            await launch_in_places(items, self._begin, concurrency=self._options.concurrent_batches)
        except BaseExceptionGroup as faults:
            fault = first_error(faults)
            if isinstance(fault, _Stop):
                # The first failure in time: with several items at once, another one may have been the one too many.
                raise BatchStopped([]) from self._first_error
            raise fault from None

    def _begin(self, item: Item, place: Place) -> None:
        """Begin an item: without a task, where nothing is to be awaited before the end of its execution."""
        begun = self._begin_at_once(item, place)
        if begun is None:
            place.run(self._run_item(item, place))
            return
        unattended = _Unattended(self, item, place, begun)
        if begun.follow(unattended):
            place.keep(unattended)
        else:
            place.run(self._run_item(item, place, begun))

    def _begin_at_once(self, item: Item, place: Place) -> Begun | None:
        """Begin the execution of an item whose input is passed on; None where it takes more than that."""
        if item.text is None or item.ended is not None or item.was_refused or self._calls_back:
            return None
        # What is wrong with its text is the result of the item, which a task writes.
        with suppress(InvalidPayload):
            return self._begin_execution(item, place, *self._passed_on(item.text))
        return None

    async def _run_item(self, item: Item, place: Place, begun: Begun | None = None) -> None:
        """Run an item, from its beginning or from where its execution was begun."""
        options = self._options
        if begun is None and options.on_execution_start is not None:
            await _call_back(options.on_execution_start, item.source_id, item.index)
        try:
            result = await self._attempt(item, place, begun)
        except asyncio.CancelledError:
            await self._end_cancelled(item)
            raise
        try:
            if options.on_execution_complete is not None:
                await _call_back(options.on_execution_complete, item.source_id, item.index, result.error)
            self._count(result)
            await self._stream.has_room()
        finally:  # what stops the batch meanwhile: what has ended is among the results
            self._stream.put(result)

    def _count(self, result: BatchExecutionResult) -> None:
        """Raise _Stop where the failures are more than is tolerated."""
        if result.error is None:
            return
        self.failures += 1
        self._first_error = self._first_error or result.error
        tolerance = _tolerance(self._options)
        if tolerance is not None and exceeds(tolerance, self.failures, self._total):
            raise _Stop

    async def _attempt(self, item: Item, place: Place, begun: Begun | None) -> BatchExecutionResult:
        """Run one item; what is wrong with it alone is its result. What has ended before is its result as it is."""
        if item.ended is not None and not (self._options.redrive_failed and failure_of(item.ended)):
            return _result(item, item.ended, failure_of(item.ended))
        try:
            if begun is None:
                begun = self._begin_execution(item, place, *await self._load(item))
            execution, exception = await begun.conclude()
        except ITEM_ERRORS as fault:
            await self._record_failure(item, fault)
            return _result(item, None, fault)
        # The name was free this time: the item represents the execution again.
        if item.was_refused:
            await self._record_failure(item, None)
        return _result(item, execution, failure_of(execution, exception))

    def _begin_execution(self, item: Item, place: Place, given: Payload, key: str | None) -> Begun:
        return self._target.begin_chained(
            given,
            name=item.name,
            source=item.source,
            joins=partial(self._join, item) if self._exclusive else None,
            redrive_failed=self._options.redrive_failed,
            key=key,
            priority=self._options.priority,
            succeeding=partial(self._leave, place) if self._overlaps else None,
        )

    def take_ended(self, item: Item, ended: Execution | None) -> bool:
        """Hand out the result of an item that no task runs, if it has succeeded; return whether that was all."""
        if ended is None or ended.status is not ExecutionStatus.SUCCEEDED or self._stream.is_full:
            return False
        self._stream.put(_result(item, ended, None))
        return True

    def rest_of(self, item: Item, place: Place, begun: Begun) -> Coroutine[Any, Any, None]:
        """Do what is left of an item that no task ran, and that has not just succeeded."""
        return self._run_item(item, place, begun)

    async def cut_short(self, item: Item, begun: Begun) -> None:
        """End an item that no task runs, and report how it ended."""
        await begun.abort()
        await self._end_cancelled(item)

    async def _load(self, item: Item) -> tuple[Payload, str | None]:
        """Return an item's input, and its key."""
        limits, key = self._services.limits, self._options.key
        # A key that is a function needs the value; else a stored text is passed on, and not encoded again.
        if item.text is not None and not callable(key):
            return self._passed_on(item.text)
        value = await item.load_input()
        key = self._options.key_of(value)
        # An item that has a source has its JSON text, too, unless a transformer maps it.
        with naming_transformer(is_there=item.source is not None and item.text is None):
            return Payload.isolated(value, max_bytes=limits.payload_bytes, max_depth=limits.payload_depth), key

    def _passed_on(self, text: str) -> tuple[Payload, str | None]:
        """Return a stored text as an input, and the key, which is not a function of it."""
        limits = self._services.limits
        given = Payload.passed_on(text, max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)
        return given, cast("str | None", self._options.key)

    def _leave(self, place: Place) -> None:
        """Begin the next item, to be started in the commit that ends this one."""
        place.leave()
        self._services.journal.expect()

    async def _join(self, item: Item, name: str) -> None:
        """Let an item represent an execution of another name that chains its source already."""
        if self._batch is not None:
            await self._services.journal.write(JoinBatchItem(batch_id=self._batch.id, index=item.index, name=name))

    async def _record_failure(self, item: Item, fault: Exception | None) -> None:
        if self._batch is not None:
            error, cause = (None, None) if fault is None else (type(fault).__name__, str(fault))
            await self._services.journal.write(
                FailBatchItem(batch_id=self._batch.id, index=item.index, error=error, cause=cause)
            )

    async def _end_cancelled(self, item: Item) -> None:
        """Report how an item ended that was cancelled with its siblings: as its execution was recorded."""
        execution: Execution | None = None
        error: Exception | None = ExecutionNotFound(f"item {item.index} was cancelled before its execution was started")
        find = partial(self._services.repository.execution_by_name, self._target.id, item.name)
        try:
            # Not for as long as storage is away where the engine is interrupted, which would wait for it.
            execution = await self._services.streams.finished(retry_while_unavailable(find))
        except TimeoutError:
            error = RepositoryUnavailable(f"item {item.index} was cancelled, and storage did not say how it ended")
        if execution is not None:
            error = failure_of(execution)
        self._stream.put(_result(item, execution, error))
        if self._options.on_execution_complete is not None:
            await _call_back(self._options.on_execution_complete, item.source_id, item.index, error)


class _Unattended:
    """An item whose execution was begun, and that no task runs before that is over; most need none then, either."""

    __slots__ = ("_begun", "_is_over", "_item", "_place", "_runner")

    def __init__(self, runner: Runner, item: Item, place: Place, begun: Begun) -> None:
        self._runner = runner
        self._item = item
        self._place = place
        self._begun = begun
        self._is_over = False

    def done(self) -> bool:
        """Return whether the execution is over here, or nothing waits for it any more."""
        return self._is_over

    def set_result(self, _: None) -> None:
        """Take note that the execution is over here."""
        self._is_over = True
        if self._runner.take_ended(self._item, self._begun.end):
            self._place.done(self)
        else:
            self._place.resume(self)

    def rest(self) -> Coroutine[Any, Any, None]:
        """Do what is left of the item in a task."""
        return self._runner.rest_of(self._item, self._place, self._begun)

    def cut_short(self) -> Coroutine[Any, Any, None]:
        """Abort the execution where it still runs, and report how it ended."""
        self._is_over = True
        return self._runner.cut_short(self._item, self._begun)


async def _call_back(callback: Callable[..., Any], *facts: object) -> None:
    result = callback(*facts)
    if inspect.isawaitable(result):
        await result


def _tolerance(options: BatchExecutionOptions) -> Tolerance | None:
    """Return how many failures are tolerated; None for any number."""
    if options.stop_on_error:
        return Tolerance()
    if options.tolerated_failure_count is None and options.tolerated_failure_percentage is None:
        return None
    return Tolerance(options.tolerated_failure_count, options.tolerated_failure_percentage)


def failure_of(execution: Execution, exception: BaseException | None = None) -> ExecutionFailed | None:
    """Return what an execution's end is for its batch; the exception that it failed by is the ``__cause__``."""
    if execution.status is ExecutionStatus.SUCCEEDED:
        return None
    failure = ExecutionFailed(execution)
    failure.__cause__ = exception
    return failure


def _result(item: Item, execution: Execution | None, error: Exception | None) -> BatchExecutionResult:
    return BatchExecutionResult(source_execution_id=item.source_id, index=item.index, execution=execution, error=error)
