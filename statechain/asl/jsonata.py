"""The one adapter round the JSONata library: an expression's text → a function of (``$states``, context).

It binds ``$states`` and the variables, adds AWS's own functions, refuses what AWS refuses, and bounds time and depth by
a budget of evaluation steps. The library is imported when the first expression is compiled.
"""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from statechain.asl.outcome import Context
from statechain.codec import JSONValue, decode, encode
from statechain.errors import InvalidPayload, StateError
from statechain.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["JSONataSyntaxError", "compile_jsonata", "shown", "type_name"]

Evaluate = Callable[[Mapping[str, JSONValue], Context], JSONValue]
HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
TYPE_NAMES = {str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}


class JSONataSyntaxError(ValueError):
    """A text is no JSONata that a state may use; ``column`` is the offset of the fault in it, from 0."""

    def __init__(self, message: str, column: int = 0) -> None:
        self.column = column
        super().__init__(message)


class _Refusal(Exception):  # noqa: N818 -- it never leaves this module
    """A function's word that its arguments do not fit."""


def type_name(value: JSONValue) -> str:
    """Return the JSON name of a value's type, as AWS's causes show it."""
    return TYPE_NAMES.get(type(value), "null")


def shown(value: JSONValue) -> str:
    """Return a value as AWS's causes show it."""
    return encode(value)


def compile_jsonata(text: str, field: str = "", *, limits: Limits = DEFAULT_LIMITS) -> Evaluate:
    """Compile an expression; ``field`` is where it stands, such as ``"Output/total"``, for causes.

    The compiled expression raises StateError (States.QueryEvaluationError). Raises JSONataSyntaxError.
    """
    library = _library()
    try:
        expression = library.jsonata.Jsonata(text, _regular_expression)
        _refuse_bare(expression.ast, library)
    except (library.jexception.JException, RecursionError, ValueError, TypeError, AttributeError, IndexError) as fault:
        if isinstance(fault, JSONataSyntaxError):
            raise
        column = max(0, getattr(fault, "location", 1) - 1)
        raise JSONataSyntaxError(f"{text!r} is no JSONata expression: {fault}", column) from fault
    expression.set_output_convert_nulls(False)
    expression.set_validate_input(False)
    functions = {name: library.jsonata.Jsonata.JLambda(function) for name, function in FUNCTIONS.items()}
    for name, function in functions.items():
        expression.assign(name, function)
    failure = f"The JSONata expression '{text}' specified for the field '{field}'"

    def evaluate(states: Mapping[str, JSONValue], context: Context) -> JSONValue:
        budget = _Budget(limits, library)
        bindings = {
            **_native(context.variables, library),
            "states": _native(states, library),
            "__evaluate_entry": budget.enter,
            "__evaluate_exit": budget.leave,
            **_timely(context, library),
        }
        try:
            result = expression.evaluate(None, bindings)
            return _plain(result, library, failure, field)
        except StateError:
            raise
        except RecursionError as fault:
            raise _failed(f"{failure} recursed too deep.", field) from fault
        except Exception as fault:  # noqa: BLE001 -- the library raises bare exceptions of any kind
            raise _failed(f"{failure} threw an error during evaluation. {_message(fault)}", field) from fault

    return evaluate


def _failed(cause: str, field: str) -> StateError:
    return StateError("States.QueryEvaluationError", cause, location=field)


def _message(fault: Exception) -> str:
    code = getattr(fault, "error", None)
    return f"{code}: {fault}" if isinstance(code, str) else str(fault)


@lru_cache(maxsize=1)
def _library() -> ModuleType:
    import jsonata
    import jsonata.jexception
    import jsonata.jsonata
    import jsonata.utils

    return jsonata


def _regular_expression(pattern: str, flags: Any) -> Any:  # noqa: ANN401 -- the library's own types
    """Compile a regular expression by RE2, whose matching is linear in the text."""
    import re2

    options = re2.Options()
    options.case_sensitive = not flags.case_insensitive
    options.log_errors = False
    try:
        return re2.compile(f"(?m){pattern}" if flags.multiline else pattern, options=options)
    except re2.error as fault:
        raise JSONataSyntaxError(f"the regular expression /{pattern}/ is not supported: {fault}") from fault


def _refuse_bare(node: Any, library: ModuleType) -> None:  # noqa: ANN401
    """Refuse references to an input document, which states do not have: ``$``, ``$$`` and bare names at the top."""
    kind = getattr(node, "type", None)
    if kind == "path" and node.steps:
        _refuse_bare(node.steps[0], library)
    elif kind == "binary":
        _refuse_bare(node.lhs, library)
        _refuse_bare(node.rhs, library)
    elif kind == "name":
        raise JSONataSyntaxError(f"{node.value!r} refers to an input document: write $states.input.{node.value}")
    elif kind == "variable" and node.value in {"", "$"}:
        raise JSONataSyntaxError(f"'${node.value}' refers to an input document: write $states.input")


