"""The grouping operator ``{key: value, …}``: items by their keys, and one value for each group."""

from __future__ import annotations

from statechain.asl.expressions.jsonata.library import Evaluator, Frame, JList, Node, Value, sequence_of
from statechain.asl.expressions.jsonata.messages import JSONataError

__all__ = ["grouped"]


def grouped(engine: Evaluator, node: Node, value: Value, frame: Frame) -> dict[str, Value]:
    """Group the items by their keys, then evaluate each group's value; an object constructor is one group.

    Raises JException: T1003 for a key that is no string, and D1009 for one that two pairs have in common.
    """
    is_stream = isinstance(value, JList) and value.tuple_stream
    items: list[Value] = (value or ([] if is_stream else [None])) if isinstance(value, list) else [value]
    groups: dict[str, tuple[int, list[Value]]] = {}
    for item in items:
        scope = engine.create_frame_from_tuple(frame, item) if is_stream else frame
        for place, (key_node, _) in enumerate(node.lhs_object):
            key = engine.eval(key_node, item["@"] if is_stream else item, scope)
            if key is None:
                continue
            if not isinstance(key, str):
                raise JSONataError("T1003", node.position, key)
            of_pair, members = groups.setdefault(key, (place, []))
            if of_pair != place:
                raise JSONataError("D1009", node.position, key)
            members.append(item)
    made = {}
    for key, (place, members) in groups.items():
        context, scope = _merged_tuples(engine, members, frame) if is_stream else (_joined(members), frame)
        result = engine.eval(node.lhs_object[place][1], context, scope)
        if result is not None:
            made[key] = result
    return made


def _merged_tuples(engine: Evaluator, members: list[Value], frame: Frame) -> tuple[Value, Frame]:
    """Return the item and the scope of a group of tuples: each variable has what it had in any of them."""
    merged = {name: _joined([member[name] for member in members]) for name in members[0]}
    context = merged.pop("@")
    return context, engine.create_frame_from_tuple(frame, merged)


def _joined(members: list[Value]) -> Value:
    """Return the items of a group as one: the only one, or all of them, flattened by one level."""
    if len(members) == 1:
        return members[0]
    joined = sequence_of()
    for member in members:
        if isinstance(member, list):
            joined.extend(member)
        elif member is not None:
            joined.append(member)
    return joined
