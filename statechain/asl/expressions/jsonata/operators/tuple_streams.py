"""Streams of tuples: what each step of a path with ``@``, ``#`` or ``%`` has bound, beside the item that it found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from statechain.asl.expressions.jsonata.library import Evaluator, Frame, JList, Node, Value

__all__ = ["tuples"]


def tuples(
    engine: Evaluator, node: Node, bindings: Iterable[Mapping[str, Value]], frame: Frame
) -> list[dict[str, Value]]:
    """Return a tuple for each item that a step finds from some tuples, beside what those have bound already."""
    made: list[dict[str, Value]] = []
    for binding in bindings:
        found = engine.eval(node, binding["@"], engine.create_frame_from_tuple(frame, binding))
        if found is None:
            continue
        items = found if isinstance(found, list) else [found]
        engine.charge(len(items))
        is_stream = isinstance(found, JList) and found.tuple_stream
        made.extend(
            {**binding, **(item if is_stream else _bound(node, binding, item, place))}
            for place, item in enumerate(items)
        )
    return made


def _bound(node: Node, binding: Mapping[str, Value], item: Value, place: int) -> dict[str, Value]:
    """Return what a step adds to a tuple for one item that it found."""
    added: dict[str, Value] = {"@": item}
    if node.focus is not None:
        added = {"@": binding["@"], node.focus: item}
    if node.index is not None:
        added[node.index] = place
    if node.ancestor is not None:
        added[node.ancestor.label] = binding["@"]
    return added
