"""Graph → places: boxes from top to bottom, with boxes inside boxes for Parallel and Map, and the lines between them.

Plain functions of values: the same graph is always drawn alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from statechain.drawing.graph import Edge, Graph, Node
from statechain.drawing.layers import (
    LINE_HEIGHT,
    MARGIN,
    TEXT_SIZE,
    Cell,
    Link,
    assign_layers,
    find_x,
    layered,
    order,
    reverse_cycles,
    text_width,
)

__all__ = ["DOT", "NAME_SIZE", "Box", "Layout", "Line", "Point", "lay_out"]

Point: TypeAlias = tuple[float, float]
Describe: TypeAlias = Callable[[Node], Sequence[str]]

LAYER_GAP = 40.0
LABEL_GAP = 16.0
NAME_SIZE = 13.0
DOT = 14.0
LOOP = 32.0


@attrs.frozen(kw_only=True)
class Box:
    """A state's place: its upper left corner and size, its lines of text, and what is laid out inside, with offsets."""

    node: Node
    x: float
    y: float
    width: float
    height: float
    texts: tuple[str, ...]
    inside: tuple[tuple[Point, Layout], ...] = ()


@attrs.frozen(kw_only=True)
class Line:
    """An edge's way: points from its source to its target, and where its label stands; the first line has no edge."""

    edge: Edge | None
    points: tuple[Point, ...]
    label_at: Point | None = None


@attrs.frozen(kw_only=True)
class Layout:
    """A graph laid out; ``start`` and ``end`` are the centres of the two dots, where it has them."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    start: Point | None = None
    end: Point | None = None


@attrs.define(eq=False)
class _State(Cell):
    """A state's cell."""

    node: Node = attrs.field(kw_only=True)
    texts: tuple[str, ...] = attrs.field(kw_only=True)
    inside: tuple[tuple[Point, Layout], ...] = attrs.field(default=(), kw_only=True)


@attrs.define(eq=False)
class _Way(Link):
    """An edge's link; the first has no edge."""

    edge: Edge | None = attrs.field(default=None, kw_only=True)


def lay_out(graph: Graph, describe: Describe, *, has_ends: bool = True) -> Layout:
    """Lay out a graph.

    Arguments:
        graph: The graph.

        describe: Returns a state's lines of text, the first its name.

        has_ends: Whether dots for the start and the end are drawn, as they are not inside Parallel and Map.
    """
    cells: dict[str, Cell] = {node.name: _state(node, describe) for node in graph.nodes}
    start, end = Cell(DOT, DOT), Cell(DOT, DOT)
    links = [
        _Way(cells[edge.source], end if edge.target is None else cells[edge.target], edge.label, edge=edge)
        for edge in graph.edges
    ]
    links = [link for link in links if has_ends or link.lower is not end]
    if has_ends:
        links.insert(0, _Way(start, cells[graph.start_at]))
    loops = [link for link in links if link.upper is link.lower]
    for loop in loops:
        loop.upper.beside = max(loop.upper.beside, LOOP + (text_width(loop.label, TEXT_SIZE) if loop.label else 0.0))
    links = [link for link in links if link.upper is not link.lower]
    first = start if has_ends else cells[graph.start_at]
    every = [first, *(cell for cell in cells.values() if cell is not first)]
    if any(link.lower is end for link in links):
        every.append(end)
    reverse_cycles(every, links)
    assign_layers(every, links)
    layers = layered(every, links)
    order(layers)
    find_x(layers)
    return _placed(layers, links, loops, start if has_ends else None, end if end in every else None)


def _state(node: Node, describe: Describe) -> _State:
    texts = tuple(describe(node))
    width = max(text_width(text, TEXT_SIZE if place else NAME_SIZE) for place, text in enumerate(texts)) + 2 * MARGIN
    header = LINE_HEIGHT * len(texts) + 14
    if not node.inside:
        extra = 16 if node.type == "Choice" else 0  # its pointed sides
        return _State(max(84.0, width + extra), header, node=node, texts=texts)
    layouts = [lay_out(inner, describe, has_ends=False) for inner in node.inside]
    inner_width = sum(each.width for each in layouts) + MARGIN * (len(layouts) - 1)
    width = max(width, inner_width + 2 * MARGIN)
    inside, x = [], (width - inner_width) / 2
    for each in layouts:
        inside.append(((x, header), each))
        x += each.width + MARGIN
    height = header + max(each.height for each in layouts) + MARGIN
    return _State(width, height, node=node, texts=texts, inside=tuple(inside))


