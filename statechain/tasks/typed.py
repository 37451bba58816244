"""A handler's annotations → how its input is made of JSON, and its result made JSON again; decided at registration.

attrs classes, dataclasses, times, enums, UUIDs and Decimals go through cattrs (extra ``typed``), msgspec Structs and
pydantic models through their own libraries, which are never imported here before somebody uses them. Dicts, lists,
TypedDicts and all that is JSON by itself pass as they are. A mismatch names its places.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, Literal, NoReturn, TypeAlias, get_args, get_origin, get_type_hints

import attrs

from statechain.codec import JSONValue
from statechain.errors import StateError

__all__ = ["PLAIN", "Conversion", "conversion_of"]

Annotation: TypeAlias = Any
"""What stands in a signature once it is resolved: a class, a union, a generic."""

Library: TypeAlias = Literal["cattrs", "msgspec", "pydantic"]
Convert: TypeAlias = Callable[[Any], Any]

PLACES_SHOWN = 8


@attrs.frozen
class Conversion:
    """How a handler's input and result are converted; None where they pass as they are.

    Attributes:
        load: JSON value → what the handler takes. Raises StateError where it does not fit.

        dump: What the handler returned → JSON value. Raises StateError where it does not fit the annotation.
    """

    load: Convert | None = None
    dump: Convert | None = None


PLAIN = Conversion()


def conversion_of(name: str, handler: Callable[..., Any]) -> Conversion:
    """Return the conversion that a handler's annotations ask for.

    Raises:
        TypeError: where an annotation names what is not there, or holds what its library cannot convert.

        ModuleNotFoundError: where cattrs is needed and not installed.
    """
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # some built-ins have none
        return PLAIN
    taken = next((p.annotation for p in signature.parameters.values() if p.kind in POSITIONAL), EMPTY)
    given = signature.return_annotation
    if taken is EMPTY and given is EMPTY:
        return PLAIN
    scope = _Scope(name, handler)
    load = _converter(scope, "input", taken)
    dump = _converter(scope, "result", given)
    if load is None and dump is None:
        return PLAIN
    return Conversion(None if load is None else load.load, None if dump is None else dump.dump)


EMPTY = inspect.Parameter.empty
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _converter(scope: _Scope, what: str, annotation: Annotation) -> _Converter | None:
    """Return what converts between JSON and an annotation, or None where nothing needs to be."""
    resolved = scope.resolve(what, annotation)
    origin: object = get_origin(resolved)
    if origin is Awaitable or origin is Coroutine:  # of a plain function that returns one
        resolved = get_args(resolved)[-1]
    libraries = {_library_of(model) for model in _models_in(resolved)}
    if not libraries:
        return None
    library = next(each for each in BY_PRECEDENCE if each in libraries)
    try:
        make = MAKERS[library](resolved, scope)
    except ModuleNotFoundError:
        raise
    except Exception as fault:
        reason = f"{library} says {type(fault).__name__}: {fault}"
        raise TypeError(f"{scope.title(what)} cannot be converted to {_shown(resolved)}: {reason}") from fault
    return _Converter(scope.title(what), _shown(resolved), *make)


@attrs.frozen
class _Converter:
    """Loads and dumps by a library's functions; turns what they raise into the language's error."""

    title: str
    model: str
    structure: Convert
    unstructure: Convert
    explain: Callable[[Exception], list[str]]

    def load(self, value: JSONValue) -> object:
        try:
            return self.structure(value)
        except Exception as fault:  # noqa: BLE001 -- whatever a model's own checks raise is a mismatch
            self.refuse(fault)

    def dump(self, value: object) -> object:
        try:
            return self.unstructure(value)
        except Exception as fault:  # noqa: BLE001
            self.refuse(fault)

    def refuse(self, fault: Exception) -> NoReturn:
        places = self.explain(fault)
        shown = "; ".join(places[:PLACES_SHOWN])
        more = f"; and {len(places) - PLACES_SHOWN} more" if len(places) > PLACES_SHOWN else ""
        raise StateError("States.TaskFailed", f"{self.title} is no {self.model}: {shown}{more}") from fault


# Annotations


class _Scope:
    """Where the annotations of a handler are resolved: its module, its closure, and the place of its registration."""

    def __init__(self, name: str, handler: Callable[..., Any]) -> None:
        self.name = name
        self._function = _function_of(handler)

    def title(self, what: str) -> str:
        return f"the {what} of the handler {self.name!r}"

    def resolve(self, what: str, annotation: Annotation) -> Annotation:
        """Return an annotation with the texts in it evaluated."""
        if annotation is EMPTY or annotation is None:
            return annotation

        def carrier() -> None: ...

        carrier.__annotations__ = {"it": annotation}
        try:
            return get_type_hints(carrier, self._globals(), self.names, include_extras=True)["it"]
        except Exception as fault:
            raise TypeError(
                f"{self.title(what)} is annotated with {_shown(annotation)}, which cannot be resolved "
                f"({type(fault).__name__}: {fault}): define or import it, outside of TYPE_CHECKING, before the "
                f"handler is registered"
            ) from fault

    def _globals(self) -> dict[str, Any]:
        return getattr(self._function, "__globals__", {})

    @functools.cached_property
    def names(self) -> Mapping[str, Any]:
        """What the module does not know: the names in the functions round the handler, and our recursive alias."""
        found: dict[str, Any] = {"JSONValue": Any} if self._globals().get("JSONValue", JSONValue) == JSONValue else {}
        if isinstance(self._function, types.FunctionType):
            for frame in _frames_round(self._function):
                found |= frame.f_locals
            found |= _closure_of(self._function)
        return found


def _closure_of(function: types.FunctionType) -> dict[str, Any]:
    """Return the variables that a function closes over, as far as they have been assigned yet."""
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty cell
            found[name] = cell.cell_contents
    return found


def _frames_round(function: types.FunctionType) -> list[types.FrameType]:
    """Return the frames of the functions in which a function was defined, as far as they still run; outermost first."""
    parts = function.__qualname__.split(".<locals>.")[:-1]
    enclosing = {".<locals>.".join(parts[:count]) for count in range(1, len(parts) + 1)}
    found: list[types.FrameType] = []
    frame: types.FrameType | None = sys._getframe() if enclosing else None  # noqa: SLF001 -- nothing else shows them
    while frame is not None:
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


def _models_in(annotation: Annotation) -> Iterator[type]:
    """Yield the classes in an annotation that JSON does not have and a library makes."""
    alias = getattr(annotation, "__value__", None) or getattr(annotation, "__supertype__", None)
    if alias is not None:  # `type X = ...`, NewType
        yield from _models_in(alias)
        return
    if isinstance(annotation, type) and _library_of(annotation) is not None:
        yield annotation
        return
    origin: object = get_origin(annotation)
    if origin is Literal:
        return
    if isinstance(origin, type) and _library_of(origin) is not None:
        yield origin
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _library_of(model: type) -> Library | None:
    """Return the library that makes a class of JSON; None for what JSON is, or nobody can tell how to make."""
    if _is_subclass(model, "pydantic", "BaseModel") or hasattr(model, "__pydantic_validator__"):
        return "pydantic"
    if _is_subclass(model, "msgspec", "Struct"):
        return "msgspec"
    if attrs.has(model) or dataclasses.is_dataclass(model):
        return "cattrs"
    return "cattrs" if any(_is_subclass(model, *scalar) for scalar in SCALARS) else None


def _is_subclass(model: type, library: str, base: str) -> bool:
    """Tell whether a class comes of a library's base; nobody has such a class before the library is loaded."""
    loaded = sys.modules.get(library)
    parent = getattr(loaded, base, None)
    return isinstance(parent, type) and isinstance(model, type) and issubclass(model, parent)


