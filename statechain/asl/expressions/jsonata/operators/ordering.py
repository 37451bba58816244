"""The order-by operator ``^(…)``: terms in priority order, ascending or descending; what has no value goes last."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cmp_to_key

from statechain.asl.expressions.cause_text import is_number
from statechain.asl.expressions.jsonata.library import Evaluator, Frame, JList, Node, Value
from statechain.asl.expressions.jsonata.messages import JSONataError
from statechain.asl.expressions.jsonata.operators.arithmetic import COMPARISONS

__all__ = ["ordered"]


def ordered(engine: Evaluator, node: Node, items: Sequence[Value], frame: Frame) -> Sequence[Value]:
    """Return a path's items, or the tuples of its stream, in a node's order.

    Raises JException (T2007, T2008) where two values cannot be compared.
    """
    is_stream = isinstance(items, JList) and items.tuple_stream

    def evaluate(expression: Node, item: Value) -> Value:
        if is_stream:
            return engine.eval(expression, item["@"], engine.create_frame_from_tuple(frame, item))
        return engine.eval(expression, item, frame)

    def compare(one: Value, other: Value) -> int:
        for term in node.terms:
            order = _compare(evaluate(term.expression, one), evaluate(term.expression, other), term, node.position)
            if order:
                return order
        return 0

    return items if len(items) <= 1 else sorted(items, key=cmp_to_key(compare))


def _compare(one: Value, other: Value, term: Node, position: int) -> int:
    if one is None or other is None:
        return (one is None) - (other is None)
    for value in (one, other):
        if not (is_number(value) or isinstance(value, str)):
            raise JSONataError("T2008", position, one, other)
    if isinstance(one, str) != isinstance(other, str):
        raise JSONataError("T2007", position, one, other)
    if one == other:
        return 0
    return -1 if COMPARISONS["<"](one, other) != bool(term.descending) else 1