def _placed(
    layers: Sequence[Sequence[Cell]],
    links: Sequence[_Way],
    loops: Sequence[_Way],
    start: Cell | None,
    end: Cell | None,
) -> Layout:
    every = [cell for layer in layers for cell in layer]
    left = min(cell.x - cell.width / 2 for cell in every) - MARGIN
    right = max(cell.x + cell.width / 2 + cell.beside for cell in every) + MARGIN
    for cell in every:
        cell.x -= left
    tops, heights, y = [], [], MARGIN
    for place, layer in enumerate(layers):
        if place:
            is_label = all(cell.is_way for cell in layer) or all(cell.is_way for cell in layers[place - 1])
            y += LABEL_GAP if is_label else LAYER_GAP
        tops.append(y)
        heights.append(max(cell.height for cell in layer))
        y += heights[-1]
    rows = {cell_layer[0].layer: (top, height) for cell_layer, top, height in zip(layers, tops, heights, strict=True)}

    def middle(cell: Cell) -> float:
        top, height = rows[cell.layer]
        return top + height / 2

    ports = _ports(links)
    lines = [_line(link, ports, rows, middle) for link in links] + [_loop(link, middle) for link in loops]
    return Layout(
        width=right - left,
        height=y + MARGIN,
        boxes=tuple(_box(cell, middle(cell)) for cell in every if isinstance(cell, _State)),
        lines=tuple(lines),
        start=(start.x, middle(start)) if start else None,
        end=(end.x, middle(end)) if end else None,
    )


def _box(cell: _State, middle: float) -> Box:
    return Box(
        node=cell.node,
        x=cell.x - cell.width / 2,
        y=middle - cell.height / 2,
        width=cell.width,
        height=cell.height,
        texts=cell.texts,
        inside=cell.inside,
    )


def _ports(links: Sequence[Link]) -> dict[tuple[int, bool], float]:
    """Return where each link leaves its upper cell (True) and enters its lower one (False): side by side, in order."""
    ports: dict[tuple[int, bool], float] = {}
    for is_upper in (True, False):
        sides: defaultdict[int, list[Link]] = defaultdict(list)
        for link in links:
            sides[id(link.upper if is_upper else link.lower)].append(link)
        for group in sides.values():
            cell = group[0].upper if is_upper else group[0].lower
            chain = [[link.upper, *link.ways, link.lower] for link in group]
            near = {id(link): (way[1] if is_upper else way[-2]).x for link, way in zip(group, chain, strict=True)}
            step = min(18.0, cell.width * 0.7 / len(group))
            for place, link in enumerate(sorted(group, key=lambda link: near[id(link)])):
                ports[id(link), is_upper] = cell.x + (place - (len(group) - 1) / 2) * step
    return ports


def _line(
    link: _Way,
    ports: dict[tuple[int, bool], float],
    rows: dict[int, tuple[float, float]],
    middle: Callable[[Cell], float],
) -> Line:
    leaves, enters = ports[id(link), True], ports[id(link), False]
    # Straight until it is clear of its own layer, whose tallest box may stand beside it.
    points: list[Point] = [
        (leaves, middle(link.upper) + link.upper.height / 2),
        (leaves, sum(rows[link.upper.layer])),
    ]
    for way in link.ways:
        top, height = rows[way.layer]
        points += [(way.x, top), (way.x, top + height)]
    points += [(enters, rows[link.lower.layer][0]), (enters, middle(link.lower) - link.lower.height / 2)]
    points = [point for place, point in enumerate(points) if not place or point != points[place - 1]]
    label_at = (link.ways[0].x, middle(link.ways[0])) if link.label else None
    return Line(edge=link.edge, points=tuple(reversed(points) if link.is_reversed else points), label_at=label_at)


def _loop(link: _Way, middle: Callable[[Cell], float]) -> Line:
    """Return the way of a state that leads to itself: out at its right side, and in again above."""
    side, y = link.upper.x + link.upper.width / 2, middle(link.upper)
    label_at = (side + LOOP - 6 + text_width(link.label, TEXT_SIZE) / 2, y) if link.label else None
    return Line(edge=link.edge, points=((side, y + 8), (side + LOOP - 4, y), (side, y - 8)), label_at=label_at)
