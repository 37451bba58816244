"""A definition, or an execution on it → a tree for the terminal: where each state leads, and what became of it."""

from __future__ import annotations

from rich.text import Text
from rich.tree import Tree

from statechain.cli.render import STANDINGS, STYLES
from statechain.drawing.graph import Edge, Graph, Node
from statechain.drawing.picture import Mark, Trace, printable

__all__ = ["tree_of"]

SIGNS = {
    "Task": "●",
    "Choice": "◆",
    "Wait": "◷",
    "Parallel": "⇉",
    "Map": "⟳",
    "Pass": "○",
    "Succeed": "✓",
    "Fail": "✗",
}


def tree_of(graph: Graph, name: str, trace: Trace | None = None) -> Tree:
    """Return the tree; states are in the order of a walk. With a trace, only the ways that were gone are reported."""
    title = Text(trace.title if trace else name, style=f"bold {STYLES[trace.status]}" if trace else "bold")
    tree = Tree(title, guide_style="dim")
    _grow(tree, graph, trace)
    return tree


def _grow(tree: Tree, graph: Graph, trace: Trace | None) -> None:
    leaving: dict[str, list[Edge]] = {node.name: [] for node in graph.nodes}
    for edge in graph.edges:
        leaving[edge.source].append(edge)
    for node in _reached(graph, leaving):
        branch = tree.add(_line(node, leaving[node.name], trace))
        for place, inner in enumerate(node.inside):
            below = branch.add(Text(f"branch {place}", style="dim")) if node.type == "Parallel" else branch
            _grow(below, inner, trace)


def _reached(graph: Graph, leaving: dict[str, list[Edge]]) -> list[Node]:
    """Return the nodes in the order of a walk, breadth first."""
    nodes = {node.name: node for node in graph.nodes}
    order = [graph.start_at]
    seen = {graph.start_at}
    for name in order:  # grows as it goes
        for edge in leaving[name]:
            if edge.target is not None and edge.target not in seen:
                seen.add(edge.target)
                order.append(edge.target)
    return [nodes[name] for name in order]


def _line(node: Node, edges: list[Edge], trace: Trace | None) -> Text:
    mark = trace.marks.get(node.name) if trace else None
    sign, style = STANDINGS[mark.standing] if mark else ("·", "dim") if trace else (SIGNS[node.type], "cyan")
    line = Text.assemble((f"{sign} ", style), (printable(node.name), "bold" if mark or not trace else "dim"))
    line.append(f"  {node.type} {node.about}".rstrip(), style="dim")
    if mark is not None:
        line.append(f"  {_described(mark)}", style=style)
    for edge in edges:
        is_taken = trace is None or (edge.source, edge.target, edge.is_catch) in trace.taken
        if edge.target is not None and is_taken:
            line.append(printable(f"  {'⇢' if edge.is_catch else '→'} {edge.target}"))
            line.append(f" [{edge.label}]" if edge.label else "", style="dim")
    return line


def _described(mark: Mark) -> str:
    return printable(f"{mark.described()} · {mark.error}") if mark.error is not None else mark.described()
