"""Layers of cells → an x for each cell: straight chains are columns, which share one x, and least squares place them.

Two cells form a column where each is the other's only neighbour on that side, catchers and ways back left out; so do
the waypoints of one link. No two links inside columns cross each other, so "left of" is an order of the columns, and
each column fits on all its layers.
"""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import attrs

from statechain.drawing.layers import MARGIN, Cell

__all__ = ["find_x"]

SWEEPS = 12
ROUNDS = 24
PASSES = 8


@attrs.define(eq=False)
class _Column:
    """Cells on consecutive layers with one x; ``near`` holds the columns that its links lead to, with weights."""

    cells: list[Cell]
    x: float = 0.0
    near: list[tuple[_Column, float]] = attrs.field(factory=list)
    weight: float = 1.0

    @property
    def wanted(self) -> float:
        """The x between the present one and the middle of its neighbours: half a step, or two columns would swap."""
        total = sum(weight for _, weight in self.near)
        return (self.x + sum(weight * other.x for other, weight in self.near) / total) / 2 if total else self.x


@attrs.define(eq=False)
class _Separation:
    """How far one column must lie to the left of another; ``force`` is what now keeps them apart."""

    left: _Column
    right: _Column
    least: float
    force: float = 0.0


def find_x(layers: Sequence[Sequence[Cell]]) -> None:
    """Give each cell an x: one for each column, near the middle of its neighbours, as far as the room allows."""
    _sweep(layers)
    column_of = _columns(layers)
    columns = list(dict.fromkeys(column_of.values()))
    for column in columns:
        column.x = sum(cell.x for cell in column.cells) / len(column.cells)
        for cell in column.cells:
            for other in (*cell.above, *cell.below):
                if column_of[other] is not column:
                    column.near.append((column_of[other], 4.0 if cell.is_way and other.is_way else 1.0))
        column.weight = 1.0 + sum(weight for _, weight in column.near)
    separations = list(_separations(layers, column_of))
    for _ in range(ROUNDS):
        _project(columns, separations, [column.wanted for column in columns])
    # The projection leaves columns nearly apart: this makes it exact.
    _push_apart(columns, separations)
    for column in columns:
        for cell in column.cells:
            cell.x = column.x


def _columns(layers: Sequence[Sequence[Cell]]) -> dict[Cell, _Column]:
    column_of = {cell: _Column([cell]) for layer in layers for cell in layer}
    for upper_layer, lower_layer in pairwise(layers):
        for upper, lower in _straight(upper_layer, lower_layer):
            column = column_of[lower] = column_of[upper]
            column.cells.append(lower)
    return column_of


def _straight(upper_layer: Sequence[Cell], lower_layer: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Return the links between two layers that go straight down: of two that cross, one between states is preferred."""
    places = {cell: place for place, cell in enumerate(lower_layer)}
    found: list[tuple[int, int, Cell, Cell]] = []
    for place, upper in enumerate(upper_layer):
        lower = _only(upper.main_below, upper.below)
        if lower is not None and lower in places and _only(lower.main_above, lower.above) is upper:
            found.append((place, places[lower], upper, lower))
    # Stable: ways come last, and are left out where they cross what was chosen before.
    found.sort(key=lambda link: link[2].is_way + link[3].is_way)
    chosen: list[tuple[int, int, Cell, Cell]] = []
    for link in found:
        at = bisect(chosen, link[0], key=lambda other: other[0])
        if (at == 0 or chosen[at - 1][1] < link[1]) and (at == len(chosen) or link[1] < chosen[at][1]):
            chosen.insert(at, link)
    return [(upper, lower) for _, _, upper, lower in chosen]


def _only(main: Sequence[Cell], every: Sequence[Cell]) -> Cell | None:
    found = main or every
    return found[0] if len(found) == 1 else None


def _separations(layers: Sequence[Sequence[Cell]], column_of: dict[Cell, _Column]) -> Iterator[_Separation]:
    least: defaultdict[tuple[_Column, _Column], float] = defaultdict(float)
    for layer in layers:
        for left, right in pairwise(layer):
            pair = column_of[left], column_of[right]
            least[pair] = max(least[pair], _distance(left, right))
    for (left_column, right_column), distance in least.items():
        yield _Separation(left_column, right_column, distance)


def _distance(left: Cell, right: Cell) -> float:
    return (left.width + right.width) / 2 + left.beside + MARGIN


def _project(columns: Sequence[_Column], separations: Sequence[_Separation], wanted: Sequence[float]) -> None:
    """Move the columns to what is nearest to the wanted places and nearly apart (Hildreth's method, forces kept)."""
    for column, x in zip(columns, wanted, strict=True):
        column.x = x
    for each in separations:
        _push(each, each.force)
    for number in range(PASSES):
        # From both sides in turn, so that pushes travel through a row quickly.
        for each in separations if number % 2 else reversed(separations):
            left, right = each.left, each.right
            missing = each.least - (right.x - left.x)
            force = max(0.0, each.force + missing / (1 / left.weight + 1 / right.weight))
            _push(each, force - each.force)
            each.force = force


def _push(separation: _Separation, force: float) -> None:
    separation.left.x -= force / separation.left.weight
    separation.right.x += force / separation.right.weight


def _push_apart(columns: Sequence[_Column], separations: Sequence[_Separation]) -> None:
    """Move columns to the right, from left to right, until all are wholly apart."""
    waiting = dict.fromkeys(columns, 0)
    leaving: defaultdict[_Column, list[_Separation]] = defaultdict(list)
    for each in separations:
        waiting[each.right] += 1
        leaving[each.left].append(each)
    ready = [column for column in columns if not waiting[column]]
    for column in ready:  # grows as it goes
        for each in leaving[column]:
            each.right.x = max(each.right.x, column.x + each.least)
            waiting[each.right] -= 1
            if not waiting[each.right]:
                ready.append(each.right)


def _sweep(layers: Sequence[Sequence[Cell]]) -> None:
    """Move each cell towards the middle of its neighbours, layer by layer, downwards and upwards in turn."""
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


def _separate(layer: Sequence[Cell], wanted: Sequence[float]) -> None:
    """Place a layer's centres nearest to what is wanted, in order and apart (isotonic regression by pooling)."""
    offsets = [0.0]
    for left, right in pairwise(layer):
        offsets.append(offsets[-1] + _distance(left, right))
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
