"""Model → graph: states as nodes, ways as edges, the insides of Parallel and Map as separate graphs.

`mermaid`, `dot` and `svg` draw it, plain or with what an execution did on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from statechain.asl import model
from statechain.asl.expressions.payload import expression_in
from statechain.asl.model import ABSENT
from statechain.drawing.picture import shortened

__all__ = ["MOST_LABEL", "Edge", "Graph", "Node", "graph_of", "rule_text"]

SYMBOLS = {
    "Equals": "=",
    "LessThan": "<",
    "GreaterThan": ">",
    "LessThanEquals": "≤",
    "GreaterThanEquals": "≥",
    "Matches": "matches",
}
TESTS = {
    "IsPresent": "present",
    "IsNull": "null",
    "IsString": "a string",
    "IsNumeric": "a number",
    "IsBoolean": "a boolean",
    "IsTimestamp": "a timestamp",
}
COMPARED = re.compile(r"(?:String|Numeric|Boolean|Timestamp)(\w+?)(?:Path)?")
MOST_LABEL = 44


@attrs.frozen(kw_only=True)
class Edge:
    """A way from one state to another, or (``target`` is None) to the end.

    Attributes:
        label: The condition or the errors, or "".

        is_catch: Whether errors go this way.
    """

    source: str
    target: str | None
    label: str = ""
    is_catch: bool = False


@attrs.frozen(kw_only=True)
class Node:
    """A state: what it is, what it is about, and the graphs inside it (branches, or a Map's processor)."""

    name: str
    type: str
    about: str = ""
    inside: tuple[Graph, ...] = ()


@attrs.frozen(kw_only=True)
class Graph:
    """A definition, a branch or a processor, as nodes and edges."""

    start_at: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def every(self) -> Iterator[Node]:
        """Yield every node, each before those inside it."""
        for node in self.nodes:
            yield node
            for inner in node.inside:
                yield from inner.every()


def graph_of(machine: model.StateMachine) -> Graph:
    """Return the graph of a definition."""
    # Rules or Catchers that lead to the same state are one edge, with all their labels.
    edges: dict[tuple[str, str | None, bool], list[str]] = {}
    for state in machine.states.values():
        for edge in _edges(state):
            labels = edges.setdefault((edge.source, edge.target, edge.is_catch), [])
            if edge.label and edge.label not in labels:
                labels.append(edge.label)
    return Graph(
        start_at=machine.start_at,
        nodes=tuple(_node(state) for state in machine.states.values()),
        edges=tuple(
            Edge(source=source, target=target, label=shortened(" or ".join(labels), MOST_LABEL), is_catch=is_catch)
            for (source, target, is_catch), labels in edges.items()
        ),
    )


def _node(state: model.State) -> Node:
    return Node(
        name=state.name,
        type=type(state).__name__,
        about=shortened(_about(state), MOST_LABEL),
        inside=tuple(graph_of(inner) for inner in state.machines),
    )


def _about(state: model.State) -> str:
    """Return what one should know of a state at first sight."""
    match state:
        case model.Task(resource=resource):
            return resource.split(":", 5)[-1].removeprefix("function:") if resource.startswith("arn:") else resource
        case model.Wait():
            given = (state.seconds, state.seconds_path, state.timestamp, state.timestamp_path)
            found = next((str(value) for value in given if value is not ABSENT and value is not None), "")
            return f"{found} s" if state.seconds is not ABSENT and not found.startswith("{%") else _bare(found)
        case model.Map():
            items = state.items if state.items is not ABSENT else state.items_path
            return f"each of {_bare(items)}" if isinstance(items, str) and items != "$" else "each item"
        case model.Fail(error=str() as error):
            return _bare(error)
    return ""


def _edges(state: model.State) -> Iterator[Edge]:
    if isinstance(state, model.Choice):
        for choice in state.choices:
            yield Edge(source=state.name, target=choice.next, label=rule_text(choice.rule))
        if state.default is not None:
            yield Edge(source=state.name, target=state.default, label="otherwise")
        return
    yield Edge(source=state.name, target=getattr(state, "next", None))
    for catcher in getattr(state, "catch", ()):
        names = ["any error" if name == "States.ALL" else name for name in catcher.error_equals]
        yield Edge(source=state.name, target=catcher.next, label=", ".join(names), is_catch=True)


def rule_text(rule: model.Rule) -> str:
    """Return a Choice rule as one would say it: ``total > 100 and not (vip)``."""
    match rule:
        case model.Condition(value=value):
            return _bare(str(value))
        case model.Negation(rule=inner):
            return f"not ({rule_text(inner)})"
        case model.Junction(operator=operator, rules=rules):
            parts = [f"({rule_text(r)})" if isinstance(r, model.Junction) else rule_text(r) for r in rules]
            return f" {operator.lower()} ".join(parts)
        case model.Comparison(variable=variable, operator=operator, operand=operand):
            if operator in TESTS:
                return f"{_bare(variable)} is {'' if operand else 'not '}{TESTS[operator]}"
            compared = COMPARED.fullmatch(operator)
            symbol = SYMBOLS.get(compared[1], operator) if compared else operator
            if operator.endswith("Path"):
                return f"{_bare(variable)} {symbol} {_bare(str(operand))}"
            said = {True: "true", False: "false"}.get(operand, operand) if isinstance(operand, bool) else operand
            return f"{_bare(variable)} {symbol} {said}"


def _bare(text: str) -> str:
    """Return a path without its ``$.``, an expression without its braces."""
    inner = expression_in(text)
    return inner.strip() if inner is not None else text.removeprefix("$.")
