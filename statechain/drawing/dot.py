"""A graph, plain or with an execution drawn on it → a Graphviz digraph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from statechain.drawing.graph import MOST_LABEL, Graph, Node
from statechain.drawing.picture import COLOURS, Trace, printable

__all__ = ["to_dot"]


def to_dot(graph: Graph, trace: Trace | None = None) -> str:
    """Return a Graphviz digraph."""
    # Names may hold anything: numbers are ids in every format.
    ids = {node.name: f"s{place}" for place, node in enumerate(graph.every())}
    lines = ["digraph {", "  graph [compound=true, fontname=Helvetica, fontsize=11, nodesep=0.4, ranksep=0.5];"]
    if trace:
        lines[1] = lines[1].replace("compound=true", f"compound=true, label={_quoted(trace.title)}, labelloc=t")
    lines += [
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname=Helvetica, fontsize=11];',
        "  edge [fontname=Helvetica, fontsize=10];",
        '  begin [shape=circle, label="", width=0.2, fillcolor=black];',
        f"  begin -> {ids[graph.start_at]}{_attributes(lhead=_cluster(_find(graph, graph.start_at), ids))};",
        *_inside(graph, ids, trace, "  ", has_end=True),
    ]
    if any(edge.target is None for edge in graph.edges):
        lines.append('  finish [shape=doublecircle, label="", width=0.15, fillcolor=black];')
    return "\n".join([*lines, "}"]) + "\n"


def _inside(graph: Graph, ids: dict[str, str], trace: Trace | None, indent: str, *, has_end: bool) -> Iterator[str]:
    for node in graph.nodes:
        yield from _node(node, ids, trace, indent)
    for edge in graph.edges:
        if edge.target is None and not has_end:
            continue
        is_taken = trace is not None and (edge.source, edge.target, edge.is_catch) in trace.taken
        source = _find(graph, edge.source)
        target = None if edge.target is None else _find(graph, edge.target)
        style = _attributes(
            label=_quoted(edge.label) if edge.label else None,
            style="dashed" if edge.is_catch else None,
            penwidth="2" if is_taken else None,
            ltail=_cluster(source, ids),
            lhead=_cluster(target, ids) if target else None,
        )
        yield f"{indent}{_last(source, ids)} -> {ids[target.name] if target else 'finish'}{style};"


def _node(node: Node, ids: dict[str, str], trace: Trace | None, indent: str) -> Iterator[str]:
    own = ids[node.name]
    standing = trace.standing(node.name) if trace else None
    marked = trace.lines(node.name, MOST_LABEL) if trace else []
    label = _quoted("\n".join([node.name, f"{node.type} {node.about}".strip(), *marked]))
    fill, line = COLOURS[standing] if standing else (None, None)
    if not node.inside:
        shape = "hexagon" if node.type == "Choice" else None
        yield f"{indent}{own}{_attributes(label=label, shape=shape, fillcolor=_quoted(fill), color=_quoted(line))};"
        return
    yield f"{indent}subgraph cluster_{own} {{"
    yield f"{indent}  graph{_attributes(label=label, style='rounded', color=_quoted(line))};"
    # Edges of a cluster must have an end inside it: this point is where they enter.
    yield f'{indent}  {own} [shape=point, label="", width=0.06];'
    for place, inner in enumerate(node.inside):
        yield f"{indent}  subgraph cluster_{own}_{place} {{"
        named = _quoted(f"branch {place}") if node.type == "Parallel" else '""'
        yield f"{indent}    graph [label={named}, style=dotted];"
        yield from _inside(inner, ids, trace, indent + "    ", has_end=False)
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


def _quoted(text: str | None) -> str | None:
    if text is None:
        return None
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
