"""Graph → places: layers from top to bottom, with boxes inside boxes for Parallel and Map.

The usual steps (Sugiyama's): reverse the edges that close a cycle, give each state a layer, put a waypoint on every
layer that an edge crosses (its label is one, with a width), order the layers by barycentres, and find each x by least
squares under separation. Plain functions of values: the same graph is always drawn alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TypeAlias

import attrs

from statechain.asl.graph import Edge, Graph, Node

__all__ = ["Box", "Layout", "Line", "Point", "lay_out", "text_width"]

Point: TypeAlias = tuple[float, float]
Describe: TypeAlias = Callable[[Node], Sequence[str]]

MARGIN = 14.0
"""Between boxes on one layer, and round what is inside a box."""
LAYER_GAP = 40.0
LABEL_GAP = 16.0
LINE_HEIGHT = 15.0
NAME_SIZE, TEXT_SIZE = 13.0, 11.0
DOT = 14.0
SWEEPS = 12
MOST_WAYPOINTS = 40
"""An edge over more layers is drawn straight in its middle: what it crosses is out of sight anyway."""


def text_width(text: str, size: float) -> float:
    """Return about how wide a text is in a sans-serif face, in the units of its size."""
    return size * sum(_advance(character) for character in text)


def _advance(character: str) -> float:
    if character in "iljtf.,:;'|!()[] ":
        return 0.36
    if character in "mwMW@%" or ord(character) >= 0x2E80:
        return 0.98
    return 0.72 if character.isupper() else 0.6


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
class _Cell:
    """Something that takes up room on a layer: a state, a dot, or a waypoint (without a node)."""

    width: float
    height: float
    node: Node | None = None
    texts: tuple[str, ...] = ()
    inside: tuple[tuple[Point, Layout], ...] = ()
    layer: int = 0
    x: float = 0.0
    is_way: bool = False
    above: list[_Cell] = attrs.field(factory=list)
    below: list[_Cell] = attrs.field(factory=list)


@attrs.define(eq=False)
class _Link:
    """An edge between two cells, pointing down; ``is_reversed`` where it closes a cycle."""

    upper: _Cell
    lower: _Cell
    edge: Edge | None
    is_reversed: bool = False
    ways: list[_Cell] = attrs.field(factory=list)

    @property
    def least(self) -> int:
        """How many layers it needs: one more for a label, and for a way back to bend round."""
        return 2 if self.is_reversed or (self.edge is not None and self.edge.label) else 1


def lay_out(graph: Graph, describe: Describe, *, has_ends: bool = True) -> Layout:
    """Lay out a graph.

    Arguments:
        graph: The graph.

        describe: Returns a state's lines of text, the first its name.

        has_ends: Whether dots for the start and the end are drawn, as they are not inside Parallel and Map.
    """
    cells = {node.name: _cell(node, describe) for node in graph.nodes}
    start, end = _Cell(DOT, DOT), _Cell(DOT, DOT)
    links = [_Link(cells[edge.source], cells[edge.target] if edge.target else end, edge) for edge in graph.edges]
    links = [link for link in links if has_ends or link.lower is not end]
    if has_ends:
        links.insert(0, _Link(start, cells[graph.start_at], None))
    loops = [link for link in links if link.upper is link.lower]
    links = [link for link in links if link.upper is not link.lower]
    first = start if has_ends else cells[graph.start_at]
    every = [first, *(cell for cell in cells.values() if cell is not first)]
    if any(link.lower is end for link in links):
        every.append(end)
    _reverse_cycles(every, links)
    _assign_layers(every, links)
    layers = _layers(every, links)
    _order(layers)
    _find_x(layers)
    return _placed(layers, links, loops, start if has_ends else None, end if end in every else None)


def _cell(node: Node, describe: Describe) -> _Cell:
    texts = tuple(describe(node))
    width = max(text_width(text, TEXT_SIZE if place else NAME_SIZE) for place, text in enumerate(texts)) + 2 * MARGIN
    header = LINE_HEIGHT * len(texts) + 14
    if not node.inside:
        extra = 16 if node.type == "Choice" else 0  # its pointed sides
        return _Cell(max(84.0, width + extra), header, node, texts)
    layouts = [lay_out(inner, describe, has_ends=False) for inner in node.inside]
    inner_width = sum(each.width for each in layouts) + MARGIN * (len(layouts) - 1)
    width = max(width, inner_width + 2 * MARGIN)
    inside, x = [], (width - inner_width) / 2
    for each in layouts:
        inside.append(((x, header), each))
        x += each.width + MARGIN
    return _Cell(width, header + max(each.height for each in layouts) + MARGIN, node, texts, tuple(inside))


# Layers


def _reverse_cycles(cells: Sequence[_Cell], links: Sequence[_Link]) -> None:
    """Turn round every link that leads back to a cell which a walk from the start is still inside of."""
    leaving: defaultdict[int, list[_Link]] = defaultdict(list)
    for link in links:
        leaving[id(link.upper)].append(link)
    done: set[int] = set()
    inside: set[int] = set()
    for root in cells:
        if id(root) in done:
            continue
        inside.add(id(root))
        walk = [(root, iter(tuple(leaving[id(root)])))]
        while walk:
            cell, rest = walk[-1]
            way = next(rest, None)
            if way is None:
                walk.pop()
                inside.discard(id(cell))
                done.add(id(cell))
            elif id(way.lower) in inside:
                way.is_reversed = True
            elif id(way.lower) not in done:
                inside.add(id(way.lower))
                walk.append((way.lower, iter(tuple(leaving[id(way.lower)]))))
    for link in links:
        if link.is_reversed:
            link.upper, link.lower = link.lower, link.upper


def _assign_layers(cells: Sequence[_Cell], links: Sequence[_Link]) -> None:
    """Put each cell on the highest layer that lies below all that lead to it."""
    waiting = {id(cell): 0 for cell in cells}
    leaving: defaultdict[int, list[_Link]] = defaultdict(list)
    for link in links:
        waiting[id(link.lower)] += 1
        leaving[id(link.upper)].append(link)
    ready = [cell for cell in cells if not waiting[id(cell)]]
    for cell in ready:  # grows as it goes
        for link in leaving[id(cell)]:
            link.lower.layer = max(link.lower.layer, cell.layer + link.least)
            waiting[id(link.lower)] -= 1
            if not waiting[id(link.lower)]:
                ready.append(link.lower)


def _layers(cells: Iterable[_Cell], links: Sequence[_Link]) -> list[list[_Cell]]:
    """Return the cells by layer, waypoints added."""
    layers: defaultdict[int, list[_Cell]] = defaultdict(list)
    for cell in cells:
        layers[cell.layer].append(cell)
    for link in links:
        crossed = range(link.upper.layer + 1, link.lower.layer)
        if len(crossed) > MOST_WAYPOINTS:
            crossed = range(crossed[0], crossed[-1] + 1, crossed[-1] - crossed[0])
        for place, layer in enumerate(crossed):
            label = link.edge.label if link.edge is not None and not place else ""
            way = _Cell(text_width(label, TEXT_SIZE) + 8 if label else 4.0, LINE_HEIGHT if label else 0.0, is_way=True)
            way.layer = layer
            link.ways.append(way)
            layers[layer].append(way)
        for upper, lower in pairwise([link.upper, *link.ways, link.lower]):
            upper.below.append(lower)
            lower.above.append(upper)
    return [layers[number] for number in sorted(layers)]


def _order(layers: Sequence[list[_Cell]]) -> None:
    """Order each layer by where its neighbours stand, downwards and upwards in turn."""
    places: dict[int, float] = {}

    def note(layer: Sequence[_Cell]) -> None:
        places.update((id(cell), place) for place, cell in enumerate(layer))

    for layer in layers:
        note(layer)
    for sweep in range(SWEEPS):
        is_down = sweep % 2 == 0
        for layer in layers[1:] if is_down else layers[-2::-1]:
            keys = {}
            for cell in layer:
                near = cell.above if is_down else cell.below
                keys[id(cell)] = sum(places[id(other)] for other in near) / len(near) if near else places[id(cell)]
            layer.sort(key=lambda cell: keys[id(cell)])
            note(layer)


# Coordinates


def _find_x(layers: Sequence[list[_Cell]]) -> None:
    """Move each cell towards the middle of its neighbours, as near as the separation on its layer allows."""
    for layer in layers:
        _separate(layer, [0.0] * len(layer))
    for sweep in range(SWEEPS):
        is_last = sweep >= SWEEPS - 2
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = []
            for cell in layer:
                near = [*cell.above, *cell.below] if is_last else cell.above if sweep % 2 == 0 else cell.below
                near = near or [*cell.above, *cell.below]
                weights = [4.0 if cell.is_way and other.is_way else 1.0 for other in near]
                total = sum(weight * other.x for weight, other in zip(weights, near, strict=True))
                wanted.append(total / sum(weights) if near else cell.x)
            _separate(layer, wanted)


def _separate(layer: Sequence[_Cell], wanted: Sequence[float]) -> None:
    """Place a layer's centres nearest to what is wanted, in order and apart (isotonic regression by pooling)."""
    offsets = [0.0]
    for left, right in pairwise(layer):
        offsets.append(offsets[-1] + (left.width + right.width) / 2 + MARGIN)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for cell, want, offset in zip(layer, wanted, offsets, strict=True):
        mean, weight, count = want - offset, 3.0 if cell.is_way else 1.0, 1
        while pools and pools[-1][0] > mean:
            other, other_weight, others = pools.pop()
            mean = (mean * weight + other * other_weight) / (weight + other_weight)
            weight, count = weight + other_weight, count + others
        pools.append((mean, weight, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    for cell, mean, offset in zip(layer, means, offsets, strict=True):
        cell.x = mean + offset


def _placed(
    layers: Sequence[Sequence[_Cell]],
    links: Sequence[_Link],
    loops: Sequence[_Link],
    start: _Cell | None,
    end: _Cell | None,
) -> Layout:
    every = [cell for layer in layers for cell in layer]
    looped = {id(link.upper) for link in loops}
    left = min(cell.x - cell.width / 2 for cell in every) - MARGIN
    right = max(cell.x + cell.width / 2 + (30 if id(cell) in looped else 0) for cell in every) + MARGIN
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

    def middle(cell: _Cell) -> float:
        top, height = rows[cell.layer]
        return top + height / 2

    ports = _ports(links)
    lines = [_line(link, ports, rows, middle) for link in links] + [_loop(link, middle) for link in loops]
    return Layout(
        width=right - left,
        height=y + MARGIN,
        boxes=tuple(_box(cell, middle(cell)) for cell in every if cell.node is not None),
        lines=tuple(lines),
        start=(start.x, middle(start)) if start else None,
        end=(end.x, middle(end)) if end else None,
    )


def _box(cell: _Cell, middle: float) -> Box:
    assert cell.node is not None  # noqa: S101 -- only states are boxes
    return Box(
        node=cell.node,
        x=cell.x - cell.width / 2,
        y=middle - cell.height / 2,
        width=cell.width,
        height=cell.height,
        texts=cell.texts,
        inside=cell.inside,
    )


def _ports(links: Sequence[_Link]) -> dict[tuple[int, bool], float]:
    """Return where each link leaves its upper cell (True) and enters its lower one (False): side by side, in order."""
    ports: dict[tuple[int, bool], float] = {}
    for is_upper in (True, False):
        sides: defaultdict[int, list[_Link]] = defaultdict(list)
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
    link: _Link,
    ports: dict[tuple[int, bool], float],
    rows: dict[int, tuple[float, float]],
    middle: Callable[[_Cell], float],
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
    label_at = (link.ways[0].x, middle(link.ways[0])) if link.edge is not None and link.edge.label else None
    return Line(edge=link.edge, points=tuple(reversed(points) if link.is_reversed else points), label_at=label_at)


def _loop(link: _Link, middle: Callable[[_Cell], float]) -> Line:
    """Return the way of a state that leads to itself: out at its right side, and in again above."""
    side, y = link.upper.x + link.upper.width / 2, middle(link.upper)
    return Line(edge=link.edge, points=((side, y + 8), (side + 26, y), (side, y - 8)))
