"""An annotation → a converter between JSON values and what the annotation names.

attrs classes, dataclasses, times, enums, UUIDs and Decimals go through cattrs (extra ``typed``). msgspec Structs and
pydantic models go through their own libraries, which are imported here only after the application imported them. A
value that does not match raises `Mismatch`, which names each place and shows no value.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Literal, TypeAlias, get_args, get_origin

import attrs

from statechain.codec import JSONValue, decode, encode
from statechain.errors import InvalidPayload

__all__ = ["Annotation", "Converter", "Mismatch", "converter_of", "read_as", "shown"]

Annotation: TypeAlias = Any
"""A resolved annotation: a class, a union, a generic."""

Library: TypeAlias = Literal["cattrs", "msgspec", "pydantic"]
Convert: TypeAlias = Callable[[Any], Any]
Made: TypeAlias = tuple[Convert, Convert, Callable[[Exception], list[str]]]

PLACES_SHOWN = 8
NO_NAMES: Mapping[str, Any] = {}


class Mismatch(Exception):
    """A value does not match an annotation; the library's exception is the ``__cause__``."""


@attrs.frozen
class Converter:
    """Converts by the functions of a library.

    Attributes:
        model: The annotation, as messages show it.

        structure: JSON value → typed value.

        unstructure: Typed value → JSON value.

        explain: The library's exception → the places of the mismatch.
    """

    model: str
    structure: Convert
    unstructure: Convert
    explain: Callable[[Exception], list[str]]

    def load(self, value: JSONValue) -> object:
        """Return a JSON value as the annotation's type. Raises Mismatch."""
        return self._convert(self.structure, value)

    def dump(self, value: object) -> object:
        """Return a typed value as JSON. Raises Mismatch."""
        return self._convert(self.unstructure, value)

    def _convert(self, convert: Convert, value: object) -> object:
        try:
            return convert(value)
        except Exception as error:
            places = self.explain(error)
            shown_places = "; ".join(places[:PLACES_SHOWN])
            more = f"; and {len(places) - PLACES_SHOWN} more" if len(places) > PLACES_SHOWN else ""
            raise Mismatch(f"is not a valid {self.model}: {shown_places}{more}") from error


def converter_of(
    annotation: Annotation, names: Mapping[str, Any] = NO_NAMES, *, default: Library | None = None
) -> Converter | None:
    """Return what converts between JSON and an annotation; None where the annotation holds nothing but JSON.

    Arguments:
        annotation: The annotation, resolved.

        names: What the annotations of local classes may name, beside what their modules have.

        default: The library for annotations that hold nothing but JSON; they are not converted without one.

    Raises:
        ModuleNotFoundError: cattrs is needed and not installed.

        TypeError: The library cannot convert this annotation.
    """
    libraries = {_library_of(model) for model in _models_in(annotation)}
    library = next((each for each in BY_PRECEDENCE if each in libraries), default)
    if library is None:
        return None
    try:
        made = MAKERS[library](annotation, names)
    except ModuleNotFoundError:
        raise
    except Exception as error:
        # cattrs's own message speaks of hooks, which nothing here takes; it names the type that it does not know.
        unknown = getattr(error, "type_", None)
        reason = (
            f"{library} says {type(error).__name__}: {error}"
            if unknown is None
            else f"{library} has no JSON form of the type {shown(unknown)}"
        )
        raise TypeError(f"cannot be converted to {shown(annotation)}: {reason}") from error
    return Converter(shown(annotation), *made)


def read_as(annotation: Annotation, text: str | None, what: str) -> object:
    """Return a stored payload as an annotation's type.

    Raises:
        InvalidPayload: The payload does not match; the message begins with ``what`` and names the places.

        TypeError: The type cannot be made of JSON.
    """
    if annotation is None:  # as in an annotation, where None is the type of None
        annotation = type(None)
    # Kept by annotation; one that cannot be hashed is converted anew each time.
    make = _reader if isinstance(annotation, Hashable) else _reader.__wrapped__
    try:
        converter = make(annotation)
    except TypeError as error:
        raise TypeError(f"{what} {error}") from error.__cause__
    try:
        return converter.load(None if text is None else decode(text))
    except Mismatch as mismatch:
        raise InvalidPayload(f"{what} {mismatch}") from mismatch.__cause__


