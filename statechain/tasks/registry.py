"""Handlers and input transformers by name, and the context of an attempt that a handler may ask for."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar, overload

import attrs

from statechain.arguments import FUNCTION, TEXT, Argument, one_of
from statechain.clock import SystemClock
from statechain.tasks.dependencies import Dependencies, Dependency, dependencies_of, unprovided
from statechain.tasks.threads import Slot, lone_slot
from statechain.tasks.typed import PLAIN, Conversion, Scope, conversion_of

if TYPE_CHECKING:
    from datetime import datetime

    from statechain.clock import Clock
    from statechain.codec import JSONValue

__all__ = ["Delivery", "Handler", "Task", "TaskContext", "TaskRegistry", "function_name"]

REGISTRY = Argument("a TaskRegistry", lambda value: isinstance(value, TaskRegistry))
NAME = Argument("the name of a handler, a string", lambda value: isinstance(value, str) and bool(value), is_text=True)
DELIVERY = one_of("at_least_once", "at_most_once")
OWN_NAME = NAME.or_none()
TRANSFORMER_NAME = Argument("a function or its name", lambda value: callable(value) or OWN_NAME.accepts(value))
HANDLER_NAME = Argument("a handler or its name", lambda value: callable(value) or OWN_NAME.accepts(value))

Delivery = Literal["at_least_once", "at_most_once"]
Handler: TypeAlias = Callable[..., Any]
Transformer: TypeAlias = Callable[[Any], Any]
HandlerT = TypeVar("HandlerT", bound=Handler)


@attrs.define(kw_only=True, eq=False)
class TaskContext:
    """The attempt that a handler serves.

    Attributes:
        execution_id: The execution.

        execution_name: Its name.

        state_machine_id: Its state machine.

        state_name: The Task state.

        attempt: Counts the attempts of this visit from 1.

        idempotency_key: The same for every attempt and every run of one visit of the state. Give it to each service
            whose effect must not happen twice.

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
        """Report that the handler still works: the state's HeartbeatSeconds start again."""
        self._last_beat = self._clock.now()
        # A turn of the loop, in which a timeout or a cancellation can reach a handler that only calculates.
        await asyncio.sleep(0)


