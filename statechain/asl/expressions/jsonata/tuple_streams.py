"""Streams of tuples: what each step of a path with ``@``, ``#`` or ``%`` has bound, beside the item that it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from jsonata import utils

__all__ = ["bound", "joined"]

Node: TypeAlias = Any
Value: TypeAlias = Any
sequence_of = utils.Utils.create_sequence


def bound(node: Node, binding: Mapping[str, Value], item: Value, place: int) -> dict[str, Value]:
    """Return what a step adds to a tuple for one item that it found."""
    added: dict[str, Value] = {"@": item}
    if node.focus is not None:
        added = {"@": binding["@"], node.focus: item}
    if node.index is not None:
        added[node.index] = place
    if node.ancestor is not None:
        added[node.ancestor.label] = binding["@"]
    return added


def joined(members: list[Value]) -> Value:
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
