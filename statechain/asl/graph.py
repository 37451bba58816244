"""Model → graph → Mermaid or DOT text: states as nodes, the insides of Parallel and Map as nested groups.

Plain, or with what an execution did drawn on it (`statechain.asl.picture`). No dependency, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import attrs

from statechain.asl import model
from statechain.asl.model import ABSENT
from statechain.asl.payload import expression_in
from statechain.asl.picture import Standing, Trace, shortened

__all__ = ["COLOURS", "Edge", "Graph", "Node", "graph_of", "rule_text", "to_dot", "to_mermaid"]

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

COLOURS: dict[Standing, tuple[str, str]] = {
    "succeeded": ("#e3f4e8", "#2c8a4b"),
    "caught": ("#fdf1d8", "#b97a0a"),
    "failed": ("#fde4e2", "#c5352b"),
    "running": ("#e1eefc", "#2469c4"),
    "stopped": ("#eceaf4", "#6b5fa0"),
}
"""Fill and line of a state by how it stands."""


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


def graph_of(machine: model.StateMachine) -> Graph:
    """Return the graph of a definition."""
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
    inside: tuple[Graph, ...] = ()
    if isinstance(state, model.Parallel):
        inside = tuple(graph_of(branch) for branch in state.branches)
    elif isinstance(state, model.Map):
        inside = (graph_of(state.item_processor.machine),)
    kind = type(state).__name__
    return Node(name=state.name, type=kind, about=shortened(_about(state), MOST_LABEL), inside=inside)


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


def _every(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes:
        yield node
        for inner in node.inside:
            yield from _every(inner)


def _caption(node: Node, trace: Trace | None) -> list[str]:
    """Return the lines of a node below its name."""
    lines = [f"{node.type} {node.about}".strip()]
    mark = trace.marks.get(node.name) if trace else None
    if mark is not None:
        lines.append(mark.told())
        if mark.error is not None and mark.standing in {"failed", "caught"}:
            lines.append(shortened(mark.error, MOST_LABEL))
    return lines


def _is_taken(edge: Edge, trace: Trace | None) -> bool:
    return trace is not None and (edge.source, edge.target, edge.is_catch) in trace.taken


# Mermaid

SHAPES = {"Choice": ("{{", "}}"), "Wait": ("([", "])"), "Succeed": ("([", "])"), "Fail": ("([", "])")}


def to_mermaid(graph: Graph, trace: Trace | None = None) -> str:
    """Return a Mermaid flowchart."""
    return _Mermaid(graph, trace).text()


class _Mermaid:
    """Writes one flowchart; links are counted, because Mermaid styles them by number."""

    def __init__(self, graph: Graph, trace: Trace | None) -> None:
        self._graph = graph
        self._trace = trace
        self._ids = {node.name: f"s{place}" for place, node in enumerate(_every(graph))}
        self._links = 0
        self._taken = [0]  # the way in

    def text(self) -> str:
        graph = self._graph
        lines = ["---", f"title: {_yaml(self._trace.title)}", "---"] if self._trace else []
        lines += ["flowchart TD", '  begin(("start"))', f"  begin --> {self._ids[graph.start_at]}"]
        self._links = 1
        lines += self._inside(graph, "  ", has_end=True)
        if any(edge.target is None for edge in graph.edges):
            lines.append('  finish(("end"))')
        return "\n".join([*lines, *self._styles()]) + "\n"

    def _inside(self, graph: Graph, indent: str, *, has_end: bool) -> Iterator[str]:
        for node in graph.nodes:
            yield from self._node(node, indent)
        for edge in graph.edges:
            if edge.target is not None or has_end:
                yield indent + self._link(edge)

    def _node(self, node: Node, indent: str) -> Iterator[str]:
        own = self._ids[node.name]
        label = "<br/>".join(_mermaid(line) for line in [node.name, *_caption(node, self._trace)])
        if not node.inside:
            left, right = SHAPES.get(node.type, ("[", "]"))
            yield f'{indent}{own}{left}"{label}"{right}'
            return
        yield f'{indent}subgraph {own}["{label}"]'
        for place, inner in enumerate(node.inside):
            deeper = indent + "  "
            if node.type == "Parallel":
                yield f'{deeper}subgraph {own}b{place}["branch {place}"]'
                yield from self._inside(inner, deeper + "  ", has_end=False)
                yield f"{deeper}end"
            else:
                yield from self._inside(inner, deeper, has_end=False)
        yield f"{indent}end"

    def _link(self, edge: Edge) -> str:
        if _is_taken(edge, self._trace):
            self._taken.append(self._links)
        self._links += 1
        arrow = "-.->" if edge.is_catch else "-->"
        label = f'|"{_mermaid(edge.label)}"|' if edge.label else ""
        target = "finish" if edge.target is None else self._ids[edge.target]
        return f"{self._ids[edge.source]} {arrow}{label} {target}"

    def _styles(self) -> Iterator[str]:
        if self._trace is None:
            return
        for standing, (fill, line) in COLOURS.items():
            names = [name for name in self._ids if self._standing(name) == standing]
            if names:
                yield f"  classDef {standing} fill:{fill},stroke:{line},color:#1b1f24"
                yield f"  class {','.join(self._ids[name] for name in names)} {standing}"
        if self._taken:
            yield f"  linkStyle {','.join(map(str, self._taken))} stroke:#1b1f24,stroke-width:2.5px"

    def _standing(self, name: str) -> Standing | None:
        mark = self._trace.marks.get(name) if self._trace else None
        return None if mark is None else mark.standing


def _mermaid(text: str) -> str:
    """Return a text as Mermaid takes it inside quotes: everything that could be markup as an entity."""
    return re.sub(r"[^\w .,:=/·×≤≥()+-]", lambda found: f"#{ord(found[0])};", text.replace("\n", " "))


def _yaml(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\n", " ") + "'"


# DOT


def to_dot(graph: Graph, trace: Trace | None = None) -> str:
    """Return a Graphviz digraph."""
    ids = {node.name: f"s{place}" for place, node in enumerate(_every(graph))}
    lines = ["digraph {", "  graph [compound=true, fontname=Helvetica, fontsize=11, nodesep=0.4, ranksep=0.5];"]
    if trace:
        lines[1] = lines[1].replace("compound=true", f"compound=true, label={_dot(trace.title)}, labelloc=t")
    lines += [
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname=Helvetica, fontsize=11];',
        "  edge [fontname=Helvetica, fontsize=10];",
        '  begin [shape=circle, label="", width=0.2, fillcolor=black];',
        f"  begin -> {ids[graph.start_at]}{_attributes(lhead=_cluster(_find(graph, graph.start_at), ids))};",
        *_dot_inside(graph, ids, trace, "  ", has_end=True),
    ]
    if any(edge.target is None for edge in graph.edges):
        lines.append('  finish [shape=doublecircle, label="", width=0.15, fillcolor=black];')
    return "\n".join([*lines, "}"]) + "\n"


def _dot_inside(
    graph: Graph, ids: dict[str, str], trace: Trace | None, indent: str, *, has_end: bool
) -> Iterator[str]:
    for node in graph.nodes:
        yield from _dot_node(node, ids, trace, indent)
    for edge in graph.edges:
        if edge.target is None and not has_end:
            continue
        source = _find(graph, edge.source)
        target = None if edge.target is None else _find(graph, edge.target)
        style = _attributes(
            label=_dot(edge.label) if edge.label else None,
            style="dashed" if edge.is_catch else None,
            penwidth="2" if _is_taken(edge, trace) else None,
            ltail=_cluster(source, ids),
            lhead=_cluster(target, ids) if target else None,
        )
        yield f"{indent}{_last(source, ids)} -> {ids[target.name] if target else 'finish'}{style};"


def _dot_node(node: Node, ids: dict[str, str], trace: Trace | None, indent: str) -> Iterator[str]:
    own = ids[node.name]
    mark = trace.marks.get(node.name) if trace else None
    label = _dot("\n".join([node.name, *_caption(node, trace)]))
    fill, line = COLOURS[mark.standing] if mark else (None, None)
    if not node.inside:
        shape = "hexagon" if node.type == "Choice" else None
        yield f"{indent}{own}{_attributes(label=label, shape=shape, fillcolor=_dot(fill), color=_dot(line))};"
        return
    yield f"{indent}subgraph cluster_{own} {{"
    yield f"{indent}  graph{_attributes(label=label, style='rounded', color=_dot(line))};"
    # Edges of a cluster must have an end inside it: this point is where they enter.
    yield f'{indent}  {own} [shape=point, label="", width=0.06];'
    for place, inner in enumerate(node.inside):
        yield f"{indent}  subgraph cluster_{own}_{place} {{"
        named = _dot(f"branch {place}") if node.type == "Parallel" else '""'
        yield f"{indent}    graph [label={named}, style=dotted];"
        yield from _dot_inside(inner, ids, trace, indent + "    ", has_end=False)
        yield f"{indent}  }}"
        yield f"{indent}  {own} -> {ids[inner.start_at]} [style=dotted, arrowhead=none];"
    yield f"{indent}}}"


def _find(graph: Graph, name: str) -> Node:
    return next(node for node in graph.nodes if node.name == name)


def _cluster(node: Node, ids: dict[str, str]) -> str | None:
    return f"cluster_{ids[node.name]}" if node.inside else None


def _last(node: Node, ids: dict[str, str]) -> str:
    """Return the id of the lowest node of a state: what follows is drawn below it."""
    while node.inside:
        inner = node.inside[0]
        ends = [edge.source for edge in inner.edges if edge.target is None]
        if not ends:
            break
        node = _find(inner, ends[-1])
    return ids[node.name]


def _attributes(**given: str | None) -> str:
    found: Iterable[str] = [f"{name}={value}" for name, value in given.items() if value is not None]
    return f" [{', '.join(found)}]" if found else ""


def _dot(text: str | None) -> str | None:
    if text is None:
        return None
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