@functools.lru_cache(maxsize=256)
def _reader(annotation: Annotation) -> Converter:
    converter = converter_of(annotation, default="cattrs")
    assert converter is not None  # noqa: S101 -- there is a default
    return converter


def shown(annotation: Annotation) -> str:
    """Return an annotation as messages show it."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__qualname__.rpartition(".")[2]
    return str(annotation)


# Which library


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
    """Return the library that makes a class of JSON; None for what is JSON itself, and for unknown classes."""
    if _is_subclass(model, "pydantic", "BaseModel") or hasattr(model, "__pydantic_validator__"):
        return "pydantic"
    if _is_subclass(model, "msgspec", "Struct"):
        return "msgspec"
    if attrs.has(model) or dataclasses.is_dataclass(model):
        return "cattrs"
    return "cattrs" if any(_is_subclass(model, *scalar) for scalar in SCALARS) else None


def _is_subclass(model: type, library: str, base: str) -> bool:
    """Return whether a class derives from a library's base class; none does before the library is imported."""
    loaded = sys.modules.get(library)
    parent = getattr(loaded, base, None)
    return isinstance(parent, type) and isinstance(model, type) and issubclass(model, parent)


# The libraries

SCALARS = (("datetime", "date"), ("decimal", "Decimal"), ("enum", "Enum"), ("uuid", "UUID"))
"""Modules and classes of what JSON writes as a string; a datetime is a date."""


def _by_cattrs(annotation: Annotation, names: Mapping[str, Any]) -> Made:
    try:
        from statechain.typed import by_cattrs  # noqa: PLC0415 -- only its users pay for cattrs
    except ModuleNotFoundError as error:
        if error.name != "cattrs":
            raise
        raise ModuleNotFoundError(
            f"{shown(annotation)} is converted from JSON by cattrs: pip install 'statechain[typed]'", name="cattrs"
        ) from error
    return by_cattrs.functions(annotation, names)


def _by_msgspec(annotation: Annotation, _names: Mapping[str, Any]) -> Made:
    import msgspec  # noqa: PLC0415 -- loaded already, by the module that defines the Struct

    msgspec.json.Decoder(annotation)  # refuses now what it could not convert later

    def structure(value: JSONValue) -> object:
        return msgspec.convert(value, annotation)

    def unstructure(value: object) -> object:
        made = msgspec.to_builtins(value)
        msgspec.convert(made, annotation)  # checks the result against its annotation
        return made

    return structure, unstructure, lambda error: [str(error)]


def _by_pydantic(annotation: Annotation, _names: Mapping[str, Any]) -> Made:
    import pydantic  # noqa: PLC0415 -- loaded already, by the module that defines the model

    adapter = pydantic.TypeAdapter(annotation)

    def structure(value: JSONValue) -> object:
        return adapter.validate_json(encode(value))  # from JSON, so that strict models take dates as strings

    def unstructure(value: object) -> object:
        return adapter.dump_python(adapter.validate_python(value), mode="json", by_alias=True)

    def explain(error: Exception) -> list[str]:
        if not isinstance(error, pydantic.ValidationError):
            return [str(error)]
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        return [f"{each['msg']} @ {_path(each['loc'])}" for each in errors]

    return structure, unstructure, explain


def _path(places: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in places)


BY_PRECEDENCE: tuple[Library, ...] = ("pydantic", "msgspec", "cattrs")
"""For annotations with classes of several libraries: the first two know attrs classes or dataclasses, too."""

MAKERS: Mapping[Library, Callable[[Annotation, Mapping[str, Any]], Made]] = {
    "cattrs": _by_cattrs,
    "msgspec": _by_msgspec,
    "pydantic": _by_pydantic,
}
