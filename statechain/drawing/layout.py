"""Graph → places: boxes from top to bottom, with boxes inside boxes for Parallel and Map, and the lines between them.

Plain functions of values: the same graph is always drawn alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import sqrt
from typing import TypeAlias

import attrs

from statechain.drawing.columns import find_x
from statechain.drawing.graph import Edge, Graph, Node
from statechain.drawing.layers import (
    LABEL_SPACE,
    LINE_HEIGHT,
    MARGIN,
    TEXT_SIZE,
    Cell,
    Link,
    assign_layers,
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
LOOP_STEP = 20.0
PORT_STEP = 18.0
HEAD = 9.0
"""How far apart two arrow heads must be; where there is less room, lines share a port."""
MOST_PORTS = 16
"""A state is made wide enough for as many ports at one side."""
MOST_GAP, SLOPE = 72.0, 0.2
"""A gap between layers grows with the longest way across it: it is this share of its length, up to this height."""


@attrs.frozen(kw_only=True)
class Box:
    """A state's place: its upper left corner and size, its lines of text, and what is laid out inside, with offsets.

    Attributes:
        corner: How far its corners reach along its upper side: rounded ones, or the points of a Choice.
    """

    node: Node
    x: float
    y: float
    width: float
    height: float
    texts: tuple[str, ...]
    corner: float = 0.0
    inside: tuple[tuple[Point, Layout], ...] = ()


@attrs.frozen(kw_only=True)
class Line:
    """An edge's way: points from its source to its target, and the middle of its label; the first line has no edge."""

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
    corner: float = attrs.field(kw_only=True)

    def inset(self, dy: float) -> float:
        """Return how far its left or right border lies inside of its bounds, so far above or below its middle."""
        if self.node.type == "Choice":
            return self.corner * abs(dy) / (self.height / 2)
        into = max(0.0, abs(dy) - (self.height / 2 - self.corner))
        return self.corner - sqrt(max(0.0, self.corner**2 - into**2))


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
        _Way(
            cells[edge.source],
            end if edge.target is None else cells[edge.target],
            edge.label,
            is_catch=edge.is_catch,
            edge=edge,
        )
        for edge in graph.edges
    ]
    links = [link for link in links if has_ends or link.lower is not end]
    if has_ends:
        links.insert(0, _Way(start, cells[graph.start_at]))
    loops = [link for link in links if link.upper is link.lower]
    _make_room(loops)
    # A way back to the same state crosses no layer: it is drawn at the state's side.
    links = [link for link in links if link.upper is not link.lower]
    first = start if has_ends else cells[graph.start_at]
    # The start comes first: cycles are found by a walk from there.
    every = [first, *(cell for cell in cells.values() if cell is not first)]
    if any(link.lower is end for link in links):
        every.append(end)
    reverse_cycles(every, links)
    _widen(links)
    assign_layers(every, links)
    layers = layered(every, links)
    order(layers)
    find_x(layers)
    return _placed(layers, links, loops, start if has_ends else None, end if end in every else None)


def _make_room(loops: Sequence[Link]) -> None:
    """Keep room for ways that lead back to the same state: beside it for their labels, and along its side for all."""
    counts: defaultdict[Cell, int] = defaultdict(int)
    for loop in loops:
        cell = loop.upper
        counts[cell] += 1
        cell.beside = max(cell.beside, LOOP + (text_width(loop.label, TEXT_SIZE) if loop.label else 0.0))
        cell.height = max(cell.height, LOOP_STEP * counts[cell] + 4)


def _widen(links: Sequence[Link]) -> None:
    """Make states wide enough that the arrow heads at one side lie apart."""
    for is_upper in (True, False):
        counts: defaultdict[Cell, int] = defaultdict(int)
        for link in links:
            counts[link.upper if is_upper else link.lower] += 1
        for cell, count in counts.items():
            if isinstance(cell, _State):
                cell.width = max(cell.width, cell.width - _flat(cell) + HEAD * min(count, MOST_PORTS))


def _corner(node: Node, height: float) -> float:
    if node.type == "Choice":
        return 12.0
    return min(height / 2, 24.0) if node.type in {"Succeed", "Fail", "Wait"} and not node.inside else 7.0


def _state(node: Node, describe: Describe) -> _State:
    texts = tuple(describe(node))
    width = max(text_width(text, TEXT_SIZE if place else NAME_SIZE) for place, text in enumerate(texts)) + 2 * MARGIN
    header = LINE_HEIGHT * len(texts) + 14
    if not node.inside:
        extra = 16 if node.type == "Choice" else 0  # its pointed sides
        return _State(max(84.0, width + extra), header, node=node, texts=texts, corner=_corner(node, header))
    layouts = [lay_out(inner, describe, has_ends=False) for inner in node.inside]
    inner_width = sum(each.width for each in layouts) + MARGIN * (len(layouts) - 1)
    width = max(width, inner_width + 2 * MARGIN)
    inside, x = [], (width - inner_width) / 2
    for each in layouts:
        inside.append(((x, header), each))
        x += each.width + MARGIN
    height = header + max(each.height for each in layouts) + MARGIN
    return _State(width, height, node=node, texts=texts, inside=tuple(inside), corner=_corner(node, height))


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
            across = max((abs(cell.x - other.x) for cell in layer for other in cell.above), default=0.0)
            y += max(LABEL_GAP if is_label else LAYER_GAP, min(MOST_GAP, SLOPE * across))
        tops.append(y)
        heights.append(max(cell.height for cell in layer))
        y += heights[-1]
    # By number: a layer without a cell has no row.
    rows = {cell_layer[0].layer: (top, height) for cell_layer, top, height in zip(layers, tops, heights, strict=True)}

    def middle(cell: Cell) -> float:
        top, height = rows[cell.layer]
        return top + height / 2

    ports = _ports(links)
    lines = [_line(link, ports, rows, middle) for link in links] + _loops(loops, middle)
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
        corner=cell.corner,
        inside=cell.inside,
    )


