"""Dependencies of handlers: values that an engine makes once, gives to handlers by annotation, and closes.

A handler marks a parameter: ``pool: Annotated[Pool, Depends()]``. The engine has a value or a factory for that type
(``Engine(dependencies={Pool: make_pool})``), or the mark itself names the factory (``Depends(make_pool)``).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Annotated, Any, TypeAlias, get_args, get_origin

import attrs

from statechain.arguments import FUNCTION, Argument
from statechain.errors import InvalidArgument, StateError
from statechain.tasks.typed import Scope

__all__ = ["Dependencies", "Dependency", "Depends", "dependencies_of", "unprovided"]

Factory: TypeAlias = Callable[..., Any]
Key: TypeAlias = Any
"""What a value is made once for: a type that the engine has a value for, or a factory."""


@attrs.frozen
class Depends:
    """Marks a parameter of a handler as one that the engine fills in.

    >>> @tasks.register  # doctest: +SKIP
    ... async def charge(order: dict, pool: Annotated[Pool, Depends(make_pool)]) -> dict: ...

    Attributes:
        factory: Makes the value where the engine's ``dependencies`` have none for the type. A function, a coroutine
            function, or a generator function (plain or async) that yields the value once and closes it after that.
            Its own parameters may be marked, too.
    """

    factory: Factory | None = attrs.field(default=None, validator=FUNCTION.or_none())


@attrs.frozen
class Dependency:
    """A marked parameter: its type, and the factory of its mark."""

    type: Any
    factory: Factory | None


def dependencies_of(name: str, function: Factory) -> dict[str, Dependency]:
    """Return the marked parameters of a handler or a factory, by name.

    Raises:
        TypeError: A mark is there, but its annotation cannot be resolved; or the mark is a default.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-ins have no signature
        return {}
    scope = Scope(name, function)
    found = {each.name: _marked(scope, each) for each in parameters.values()}
    return {parameter: dependency for parameter, dependency in found.items() if dependency is not None}


def _marked(scope: Scope, parameter: inspect.Parameter) -> Dependency | None:
    annotation = parameter.annotation
    if _is_mark(parameter.default):
        # As in FastAPI: the mark itself would be given to the handler.
        raise TypeError(
            f"{scope.name!r} has Depends as the default of its parameter {parameter.name!r}: write it into the "
            f"annotation, as in `{parameter.name}: Annotated[Pool, Depends(make_pool)]`"
        )
    if annotation is parameter.empty:
        return None
    if isinstance(annotation, str):
        try:
            annotation = scope.resolve(f"parameter {parameter.name!r}", annotation)
        except TypeError:
            if "Depends" in parameter.annotation:
                raise
            return None  # such as a TaskContext that is imported for type checkers only
    if get_origin(annotation) is not Annotated:
        return None
    type_, *marks = get_args(annotation)
    # `Annotated[Pool, Depends]` means the same as `Depends()`.
    mark = next((Depends() if each is Depends else each for each in marks if _is_mark(each)), None)
    return None if mark is None else Dependency(type_, mark.factory)


def _is_mark(value: object) -> bool:
    return value is Depends or isinstance(value, Depends)


DEPENDENCIES = Argument(
    "a mapping from types to values or factories",
    # A name is the likeliest mistake; what else may be a type is left to the one who annotates with it.
    lambda value: isinstance(value, Mapping) and not any(isinstance(key, str | int | None) for key in value),
)