@attrs.frozen
class Task:
    """A registered handler, how it is called, and how its input and result are converted.

    Attributes:
        answers: Whether its result is the answer also where a Task waits for one under a task token, as in tests.

        dependencies: The parameters that the engine fills in, by name.
    """

    name: str
    handler: Handler
    delivery: Delivery
    takes_context: bool
    is_async: bool
    conversion: Conversion = PLAIN
    answers: bool = False
    dependencies: Mapping[str, Dependency] = attrs.field(factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether the handler may be awaited with the input alone."""
        return self.is_async and not self.takes_context and self.conversion is PLAIN and not self.answers

    async def __call__(self, value: JSONValue, context: TaskContext, clock: Clock, slot: Slot | None = None) -> object:
        """Call the handler; a plain function runs in a thread, in this slot or a separate one."""
        load, dump = self.conversion.load, self.conversion.dump
        argument = value if load is None else load(value)
        arguments = (argument, context) if self.takes_context else (argument,)
        if self.is_async and type(clock) is SystemClock:  # it holds nothing
            result = await self.handler(*arguments)
        elif self.is_async:
            with clock.hold(briefly=True):
                result = await self.handler(*arguments)
        else:
            slot = slot or lone_slot(clock)
            # Not briefly: a thread cannot wait for virtual time.
            with clock.hold():
                result = await slot.call(self.name, self.handler, *arguments)
            # A plain function may return a coroutine, as a partial or a decorated handler does.
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
        self._transformers: dict[str, Transformer] = {}
        self._dependencies: Dependencies | None = None

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

        Returns:
            The handler itself, or the decorator that returns it.

        Raises:
            ValueError: The name is taken.

            InvalidArgument: The function, its name or ``delivery`` is not what is meant.
        """
        HANDLER_NAME.check("name", name)
        DELIVERY.check("delivery", delivery)
        if callable(name):
            self.add(_name_of(name), name)
            return name

        def decorate(handler: HandlerT) -> HandlerT:
            self.add(name or _name_of(handler), handler, delivery=delivery)
            return handler

        return decorate

    def add(self, name: str, handler: Handler, *, delivery: Delivery = "at_least_once") -> None:
        """Register a handler: ``async def f(input)`` or ``async def f(input, context)``, or the same as plain ``def``.

        An attrs class, dataclass, msgspec Struct or pydantic model as the annotation of the input is made from the
        JSON value, and one as the annotation of the result is converted to JSON. The engine fills in parameters that
        are marked by `Depends`.

        Arguments:
            name: The name that a state's ``Resource`` gives.

            handler: The function.

            delivery: As `register` takes it.

        Raises:
            ValueError: The name is taken.

            InvalidArgument: The name is not a string, the handler not a function, or the delivery unknown.

            TypeError: The handler cannot take an input, or its annotations cannot be resolved.
        """
        NAME.check("name", name)
        FUNCTION.check("handler", handler)
        if name in self._tasks:
            raise ValueError(f"a handler named {name!r} is registered already")
        DELIVERY.check("delivery", delivery)
        dependencies = dependencies_of(name, handler)
        takes_context = _takes_context(name, handler, dependencies)
        conversion = conversion_of(name, handler)
        is_async = _is_async(handler)
        self._tasks[name] = Task(
            name, handler, delivery, takes_context, is_async, conversion, dependencies=dependencies
        )

    @overload
    def transformer(self, name: HandlerT, /) -> HandlerT: ...

    @overload
    def transformer(self, name: str | None = None, /) -> Callable[[HandlerT], HandlerT]: ...

    def transformer(self, name: HandlerT | str | None = None, /) -> HandlerT | Callable[[HandlerT], HandlerT]:
        """Register the decorated function as an ``input_transformer``, under a name or under its own.

        A DISTRIBUTED batch is given the name, since other processes run it, to which no function can be sent: each
        worker that runs the batch has a function registered under it.

        >>> @tasks.transformer("ToInvoice")  # doctest: +SKIP
        ... def to_invoice(order):
        ...     return {"order": order["id"], "total": order["total"]}

        Arguments:
            name: What ``input_transformer`` names; the function's name where it is left out.

        Returns:
            The function itself, or the decorator that returns it.

        Raises:
            ValueError: The name is taken by another transformer; a handler may have the same.

            InvalidArgument: The function or its name is not what is meant.
        """
        TRANSFORMER_NAME.check("name", name)
        if callable(name):
            self._add_transformer(_name_of(name), name)
            return name

        def decorate(function: HandlerT) -> HandlerT:
            FUNCTION.check("function", function)
            self._add_transformer(name or _name_of(function), function)
            return function

        return decorate

    def _add_transformer(self, name: str, function: Transformer) -> None:
        if name in self._transformers:
            raise ValueError(f"a transformer named {name!r} is registered already")
        self._transformers[name] = function

    def include(self, other: TaskRegistry, *, prefix: str = "") -> None:
        """Register the handlers and transformers of another registry here, too, as they are now.

        >>> tasks.include(payments, prefix="payments.")  # doctest: +SKIP

        Arguments:
            other: The registry, such as that of another module.

            prefix: Put before each name: ``payments.charge``.

        Raises:
            ValueError: A name is taken; then nothing is registered.

            InvalidArgument: ``other`` is not a TaskRegistry, or ``prefix`` not a string.
        """
        REGISTRY.check("other", other)
        TEXT.check("prefix", prefix)
        included = {prefix + name: attrs.evolve(task, name=prefix + name) for name, task in other._tasks.items()}
        transformers = {prefix + name: function for name, function in other._transformers.items()}
        # All names first, so that a registry is included as a whole or not at all.
        for kind, names, own in (("handler", included, self._tasks), ("transformer", transformers, self._transformers)):
            for name in names:
                if name in own:
                    raise ValueError(f"a {kind} named {name!r} is registered already: include the others with a prefix")
        self._tasks.update(included)
        self._transformers.update(transformers)

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
        # The exact name wins: a handler may be registered under a whole ARN.
        task = self._tasks.get(resource)
        if task is None and (name := function_name(resource)) is not None:
            task = self._tasks.get(name)
        return self._bound(task) if task is not None and task.dependencies else task

    def find_transformer(self, name: str) -> Transformer | None:
        """Return the transformer that is registered under a name."""
        return self._transformers.get(name)

    def with_dependencies(self, dependencies: Dependencies) -> Self:
        """Return a view of this registry for one engine, whose handlers get its dependencies."""
        view = copy.copy(self)  # shares the handlers: those that are registered later are seen, too
        view._dependencies = dependencies  # noqa: SLF001 -- its own class
        return view

    def wanted(self) -> list[tuple[str, Mapping[str, Dependency]]]:
        """Return the dependencies of the handlers, by the handler's name."""
        return [(name, task.dependencies) for name, task in self._tasks.items() if task.dependencies]

    def _bound(self, task: Task) -> Task:
        """Return a task whose handler has its dependencies; an unbound one fails where it is called."""
        values = self._dependencies
        handler = None if values is None else values.bind(task.handler, task.dependencies)
        if handler is None:
            return attrs.evolve(task, handler=unprovided(task.name), is_async=True, dependencies={})
        return attrs.evolve(task, handler=handler, dependencies={})


def function_name(resource: str) -> str | None:
    """Return the function's name in a Lambda ARN (with or without a version or alias), or None."""
    parts = resource.split(":")
    if len(parts) >= 7 and parts[0] == "arn" and parts[2] == "lambda" and parts[5] == "function":
        return parts[6]
    return None


def _name_of(handler: Handler) -> str:
    name = getattr(handler, "__name__", None)
    # A lambda's is the same for all of them, and no Resource names it.
    if not isinstance(name, str) or name == (lambda: None).__name__:
        what = "lambda" if isinstance(name, str) else type(handler).__name__
        raise TypeError(f"a {what} has no name: register it under one, as in tasks.add('Price', handler)")
    return name


def _is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


def _takes_context(name: str, handler: Handler, filled_in: Collection[str]) -> bool:
    """Return whether a handler takes (input, context), beside what the engine fills in.

    Raises:
        TypeError: It cannot take an input alone, or is a generator.
    """
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise TypeError(f"the handler {name!r} is a generator: a handler returns its result, and does not yield")
    try:
        signature = inspect.signature(handler)
    except ValueError:  # some built-ins have none
        return False
    parameters = [each for each in signature.parameters.values() if each.name not in filled_in]
    if any(signature.parameters[each].kind is inspect.Parameter.POSITIONAL_ONLY for each in filled_in):
        raise TypeError(
            f"the handler {name!r} marks a positional-only parameter by Depends: it is filled in by its name"
        )
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    required = [p for p in positional if p.default is p.empty]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if (
        len(required) > 2
        or not (positional or takes_any)
        or any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
    ):
        raise TypeError(
            f"the handler {name!r} must take (input) or (input, context), and mark its other parameters by Depends, "
            f"as in `pool: Annotated[Pool, Depends()]`"
        )
    takes_context = len(required) == 2 or (len(positional) >= 2 and positional[1].name == "context")
    passed = [each.name for each in positional[: 2 if takes_context else 1]]
    # They are passed by their places, and what is filled in by its name: the one must not take the place of the other.
    if list(signature.parameters)[: len(passed)] != passed:
        raise TypeError(
            f"the handler {name!r} takes its {' and its '.join(passed)} after a parameter that is marked by Depends: "
            f"put what is marked last"
        )
    if takes_context and len(positional) >= 2:
        _check_context(name, handler, positional[1])
    return takes_context


def _check_context(name: str, handler: Handler, parameter: inspect.Parameter) -> None:
    """Raise TypeError where the parameter for the context is annotated with another class."""
    try:
        annotation = Scope(name, handler).resolve(f"parameter {parameter.name!r}", parameter.annotation)
    except TypeError:  # such as a TaskContext that is imported for type checkers only
        return
    # Any is a class, too, from Python 3.11 on; whether something is what a protocol says is not known.
    if not isinstance(annotation, type) or annotation in {Any, parameter.empty}:
        return
    if getattr(annotation, "_is_protocol", False):
        return
    if not issubclass(TaskContext, annotation) and not issubclass(annotation, TaskContext):
        raise TypeError(
            f"the handler {name!r} gets its TaskContext as {parameter.name!r}, which is annotated with "
            f"{annotation.__name__}: mark what the engine is to give by Depends, as in "
            f"`{parameter.name}: Annotated[{annotation.__name__}, Depends()]`"
        )
