"""Handlers by name, and how one is called: with a private input, a context, a timeout, a heartbeat.

Whatever a handler does ends as its JSON result or as a `StateError`; only the cancellation of the execution, and
what stops the whole process (KeyboardInterrupt, SystemExit), passes through.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

import attrs

from statechain.clock import SystemClock
from statechain.codec import JSONValue, isolate
from statechain.errors import InvalidPayload, StateError
from statechain.logs import ATTEMPT
from statechain.runtime.typed import PLAIN, Conversion, conversion_of

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.limits import Limits

__all__ = ["Delivery", "Handler", "Task", "TaskContext", "TaskRegistry", "as_failure", "call_task", "failure_of"]

logger = logging.getLogger(__name__)

CANCELLED_WITHIN = "the handler was cancelled from within"

LEFT_BEHIND: set[asyncio.Task[None]] = set()
"""Handlers that went on after they were cancelled; kept so that they are not collected while they run."""

Delivery = Literal["at_least_once", "at_most_once"]
Handler: TypeAlias = Callable[..., Any]
HandlerT = TypeVar("HandlerT", bound=Handler)


@attrs.define(kw_only=True, eq=False)
class TaskContext:
    """What a handler may know of the attempt that it serves.

    Attributes:
        execution_id: The execution.

        execution_name: Its name.

        state_machine_id: Its state machine.

        state_name: The Task state.

        attempt: Counts the attempts of this visit from 1.

        idempotency_key: The same for every attempt and every run of one visit of the state: give it to whatever
            must not happen twice.

        task_token: For ``.waitForTaskToken``: the token to answer under; else None.

        credentials: The state's evaluated ``Credentials``, or None.
    """

    execution_id: str
    execution_name: str
    state_machine_id: str
    state_name: str
    attempt: int
    idempotency_key: str
    task_token: str | None = None
    credentials: JSONValue = None
    _clock: Clock = attrs.field(repr=False)
    _last_beat: datetime | None = attrs.field(default=None, init=False, repr=False)

    async def heartbeat(self) -> None:
        """Tell that the work goes on: the state's HeartbeatSeconds count from now again."""
        self._last_beat = self._clock.now()
        await asyncio.sleep(0)


