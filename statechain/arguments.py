"""Checks of the arguments of public methods: a wrong one raises InvalidArgument, with its name and what is meant.

A method names a check for each of its parameters in `checked`. Payloads are not checked here: encoding them does it.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path, PurePath
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar, cast

import attrs

from statechain.errors import InvalidArgument

__all__ = [
    "BATCH_ID",
    "COUNT",
    "DURATION",
    "EXECUTION_ID",
    "FLAG",
    "FUNCTION",
    "INPUTS",
    "MACHINE",
    "MOMENT",
    "NAME",
    "PATH",
    "PAUSE",
    "SECONDS",
    "TEXT",
    "TOKEN",
    "WHOLE",
    "WORKER_ID",
    "Argument",
    "check_of",
    "checked",
    "count_from",
    "instance_of",
    "one_of",
    "sequence_with",
    "text",
    "with_method",
]

P = ParamSpec("P")
T = TypeVar("T")


MOST_SHOWN = 100
"""How many characters of a wrong value a message shows."""


@attrs.frozen
class Argument:
    """What an argument may be.

    Attributes:
        meant: What is meant, in words that follow "must be".

        accepts: Whether a value is that.

        is_text: Whether any string is accepted: then nothing can be concluded from the value.

        is_setting: Whether it is never a payload: then a message may show a wrong one.
    """

    meant: str
    accepts: Callable[[Any], bool]
    is_text: bool = False
    is_setting: bool = False

    def or_none(self) -> Argument:
        """Return the same argument for a parameter that may be left out by None."""
        accepts = self.accepts
        meant = f"{self.meant}, or None"
        return attrs.evolve(self, meant=meant, accepts=lambda value: value is None or accepts(value))

    def or_text(self) -> Argument:
        """Return the same argument for a parameter that takes a string, too."""
        accepts = self.accepts
        return Argument(self.meant, lambda value: isinstance(value, str) or accepts(value), is_text=True)

    def check(self, name: str, value: object, hint: str = "") -> None:
        """Raise InvalidArgument where a value is not what is meant."""
        if not self.accepts(value):
            shown = _shown(value, whole=self.is_setting)
            raise InvalidArgument(f"{name} must be {self.meant}, not {shown}{_remedy(self, value) or hint}")

    def __call__(self, _instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        """Check a field of an attrs class: an argument is a validator, too."""
        self.check(attribute.name, value)


def _shown(value: object, *, whole: bool) -> str:
    """Return a value for a message: its type, unless it is shown as a whole, for it may be a payload."""
    if isinstance(value, str) and not value:
        return "an empty string"
    if whole and isinstance(value, str | tuple | list):
        text_ = repr(value)
        return text_ if len(text_) <= MOST_SHOWN else f"{text_[:MOST_SHOWN]}…"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, datetime) and value.tzinfo is None:
        return "a naive datetime"
    if isinstance(value, int) and value.bit_length() > LONGEST.bit_length():
        return f"a number of {value.bit_length()} bits"
    return str(value) if isinstance(value, int | float | timedelta | None) else type(value).__name__


def _remedy(argument: Argument, value: object) -> str:
    """Return a hint where an object was given in the place of its id, or a path in the place of a URL."""
    if argument.is_text and "URL" in argument.meant and isinstance(value, PurePath):
        return f": write 'sqlite:///{value}'"
    has_id = argument.is_text and not isinstance(value, type) and isinstance(getattr(value, "id", None), str)
    return ": give its .id" if has_id else ""


# What arguments may be

MOST_COUNT = 2**31 - 1
"""What every database and every C function takes for a count."""

LONGEST = 2**63 - 1
"""What every database takes for a whole number."""

LONGEST_DURATION = timedelta(days=36_500)
"""A century: moments that are this far ahead can still be reckoned with."""


def _is_duration(value: object) -> bool:
    if isinstance(value, timedelta):
        return abs(value) <= LONGEST_DURATION
    return _is_number(value) and abs(cast("float", value)) <= LONGEST_DURATION.total_seconds()


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: object) -> bool:
    # To Python True is a number; to a caller it is a mistake.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _is_inputs(value: object) -> bool:
    # Iterables, too, and surely meant as one input.
    return isinstance(value, Iterable | AsyncIterable) and not isinstance(value, str | bytes | Mapping)


def text(meant: str) -> Argument:
    """Return an argument that is a string with a meaning."""
    return Argument(meant, lambda value: isinstance(value, str), is_text=True)


TEXT = text("a string")
EXECUTION_ID = text("the id of an execution")
MACHINE = Argument(
    "a state machine, its name or its id",
    lambda value: (
        isinstance(value, str) or (not isinstance(value, type) and isinstance(getattr(value, "id", None), str))
    ),
    is_text=True,
)
# It is compared with what is stored, and shown in logs. Without one the engine makes one.
WORKER_ID = Argument(
    "a string of printable characters",
    lambda value: isinstance(value, str) and (not value or value.isprintable()),
    is_setting=True,
)
BATCH_ID = text("the id of a batch")
TOKEN = text("a task token")
FLAG = Argument("True or False", lambda value: isinstance(value, bool))
FUNCTION = Argument("a function", callable)
DURATION = Argument(f"seconds or a timedelta, {LONGEST_DURATION.days} days at most", _is_duration)
MOMENT = Argument(
    "a datetime with its timezone", lambda value: isinstance(value, datetime) and value.tzinfo is not None
)
PATH = Argument("a path", lambda value: isinstance(value, str | Path))
WHOLE = Argument("a whole number, below 2**63", lambda value: _is_whole(value, -LONGEST, LONGEST))
SECONDS = Argument(
    f"seconds, from 0 to {LONGEST_DURATION.total_seconds():.0f}",
    lambda value: _is_number(value) and 0 <= cast("float", value) <= LONGEST_DURATION.total_seconds(),
)
PAUSE = Argument("seconds, above 0", lambda value: SECONDS.accepts(value) and bool(value))
COUNT = Argument("a whole number of at least 0, below 2**63", lambda value: _is_whole(value, 0, LONGEST))
NAME = text("a string of 1 to 80 printable characters")
INPUTS = Argument("an iterable of inputs (a list of one, for one)", _is_inputs)


def instance_of(*types: type, meant: str) -> Argument:
    """Return an argument that is an instance of a class, or of one of several."""
    return Argument(meant, lambda value: isinstance(value, types))


def with_method(method: str, meant: str) -> Argument:
    """Return an argument that is any object with a method."""
    return Argument(meant, lambda value: not isinstance(value, type) and callable(getattr(value, method, None)))


def sequence_with(method: str, meant: str) -> Argument:
    """Return an argument that is a sequence of objects with a method that is no coroutine function."""
    each = with_method(method, meant)

    def accepts(value: object) -> bool:
        # What a coroutine function returns would be awaited by nothing, so that its body never ran.
        return each.accepts(value) and not inspect.iscoroutinefunction(getattr(value, method))

    return Argument(meant, lambda value: isinstance(value, Sequence) and all(map(accepts, value)))


def one_of(*values: str) -> Argument:
    """Return an argument that is one of several strings."""
    meant = " or ".join(repr(str(value)) for value in values)
    return Argument(meant, lambda value: isinstance(value, str) and value in values, is_setting=True)


def count_from(least: int) -> Argument:
    """Return an argument that is a whole number of at least so much."""
    return Argument(
        f"a whole number of at least {least}, below 2**31", lambda value: _is_whole(value, least, MOST_COUNT)
    )


# Checking the arguments of a call


Check: TypeAlias = Callable[[tuple[object, ...], Mapping[str, object]], None]

_PARTS: Final = "__statechain_checked__"
"""The attribute of a checked coroutine function that keeps its check and the function."""


def checked(**arguments: Argument) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that checks the arguments of each call by the names of their parameters."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        # Once for a method: to bind the signature at each call would take longer than the checks.
        positions = _positions(function, arguments)

        def check(args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
            for name, position, argument in positions:
                if position < len(args):
                    value = args[position]
                elif name in kwargs:
                    value = kwargs[name]
                else:
                    continue
                # Asked first: what a wrong value could have been meant for is only looked for where it is wrong.
                if not argument.accepts(value):
                    # What is given by its name is meant for that.
                    hint = "" if name in kwargs else _meant_for(name, value, arguments)
                    argument.check(name, value, hint)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_later(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 -- what the function returns
                check(args, kwargs)
                return await cast("Callable[P, Any]", function)(*args, **kwargs)

            setattr(call_later, _PARTS, (check, function))
            return cast("Callable[P, T]", call_later)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            check(args, kwargs)
            return function(*args, **kwargs)

        return call

    return decorate


def check_of(method: Callable[..., Any]) -> tuple[Check | None, Callable[..., Any]]:
    """Return what checks the arguments of a coroutine method, and the method without that; None where nothing does."""
    return cast("tuple[Check | None, Callable[..., Any]]", getattr(method, _PARTS, (None, method)))


def _positions(function: Callable[..., object], arguments: Mapping[str, Argument]) -> list[tuple[str, int, Argument]]:
    """Return where each argument is found; one that is given by keyword only is beyond all positions."""
    parameters = inspect.signature(function).parameters
    found = []
    for position, (name, parameter) in enumerate(parameters.items()):
        if name in arguments:
            by_keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
            found.append((name, sys.maxsize if by_keyword else position, arguments[name]))
    assert len(found) == len(arguments), f"{function.__qualname__} has no such parameter: {arguments.keys()}"  # noqa: S101
    return found


def _meant_for(name: str, value: object, arguments: Mapping[str, Argument]) -> str:
    """Return a hint where a value is what another parameter takes."""
    if value is None or isinstance(value, str):
        return ""
    others = [
        other
        for other, argument in arguments.items()
        if other != name and not argument.is_text and argument.accepts(value)
    ]
    return f": did you mean {others[0]}=?" if len(others) == 1 else ""
