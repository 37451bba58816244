"""How a handler is called: with a private input, a context, a timeout, a heartbeat.

What it does ends as its JSON result or as a `StateError`; only the cancellation of the execution, and what stops
the whole process (KeyboardInterrupt, SystemExit), passes through.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from statechain.codec import JSONValue
from statechain.errors import InvalidPayload, StateError
from statechain.logs import ATTEMPT, AttemptTag, here
from statechain.payload import Payload
from statechain.tasks.retry import HeartbeatTimeout

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.limits import Limits
    from statechain.tasks.registry import Task, TaskContext
    from statechain.tasks.threads import Slot

__all__ = [
    "EAGER",
    "Answer",
    "as_failure",
    "call_task",
    "cut_off",
    "end_handler",
    "failure_of",
    "failure_to_serve",
    "is_cancelled_from_outside",
    "refusal_of",
    "serve",
]

logger = logging.getLogger(__name__)

EAGER: Mapping[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
"""How an asyncio task is made that starts at once; Python 3.11 has no eager tasks."""
errors = logging.getLogger("statechain.handlers")
"""What handlers raise; its level is the switch: ERROR keeps all of it out of the log."""

CANCELLED_WITHIN = "the handler was cancelled from within"

LEFT_BEHIND: set[asyncio.Task[None]] = set()
"""Handlers that went on after they were cancelled; kept so that they are not collected while they run."""


class Answer(Protocol):
    """What takes a handler's answer: a future, or what goes on without one."""

    def done(self) -> bool:
        """Return whether nothing awaits an answer any more."""

    def set_result(self, result: Any, /) -> None:  # noqa: ANN401 -- it is looked at later
        """Take what the handler returned."""

    def set_exception(self, error: Exception, /) -> None:
        """Take what the handler raised, in the language's terms."""

    def cancel(self) -> bool:
        """Take note that the whole process stops."""


async def call_task(
    task: Task,
    value: JSONValue,
    context: TaskContext,
    clock: Clock,
    *,
    deadline: datetime | None = None,
    heartbeat: float | None = None,
    limits: Limits,
    slot: Slot | None = None,
) -> Payload:
    """Await a handler; return its result, a private copy with its JSON text; raise StateError otherwise.

    It is cancelled at the deadline, where no heartbeat comes for ``heartbeat`` seconds, or with its execution. A
    handler that goes on regardless is left behind after a grace, and what it returns is not used. A plain
    function runs in the thread of a ``slot``.
    """
    answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    # In a task of its own, so that a handler which ignores its cancellation can be left behind.
    handler = _begin(serve(task, value, context, clock, answer, slot))
    try:
        if (failure := failure_to_serve(handler)) is not None and not answer.done():
            answer.set_exception(failure)
        if handler.done() and is_cancelled_from_outside():
            await asyncio.sleep(0)  # its only step stopped the execution, which learns that here
        if deadline is None and heartbeat is None:
            result = await answer
        else:
            async with _limited(context, clock, deadline, heartbeat):
                result = await answer
    except StateError as fault:
        # It timed out, or missed its heartbeat.
        if not handler.done():
            await end_handler(handler, task.name, limits.handler_grace_seconds)
        raise cut_off(fault, limits.cause_characters) from fault.__cause__
    except BaseException:  # a cancellation, or what nothing here expects: either way the handler has no caller any more
        _drop(answer)
        await end_handler(handler, task.name, limits.handler_grace_seconds)
        raise
    try:
        return Payload.isolated(result, max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)
    except InvalidPayload as fault:
        raise refusal_of(fault, task.name, limits) from fault


def cut_off(fault: StateError, characters: int) -> StateError:
    """Return a failure with a cause that is no longer than a cause may be."""
    if fault.cause is None or len(fault.cause) <= characters:
        return fault
    short = StateError(fault.error, fault.cause[:characters], location=fault.location)
    short.__cause__ = fault.__cause__
    return short


