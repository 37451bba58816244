"""Cells and the links between them → layers from top to bottom, ordered.

The usual steps (Sugiyama's): reverse the links that close a cycle, give each cell a layer, put a waypoint on every
layer that a link crosses (its label lies beside the first), and order the layers by barycentres. `find_x` is the last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import attrs

__all__ = [
    "LABEL_SPACE",
    "LINE_HEIGHT",
    "MARGIN",
    "TEXT_SIZE",
    "Cell",
    "Link",
    "assign_layers",
    "layered",
    "order",
    "reverse_cycles",
    "text_width",
]

MARGIN = 14.0
"""Between boxes on one layer, and round what is inside a box."""
LINE_HEIGHT = 15.0
TEXT_SIZE = 11.0
LABEL_SPACE = 5.0
"""Between a line and its label."""
SWEEPS = 12
MOST_WAYPOINTS = 40
"""An edge over more layers is drawn straight in its middle: what it crosses is out of sight anyway."""


def text_width(text: str, size: float) -> float:
    """Return about how wide a string is in a sans-serif face, in the units of its size."""
    return size * sum(_advance(character) for character in text)


def _advance(character: str) -> float:
    if character in "iljtf.,:;'|!()[] ":
        return 0.36
    if character in "mwMW@%" or ord(character) >= 0x2E80:
        return 0.98
    return 0.72 if character.isupper() else 0.6


@attrs.define(eq=False)
class Cell:
    """Something that takes up room on a layer: a state, a dot, or a waypoint of a link.

    Attributes:
        beside: How much room it needs at its right side, for a way that leads back to itself, or for a label.

        above: Its neighbours one step up, and ``below`` those one step down.

        main_above: Those of them that neither a catcher nor a way back leads to.
    """

    width: float
    height: float
    beside: float = 0.0
    layer: int = 0
    x: float = 0.0
    is_way: bool = False
    above: list[Cell] = attrs.field(factory=list)
    below: list[Cell] = attrs.field(factory=list)
    main_above: list[Cell] = attrs.field(factory=list)
    main_below: list[Cell] = attrs.field(factory=list)


@attrs.define(eq=False)
class Link:
    """A way between two cells, pointing down; ``is_reversed`` where it closes a cycle, ``is_catch`` where errors go."""

    upper: Cell
    lower: Cell
    label: str = ""
    is_reversed: bool = False
    is_catch: bool = False
    ways: list[Cell] = attrs.field(factory=list)

    @property
    def least(self) -> int:
        """How many layers it needs: one more for a label, and for a way back to bend round."""
        return 2 if self.is_reversed or self.label else 1


def reverse_cycles(cells: Sequence[Cell], links: Sequence[Link]) -> None:
    """Turn round every link that leads back to a cell which a walk from the start is still inside of."""
    leaving: defaultdict[int, list[Link]] = defaultdict(list)
    for link in links:
        leaving[id(link.upper)].append(link)
    done: set[int] = set()
    inside: set[int] = set()
    for root in cells:
        if id(root) in done:
            continue
        inside.add(id(root))
        # An explicit stack: a long chain of states nests deeper than Python's calls may.
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
        # Only now: the walk has to see the links as they are written.
        if link.is_reversed:
            link.upper, link.lower = link.lower, link.upper


def assign_layers(cells: Sequence[Cell], links: Sequence[Link]) -> None:
    """Put each cell on the highest layer that lies below all that lead to it."""
    waiting = {id(cell): 0 for cell in cells}
    leaving: defaultdict[int, list[Link]] = defaultdict(list)
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


def layered(cells: Iterable[Cell], links: Sequence[Link]) -> list[list[Cell]]:
    """Return the cells by layer, waypoints added."""
    layers: defaultdict[int, list[Cell]] = defaultdict(list)
    for cell in cells:
        layers[cell.layer].append(cell)
    for link in links:
        crossed = range(link.upper.layer + 1, link.lower.layer)
        if len(crossed) > MOST_WAYPOINTS:
            # The first layer and the last: one waypoint at each end.
            crossed = range(crossed[0], crossed[-1] + 1, crossed[-1] - crossed[0])
        for place, layer in enumerate(crossed):
            label = "" if place else link.label
            way = Cell(4.0, LINE_HEIGHT if label else 0.0, is_way=True)
            way.beside = text_width(label, TEXT_SIZE) + 2 * LABEL_SPACE if label else 0.0
            way.layer = layer
            link.ways.append(way)
            layers[layer].append(way)
        for upper, lower in pairwise([link.upper, *link.ways, link.lower]):
            upper.below.append(lower)
            lower.above.append(upper)
            if not (link.is_catch or link.is_reversed):
                upper.main_below.append(lower)
                lower.main_above.append(upper)
    return [layers[number] for number in sorted(layers)]


def order(layers: Sequence[list[Cell]]) -> None:
    """Order each layer by where its neighbours are, downwards and upwards in turn."""
    places: dict[int, float] = {}

    def note(layer: Sequence[Cell]) -> None:
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
            # A stable sort: cells with the same neighbours stay in the order of the definition.
            layer.sort(key=lambda cell: keys[id(cell)])
            note(layer)
