"""A handler's annotations → how its input is converted from JSON and its result to JSON; decided at registration.

Dicts, lists, TypedDicts and all that is JSON by itself pass as they are. What converts is in `statechain.typed`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

import attrs

from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.typed.convert import Annotation, Mismatch, converter_of, shown

__all__ = ["PLAIN", "Conversion", "Scope", "conversion_of"]

Convert: TypeAlias = Callable[[Any], Any]


@attrs.frozen
class Conversion:
    """How a handler's input and result are converted; None where they pass as they are.

    Attributes:
        load: JSON value → what the handler takes. Raises StateError where it does not match.

        dump: What the handler returned → JSON value. Raises StateError where it does not match the annotation.
    """

    load: Convert | None = None
    dump: Convert | None = None


PLAIN = Conversion()


def conversion_of(name: str, handler: Callable[..., Any]) -> Conversion:
    """Return the conversion that a handler's annotations ask for.

    Raises:
        TypeError: An annotation cannot be resolved, or its library cannot convert it.

        ModuleNotFoundError: cattrs is needed and not installed.
    """
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # some built-ins have none
        return PLAIN
    taken = next((p.annotation for p in signature.parameters.values() if p.kind in POSITIONAL), EMPTY)
    given = signature.return_annotation
    if taken is EMPTY and given is EMPTY:
        return PLAIN
    scope = Scope(name, handler)
    load = _converted(scope, "input", taken, "load")
    dump = _converted(scope, "result", given, "dump")
    return PLAIN if load is None and dump is None else Conversion(load, dump)


EMPTY = inspect.Parameter.empty
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _converted(scope: Scope, what: str, annotation: Annotation, way: str) -> Convert | None:
    """Return a function that loads or dumps by an annotation and fails as a Task fails, or None."""
    title = scope.title(what)
    resolved = scope.resolve(what, annotation)
    origin: object = get_origin(resolved)
    if origin is Awaitable or origin is Coroutine:  # of a plain function that returns one
        resolved = get_args(resolved)[-1]
    try:
        converter = converter_of(resolved, scope.names)
    except TypeError as error:
        raise TypeError(f"{title} {error}") from error.__cause__
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{title}: {error}", name=error.name) from error
    if converter is None:
        return None
    convert: Convert = getattr(converter, way)

    def converted(value: object) -> object:
        try:
            return convert(value)
        except Mismatch as mismatch:
            raise StateError("States.TaskFailed", f"{title} {mismatch}") from mismatch.__cause__

    return converted


# Annotations


class Scope:
    """Where the annotations of a handler are resolved: its module, its closure, and the place of its registration."""

    def __init__(self, name: str, handler: Callable[..., Any]) -> None:
        self.name = name
        self._function = _function_of(handler)

    def title(self, what: str) -> str:
        """Return what a message calls a part of the handler's signature."""
        return f"the {what} of the handler {self.name!r}"

    def resolve(self, what: str, annotation: Annotation) -> Annotation:
        """Return an annotation with the strings in it evaluated. Raises TypeError."""
        if annotation is EMPTY or annotation is None:
            return annotation

        # `get_type_hints` takes an object with annotations; this one has only the one to resolve.
        def carrier() -> None: ...

        carrier.__annotations__ = {"it": annotation}
        try:
            return get_type_hints(carrier, self._globals(), self.names, include_extras=True)["it"]
        except Exception as error:
            raise TypeError(
                f"{self.title(what)} is annotated with {shown(annotation)}, which cannot be resolved "
                f"({type(error).__name__}: {error}): define or import it, outside of TYPE_CHECKING, before the "
                f"handler is registered"
            ) from error

    def _globals(self) -> dict[str, Any]:
        return getattr(self._function, "__globals__", {})

    @functools.cached_property
    def names(self) -> Mapping[str, Any]:
        """What the module does not know: the names in the functions round the handler, and our recursive alias."""
        found: dict[str, Any] = {"JSONValue": Any} if self._globals().get("JSONValue", JSONValue) == JSONValue else {}
        if isinstance(self._function, types.FunctionType):
            for frame in _frames_round(self._function):
                found |= frame.f_locals
            # Last, since a closure's variables are what the handler itself sees.
            found |= _closure_of(self._function)
        return found


def _closure_of(function: types.FunctionType) -> dict[str, Any]:
    """Return the variables that a function closes over, without those that are not assigned yet."""
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty cell
            found[name] = cell.cell_contents
    return found


def _frames_round(function: types.FunctionType) -> list[types.FrameType]:
    """Return the frames of the functions in which a function was defined, which still run; outermost first."""
    parts = function.__qualname__.split(".<locals>.")[:-1]
    enclosing = {".<locals>.".join(parts[:count]) for count in range(1, len(parts) + 1)}
    found: list[types.FrameType] = []
    frame: types.FrameType | None = sys._getframe() if enclosing else None  # noqa: SLF001 -- nothing else shows them
    while frame is not None:
        # By name and module, since a frame does not show its function object.
        if frame.f_globals is function.__globals__ and frame.f_code.co_qualname in enclosing:
            found.append(frame)
        frame = frame.f_back
    return found[::-1]


def _function_of(handler: Callable[..., Any]) -> object:
    """Return the function whose module a handler's annotations belong to."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not inspect.isroutine(handler):
        handler = type(handler).__call__
    return inspect.unwrap(getattr(handler, "__func__", handler))