def _begin(serving: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run a handler in its own asyncio task; with eager tasks its first step runs at once, not a turn later."""
    return asyncio.Task(serving, loop=asyncio.get_running_loop(), **EAGER)


def _drop(answer: asyncio.Future[object]) -> None:
    """Take no answer any more; a failure that is there already was logged where the handler raised it."""
    if not answer.cancel() and not answer.cancelled():
        answer.exception()  # else asyncio logs it once more, as one that was never retrieved


def failure_to_serve(handler: asyncio.Task[None]) -> Exception | None:
    """Return what kept an eager task from calling its handler, such as a stack that is too deep; else None."""
    failure = handler.exception() if handler.done() and not handler.cancelled() else None
    return failure if isinstance(failure, Exception) else None


async def serve(
    task: Task,
    value: JSONValue,
    attempt: TaskContext | AttemptTag,
    clock: Clock,
    answer: Answer,
    slot: Slot | None,
) -> None:
    """Await a handler, and answer: StateError for what it raises; an answer that nothing awaits any more is dropped.

    With an `AttemptTag` the handler takes its input alone. It has its own asyncio task, so that it can be left behind,
    and its own context, as its log records report.
    """
    # In this task's own context: what runs beside it has another attempt in its log records.
    ATTEMPT.set(attempt)
    try:
        try:
            if isinstance(attempt, AttemptTag):
                result = await task.handler(value)
            else:
                result = await task(value, attempt, clock, slot)
        # Its waiter is cancelled, and not answered: the process ends, and the attempt is run again after that.
        except (KeyboardInterrupt, SystemExit):
            answer.cancel()
            raise
        except BaseException as fault:  # noqa: BLE001 -- it is raised again where the answer is awaited
            if not isinstance(fault, asyncio.CancelledError):
                log_error(fault, task.name, attempt.state_name)
            failure = _state_error(fault)
            # After a timeout or a cancellation nothing takes the answer.
            if not answer.done():
                answer.set_exception(failure)
        else:
            if not answer.done():
                answer.set_result(result)
    except Exception as unexpected:  # noqa: BLE001 -- without an answer the execution would wait for ever
        if not answer.done():
            answer.set_exception(unexpected)


def _state_error(fault: BaseException) -> StateError:
    """Return what a handler raised while nothing had cancelled it, in the language's terms."""
    if isinstance(fault, asyncio.CancelledError):
        failure = StateError("States.TaskFailed", CANCELLED_WITHIN)
    elif isinstance(fault, StateError):
        failure = StateError(fault.error, fault.cause, location=fault.location)
    else:
        failure = failure_of(fault)
    failure.__cause__ = fault
    return failure


def log_error(error: BaseException, name: str, state: str) -> None:
    """Log what a handler raised, with its traceback; a `TaskError`, which is an answer, at DEBUG."""
    level = logging.DEBUG if isinstance(error, StateError) else logging.WARNING
    if errors.isEnabledFor(level):
        message = "the handler %r of the state %r raised %s"
        extra = {"statechain": {"state": state, **here()}}
        errors.log(level, message, name, state, type(error).__name__, exc_info=error, extra=extra)


def as_failure(fault: BaseException, name: str, state: str, characters: int) -> BaseException:
    """Return what a handler raised in the execution's own asyncio task as a `StateError`, or what passes through it."""
    if isinstance(fault, KeyboardInterrupt | SystemExit):
        return fault
    if is_cancelled_from_outside():  # the handler may have made another exception of it
        return fault if isinstance(fault, asyncio.CancelledError) else asyncio.CancelledError()
    if not isinstance(fault, asyncio.CancelledError):
        log_error(fault, name, state)
    return cut_off(_state_error(fault), characters)


async def end_handler(handler: asyncio.Task[None], name: str, grace: float) -> None:
    """Cancel a handler and wait until it has ended, but not for ever."""
    handler.cancel()
    since = time.monotonic()
    try:
        await asyncio.wait([handler], timeout=grace)
    finally:
        if handler.done():
            _ = handler.cancelled() or handler.exception()  # nothing asks for it any more
        else:
            # Less than the grace where this wait was cancelled, too.
            passed = time.monotonic() - since
            logger.warning(
                "the handler %r goes on %.1f seconds after it was cancelled: it is left behind", name, passed
            )
            # asyncio refers weakly to its tasks: without a reference one may be collected while it runs.
            LEFT_BEHIND.add(handler)
            handler.add_done_callback(_forget)


def _forget(handler: asyncio.Task[None]) -> None:
    LEFT_BEHIND.discard(handler)
    if not handler.cancelled():
        # Asked for, so that asyncio does not log it as never retrieved: `serve` has logged it.
        handler.exception()


def refusal_of(fault: InvalidPayload, name: str, limits: Limits) -> StateError:
    """Return the language's error for a handler's result that cannot be kept."""
    if fault.is_too_large:
        size = "a result with a size exceeding the maximum number of bytes service limit"
        return StateError("States.DataLimitExceeded", f"The state/task '{name}' returned {size}.")
    # The place in the result is named by its keys, which may be long.
    cause = limits.cut_off(f"the result of the handler {name!r} cannot be kept: {fault}")
    return StateError("States.TaskFailed", cause)


def failure_of(fault: BaseException) -> StateError:
    """Return a handler's exception in the language's terms: its class's name, and its text as the cause."""
    try:
        cause = str(fault)
    except Exception as nested:  # noqa: BLE001 -- an exception that cannot be shown is still the task's failure
        cause = f"(its text cannot be shown: {type(nested).__name__})"
    return StateError(type(fault).__name__, cause)


@asynccontextmanager
async def _limited(
    context: TaskContext, clock: Clock, deadline: datetime | None, heartbeat: float | None
) -> AsyncIterator[None]:
    """Run the body under a deadline and a watch over the handler's heartbeats."""
    timeout = clock.timeout_at(deadline)
    try:
        async with timeout:
            if heartbeat is None:
                yield
            else:
                async with _watched(context, clock, heartbeat):
                    yield
    except TimeoutError:
        if timeout.expired():
            raise StateError("States.Timeout") from None
        raise


@asynccontextmanager
async def _watched(context: TaskContext, clock: Clock, heartbeat: float) -> AsyncIterator[None]:
    begun = clock.now()

    async def watch() -> None:
        # A heartbeat moves the moment on: the watch sleeps once more, and is not woken by each heartbeat.
        while (due := (context._last_beat or begun) + timedelta(seconds=heartbeat)) > clock.now():  # noqa: SLF001
            await clock.sleep_until(due)
        raise HeartbeatTimeout

    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(watch())
            yield
            watcher.cancel()
    except BaseExceptionGroup as faults:
        # The group has one error, that of the watch or that of the body.
        raise faults.exceptions[0] from None


def is_cancelled_from_outside() -> bool:
    """Return whether the running asyncio task is being cancelled, and not by its own code."""
    current = asyncio.current_task()
    return current is None or current.cancelling() > 0
