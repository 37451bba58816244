"""Items → a TaskGroup gated by a semaphore → results as they complete: batches, bulk runs and Map Runs share it.

It knows items, concurrency and tolerances; what is done with an item is the caller's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, cast

from statechain.cancellation import GRACE, await_shielded, wait_ignoring_cancellation
from statechain.guard import Guard
from statechain.records.results import BatchStopped

if TYPE_CHECKING:
    from statechain.asl.outcome import Tolerance

__all__ = [
    "Place",
    "Places",
    "ResultStream",
    "Stream",
    "StreamGroup",
    "Unattended",
    "exceeds",
    "first_error",
    "launch",
    "launch_in_places",
    "siblings",
]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def exceeds(tolerance: Tolerance, failed: int, total: int | None) -> bool:
    """Return whether that many failures are more than is tolerated (AWS, "ToleratedFailureCount").

    Past either bound is too many. A percentage counts against the total; where that is not known, it plays no part.
    """
    if tolerance.count is None and tolerance.percentage is None:
        return failed > 0
    if tolerance.count is not None and failed > tolerance.count:
        return True
    return tolerance.percentage is not None and bool(total) and failed * 100 > tolerance.percentage * (total or 0)


async def launch(
    items: Iterable[ItemT] | AsyncIterable[ItemT],
    work: Callable[[ItemT], Coroutine[Any, Any, None]],
    *,
    concurrency: int,
) -> None:
    """Run the work for each item, with a bounded number at once, begun in order; with 1 (or 0), one after the other.

    An item is asked for only when there is room for it. An exception of the work cancels its siblings and leaves as
    TaskGroup leaves it; a cancellation of the caller wins over it, also one that comes while the siblings end. A
    generator of items is closed.
    """
    await launch_in_places(items, lambda item, place: place.run(work(item)), concurrency=concurrency)


class Places:
    """How many places are free for more to begin, and how many run; a launch waits for either to change."""

    __slots__ = ("_waiting", "free", "running")

    def __init__(self, places: int) -> None:
        self.free = max(1, places)
        self.running = 0
        self._waiting: asyncio.Future[None] | None = None

    def take(self) -> None:
        """Count what begins to run."""
        self.free -= 1
        self.running += 1

    def give_back(self, _task: asyncio.Task[None] | None = None) -> None:
        """Count what has ended, such as a task."""
        self.free += 1
        self.running -= 1
        self.wake()

    def wake(self) -> None:
        """Have a launch look again."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self) -> None:
        """Return once a place is free, or what ran has ended."""
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting


class Unattended(Protocol):
    """Work of a launch that goes on without an asyncio task, and notes itself at its place how it has stopped."""

    def rest(self) -> Coroutine[Any, Any, None]:
        """Do what is left to be done in a task, once it has stopped before its end."""

    def cut_short(self) -> Coroutine[Any, Any, None]:
        """Cancel it where it still runs, and do what is left: its launch has failed, or was cancelled."""


