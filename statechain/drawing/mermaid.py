"""A graph, plain or with an execution drawn on it → a Mermaid flowchart."""

from __future__ import annotations

import re
from collections.abc import Iterator

from statechain.drawing.graph import MOST_LABEL, Edge, Graph, Node
from statechain.drawing.picture import COLOURS, Trace

__all__ = ["to_mermaid"]

SHAPES = {"Choice": ("{{", "}}"), "Wait": ("([", "])"), "Succeed": ("([", "])"), "Fail": ("([", "])")}


def to_mermaid(graph: Graph, trace: Trace | None = None) -> str:
    """Return a Mermaid flowchart."""
    return _Mermaid(graph, trace).text()


class _Mermaid:
    """Writes one flowchart; links are counted, because Mermaid styles them by number."""

    def __init__(self, graph: Graph, trace: Trace | None) -> None:
        self._graph = graph
        self._trace = trace
        # Not the names themselves, which may be Mermaid's words, such as `end`, or hold its signs.
        self._ids = {node.name: f"s{place}" for place, node in enumerate(graph.every())}
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
        lines = [node.name, f"{node.type} {node.about}".strip()]
        lines += self._trace.lines(node.name, MOST_LABEL) if self._trace else []
        label = "<br/>".join(_quoted(line) for line in lines)
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
        if self._trace and (edge.source, edge.target, edge.is_catch) in self._trace.taken:
            self._taken.append(self._links)
        self._links += 1
        arrow = "-.->" if edge.is_catch else "-->"
        label = f'|"{_quoted(edge.label)}"|' if edge.label else ""
        target = "finish" if edge.target is None else self._ids[edge.target]
        return f"{self._ids[edge.source]} {arrow}{label} {target}"

    def _styles(self) -> Iterator[str]:
        if self._trace is None:
            return
        for standing, (fill, line) in COLOURS.items():
            names = [name for name in self._ids if self._trace.standing(name) == standing]
            if names:
                # Dark ink with each fill: the light text of a dark theme could not be read on it.
                yield f"  classDef {standing} fill:{fill},stroke:{line},color:#1b1f24"
                yield f"  class {','.join(self._ids[name] for name in names)} {standing}"
        if self._taken:
            yield f"  linkStyle {','.join(map(str, self._taken))} stroke:#1b1f24,stroke-width:2.5px"


def _quoted(text: str) -> str:
    """Return a string as Mermaid takes it inside quotes: everything that could be markup as an entity."""
    return re.sub(r"[^\w .,:=/·×≤≥()+-]", lambda found: f"#{ord(found[0])};", text.replace("\n", " "))


def _yaml(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\n", " ") + "'"
