"""attrs classes and dataclasses ↔ JSON by cattrs, made strict: a string is neither a number nor a list of letters.

The only module that imports cattrs. Times are ISO 8601, UUIDs and Decimals strings, bytes base85.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
from cattrs import transform_error
from cattrs.cols import is_mapping, is_sequence, is_set
from cattrs.preconf.json import JsonConverter, make_converter

__all__ = ["functions"]

Convert: TypeAlias = Callable[[Any], Any]
Hook: TypeAlias = Callable[[Any, Any], Any]

NOUNS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


class _Mismatch(ValueError):
    """A JSON value of another kind than the annotation's, or a string of another format; it shows no values."""

    def __init__(self, expected: str, value: object) -> None:
        noun = NOUNS.get(type(value), "null" if value is None else f"a {type(value).__name__}")
        super().__init__(f"expected {expected}, got {noun}")


def functions(
    annotation: Any,  # noqa: ANN401 -- annotations have no type of their own
    names: Mapping[str, Any],
) -> tuple[Convert, Convert, Callable[[Exception], list[str]]]:
    """Return functions that structure, that unstructure, and that list the places of a mismatch."""
    models: set[type] = set()
    _resolve(annotation, names, models)
    # Hooks are made now, so that a type that cannot be converted is refused at registration.
    structure = CONVERTER.get_structure_hook(annotation)
    for model in models:  # a union looks for the hooks of its members only at its first use
        if not getattr(model, "__parameters__", ()):
            CONVERTER.get_structure_hook(model)

    def unstructure(value: object) -> object:
        made = CONVERTER.unstructure(value)
        structure(made, annotation)  # a result is what its annotation says, or refused
        return made

    return lambda value: structure(value, annotation), unstructure, _places


def _resolve(annotation: Any, names: Mapping[str, Any], seen: set[type]) -> None:  # noqa: ANN401
    """Evaluate the annotations of fields that are strings, as those of local classes are."""
    # The class of a generic as well as its arguments.
    for part in (get_origin(annotation), annotation):
        if isinstance(part, type) and part not in seen and (attrs.has(part) or dataclasses.is_dataclass(part)):
            seen.add(part)
            _resolve_fields(part, names)
            for field_type in _field_types(part):
                _resolve(field_type, names, seen)
    for argument in get_args(annotation):
        _resolve(argument, names, seen)


def _field_types(model: type) -> list[Any]:
    if attrs.has(model):
        return [field.type for field in attrs.fields(model)]
    return [field.type for field in dataclasses.fields(model)]


def _resolve_fields(model: type, names: Mapping[str, Any]) -> None:
    if attrs.has(model):
        attrs.resolve_types(model, localns=dict(names))
    elif any(isinstance(field.type, str) for field in dataclasses.fields(model)):
        hints = get_type_hints(model, localns=dict(names), include_extras=True)
        for field in dataclasses.fields(model):
            field.type = hints[field.name]


def _places(error: Exception) -> list[str]:
    return transform_error(error, format_exception=_explained)


def _explained(error: BaseException, _type: type | None) -> str:
    if isinstance(error, KeyError):
        return "a required field is missing"
    return str(error) or type(error).__name__


# The converter


def _only(kind: type, noun: str) -> Hook:
    def structure(value: object, _type: object) -> object:
        if not isinstance(value, kind):
            raise _Mismatch(noun, value)
        return value

    return structure


def _integer(value: object, _type: object) -> int:
    # `bool` is a subclass of `int`.
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():  # JSON has one kind of number: 5.0 is 5
        return int(value)
    raise _Mismatch("an integer", value)


def _number(value: object, _type: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise _Mismatch("a number", value)


def _of_string(make: Callable[[str], object], noun: str) -> Hook:
    def structure(value: object, _type: object) -> object:
        if not isinstance(value, str):
            raise _Mismatch(noun, value)
        try:
            return make(value)
        except (ValueError, ArithmeticError):
            raise _Mismatch(noun, value) from None

    return structure


def _guarded(
    converter: JsonConverter, applies: Callable[[Any], bool], kinds: type | tuple[type, ...], noun: str
) -> None:
    """Structure the types that a predicate accepts only from values of some kinds."""
    # While its own hook is looked up, a type passes by this factory: cattrs's hook is the one inside.
    passing: set[int] = set()

    def guards(type_: Any) -> bool:  # noqa: ANN401
        return id(type_) not in passing and applies(type_)

    def make(type_: Any) -> Hook:  # noqa: ANN401
        passing.add(id(type_))
        try:
            inner = converter.get_structure_hook(type_, cache_result=False)
        finally:
            passing.discard(id(type_))

        def structure(value: object, wanted: object) -> object:
            if not isinstance(value, kinds):
                raise _Mismatch(noun, value)
            return inner(value, wanted)

        return structure

    converter.register_structure_hook_factory(guards, make)


def _is_class(type_: Any) -> bool:  # noqa: ANN401
    return attrs.has(get_origin(type_) or type_) or dataclasses.is_dataclass(get_origin(type_) or type_)


def _is_array(type_: Any) -> bool:  # noqa: ANN401
    return get_origin(type_) is tuple or type_ is tuple or is_sequence(type_) or is_set(type_)


def _make() -> JsonConverter:
    converter = make_converter()
    converter.register_structure_hook(str, _only(str, "a string"))
    converter.register_structure_hook(bool, _only(bool, "a boolean"))
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(datetime, _of_string(datetime.fromisoformat, "an ISO 8601 time"))
    converter.register_structure_hook(date, _of_string(date.fromisoformat, "an ISO 8601 date"))
    converter.register_structure_hook(UUID, _of_string(UUID, "a UUID"))
    converter.register_structure_hook(Decimal, _of_string(Decimal, "a decimal number as a string"))
    converter.register_unstructure_hook(UUID, str)
    converter.register_unstructure_hook(Decimal, str)
    # `object` takes any JSON value.
    converter.register_structure_hook_func(lambda type_: type_ is object, lambda value, _type: value)
    _guarded(converter, is_mapping, dict, "an object")
    _guarded(converter, _is_array, (list, tuple), "an array")
    _guarded(converter, _is_class, dict, "an object")
    return converter


CONVERTER = _make()
