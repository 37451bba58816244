"""A graph, plain or with an execution drawn on it → SVG, on its own: no script, no font, no style from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import TypeAlias
from zlib import crc32

import attrs

from statechain.drawing.graph import Graph, Node
from statechain.drawing.layers import LINE_HEIGHT, MARGIN, TEXT_SIZE, text_width
from statechain.drawing.layout import DOT, NAME_SIZE, Box, Layout, Line, Point, lay_out
from statechain.drawing.picture import Mark, Trace, printable, shortened
from statechain.drawing.style import paint, stylesheet

__all__ = ["Link", "document", "element", "text_at", "to_svg"]

LINES = {"plain": "grey", "taken": "ink", "pale": "pale", "caught": "caught"}
"""The kinds of lines, each with the colour of the line and its head."""

FACE = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
MOST_NAME, MOST_TEXT = 36, 40
TITLE_HEIGHT = 34.0

Link: TypeAlias = "Callable[[str], str | None]"
"""A state's name → the URL that its box leads to, or None."""


def to_svg(graph: Graph, trace: Trace | None = None, *, link: Link | None = None, is_inline: bool = False) -> str:
    """Return the graph as an SVG document; with a trace, what the execution did is drawn on it.

    Arguments:
        graph: The definition.

        trace: What an execution did.

        link: Returns the URL that a state's box leads to.

        is_inline: Whether the picture is part of an HTML page that has `style.stylesheet` itself: then it has no style
            and no separate title.
    """

    def describe(node: Node) -> Sequence[str]:
        lines = [shortened(node.name, MOST_NAME), shortened(f"{node.type}  {node.about}".strip(), MOST_TEXT)]
        return [*lines, *(trace.lines(node.name, MOST_TEXT) if trace else ())]

    layout = lay_out(graph, describe)
    title = trace.title if trace else None
    # Pictures may share a page, so each one's markers have separate ids.
    pen = _Pen(trace, link, f"m{crc32(repr((title, graph)).encode(errors='replace')):08x}")
    body = "\n".join(pen.layout(layout))
    return document(layout.width, layout.height, body, title=title, defs=pen.markers(), is_inline=is_inline)


def document(
    width: float, height: float, body: str, *, title: str | None, defs: str = "", is_inline: bool = False
) -> str:
    """Return an SVG document on its ground, with a style and, where there is one, a title above the body.

    One that is part of a page (``is_inline``) has no style and no title: the page has them.
    """
    top = TITLE_HEIGHT if title and not is_inline else 0.0
    wide = max(width, text_width(title, 15) + 2 * MARGIN if title and top else 0.0)
    shift = (wide - width) / 2
    head = text_at(MARGIN, 24, title, 15, is_bold=True) if title and top else ""
    name = escape(printable(title or "state machine"))
    style = "" if is_inline else f"<style>{stylesheet()}</style>\n"
    role = f'role="group" aria-label="{name}"' if is_inline else 'role="img"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sc-picture" width="{wide:.0f}" height="{height + top:.0f}" '
        f'viewBox="0 0 {wide:.0f} {height + top:.0f}" font-family="{FACE}" {role}>\n'
        f"<title>{name}</title>\n{style}{defs}"
        f"{element('rect', width='100%', height='100%', **paint(fill='ground'))}\n{head}"
        f'<g transform="translate({shift:.1f} {top:.1f})">\n{body}\n</g>\n</svg>\n'
    )