class Place:
    """One of the places of a launch, which its work may leave to the next item before it ends."""

    __slots__ = ("_is_left", "_launch", "_places")

    def __init__(self, launch: _Launch) -> None:
        self._is_left = False
        self._launch = launch
        self._places = launch.places
        self._places.take()

    def leave(self) -> None:
        """Make room for another item; nothing where that was done."""
        if not self._is_left:
            self._is_left = True
            self._places.free += 1
            self._places.wake()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work in a task, with whose end this ends."""
        self._launch.group.create_task(work).add_done_callback(self.end)  # after the group's own callback

    def keep(self, work: Unattended) -> None:
        """Note work that has begun and that no task does."""
        self._launch.unattended.add(work)

    def done(self, work: Unattended) -> None:
        """Note the end of work that no task did."""
        self._launch.unattended.discard(work)
        self.end()

    def resume(self, work: Unattended) -> None:
        """Do the rest of such work in a task."""
        launch = self._launch
        rest = launch.attend(work)
        try:
            # The work may have stopped in the context of anything.
            task = launch.group.create_task(rest, context=launch.context.copy())
        except RuntimeError:  # the group fails, or was left by an error: its launch cancels the work
            rest.close()
        else:
            task.add_done_callback(self.end)

    def end(self, _task: asyncio.Task[None] | None = None) -> None:
        """Take note that the work has ended."""
        self._places.running -= 1
        self._places.wake()
        self.leave()


class _Launch:
    """What the places of one launch share: its tasks, and the work that goes on without one."""

    __slots__ = ("context", "group", "places", "unattended")

    def __init__(self, places: Places, group: asyncio.TaskGroup) -> None:
        self.places = places
        self.group = group
        self.context = copy_context()
        self.unattended: set[Unattended] = set()

    async def attend(self, work: Unattended) -> None:
        """Do the rest of work in the task that this is, unless it was cancelled before that made its first step."""
        if work in self.unattended:
            self.unattended.remove(work)
            await work.rest()

    def cut_short(self) -> list[asyncio.Task[None]]:
        """Cancel the work that no task does; return tasks in which it ends, that nothing cancels."""
        works, self.unattended = self.unattended, set()
        return [asyncio.create_task(work.cut_short()) for work in works]


async def launch_in_places(
    items: Iterable[ItemT] | AsyncIterable[ItemT],
    begin: Callable[[ItemT, Place], None],
    *,
    concurrency: int,
) -> None:
    """Run the work for each item as `launch` does, which is begun at its place: in a task, or unattended."""
    places = Places(concurrency)
    source = aiter(items) if isinstance(items, AsyncIterable) else _as_async(items)
    ends: list[asyncio.Task[None]] = []
    try:
        async with siblings() as group:
            started = _Launch(places, group)
            try:
                while True:
                    while not places.free:
                        await places.wait()
                    try:
                        item = await anext(source)
                    except StopAsyncIteration:
                        break
                    begin(item, Place(started))
                # before Python 3.13 a group that fails while it is left leaves the caller cancelled
                while places.running:
                    await places.wait()
            except BaseException:
                ends = started.cut_short()  # together with the tasks, which the group cancels
                raise
    finally:
        # What they raise comes after the error that ended the launch, over which a cancellation of the caller wins.
        if ends:
            await await_shielded(asyncio.gather(*ends, return_exceptions=True))
        if isinstance(source, AsyncGenerator):
            await source.aclose()


@asynccontextmanager
async def siblings() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a TaskGroup, over whose errors a cancellation of the caller wins."""
    caller = cast("asyncio.Task[Any]", asyncio.current_task())
    # The caller may be ending by a cancellation already: only one that comes from here on wins.
    cancellations = caller.cancelling()
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup:
        if caller.cancelling() > cancellations:
            raise asyncio.CancelledError from None
        raise


async def _as_async(items: Iterable[ItemT]) -> AsyncIterator[ItemT]:
    for item in items:
        yield item


