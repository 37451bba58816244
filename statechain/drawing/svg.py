"""A graph, plain or with an execution drawn on it → SVG, on its own: no script, no font, no style from outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from statechain.drawing.graph import Graph, Node
from statechain.drawing.layers import LINE_HEIGHT, MARGIN, TEXT_SIZE, text_width
from statechain.drawing.layout import DOT, NAME_SIZE, Box, Layout, Line, Point, lay_out
from statechain.drawing.picture import COLOURS, Mark, Trace, printable, shortened

__all__ = ["document", "element", "text_at", "to_svg"]

INK, GREY, PALE = "#1b1f24", "#667080", "#c3c9d2"
FACE = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
MOST_NAME, MOST_TEXT = 36, 40
TITLE_HEIGHT = 34.0
TYPES = {
    "Task": "#2f6fd0",
    "Choice": "#8a4fbf",
    "Wait": "#b7791f",
    "Parallel": "#0f8a8a",
    "Map": "#0f8a8a",
    "Pass": "#667080",
    "Succeed": "#2c8a4b",
    "Fail": "#c5352b",
}


def to_svg(graph: Graph, trace: Trace | None = None) -> str:
    """Return the graph as an SVG document; with a trace, what the execution did is drawn on it."""

    def describe(node: Node) -> Sequence[str]:
        lines = [shortened(node.name, MOST_NAME), shortened(f"{node.type}  {node.about}".strip(), MOST_TEXT)]
        return [*lines, *(trace.told(node.name, MOST_TEXT) if trace else ())]

    layout = lay_out(graph, describe)
    title = trace.title if trace else None
    body = "\n".join(_layout(layout, trace))
    return document(layout.width, layout.height, body, title=title, defs=_markers())


def document(width: float, height: float, body: str, *, title: str | None, defs: str = "") -> str:
    """Return an SVG document with a white ground and, where there is one, a title above the body."""
    top = TITLE_HEIGHT if title else 0.0
    wide = max(width, text_width(title, 15) + 2 * MARGIN if title else 0.0)
    shift = (wide - width) / 2
    head = text_at(MARGIN, 24, title, 15, is_bold=True) if title else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{height + top:.0f}" '
        f'viewBox="0 0 {wide:.0f} {height + top:.0f}" font-family="{FACE}" role="img">\n'
        f"<title>{escape(printable(title or 'state machine'), quote=False)}</title>\n{defs}"
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{head}'
        f'<g transform="translate({shift:.1f} {top:.1f})">\n{body}\n</g>\n</svg>\n'
    )


def element(tag: str, content: str = "", **attributes: object) -> str:
    """Return an element; underscores in names of attributes stand for hyphens."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(f"{value:.1f}" if isinstance(value, float) else str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{given}>{content}</{tag}>" if content else f"<{tag}{given}/>"


def text_at(
    x: float, y: float, text: str, size: float, *, fill: str = INK, anchor: str | None = None, is_bold: bool = False
) -> str:
    """Return a line of text with its baseline at a point."""
    weight = "600" if is_bold else None
    shown = escape(printable(text), quote=False)
    return element("text", shown, x=x, y=y, font_size=size, fill=fill, text_anchor=anchor, font_weight=weight)


def _markers() -> str:
    heads = "".join(
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
        f'<path d="M0,1 L10,5 L0,9 z" fill="{colour}"/></marker>'
        for name, colour in (("plain", GREY), ("taken", INK), ("pale", PALE), ("caught", COLOURS["caught"][1]))
    )
    return f"<defs>{heads}</defs>\n"


def _layout(layout: Layout, trace: Trace | None) -> Iterator[str]:
    for line in sorted(layout.lines, key=lambda line: _is_taken(line, trace)):  # on top, where lines share a port
        yield _path(line, trace)
    for box in layout.boxes:
        yield from _box(box, trace)
    for line in layout.lines:
        if line.label_at is not None and line.edge is not None:
            yield from _label(line.edge.label, line.label_at, is_catch=line.edge.is_catch)
    if layout.start is not None:
        yield element("circle", cx=layout.start[0], cy=layout.start[1], r=DOT / 2, fill=INK)
    if layout.end is not None:
        x, y = layout.end
        yield element("circle", cx=x, cy=y, r=DOT / 2, fill="#ffffff", stroke=INK, stroke_width=1.5)
        yield element("circle", cx=x, cy=y, r=DOT / 2 - 3.5, fill=INK)


def _is_taken(line: Line, trace: Trace | None) -> bool:
    edge = line.edge
    return trace is not None and (edge is None or (edge.source, edge.target, edge.is_catch) in trace.taken)


