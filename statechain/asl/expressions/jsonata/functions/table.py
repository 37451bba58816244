"""The functions of JSONata: the library's own where they are right, ours where they are wrong or in quadratic time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from jsonata import functions as library_functions
from jsonata import jexception
from jsonata import jsonata as library

from statechain.asl.expressions.jsonata.engine import Engine
from statechain.asl.expressions.jsonata.functions.aws import AWS_FUNCTIONS
from statechain.asl.expressions.jsonata.functions.natives import Native, Signature
from statechain.asl.expressions.jsonata.functions.numbers import NUMBER_FUNCTIONS
from statechain.asl.expressions.jsonata.functions.sequences import SEQUENCE_FUNCTIONS
from statechain.asl.expressions.jsonata.functions.strings import STRING_FUNCTIONS
from statechain.asl.expressions.jsonata.library import Value, is_function

__all__ = ["new_engine"]

Library = library_functions.Functions


def _error(_engine: Engine, message: Value) -> NoReturn:
    raise jexception.JException("D3137", -1, message or "$error() function evaluated")


def _assert(_engine: Engine, condition: Value, message: Value) -> None:
    if not condition:
        raise jexception.JException("D3141", -1, message or "$assert() statement failed")


def _type(_engine: Engine, value: Value) -> Value:
    return "function" if is_function(value) else Library.type(value)


CORRECTED: dict[str, Callable[..., Value]] = {
    **STRING_FUNCTIONS,
    **NUMBER_FUNCTIONS,
    **SEQUENCE_FUNCTIONS,
    "error": _error,
    "assert": _assert,
    "type": _type,
    "clone": lambda engine, value: None if value is None else engine.copy(value),
}
"""Functions in place of the library's; they take the engine before their arguments."""


def _without_engine(function: Callable[..., Value]) -> Callable[..., Value]:
    return lambda _engine, *arguments: function(*arguments)


def new_engine() -> Engine:
    """Return an engine with every function that an expression may call; AWS has no ``$eval``."""
    engine = Engine()
    for name, found in library.Jsonata.static_frame.bindings.items():
        function = CORRECTED.get(name) or _without_engine(found.method)
        engine.natives.bind(name, Native(engine, Signature.of(found.signature), function))
    for name, (notation, function) in AWS_FUNCTIONS.items():
        engine.natives.bind(name, Native(engine, Signature(notation, name), function))
    engine.natives.bindings["eval"] = None
    return engine