@attrs.frozen
class Task:
    """A registered handler, how it wants to be called, and how its input and result are converted.

    Attributes:
        answers: Whether its result is the answer also where a Task waits for one under a task token, as in tests.
    """

    name: str
    handler: Handler
    delivery: Delivery
    takes_context: bool
    is_async: bool
    conversion: Conversion = PLAIN
    answers: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the handler may be awaited with the input alone."""
        return self.is_async and not self.takes_context and self.conversion is PLAIN and not self.answers

    async def __call__(self, value: JSONValue, context: TaskContext, clock: Clock) -> object:
        """Call the handler; a plain function runs in a worker thread."""
        load, dump = self.conversion.load, self.conversion.dump
        argument = value if load is None else load(value)
        arguments = (argument, context) if self.takes_context else (argument,)
        if self.is_async and type(clock) is SystemClock:  # it holds nothing
            result = await self.handler(*arguments)
        elif self.is_async:
            with clock.hold(briefly=True):
                result = await self.handler(*arguments)
        else:
            with clock.hold():
                from anyio import to_thread  # noqa: PLC0415 -- 30 ms that only plain handlers pay

                result = await to_thread.run_sync(self.handler, *arguments, abandon_on_cancel=True)
            if inspect.isawaitable(result):
                result = await result
        return result if dump is None else dump(result)


class TaskRegistry:
    """The handlers that Task states await, by name.

    >>> tasks = TaskRegistry()
    >>> @tasks.register("PriceOrder")
    ... async def price_order(order):
    ...     return {**order, "total": order["quantity"] * 9.5}
    """

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    @overload
    def register(self, name: HandlerT, /) -> HandlerT: ...

    @overload
    def register(
        self, name: str | None = None, /, *, delivery: Delivery = "at_least_once"
    ) -> Callable[[HandlerT], HandlerT]: ...

    def register(
        self, name: HandlerT | str | None = None, /, *, delivery: Delivery = "at_least_once"
    ) -> HandlerT | Callable[[HandlerT], HandlerT]:
        """Register the decorated handler under a name, or under its own.

        Arguments:
            name: The name that a state's ``Resource`` gives; the function's name where it is left out.

            delivery: ``"at_least_once"`` runs an attempt again that a crash interrupted; ``"at_most_once"`` ends it
                with States.TaskFailed instead, so that only the state's own Retry runs it again.
        """
        if callable(name):
            self.add(_name_of(name), name)
            return name

        def decorate(handler: HandlerT) -> HandlerT:
            self.add(name or _name_of(handler), handler, delivery=delivery)
            return handler

        return decorate

    def add(self, name: str, handler: Handler, *, delivery: Delivery = "at_least_once") -> None:
        """Register a handler: ``async def f(input)`` or ``async def f(input, context)``, or the same as plain ``def``.

        Raises:
            ValueError: where the name is taken, or the delivery unknown.

            TypeError: where the handler cannot take an input, or its annotations cannot be resolved.

        An attrs class, dataclass, msgspec Struct or pydantic model as the annotation of the input or the result is
        made of the JSON value, and made JSON again (see `statechain.runtime.typed`).
        """
        if name in self._tasks:
            raise ValueError(f"a handler named {name!r} is registered already")
        if delivery not in {"at_least_once", "at_most_once"}:
            raise ValueError(f"delivery is {delivery!r}: it must be 'at_least_once' or 'at_most_once'")
        takes_context = _takes_context(handler)
        self._tasks[name] = Task(
            name, handler, delivery, takes_context, _is_async(handler), conversion_of(name, handler)
        )

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"<TaskRegistry {', '.join(self._tasks) or 'empty'}>"

    def for_state(self, state: str) -> TaskRegistry:  # noqa: ARG002
        """Return the handlers that a state may call: all, unless a test scripts them by state."""
        return self

    def find(self, resource: str) -> Task | None:
        """Return the handler that a Resource means: by exact name, or by the function's name in a Lambda ARN."""
        task = self._tasks.get(resource)
        if task is None and (name := function_name(resource)) is not None:
            task = self._tasks.get(name)
        return task


def function_name(resource: str) -> str | None:
    """Return the function's name in a Lambda ARN (with or without a version or alias), or None."""
    parts = resource.split(":")
    if len(parts) >= 7 and parts[0] == "arn" and parts[2] == "lambda" and parts[5] == "function":
        return parts[6]
    return None


async def call_task(
    task: Task,
    value: JSONValue,
    context: TaskContext,
    clock: Clock,
    *,
    deadline: datetime | None = None,
    heartbeat: float | None = None,
    limits: Limits,
) -> tuple[str, JSONValue]:
    """Await a handler; return its result as canonical JSON text and as a private copy; raise StateError otherwise.

    It is cancelled at the deadline, where no heartbeat comes for ``heartbeat`` seconds, or with its execution. A
    handler that goes on regardless is left behind after a grace, and whatever it returns is not used.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[object] = loop.create_future()
    handler = loop.create_task(_serve(task, value, context, clock, answer))
    try:
        if deadline is None and heartbeat is None:
            result = await answer
        else:
            async with _limited(context, clock, deadline, heartbeat):
                result = await answer
    except StateError as fault:
        if not handler.done():
            await _end(handler, task.name, limits.handler_grace_seconds)
        raise _cut_off(fault, limits.cause_characters) from fault.__cause__
    except asyncio.CancelledError:
        await _end(handler, task.name, limits.handler_grace_seconds)
        raise
    try:
        return isolate(result, max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)
    except InvalidPayload as fault:
        raise refusal_of(fault, task.name) from fault


def _cut_off(fault: StateError, characters: int) -> StateError:
    """Return a handler's failure with a cause that is no longer than a cause may be."""
    if fault.cause is None or len(fault.cause) <= characters:
        return fault
    return StateError(fault.error, fault.cause[:characters], location=fault.location)


