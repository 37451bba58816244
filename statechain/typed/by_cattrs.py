"""attrs classes and dataclasses ↔ JSON by cattrs, made strict: a string is neither a number nor a list of letters.

The only module that imports cattrs. Times are ISO 8601, UUIDs and Decimals strings, bytes base85.
"""

from __future__ import annotations

import dataclasses
from base64 import b85decode
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
from cattrs import transform_error
from cattrs.cols import is_mapping, is_sequence
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


def _wrapped(converter: JsonConverter, applies: Callable[[Any], bool], wrap: Callable[[Hook, Any], Hook]) -> None:
    """Structure the types that a predicate accepts by a hook around cattrs's."""
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
        return wrap(inner, type_)

    converter.register_structure_hook_factory(guards, make)


def _only_from(kinds: type | tuple[type, ...], noun: str) -> Callable[[Hook, Any], Hook]:
    """Return a wrapper that takes values of some kinds only."""

    def wrap(inner: Hook, _type: object) -> Hook:
        def structure(value: object, wanted: object) -> object:
            if not isinstance(value, kinds):
                raise _Mismatch(noun, value)
            return inner(value, wanted)

        return structure

    return wrap


def _choice(inner: Hook, type_: Any) -> Hook:  # noqa: ANN401
    """Say what there is to choose from; cattrs and enum say which value was given, which may be a payload."""
    choices = [each.value for each in type_] if _is_enum(type_) else get_args(type_)
    name = _name_of if _is_union(type_) else repr
    noun = f"one of {', '.join(map(name, choices))}"

    def structure(value: object, wanted: object) -> object:
        try:
            return inner(value, wanted)
        except (_Mismatch, ExceptionGroup):  # of a member that was chosen
            raise
        except Exception:  # noqa: BLE001 -- cattrs raises that itself
            raise _Mismatch(noun, value) from None

    return structure


def _name_of(type_: Any) -> str:  # noqa: ANN401
    return "null" if type_ is type(None) else getattr(type_, "__name__", str(type_))


def _is_enum(type_: Any) -> bool:  # noqa: ANN401
    return isinstance(type_, type) and issubclass(type_, Enum)


def _is_union(type_: Any) -> bool:  # noqa: ANN401
    return get_origin(type_) in {Union, UnionType}


def _is_choice(type_: Any) -> bool:  # noqa: ANN401
    return _is_enum(type_) or get_origin(type_) is Literal or _is_union(type_)


def _is_class(type_: Any) -> bool:  # noqa: ANN401
    return attrs.has(get_origin(type_) or type_) or dataclasses.is_dataclass(get_origin(type_) or type_)


def _is_array(type_: Any) -> bool:  # noqa: ANN401
    kind = get_origin(type_) or type_
    # To cattrs a frozenset is no set.
    return kind is tuple or is_sequence(type_) or (isinstance(kind, type) and issubclass(kind, AbstractSet))


def _make() -> JsonConverter:
    converter = make_converter()
    converter.register_structure_hook(str, _only(str, "a string"))
    converter.register_structure_hook(bool, _only(bool, "a boolean"))
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(type(None), _only(type(None), "null"))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(datetime, _of_string(datetime.fromisoformat, "an ISO 8601 time"))
    converter.register_structure_hook(date, _of_string(date.fromisoformat, "an ISO 8601 date"))
    converter.register_structure_hook(UUID, _of_string(UUID, "a UUID"))
    converter.register_structure_hook(Decimal, _of_string(Decimal, "a decimal number as a string"))
    converter.register_unstructure_hook(UUID, str)
    converter.register_unstructure_hook(Decimal, str)
    # `object` takes any JSON value.
    converter.register_structure_hook_func(lambda type_: type_ is object, lambda value, _type: value)
    converter.register_structure_hook(bytes, _of_string(b85decode, "bytes in base85"))
    _wrapped(converter, is_mapping, _only_from(dict, "an object"))
    _wrapped(converter, _is_array, _only_from((list, tuple), "an array"))
    _wrapped(converter, _is_class, _only_from(dict, "an object"))
    _wrapped(converter, _is_choice, _choice)
    return converter


CONVERTER = _make()