class Dependencies:
    """The values of one engine. They are made when it is entered, and closed in reverse order after it was left.

    Arguments:
        given: By type, a value or a factory. An instance of the type is a value, which the engine does not close; any
            other callable is a factory.
    """

    def __init__(self, given: Mapping[Any, object]) -> None:
        self._given = given
        self._values: dict[Key, object] = {}
        self._stack = AsyncExitStack()

    async def open(self, wanted: Iterable[tuple[str, Mapping[str, Dependency]]]) -> None:
        """Make the values that handlers want, each once; where one fails, close the others and raise its exception.

        Raises:
            InvalidArgument: There is neither a value nor a factory for a type, or a factory needs its own value.
        """
        async with AsyncExitStack() as stack:
            for handler, dependencies in wanted:
                for parameter, dependency in dependencies.items():
                    await self._make(f"the handler {handler!r}", parameter, dependency, stack, ())
            # Only once all are made: until here an exception closes those that are.
            self._stack = stack.pop_all()

    async def aclose(self) -> None:
        """Close what the factories opened."""
        # First, so that a handler which still runs is bound to nothing that is being closed.
        self._values.clear()
        await self._stack.aclose()

    def bind(self, handler: Factory, dependencies: Mapping[str, Dependency]) -> Factory | None:
        """Return a handler with its dependencies filled in; None where one of them has not been made."""
        keys = {parameter: self._key(dependency) for parameter, dependency in dependencies.items()}
        if not all(key in self._values for key in keys.values()):
            return None
        return partial(handler, **{parameter: self._values[key] for parameter, key in keys.items()})

    def _key(self, dependency: Dependency) -> Key:
        # What the engine is given wins over the mark's own factory, so that tests can replace it.
        return dependency.type if dependency.type in self._given else dependency.factory

    async def _make(
        self, of: str, parameter: str, dependency: Dependency, stack: AsyncExitStack, making: tuple[Key, ...]
    ) -> object:
        """Return a dependency's value, made at the first time."""
        key = self._key(dependency)
        if key is None:
            shown = getattr(dependency.type, "__name__", dependency.type)
            raise InvalidArgument(
                f"{of} depends on {shown} (parameter {parameter!r}), and there is no value for it: give one, as in "
                f"Engine(dependencies={{{shown}: ...}}), or name a factory, as in Depends(make_it)"
            )
        if key in making:
            raise InvalidArgument(f"{of} depends on itself (parameter {parameter!r})")
        if key not in self._values:
            made = self._given.get(key, key)
            if callable(made) and not _is_instance(made, dependency.type):
                made = await self._call(made, stack, (*making, key))
            self._values[key] = made
        return self._values[key]

    async def _call(self, factory: Factory, stack: AsyncExitStack, making: tuple[Key, ...]) -> object:
        name = getattr(factory, "__name__", repr(factory))
        arguments = {
            parameter: await self._make(f"the factory {name!r}", parameter, dependency, stack, making)
            for parameter, dependency in dependencies_of(name, factory).items()
        }
        if missing := _missing(factory, arguments):
            raise InvalidArgument(
                f"the factory {name!r} needs {missing!r}, and nothing gives it: mark the parameter by Depends"
            )
        inner = inspect.unwrap(factory)  # what `asynccontextmanager` wraps
        if inspect.isasyncgenfunction(inner):
            enter = asynccontextmanager(factory) if factory is inner else factory
            return await stack.enter_async_context(enter(**arguments))
        if inspect.isgeneratorfunction(inner):
            return stack.enter_context((contextmanager(factory) if factory is inner else factory)(**arguments))
        made = factory(**arguments)
        return await made if inspect.isawaitable(made) else made


def _missing(factory: Factory, arguments: Collection[str]) -> str | None:
    """Return the first parameter that a factory needs and is not given."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # some built-ins have no signature
        return None
    variadic = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    needed = (each.name for each in parameters if each.default is each.empty and each.kind not in variadic)
    return next((name for name in needed if name not in arguments), None)


def _is_instance(value: object, type_: object) -> bool:
    with contextlib.suppress(TypeError):  # a generic, or a protocol that is not checked at runtime
        return isinstance(type_, type) and isinstance(value, type_)
    return False


def unprovided(name: str) -> Factory:
    """Return a handler in the place of one whose dependencies are not there: it fails its Task."""

    async def refuse(*_arguments: object) -> None:
        raise StateError(
            "States.TaskFailed",
            f"the dependencies of the handler {name!r} are not there: register it before the engine is entered",
        )

    return refuse