async def _serve(
    task: Task, value: JSONValue, context: TaskContext, clock: Clock, answer: asyncio.Future[object]
) -> None:
    """Await a handler, and answer: StateError for whatever it raises; an answer that nobody awaits any more is dropped.

    It has an asyncio task of its own, so that it can be left behind, and a context of its own, as its log records tell.
    """
    ATTEMPT.set(context)
    try:
        result = await task(value, context, clock)
    except (KeyboardInterrupt, SystemExit):
        answer.cancel()
        raise
    except BaseException as fault:  # noqa: BLE001 -- it is raised again where the answer is awaited
        if not answer.done():
            answer.set_exception(_told(fault))
    else:
        if not answer.done():
            answer.set_result(result)


def _told(fault: BaseException) -> StateError:
    """Return what a handler raised while nobody had cancelled it, in the language's terms."""
    if isinstance(fault, StateError):
        return fault
    if isinstance(fault, asyncio.CancelledError):
        return StateError("States.TaskFailed", CANCELLED_WITHIN)
    failure = failure_of(fault)
    failure.__cause__ = fault
    return failure


def as_failure(fault: BaseException, characters: int) -> BaseException:
    """Return what a handler raised in the execution's own asyncio task as a `StateError`, or what passes through it."""
    if isinstance(fault, KeyboardInterrupt | SystemExit):
        return fault
    if isinstance(fault, asyncio.CancelledError):
        return fault if _is_cancelled_from_outside() else StateError("States.TaskFailed", CANCELLED_WITHIN)
    return _cut_off(fault if isinstance(fault, StateError) else failure_of(fault), characters)


async def _end(handler: asyncio.Task[None], name: str, grace: float) -> None:
    """Cancel a handler and wait until it has ended, but not for ever."""
    handler.cancel()
    try:
        await asyncio.wait([handler], timeout=grace)
    finally:
        if handler.done():
            _ = handler.cancelled() or handler.exception()  # nobody asks for it any more
        else:
            logger.warning("the handler %r goes on %s seconds after it was cancelled: it is left behind", name, grace)
            LEFT_BEHIND.add(handler)
            handler.add_done_callback(_forget)


def _forget(handler: asyncio.Task[None]) -> None:
    LEFT_BEHIND.discard(handler)
    if not handler.cancelled():
        handler.exception()


def refusal_of(fault: InvalidPayload, name: str) -> StateError:
    """Return the language's error for a handler's result that cannot be kept."""
    if fault.is_too_large:
        size = "a result with a size exceeding the maximum number of bytes service limit"
        return StateError("States.DataLimitExceeded", f"The state/task '{name}' returned {size}.")
    return StateError("States.TaskFailed", f"the result of the handler {name!r} cannot be kept: {fault}")


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
        while (due := (context._last_beat or begun) + timedelta(seconds=heartbeat)) > clock.now():  # noqa: SLF001
            await clock.sleep_until(due)
        raise StateError("States.HeartbeatTimeout")

    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(watch())
            yield
            watcher.cancel()
    except BaseExceptionGroup as faults:
        raise faults.exceptions[0] from None


def _is_cancelled_from_outside() -> bool:
    current = asyncio.current_task()
    return current is None or current.cancelling() > 0


def _name_of(handler: Handler) -> str:
    name = getattr(handler, "__name__", None)
    if not isinstance(name, str):
        raise TypeError(f"{handler!r} has no name of its own: give it one")
    return name


def _is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


def _takes_context(handler: Handler) -> bool:
    """Tell whether a handler wants (input, context); raise TypeError where it cannot even take the input."""
    try:
        signature = inspect.signature(handler)
    except ValueError:  # some built-ins have none
        return False
    parameters = list(signature.parameters.values())
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    required = [p for p in positional if p.default is p.empty]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(required) > 2 or not (positional or takes_any) or any(
        p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters
    ):
        raise TypeError(f"{handler!r} must take (input) or (input, context)")
    return len(required) == 2 or (len(positional) >= 2 and positional[1].name == "context")