def _shown(annotation: Annotation) -> str:
    return annotation.__qualname__.rpartition(".")[2] if isinstance(annotation, type) else str(annotation)


# The libraries

SCALARS = (("datetime", "date"), ("decimal", "Decimal"), ("enum", "Enum"), ("uuid", "UUID"))
"""Modules and classes of what JSON writes as a text; a datetime is a date."""


def _by_cattrs(annotation: Annotation, scope: _Scope) -> tuple[Convert, Convert, Callable[[Exception], list[str]]]:
    try:
        from statechain.tasks import typed_attrs  # noqa: PLC0415 -- only who uses it pays for cattrs
    except ModuleNotFoundError as fault:
        if fault.name != "cattrs":
            raise
        raise ModuleNotFoundError(
            f"{scope.name!r} is annotated with {_shown(annotation)}, which is made of JSON by cattrs: "
            "pip install 'statechain[typed]'",
            name="cattrs",
        ) from fault
    return typed_attrs.functions(annotation, scope.names)


def _by_msgspec(annotation: Annotation, _scope: _Scope) -> tuple[Convert, Convert, Callable[[Exception], list[str]]]:
    import msgspec  # noqa: PLC0415 -- whoever has a Struct has loaded it

    msgspec.json.Decoder(annotation)  # refuses now what it could not convert later

    def structure(value: JSONValue) -> object:
        return msgspec.convert(value, annotation)

    def unstructure(value: object) -> object:
        made = msgspec.to_builtins(value)
        msgspec.convert(made, annotation)  # a result is what its annotation says, or refused
        return made

    return structure, unstructure, lambda fault: [str(fault)]


def _by_pydantic(annotation: Annotation, _scope: _Scope) -> tuple[Convert, Convert, Callable[[Exception], list[str]]]:
    import pydantic  # noqa: PLC0415 -- whoever has a model has loaded it

    from statechain.codec import encode  # noqa: PLC0415

    adapter = pydantic.TypeAdapter(annotation)

    def structure(value: JSONValue) -> object:
        return adapter.validate_json(encode(value))  # from JSON, so that strict models take dates as texts

    def unstructure(value: object) -> object:
        return adapter.dump_python(adapter.validate_python(value), mode="json", by_alias=True)

    def explain(fault: Exception) -> list[str]:
        if not isinstance(fault, pydantic.ValidationError):
            return [str(fault)]
        errors = fault.errors(include_url=False, include_context=False, include_input=False)
        return [f"{error['msg']} @ {_path(error['loc'])}" for error in errors]

    return structure, unstructure, explain


def _path(places: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in places)


BY_PRECEDENCE: tuple[Library, ...] = ("pydantic", "msgspec", "cattrs")
"""Where classes of several libraries meet in one annotation: the first two know attrs classes or dataclasses too."""

MAKERS = {"cattrs": _by_cattrs, "msgspec": _by_msgspec, "pydantic": _by_pydantic}
