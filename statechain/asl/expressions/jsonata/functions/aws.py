"""The functions that AWS adds to JSONata, or has in place of JSONata's own: a table by name."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Callable
from typing import Any, NoReturn

from jsonata import jexception

from statechain.asl.expressions.java_random import JavaRandom
from statechain.asl.expressions.jsonata.budget import LARGEST_VALUE
from statechain.asl.expressions.jsonata.engine import Engine
from statechain.asl.expressions.jsonata.library import Value
from statechain.asl.expressions.jsonata.messages import argument_error
from statechain.asl.expressions.jsonata.operators.arithmetic import whole_if_whole
from statechain.asl.expressions.jsonata.pictures.moments import format_moment
from statechain.asl.expressions.jsonata.values import NULL, to_library
from statechain.codec.hints import wrong_place

__all__ = ["AWS_FUNCTIONS", "millis"]

ALGORITHMS = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
LONGEST_RANGE = 360_145
"""How many numbers of a `$range` fill AWS's bound on a value; those of a range in brackets count for less."""


def _partition(_engine: Engine, array: Value, size: Value) -> Value:
    if array is None:
        return None
    if array == [NULL]:
        raise jexception.JException("T0412", -1, 1, "partition", "arrays")
    width = len(array) if size is None else math.trunc(size)
    if width < 0:
        raise argument_error("Second argument must be zero or greater")
    if width == 0:
        return None
    return [array[place : place + width] for place in range(0, len(array), width)] or None


def _range(engine: Engine, first: Value, last: Value, step: Value) -> Value:
    if first is None or last is None or step is None:
        return None
    start, end, width = math.trunc(first), math.trunc(last), math.trunc(step)
    if width == 0 or (end - start) * width < 0:
        return None
    count = (end - start) // width + 1
    engine.allow(-(-count * LARGEST_VALUE // LONGEST_RANGE))
    return start if count == 1 else [start + place * width for place in range(count)]


def _hash(_engine: Engine, data: Value, algorithm: Value) -> Value:
    if data is None or algorithm is None:
        return None
    if algorithm not in ALGORITHMS:
        raise argument_error(f"Algorithm must be one of {', '.join(ALGORITHMS)}")
    return hashlib.new(ALGORITHMS[algorithm], data.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()


def _parse(_engine: Engine, text: Value) -> Value:
    if text is None:
        return None
    try:
        return to_library(_decode(text))
    except json.JSONDecodeError as error:
        raise argument_error(f"Invalid JSON: {wrong_place(error)}") from error
    except RecursionError as error:
        raise argument_error("Invalid JSON: it nests too deep") from error
    except ValueError as error:
        raise argument_error(f"Invalid JSON: {error}") from error


def _whole(digits: str) -> float:
    """Return a whole number exactly where it fits into 64 bits, else as a double."""
    # A longer one cannot fit into 64 bits: as a double it is read faster.
    number = int(digits) if len(digits) <= 20 else float(digits)
    return number if -(2**63) <= number < 2**63 else _finite(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} is beyond the range of a double")
    return whole_if_whole(number)  # type: ignore[no-any-return]


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(members)
    # Refused: Python's decoder would keep the last one, in silence.
    if len(made) < len(members):
        raise ValueError("a key is repeated")
    return made


_decode = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_whole, parse_float=_finite, parse_constant=_refuse
).decode


def _random(engine: Engine, seed: Value) -> float:
    return engine.context.random().random() if seed is None else JavaRandom(math.trunc(seed)).fraction()


def _uuid(engine: Engine) -> str:
    return str(uuid.UUID(int=engine.context.random().getrandbits(128), version=4))


def _shuffle(engine: Engine, array: Value) -> Value:
    if array is None:
        return None
    items = list(array)
    engine.context.random().shuffle(items)
    return items


def millis(engine: Engine) -> int:
    """Return what ``$now`` is: when the state was entered, in milliseconds since 1970."""
    return int(engine.context.now().timestamp() * 1000)


def _now(engine: Engine, picture: Value, timezone: Value) -> str:
    return format_moment(millis(engine), picture, timezone, engine.allow)


AWS_FUNCTIONS: dict[str, tuple[str, Callable[..., Value]]] = {
    "partition": ("<an?:a>", _partition),
    "range": ("<nnn?:a>", _range),
    "hash": ("<ss?:s>", _hash),
    "parse": ("<s?:x>", _parse),
    "random": ("<n?:n>", _random),
    "uuid": ("<:s>", _uuid),
    "shuffle": ("<a:a>", _shuffle),
    "now": ("<s?s?:s>", _now),
    "millis": ("<:n>", millis),
}
"""Each function with its signature, in JSONata's notation; it takes the engine before its arguments."""