def first_error(faults: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that came first, from any groups that it is in."""
    fault: BaseException = faults
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault


class ResultStream(Generic[ResultT]):
    """Results as they complete: an async iterator, and an async context manager that ends what still runs.

    >>> async with machine.stream_batch(filter) as results:  # doctest: +SKIP
    ...     async for result in results: ...

    A loop without ``async with`` that is left early, as by ``break``, ends what still runs without waiting for it.

    The producer runs in a task of its `StreamGroup`, from the first use on; it waits while as many results as
    ``capacity`` have not been taken. Its exception is raised once the results before it have been taken. A cancellation
    while a result is awaited ends what still runs, as it would end an asynchronous generator; it goes on after `GRACE`
    seconds where storage takes longer to record that.
    """

    def __init__(
        self,
        streams: StreamGroup,
        produce: Callable[[ResultStream[ResultT]], Awaitable[None]],
        *,
        capacity: int,
    ) -> None:
        self._streams = streams
        self._produce = produce
        self._capacity = max(1, capacity)
        self._ready: deque[ResultT] = deque()
        self._getter: asyncio.Future[None] | None = None
        self._putters: deque[asyncio.Future[None]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._fault: BaseException | None = None
        self._left: float | None = None
        self._is_entered = False

    @property
    def is_full(self) -> bool:
        """Whether as many results as `capacity` have not been taken."""
        return len(self._ready) >= self._capacity

    async def has_room(self) -> None:
        """Return once there is room for a result."""
        while self.is_full:
            # The engine is being left, and no reader makes room: this raises CancelledError at the await below.
            if self._streams.is_closing:
                self.cancel()
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._putters.append(room)
            await room

    def put(self, result: ResultT) -> None:
        """Hand out a result, room or no room."""
        self._ready.append(result)
        _wake(self._getter)

    async def __aenter__(self) -> Self:
        """Begin."""
        self._begin()
        self._is_entered = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End what still runs."""
        await (self._leave() if exc_type is asyncio.CancelledError else self.aclose())

    def __aiter__(self) -> AsyncIterator[ResultT]:
        # In `async with`, its end ends what still runs; one loop may be left there, and another one go on.
        return self if self._is_entered else self._until_left()

    async def _until_left(self) -> AsyncIterator[ResultT]:
        """Yield the results; end what still runs where the loop over them is left early."""
        try:
            while True:
                try:
                    result = await self.__anext__()
                except StopAsyncIteration:
                    return
                yield result
        except GeneratorExit:
            self.cancel()
            raise

    async def __anext__(self) -> ResultT:
        self._streams.guard.check_place()
        self._begin()
        if self._getter is not None:
            raise RuntimeError("another task awaits the next result of this stream already")
        while not self._ready:
            if self._ended is None or self._ended.done():
                # Raised once: from then on the stream is at its end, as a generator would be.
                fault, self._fault = self._fault, None
                if fault is not None:
                    raise fault
                raise StopAsyncIteration
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getter = getter
            try:
                await getter
            except asyncio.CancelledError:
                await self._leave()
                raise
            finally:
                self._getter = None
        result = self._ready.popleft()
        # One that was cancelled meanwhile takes no room: the next one is woken.
        while self._putters and not _wake(self._putters.popleft()):
            pass
        return result

    async def aclose(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        self._streams.guard.check_place()
        if self._ended is not None and not self._ended.done():
            self.cancel()
            await await_shielded(self._ended, GRACE)

    async def _leave(self) -> None:
        """Cancel what still runs, for a caller that is being cancelled, which waits for that `GRACE` seconds in all."""
        if self._ended is None or self._ended.done():
            return
        now = asyncio.get_running_loop().time()
        if self._left is None:
            self._left = now
            self.cancel()
        await wait_ignoring_cancellation(self._ended, self._left + GRACE - now)

    def abandon(self) -> None:
        """End what produces results that nothing takes."""
        if self._putters:
            self.cancel()

    def cancel(self) -> None:
        """Cancel what still runs, without waiting for its end."""
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        if self._ended is None:
            self._streams.guard.check()
            self._task = self._streams.begin(self, self._pump)
            self._ended = asyncio.get_running_loop().create_future()

    async def _pump(self) -> None:
        """Produce; keep an error for the consumer, so that it does not touch the owner's other tasks."""
        try:
            await self._produce(self)
        except Exception as fault:  # noqa: BLE001 -- it is raised again where the results are taken
            self._fault = fault

    def end(self, task: asyncio.Task[None]) -> None:
        """Signal the consumer that there will be no more."""
        if task.cancelled():
            # The reader must not get CancelledError: its own task was not cancelled.
            self._fault = BatchStopped([])
        _wake(self._ended)
        _wake(self._getter)


Stream = ResultStream
"""The name before version 0.2."""


class StreamGroup:
    """The streams of one owner: they run in its TaskGroup, and none waits for its reader once the group is closing."""

    def __init__(self, group: Callable[[], asyncio.TaskGroup], guard: Guard) -> None:
        self._group = group
        self.guard = guard
        self._running: set[ResultStream[Any]] = set()
        self._interrupted = asyncio.Event()
        self.is_closing = False

    @property
    def is_interrupted(self) -> bool:
        """Whether what the streams do is left as it is."""
        return self._interrupted.is_set()

    def begin(self, stream: ResultStream[Any], pump: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run what produces a stream's results. Raises StatechainError where the owner is not open."""
        task = self._group().create_task(pump())
        self._running.add(stream)
        task.add_done_callback(lambda _: self._running.discard(stream))
        task.add_done_callback(stream.end)
        return task

    def close(self) -> None:
        """From now on, end a stream as soon as its results pile up: its reader is gone, or will not be waited for."""
        self.is_closing = True
        for stream in tuple(self._running):
            stream.abandon()

    def interrupt(self) -> None:
        """End every stream at once, to leave what it does as it is."""
        self.is_closing = True
        self._interrupted.set()
        for stream in tuple(self._running):
            stream.cancel()

    async def finished(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Return what work returns that a task does while it is cancelled, however long that takes.

        Once the streams are interrupted it may take `GRACE` seconds more, and TimeoutError is raised then, since
        nothing cancels the task a second time.
        """
        task = asyncio.ensure_future(work)
        interrupted = asyncio.ensure_future(self._interrupted.wait())
        try:
            await asyncio.wait([task, interrupted], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([task], timeout=GRACE)
            if not task.done():
                raise TimeoutError
            return task.result()
        finally:
            interrupted.cancel()
            if not task.done():
                task.cancel()
                await wait_ignoring_cancellation(task, GRACE)


def _wake(future: asyncio.Future[None] | None) -> bool:
    if future is None or future.done():
        return False
    future.set_result(None)
    return True