def _path(line: Line, trace: Trace | None) -> str:
    edge, is_taken = line.edge, _is_taken(line, trace)
    is_catch = edge is not None and edge.is_catch
    name = "taken" if is_taken else "pale" if trace is not None else "caught" if is_catch else "plain"
    colour = {"taken": INK, "pale": PALE, "caught": COLOURS["caught"][1], "plain": GREY}[name]
    return element(
        "path",
        d=_loop(line.points) if edge is not None and edge.source == edge.target else _curve(line.points),
        fill="none",
        stroke=colour,
        stroke_width=2.2 if is_taken else 1.4,
        stroke_dasharray="5 4" if is_catch else None,
        marker_end=f"url(#{name})",
    )


def _curve(points: Sequence[Point]) -> str:
    """Return a path that leaves and enters each point vertically."""
    (x, y), *rest = points
    steps = [f"M{x:.1f},{y:.1f}"]
    for next_x, next_y in rest:
        half = (y + next_y) / 2
        bend = "L" if x == next_x else f"C{x:.1f},{half:.1f} {next_x:.1f},{half:.1f} "
        steps.append(f"{bend}{next_x:.1f},{next_y:.1f}")
        x, y = next_x, next_y
    return " ".join(steps)


def _loop(points: Sequence[Point]) -> str:
    """Return the arc of a state that leads to itself: out of its side and in again above."""
    (x, y), (far, _), (into, back) = points
    return f"M{x:.1f},{y:.1f} C{far:.1f},{y + 4:.1f} {far:.1f},{back - 4:.1f} {into:.1f},{back:.1f}"


def _label(text: str, at: Point, *, is_catch: bool) -> Iterator[str]:
    width = text_width(text, TEXT_SIZE) + 4
    left, top = at[0] - width / 2, at[1] - LINE_HEIGHT / 2
    yield element("rect", x=left, y=top, width=width, height=LINE_HEIGHT, fill="#ffffff")
    colour = COLOURS["caught"][1] if is_catch else GREY
    yield text_at(left + 2, at[1] + 4, text, TEXT_SIZE, fill=colour)


def _box(box: Box, trace: Trace | None) -> Iterator[str]:
    mark = trace.marks.get(box.node.name) if trace else None
    is_skipped = trace is not None and mark is None
    fill, stroke = COLOURS[mark.standing] if mark else ("#ffffff", PALE if is_skipped else "#8b94a3")
    ground = "#fafbfc" if box.inside and mark is None else fill
    yield f'<g opacity="{0.55 if is_skipped and not box.inside else 1}">'
    yield f"<title>{escape(printable(box.node.name), quote=False)}</title>"
    yield _shape(box, ground, stroke, 1.8 if mark else 1.2)
    yield from _texts(box, mark)
    yield "</g>"
    for place, ((x, y), inner) in enumerate(box.inside):
        yield f'<g transform="translate({box.x + x:.1f} {box.y + y:.1f})">'
        yield element(
            "rect", width=inner.width, height=inner.height, rx=7, fill="#ffffff", stroke=PALE, stroke_dasharray="3 3"
        )
        if box.node.type == "Parallel":
            yield text_at(6.0, 11.0, str(place), 9, fill=GREY)
        yield from _layout(inner, trace)
        yield "</g>"


def _shape(box: Box, fill: str, stroke: str, width: float) -> str:
    x, y, right, bottom = box.x, box.y, box.x + box.width, box.y + box.height
    if box.node.type == "Choice":
        half = (y + bottom) / 2
        near, far = x + box.corner, right - box.corner
        corners = ((x, half), (near, y), (far, y), (right, half), (far, bottom), (near, bottom))
        points = " ".join(f"{cx:.1f},{cy:.1f}" for cx, cy in corners)
        return element("polygon", points=points, fill=fill, stroke=stroke, stroke_width=width)
    return element(
        "rect",
        x=x,
        y=y,
        width=box.width,
        height=box.height,
        rx=box.corner,
        fill=fill,
        stroke=stroke,
        stroke_width=width,
    )


def _texts(box: Box, mark: Mark | None) -> Iterator[str]:
    x, y = box.x + box.width / 2, box.y + 20
    for place, text in enumerate(box.texts):
        at = y + place * LINE_HEIGHT
        if place == 0:
            yield text_at(x, at, text, NAME_SIZE, anchor="middle", is_bold=True)
        elif place == 1:
            yield text_at(x, at, text, TEXT_SIZE, anchor="middle", fill=TYPES[box.node.type])
        else:
            fill = COLOURS[mark.standing][1] if mark and place == 3 else GREY
            yield text_at(x, at, text, TEXT_SIZE, anchor="middle", fill=fill)