def element(tag: str, content: str = "", /, **attributes: object) -> str:
    """Return an element; underscores in names of attributes represent hyphens."""
    given = "".join(
        # `class_` and the like are Python's words without the last character.
        f' {name.rstrip("_").replace("_", "-")}="{escape(f"{value:.1f}" if isinstance(value, float) else str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{given}>{content}</{tag}>" if content else f"<{tag}{given}/>"


def text_at(
    x: float, y: float, text: str, size: float, *, fill: str = "ink", anchor: str | None = None, is_bold: bool = False
) -> str:
    """Return a line of text in a named colour, with its baseline at a point."""
    weight = "600" if is_bold else None
    shown = escape(printable(text), quote=False)
    return element("text", shown, x=x, y=y, font_size=size, text_anchor=anchor, font_weight=weight, **paint(fill=fill))


@attrs.frozen
class _Pen:
    """Draws boxes and lines: what the execution did is in ``trace``, and ids of markers begin with ``prefix``."""

    trace: Trace | None
    link: Link | None
    prefix: str

    def markers(self) -> str:
        """Return the heads of the arrows."""
        heads = "".join(
            f'<marker id="{self.prefix}-{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
            f'markerHeight="7" markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
            f"{element('path', d='M0,1 L10,5 L0,9 z', **paint(fill=colour))}</marker>"
            for name, colour in LINES.items()
        )
        return f"<defs>{heads}</defs>\n"

    def layout(self, layout: Layout) -> Iterator[str]:
        """Yield what a graph, a branch or a processor consists of."""
        for line in sorted(layout.lines, key=self._is_taken):  # on top, where lines share a port
            yield self._path(line)
        # Boxes hide the ends of lines, and labels, which come after them, are above both.
        for box in layout.boxes:
            yield from self._box(box)
        for line in layout.lines:
            if line.label_at is not None and line.edge is not None:
                yield from _label(line.edge.label, line.label_at, is_catch=line.edge.is_catch)
        if layout.start is not None:
            yield element("circle", cx=layout.start[0], cy=layout.start[1], r=DOT / 2, **paint(fill="ink"))
        if layout.end is not None:
            x, y = layout.end
            yield element("circle", cx=x, cy=y, r=DOT / 2, stroke_width=1.5, **paint(fill="ground", stroke="ink"))
            yield element("circle", cx=x, cy=y, r=DOT / 2 - 3.5, **paint(fill="ink"))

    def _is_taken(self, line: Line) -> bool:
        edge, trace = line.edge, self.trace
        return trace is not None and (edge is None or (edge.source, edge.target, edge.is_catch) in trace.taken)

    def _path(self, line: Line) -> str:
        edge, is_taken = line.edge, self._is_taken(line)
        is_catch = edge is not None and edge.is_catch
        name = "taken" if is_taken else "pale" if self.trace is not None else "caught" if is_catch else "plain"
        return element(
            "path",
            d=_loop(line.points) if edge is not None and edge.source == edge.target else _curve(line.points),
            fill="none",
            stroke_width=2.2 if is_taken else 1.4,
            stroke_dasharray="5 4" if is_catch else None,
            marker_end=f"url(#{self.prefix}-{name})",
            **paint(stroke=LINES[name], also=f"edge {name}"),
        )

    def _box(self, box: Box) -> Iterator[str]:
        name = box.node.name
        mark = self.trace.marks.get(name) if self.trace else None
        is_skipped = self.trace is not None and mark is None
        fill = f"{mark.standing}-fill" if mark else "ground"
        stroke = mark.standing if mark else "pale" if is_skipped else "edge"
        shape = _shape(box, 1.8 if mark else 1.2, fill="inside" if box.inside and mark is None else fill, stroke=stroke)
        content = f"<title>{escape(printable(name), quote=False)}</title>{shape}{''.join(_texts(box, mark))}"
        url = self.link(name) if self.link else None
        yield element(
            "g",
            element("a", content, href=url) if url else content,
            class_="state",
            data_state=printable(name),
            data_standing=mark.standing if mark else None,
            opacity=0.7 if is_skipped and not box.inside else None,
        )
        for place, ((x, y), inner) in enumerate(box.inside):
            yield f'<g transform="translate({box.x + x:.1f} {box.y + y:.1f})">'
            ground = paint(fill="ground", stroke="pale")
            yield element("rect", width=inner.width, height=inner.height, rx=7, stroke_dasharray="3 3", **ground)
            if box.node.type == "Parallel":
                yield text_at(6.0, 11.0, str(place), 9, fill="grey")
            yield from self.layout(inner)
            yield "</g>"


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
    # The label has a ground, since it lies on its line.
    yield element("rect", x=left, y=top, width=width, height=LINE_HEIGHT, **paint(fill="ground"))
    yield text_at(left + 2, at[1] + 4, text, TEXT_SIZE, fill="caught" if is_catch else "grey")


def _shape(box: Box, width: float, *, fill: str, stroke: str) -> str:
    x, y, right, bottom = box.x, box.y, box.x + box.width, box.y + box.height
    painted = {"stroke_width": width, **paint(fill=fill, stroke=stroke)}
    if box.node.type == "Choice":
        half = (y + bottom) / 2
        near, far = x + box.corner, right - box.corner
        corners = ((x, half), (near, y), (far, y), (right, half), (far, bottom), (near, bottom))
        return element("polygon", points=" ".join(f"{cx:.1f},{cy:.1f}" for cx, cy in corners), **painted)
    return element("rect", x=x, y=y, width=box.width, height=box.height, rx=box.corner, **painted)


def _texts(box: Box, mark: Mark | None) -> Iterator[str]:
    x, y = box.x + box.width / 2, box.y + 20
    for place, text in enumerate(box.texts):
        at = y + place * LINE_HEIGHT
        if place == 0:
            yield text_at(x, at, text, NAME_SIZE, anchor="middle", is_bold=True)
        elif place == 1:
            yield text_at(x, at, text, TEXT_SIZE, anchor="middle", fill=f"type-{box.node.type.lower()}")
        else:
            fill = mark.standing if mark and place == 3 else "grey"
            yield text_at(x, at, text, TEXT_SIZE, anchor="middle", fill=fill)