class _Budget:
    """Counts evaluation steps and depth, so that no expression runs away."""

    STEPS_PER_SECOND = 200_000
    LONGEST_SEQUENCE = 100_000

    def __init__(self, limits: Limits, library: ModuleType) -> None:
        self._steps = int(limits.jsonata_seconds * self.STEPS_PER_SECOND)
        self._depth = limits.jsonata_depth
        self._library = library

    def enter(self, _expression: object, _input: object, _environment: object) -> None:
        self._steps -= 1
        self._depth -= 1
        if self._depth < 0:
            raise _Refusal("the expression recursed too deep")
        if self._steps < 0:
            raise _Refusal("the expression took too many steps")

    def leave(self, _expression: object, _input: object, _environment: object, result: object) -> None:
        self._depth += 1
        if isinstance(result, list) and len(result) > self.LONGEST_SEQUENCE:
            raise _Refusal(f"a sequence may have at most {self.LONGEST_SEQUENCE} items")


# Values: the library tells null (a marker) from undefined (None)


def _native(value: Any, library: ModuleType) -> Any:  # noqa: ANN401
    if value is None:
        return library.utils.Utils.NULL_VALUE
    if isinstance(value, Mapping):
        return {key: _native(item, library) for key, item in value.items()}
    if isinstance(value, list):
        return [_native(item, library) for item in value]
    return value


def _plain(value: Any, library: ModuleType, failure: str, field: str) -> JSONValue:  # noqa: ANN401
    if value is None:
        raise _failed(f"{failure} returned nothing (undefined).", field)
    return _value_of(value, library, failure, field)


def _value_of(value: Any, library: ModuleType, failure: str, field: str) -> JSONValue:  # noqa: ANN401
    if value is None or value is library.utils.Utils.NULL_VALUE:
        return None
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _failed(f"{failure} returned a number that JSON does not have.", field)
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Mapping):
        return {str(key): _value_of(item, library, failure, field) for key, item in value.items()}
    if isinstance(value, list | tuple | range) or type(value).__name__ == "RangeList":
        return [_value_of(item, library, failure, field) for item in value]
    raise _failed(f"{failure} returned an unsupported result type.", field)


# AWS's own functions


def _partition(array: Any = None, size: Any = None) -> Any:  # noqa: ANN401
    if array is None:
        return None
    items = array if isinstance(array, list) else [array]
    if isinstance(size, bool) or not isinstance(size, int | float) or size < 1:
        raise _Refusal("the size of a part must be at least 1")
    width = math.floor(size)
    return [items[place : place + width] for place in range(0, len(items), width)]


def _range(first: Any = None, last: Any = None, step: Any = None) -> Any:  # noqa: ANN401
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in (first, last, step)):
        raise _Refusal("$range takes three numbers")
    if step == 0:
        raise _Refusal("the step must not be 0")
    count = max(0, math.floor((last - first) / step) + 1)
    if count > DEFAULT_LIMITS.array_range:
        raise _Refusal(f"the range would have {count} items, and the limit is {DEFAULT_LIMITS.array_range}")
    return [first + place * step for place in range(count)]


def _hash(data: Any = None, algorithm: Any = None) -> Any:  # noqa: ANN401
    if not isinstance(data, str):
        raise _Refusal("$hash takes a string")
    if algorithm not in HASHES:
        raise _Refusal(f"the algorithm must be one of {', '.join(HASHES)}")
    return hashlib.new(HASHES[algorithm], data.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()


def _parse(text: Any = None) -> Any:  # noqa: ANN401
    if text is None:
        return None
    try:
        return _native(decode(text), _library())
    except (InvalidPayload, TypeError, AttributeError) as fault:
        raise _Refusal(f"$parse takes JSON text: {fault}") from fault


def _eval(*_arguments: Any) -> Any:  # noqa: ANN401
    raise _Refusal("$eval is not supported")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "partition": _partition,
    "range": _range,
    "hash": _hash,
    "parse": _parse,
    "eval": _eval,
}


def _timely(context: Context, library: ModuleType) -> dict[str, Any]:
    """Return the functions that draw on the visit: its time and its random source."""

    def draw(seed: Any = None) -> float:  # noqa: ANN401
        if seed is None:
            return context.random().random()
        digest = hashlib.sha256(str(seed).encode()).digest()
        return int.from_bytes(digest[:7], "big") / 2**56

    def new_uuid() -> str:
        return str(uuid.UUID(int=context.random().getrandbits(128), version=4))

    def now() -> str:
        return re.sub(r"(\.\d{3})\d*", r"\1", context.now().strftime("%Y-%m-%dT%H:%M:%S.%f")) + "Z"

    def millis() -> int:
        return int(context.now().timestamp() * 1000)

    of = library.jsonata.Jsonata.JLambda
    return {"random": of(draw), "uuid": of(new_uuid), "now": of(now), "millis": of(millis)}
