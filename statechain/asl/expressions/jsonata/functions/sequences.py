"""JSONata's functions of sequences and objects: those that call a function for each member, and those that compare.

They charge the budget as they go. The library's own keep no budget, or take quadratic time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from jsonata import functions as library_functions
from jsonata import jexception

from statechain.asl.expressions.cause_text import is_number
from statechain.asl.expressions.jsonata.engine import Engine
from statechain.asl.expressions.jsonata.library import JList, Value, is_function, sequence_of
from statechain.asl.expressions.jsonata.values import Walker
from statechain.asl.expressions.utf16 import order_key

__all__ = ["SEQUENCE_FUNCTIONS"]

Library = library_functions.Functions
SORTED_AT_ONCE = 10_000


def _applied(engine: Engine, function: Value, arguments: list[Value]) -> Value:
    return engine.apply(function, arguments, None, None)


def _argued(function: Value, *arguments: Value) -> list[Value]:
    """Return as many arguments as a function takes."""
    if Library.is_regex(function):
        return [arguments[0]]
    return list(arguments[: max(1, Library.get_function_arity(function))])


def _map(engine: Engine, array: Value, function: Value) -> Value:
    if array is None:
        return None
    results = sequence_of()
    for place, item in enumerate(array):
        result = _applied(engine, function, _argued(function, item, place, array))
        if result is not None:
            results.append(result)
    return results


def _filter(engine: Engine, array: Value, function: Value) -> Value:
    if array is None:
        return None
    results = sequence_of()
    for place, item in enumerate(array):
        if engine.boolize(_applied(engine, function, _argued(function, item, place, array))):
            results.append(item)
    return results


def _single(engine: Engine, array: Value, function: Value) -> Value:
    if array is None:
        return None
    found = array if function is None else _filter(engine, array, function)
    if len(found) != 1:
        raise jexception.JException("D3138" if found else "D3139", -1)
    return found[0]


def _reduce(engine: Engine, array: Value, function: Value, first: Value) -> Value:
    if array is None:
        return None
    if not Library.is_regex(function) and Library.get_function_arity(function) < 2:
        raise jexception.JException("D3050", -1)
    items = list(array)
    result = first if first is not None else items[0] if items else None
    for place in range(0 if first is not None else 1, len(items)):
        result = _applied(engine, function, _argued(function, result, items[place], place, array))
        engine.charge(1)
    return result


def _each(engine: Engine, value: Value, function: Value) -> Value:
    if value is None:
        return None
    results = sequence_of()
    for key, item in value.items():
        result = _applied(engine, function, _argued(function, item, key, value))
        if result is not None:
            results.append(result)
    return results


def _sift(engine: Engine, value: Value, function: Value) -> Value:
    if value is None or function is None:
        return value or None
    kept = {
        key: item
        for key, item in value.items()
        if engine.boolize(_applied(engine, function, _argued(function, item, key, value)))
    }
    return kept or None


def _sort(engine: Engine, array: Value, function: Value) -> Value:
    if array is None or len(array) <= 1:
        return array
    if function is None:
        if not (all(map(is_number, array)) or all(isinstance(item, str) for item in array)):
            raise jexception.JException("D3070", -1)
        engine.charge(len(array) // 2)
        return _sorted(array)
    return _merge_sorted(engine, list(array), function)


def _sorted(array: list[Value]) -> list[Value]:
    """Sort in runs: a sort of many items at once would keep other threads from going on."""
    # JavaScript's order of strings.
    key = order_key if isinstance(array[0], str) else None
    if len(array) <= SORTED_AT_ONCE:
        return sorted(array, key=key)
    runs = [sorted(array[begin : begin + SORTED_AT_ONCE], key=key) for begin in range(0, len(array), SORTED_AT_ONCE)]
    return list(heapq.merge(*runs, key=key))


def _merge_sorted(engine: Engine, items: list[Value], function: Value) -> list[Value]:
    """Sort by merging, which asks only whether one item goes after another."""
    if len(items) <= 1:
        return items
    middle = len(items) // 2
    left, right = _merge_sorted(engine, items[:middle], function), _merge_sorted(engine, items[middle:], function)
    merged: list[Value] = []
    one = other = 0
    while one < len(left) and other < len(right):
        engine.charge(1)
        # Only where the function says so: equal items keep their order.
        if engine.boolize(_applied(engine, function, [left[one], right[other]])):
            merged.append(right[other])
            other += 1
        else:
            merged.append(left[one])
            one += 1
    return merged + left[one:] + right[other:]


def _distinct(engine: Engine, array: Value) -> Value:
    if not isinstance(array, list) or len(array) <= 1:
        return array
    seen: dict[object, Value] = {}
    walker = engine.walker()
    for item in array:
        seen.setdefault(_identity(engine, item, walker), item)
    results = sequence_of() if isinstance(array, JList) and array.sequence else []
    results.extend(seen.values())
    return results


def _identity(engine: Engine, value: Value, walker: Walker) -> object:
    """Return what two values have in common exactly where they are equal."""
    if isinstance(value, dict):
        with walker:
            engine.charge(len(value))
            return "o", frozenset((key, _identity(engine, item, walker)) for key, item in value.items())
    if isinstance(value, list):
        with walker:
            engine.charge(len(value))
            return "a", tuple(_identity(engine, item, walker) for item in value)
    # To Python 1 and True are equal.
    return isinstance(value, bool), value


def _spread(engine: Engine, value: Value) -> Value:
    if not isinstance(value, list | dict):
        return "" if is_function(value) else value
    results: list[Value] = [] if isinstance(value, list) and value else sequence_of()
    pending = [value]
    while pending:
        engine.charge(1)
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item[::-1])
        elif isinstance(item, dict):
            engine.charge(len(item))
            results.extend({key: member} for key, member in item.items())
        elif item is not None:
            results.append(item)
    return results


def _lookup(_engine: Engine, value: Value, key: Value) -> Value:
    return None if key is None else Library.lookup(value, key)


SEQUENCE_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "map": _map,
    "filter": _filter,
    "single": _single,
    "reduce": _reduce,
    "each": _each,
    "sift": _sift,
    "sort": _sort,
    "distinct": _distinct,
    "spread": _spread,
    "lookup": _lookup,
}
