"""What a syntax tree refers to: variables, fields of ``$states``, and an input document, which states do not have."""

from __future__ import annotations

from collections.abc import Iterator

from statechain.asl.expressions.jsonata.library import Node

__all__ = ["BareReference", "refuse_bare", "states_fields", "variables"]


OWN = ("lhs", "rhs", "expression", "procedure", "body", "condition", "then", "_else")
CHILDREN = (*OWN, "pattern", "update", "delete", "expr", "group")
REFERS = "refers to an input document, which a state does not have"
LISTS = ("steps", "arguments", "expressions", "predicate", "stages", "terms")


class BareReference(Exception):
    """An expression refers to an input document; ``column`` is where, from 0."""

    def __init__(self, message: str, column: int) -> None:
        self.column = column
        super().__init__(message)


def _nodes(root: Node) -> Iterator[Node]:
    """Yield a node and all below it, one that is there twice only once."""
    pending, seen = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in seen or (getattr(node, "type", None) is None and not hasattr(node, "lhs_object")):
            continue
        seen.add(id(node))
        yield node
        for name in CHILDREN:
            child = getattr(node, name, None)
            if child is not None and not isinstance(child, str):
                pending.append(child)
        for name in LISTS:
            pending.extend(getattr(node, name, None) or ())
        for pair in getattr(node, "lhs_object", None) or ():
            pending.extend(pair)


def variables(root: Node) -> frozenset[str]:
    """Return the names of all variables that are read, those of functions included."""
    return frozenset(str(node.value) for node in _nodes(root) if node.type == "variable")


def states_fields(root: Node) -> frozenset[str] | None:
    """Return which fields of ``$states`` are read; None where it is read as a whole."""
    fields: set[str] = set()
    seen = 0
    for node in _nodes(root):
        if node.type == "variable" and node.value == "states":
            seen += 1
        elif node.type == "path" and _is_states(node.steps[0]) and len(node.steps) > 1 and node.steps[1].type == "name":
            fields.add(str(node.steps[1].value))
            # Its first step counts as a variable, too: what is left over in the end is read as a whole.
            seen -= 1
    return frozenset(fields) if seen <= 0 else None


def _is_states(node: Node) -> bool:
    return node.type == "variable" and node.value == "states" and node.predicate is None and node.stages is None


def refuse_bare(root: Node) -> None:
    """Refuse references to an input document: ``$``, ``$$`` and bare names outside of any context."""
    pending, seen = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        kind = getattr(node, "type", None)
        if kind == "name":
            instead = f"write $states.input.{node.value}"
            # The library's position is the one behind a name.
            raise BareReference(f"{node.value!r} {REFERS}: {instead}", max(0, node.position - len(str(node.value))))
        if kind == "variable" and node.value in {"", "$"}:
            raise BareReference(f"'${node.value}' {REFERS}: write $states.input", max(0, node.position - 1))
        if kind == "path":
            pending.append(node.steps[0])
        elif kind in {"binary", "condition", "block", "unary", "function", "bind", "apply", "lambda"}:
            pending.extend(_outside(node))


def _outside(node: Node) -> Iterator[Node]:
    """Yield the parts of a node that are evaluated in the node's own context."""
    for name in OWN:
        child = getattr(node, name, None)
        if child is not None and not isinstance(child, str) and not (node.type == "bind" and name == "lhs"):
            yield child
    yield from node.expressions or ()
    if node.type == "function":
        yield from node.arguments or ()
    for pair in node.lhs_object or ():
        yield from pair