def _ports(links: Sequence[Link]) -> dict[tuple[int, bool], float]:
    """Return where each link leaves its upper cell (True) and enters its lower one (False): side by side, in order."""
    ports: dict[tuple[int, bool], float] = {}
    for is_upper in (True, False):
        sides: defaultdict[Cell, list[tuple[Cell, Link]]] = defaultdict(list)
        for link in links:
            cells = [link.upper, *link.ways, link.lower]
            sides[link.upper if is_upper else link.lower].append((cells[1 if is_upper else -2], link))
        for cell, group in sides.items():
            group.sort(key=lambda pair: pair[0].x)
            offsets = _offsets([near.x - cell.x for near, _ in group], _flat(cell))
            _straighten(offsets, [near.x - cell.x if near.is_way else None for near, _ in group], _flat(cell) / 2)
            ports.update(((id(link), is_upper), cell.x + dx) for (_, link), dx in zip(group, offsets, strict=True))
    return ports


def _flat(cell: Cell) -> float:
    """Return how long the straight part of a cell's upper side is, clear of heads at its sides; a dot's is a point."""
    return cell.width - 2 * max(HEAD, cell.corner) if isinstance(cell, _State) else 0.0


def _offsets(near: Sequence[float], room: float) -> list[float]:
    """Return a port for each neighbour, in order, from the middle: a link straight up or down has the middle's own."""
    if 0.0 not in near:
        ports = _spread(len(near), room)
        return [port - ports[-1] / 2 for port in ports]
    at = near.index(0.0)
    left, right = _spread(at + 1, room / 2), _spread(len(near) - at, room / 2)
    return [*(-port for port in reversed(left[1:])), *right]


def _straighten(offsets: list[float], ways: Sequence[float | None], reach: float) -> None:
    """Move each port right above or below its waypoint where that is in reach and clear of the ports beside it."""
    bounds = [-reach - HEAD, *offsets, reach + HEAD]
    for place, way in enumerate(ways, 1):
        if way is not None and bounds[place - 1] + HEAD <= way <= bounds[place + 1] - HEAD:
            bounds[place] = way
    offsets[:] = bounds[1:-1]


def _spread(count: int, room: float) -> list[float]:
    """Return that many ports from 0 to the right: any two are the same, or far enough apart for two arrow heads."""
    slots = min(count, 1 + int(room / HEAD))
    step = min(PORT_STEP, room / (slots - 1)) if slots > 1 else 0.0
    return [place * slots // count * step for place in range(count)]


def _line(
    link: _Way,
    ports: dict[tuple[int, bool], float],
    rows: dict[int, tuple[float, float]],
    middle: Callable[[Cell], float],
) -> Line:
    leaves, enters = ports[id(link), True], ports[id(link), False]
    # Straight until it is clear of its layer, whose tallest box may be beside it.
    points: list[Point] = [
        (leaves, middle(link.upper) + link.upper.height / 2),
        (leaves, sum(rows[link.upper.layer])),
    ]
    for way in link.ways:
        top, height = rows[way.layer]
        points += [(way.x, top), (way.x, top + height)]
    points += [(enters, rows[link.lower.layer][0]), (enters, middle(link.lower) - link.lower.height / 2)]
    # Ports right above each other give the same point twice.
    points = [point for place, point in enumerate(points) if not place or point != points[place - 1]]
    label_at = (_label_x(link.ways[0].x, link.label), middle(link.ways[0])) if link.label else None
    # Laid out downwards, and drawn in its own direction.
    return Line(edge=link.edge, points=tuple(reversed(points) if link.is_reversed else points), label_at=label_at)


def _label_x(x: float, label: str) -> float:
    """Return the middle of a label that lies to the right of an x."""
    return x + LABEL_SPACE + text_width(label, TEXT_SIZE) / 2


def _loops(loops: Sequence[_Way], middle: Callable[[Cell], float]) -> list[Line]:
    """Return the ways of states that lead to themselves: out at the right side, and in again above."""
    groups: defaultdict[Cell, list[_Way]] = defaultdict(list)
    for link in loops:
        groups[link.upper].append(link)
    lines = []
    for cell, group in groups.items():
        for place, link in enumerate(group):
            lines.append(_loop(link, cell, (place - (len(group) - 1) / 2) * LOOP_STEP, middle(cell)))
    return lines


def _loop(link: _Way, cell: Cell, dy: float, middle: float) -> Line:
    side, y, half = cell.x + cell.width / 2, middle + dy, 7.0
    inset = cell.inset if isinstance(cell, _State) else (lambda _: 0.0)
    out, back = (side - inset(dy + half), y + half), (side - inset(dy - half), y - half)
    label_at = (_label_x(side + LOOP - 10, link.label), y) if link.label else None
    return Line(edge=link.edge, points=(out, (side + LOOP - 4, y), back), label_at=label_at)
