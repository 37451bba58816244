"""Calls of intrinsic functions in JSONPath states: ``States.Format('…', $.a)`` → a function of (input, context).

Every error of the functions themselves is States.IntrinsicFailure.
"""

from __future__ import annotations

import re

from statechain.asl.expressions.cause_text import format_value
from statechain.asl.expressions.intrinsic_functions import FUNCTIONS, Call, Function, IntrinsicArgumentError
from statechain.asl.expressions.jsonpath import PathNotFound, PathSyntaxError, compile_path
from statechain.asl.outcome import Context, Expression
from statechain.codec import JSONValue, decode
from statechain.errors import InvalidPayload, StateError
from statechain.limits import DEFAULT_LIMITS, Limits

__all__ = ["IntrinsicSyntaxError", "compile_intrinsic", "is_intrinsic"]

# AWS, "Intrinsic functions": up to 10 in one field.
MAX_NESTING = 10
NAME = re.compile(r"States\.[A-Za-z0-9]+")
NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?=\s*(?:[,)]|\Z))")
LITERALS: dict[str, JSONValue] = {"null": None, "true": True, "false": False}


class IntrinsicSyntaxError(ValueError):
    """A string is no intrinsic function; ``column`` is the offset of the error in it, from 0."""

    def __init__(self, message: str, column: int) -> None:
        self.column = column
        super().__init__(message)


def is_intrinsic(text: str) -> bool:
    """Return whether a string means to be an intrinsic function."""
    return text.startswith("States.")


def compile_intrinsic(text: str, *, limits: Limits = DEFAULT_LIMITS) -> Expression:
    """Compile a call such as ``States.Format('{}', $.a)``. Raises IntrinsicSyntaxError or PathSyntaxError."""
    parser = _Parser(text, limits)
    evaluate = parser.call(depth=0)
    parser.end()
    failure = f"The function '{text}' had the following error: "

    def expression(value: JSONValue, context: Context) -> JSONValue:
        try:
            return evaluate(value, context)
        except IntrinsicArgumentError as error:
            raise StateError("States.IntrinsicFailure", f"{failure}{error}") from error
        except PathNotFound as error:
            raise StateError("States.Runtime", f"{failure}{_not_found(error, value)}") from error

    return expression


def _not_found(error: PathNotFound, value: JSONValue) -> str:
    """Report that an argument is missing; of a context object's path the service shows only what follows its root."""
    if error.reason.startswith("Filter: "):
        return error.reason
    path = error.path[1:] if error.path.startswith("$$") else error.path
    return f"The JsonPath argument for the field '{path}' could not be found in the input '{format_value(value)}'"


class _Parser:
    """Reads one intrinsic call, nested calls and paths included."""

    def __init__(self, text: str, limits: Limits) -> None:
        self._text = text
        self._limits = limits
        self._place = 0

    def call(self, depth: int) -> Expression:
        match = NAME.match(self._text, self._place)
        if match is None or match[0] not in FUNCTIONS:
            raise self._error("there is no such intrinsic function")
        if depth >= MAX_NESTING:
            raise self._error(f"intrinsic functions nest at most {MAX_NESTING} deep")
        start = self._place
        function, fewest, most = FUNCTIONS[match[0]]
        self._place = match.end()
        arguments = self._arguments(depth)
        if not fewest <= len(arguments) <= (most if most is not None else len(arguments)):
            self._place = start
            wanted = fewest if fewest == most else f"{fewest} to {most}" if most is not None else f"at least {fewest}"
            plural = "" if wanted == 1 else "s"
            raise self._error(f"{match[0]} takes {wanted} argument{plural}, and was given {len(arguments)}")
        return _applied(function, arguments, self._limits)

    def end(self) -> None:
        self._space()
        if self._place != len(self._text):
            raise self._error("something follows the function")

    def _arguments(self, depth: int) -> list[Expression]:
        self._expect("(")
        arguments: list[Expression] = []
        self._space()
        if self._peek() == ")":
            self._place += 1
            return arguments
        while True:
            self._space()
            arguments.append(self._argument(depth))
            self._space()
            if self._peek() == ",":
                self._place += 1
                continue
            self._expect(")")
            return arguments

    def _argument(self, depth: int) -> Expression:
        character = self._peek()
        if character == "'":
            return _constant(self._string())
        if character == "$":
            return self._path()
        if NAME.match(self._text, self._place):
            return self.call(depth + 1)
        for word, value in LITERALS.items():
            # A longer word fails at what follows it, which must be a comma or a bracket.
            if self._text.startswith(word, self._place):
                self._place += len(word)
                return _constant(value)
        match = NUMBER.match(self._text, self._place)
        if match is None:
            raise self._error("an argument is a string in single quotes, a number, a path or a function")
        try:
            number = decode(match[0])
        except InvalidPayload as error:
            raise self._error(f"{error}") from error
        self._place = match.end()
        return _constant(number)

    def _string(self) -> str:
        characters: list[str] = []
        place = self._place + 1
        while place < len(self._text):
            character = self._text[place]
            if character == "'":
                self._place = place + 1
                return "".join(characters)
            if character == "\\" and place + 1 < len(self._text):
                escaped = self._text[place + 1]
                # Only quotes and backslashes are escaped here; braces are left to States.Format.
                characters.append(escaped if escaped in "'\\" else character + escaped)
                place += 2
                continue
            characters.append(character)
            place += 1
        raise self._error("a string does not end")

    def _path(self) -> Expression:
        """Read a path: up to the comma or bracket that ends the argument, outside its brackets and quotes."""
        start, depth, quote = self._place, 0, ""
        while self._place < len(self._text):
            character = self._text[self._place]
            if quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            elif character in "[(":
                depth += 1
            elif character in "])":
                if depth == 0:
                    break
                depth -= 1
            elif character == "," and depth == 0:
                break
            self._place += 1
        try:
            return compile_path(self._text[start : self._place].rstrip(), limits=self._limits)
        except PathSyntaxError as error:
            raise IntrinsicSyntaxError(str(error), start + error.column) from error

    def _space(self) -> None:
        while self._place < len(self._text) and self._text[self._place].isspace():
            self._place += 1

    def _peek(self) -> str:
        return self._text[self._place : self._place + 1]

    def _expect(self, character: str) -> None:
        self._space()
        if self._peek() != character:
            raise self._error(f"{character!r} is missing")
        self._place += 1

    def _error(self, message: str) -> IntrinsicSyntaxError:
        return IntrinsicSyntaxError(f"{self._text!r}: {message}", self._place)


def _constant(value: JSONValue) -> Expression:
    return lambda _value, _context: value


def _applied(function: Function, arguments: list[Expression], limits: Limits) -> Expression:
    def evaluate(value: JSONValue, context: Context) -> JSONValue:
        return function(Call(context, limits), *[argument(value, context) for argument in arguments])

    return evaluate
