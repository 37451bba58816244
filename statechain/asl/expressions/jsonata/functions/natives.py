"""How a function that is not written in JSONata is called: arguments are checked, and charged for.

A `Native` checks its arguments against a signature, and charges the budget for what it is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NoReturn

from jsonata import jexception, signature
from jsonata import jsonata as library

from statechain.asl.expressions.jsonata.engine import Engine
from statechain.asl.expressions.jsonata.library import JList, Value, is_function
from statechain.asl.expressions.jsonata.operators.arithmetic import whole_if_whole
from statechain.asl.expressions.jsonata.values import NULL

__all__ = ["Native", "Signature"]

SYMBOLS = {str: "s", bool: "b", int: "n", float: "n", list: "a", JList: "a", dict: "o", type(None): "m"}
TYPE_NAMES = {"a": "arrays", "b": "booleans", "f": "functions", "n": "numbers", "o": "objects", "s": "strings"}


class Signature(signature.Signature):  # type: ignore[misc]
    """A signature that distinguishes null from a missing argument, and whose errors name what they should."""

    @classmethod
    def of(cls, other: signature.Signature) -> Signature:
        """Return a signature of the library's as one of ours."""
        made: Signature = cls.__new__(cls)
        made.__dict__.update(other.__dict__)
        return made

    def set_function_name(self, function_name: str) -> None:
        """Keep the name: a variable that holds a function does not rename it."""

    def get_symbol(self, value: Value) -> str:
        """Return the letter of a value's type."""
        symbol = SYMBOLS.get(type(value))
        if symbol is not None:
            return symbol
        return "l" if value is NULL else "f" if is_function(value) else "m"

    def validate(self, arguments: Sequence[Value], context: Value) -> Value:
        """Return the arguments, the context and arrays of one put in where the signature says so.

        Where there is no context, an argument that fits only a later parameter does not match.
        """
        try:
            complete = super().validate(arguments, context)
        except jexception.JException as error:
            if error.error == "T0411":
                raise jexception.JException("T0411", -1, error.expected, self.function_name) from error
            if error.error == "T0412":
                name = TYPE_NAMES.get(str(error.extra)[:1], error.extra)
                raise jexception.JException("T0412", -1, error.current, error.expected, name) from error
            raise
        if context is None and arguments and arguments[0] is not None and complete[0] is None:
            raise jexception.JException("T0410", -1, 1, self.function_name)
        return complete

    def throw_validation_error(self, _arguments: object, given: str, name: str) -> NoReturn:
        """Name the first argument that does not fit; ``given`` holds the symbols of all of them."""
        pattern, fitting = "", 0
        for parameter in self._params:
            pattern += parameter.regex
            match = re.match(pattern, given)
            if match is None:
                break
            fitting = match.end()
        raise jexception.JException("T0410", -1, fitting + 1, name)


class Native(library.Jsonata.JFunction):  # type: ignore[misc]
    """A function that is not written in JSONata."""

    def __init__(self, engine: Engine, takes: Signature, function: Callable[..., Value]) -> None:
        super().__init__(None, None)
        self.function_name = takes.function_name
        self.signature = takes
        self._engine = engine
        self._function = function
        self._count = len(self.signature._params)  # noqa: SLF001 -- the library tells it nowhere else

    def get_number_of_args(self) -> int:
        """Return how many arguments it takes."""
        return self._count

    def call(self, _value: Value, arguments: Sequence[Value] | None) -> Value:
        """Call the function with as many arguments as it takes."""
        given = list(arguments or ())
        for argument in given:
            self._engine.weigh(argument)
        given += [None] * (self._count - len(given))
        # Missing arguments are None, JSONata's undefined.
        result = self._function(self._engine, *given)
        return whole_if_whole(result) if type(result) is float else result
