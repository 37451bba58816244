"""Layout of a graph: states in line, arrows that end on borders, labels beside lines, for graphs of any shape."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain.asl import load
from statechain.drawing.graph import Edge, Graph, Node, graph_of
from statechain.drawing.layers import LINE_HEIGHT
from statechain.drawing.layout import DOT, Box, Layout, lay_out
from statechain.drawing.svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Return a graph of any shape: cycles, loops, long edges, states that nothing leads to."""
    names = [f"S{place}" for place in range(draw(st.integers(1, 12)))]
    ends = st.sampled_from([*names, None])
    chosen = draw(st.lists(st.tuples(st.sampled_from(names), ends, st.sampled_from(["", "a label"]), st.booleans())))
    unique = {(source, target, is_catch): label for source, target, label, is_catch in chosen}
    found = tuple(
        Edge(source=source, target=target, label=label, is_catch=is_catch)
        for (source, target, is_catch), label in unique.items()
    )
    types = draw(st.lists(st.sampled_from(["Pass", "Choice", "Wait", "Succeed"]), min_size=len(names)))
    nodes = tuple(Node(name=name, type=kind) for name, kind in zip(names, types, strict=False))
    return Graph(start_at=names[0], nodes=nodes, edges=found)


def describe(node: Node) -> Sequence[str]:
    """Return one line."""
    return [node.name]


def overlap(one: Box, other: Box) -> bool:
    """Return whether two boxes share room."""
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


@given(graphs())
def test_any_graph_is_laid_out_without_overlaps_inside_its_borders(drawn: Graph) -> None:
    layout: Layout = lay_out(drawn, describe)
    assert len(layout.boxes) == len(drawn.nodes)
    assert len(layout.lines) == len(drawn.edges) + 1
    assert not [pair for pair in combinations(layout.boxes, 2) if overlap(*pair)]
    for box in layout.boxes:
        assert box.x >= 0
        assert box.x + box.width <= layout.width
        assert box.y + box.height <= layout.height
    ET.fromstring(to_svg(drawn))


def test_a_line_of_states_is_drawn_straight_down() -> None:
    names = ["A", "B", "C"]
    line = tuple(Edge(source=a, target=b) for a, b in zip(names, [*names[1:], None], strict=True))
    layout = lay_out(Graph(start_at="A", nodes=tuple(Node(name=n, type="Pass") for n in names), edges=line), describe)
    assert len({round(box.x + box.width / 2, 3) for box in layout.boxes}) == 1
    assert [box.node.name for box in sorted(layout.boxes, key=lambda box: box.y)] == names


def sampled(path: str) -> list[tuple[float, float]]:
    """Return points along an SVG path of straight lines and cubic curves, its ends among them."""
    points: list[tuple[float, float]] = []
    for command, rest in re.findall(r"([MLC])([^MLC]*)", path):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", rest)]
        corners = list(zip(numbers[::2], numbers[1::2], strict=True))
        if command == "M":
            points += corners
            continue
        controls = [points[-1], *(corners if command == "C" else [points[-1], corners[-1], corners[-1]])]
        for step in range(1, 41):
            t = step / 40
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            x, y = (sum(w * c[axis] for w, c in zip(weights, controls, strict=True)) for axis in (0, 1))
            points.append((x, y))
    return points


def chain(names: Sequence[str], *more: Edge) -> Graph:
    """Return states in a row from the first to the end, with further edges."""
    line = tuple(Edge(source=a, target=b) for a, b in zip(names, [*names[1:], None], strict=True))
    others = {edge.target for edge in more if edge.target is not None} - set(names)
    nodes = tuple(Node(name=name, type="Task", about="x" * (7 * at % 5)) for at, name in enumerate(names))
    return Graph(
        start_at=names[0],
        nodes=(*nodes, *(Node(name=name, type="Fail") for name in sorted(others))),
        edges=(*line, *more),
    )


CHAIN = ["Receive", "Check the order twice", "C", "Ship it", "Bill", "Thank the customer for it"]


@pytest.mark.parametrize(
    "more",
    [
        [],
        [Edge(source=name, target="Broken", label="any error", is_catch=True) for name in CHAIN],
        [Edge(source="Bill", target="Check the order twice", label="again")],
        [Edge(source="C", target="C", label="Busy", is_catch=True), Edge(source="C", target="B", is_catch=True)],
        [Edge(source=name, target="Undo it", label="any error", is_catch=True) for name in CHAIN[::2]]
        + [Edge(source=name, target="Broken", label="Timeout", is_catch=True) for name in CHAIN],
    ],
    ids=["alone", "catchers", "back", "itself", "two-handlers"],
)
def test_a_chain_is_one_straight_line(more: list[Edge]) -> None:
    layout = lay_out(chain(CHAIN, *more), describe)
    straight = [line for line in layout.lines if line.edge is None or (line.edge not in more and line.edge.target)]
    assert len(straight) == len(CHAIN)
    assert len({x for line in straight for x, _ in line.points}) == 1


def test_a_way_of_a_choice_runs_straight_down_its_chain() -> None:
    states: dict[str, Any] = {"Choose": {"Type": "Choice", "Choices": [], "Default": "W3"}}
    for n in range(4):
        rule = {"Variable": "$.kind", "StringEquals": "long " * n, "Next": f"W{n}"}
        states["Choose"]["Choices"] += [rule] * (n < 3)
        states |= {f"W{n}": {"Type": "Pass", "Next": f"Then {n}"}, f"Then {n}": {"Type": "Pass", "End": True}}
    drawn = graph_of(load({"StartAt": "Choose", "States": states}).model)
    layout = lay_out(drawn, describe)
    middles = {box.node.name: box.x + box.width / 2 for box in layout.boxes}
    for n in range(4):
        assert middles[f"W{n}"] == middles[f"Then {n}"]
        (line,) = (line for line in layout.lines if line.edge and line.edge.target == f"W{n}")
        assert line.points[-1][0] == line.points[-2][0] == middles[f"W{n}"]


def is_on_border(box: Box, x: float, y: float) -> bool:
    """Return whether a point lies on a box's outline: a hexagon, or a rectangle with round corners."""
    dx, dy = abs(x - box.x - box.width / 2), abs(y - box.y - box.height / 2)
    wide, high = box.width / 2, box.height / 2
    if dx <= wide - box.corner:
        return abs(dy - high) < 0.01
    if box.node.type == "Choice":
        return abs(dx - (wide - box.corner * dy / high)) < 0.01
    if dy <= high - box.corner:
        return abs(dx - wide) < 0.01
    return abs((dx - wide + box.corner) ** 2 + (dy - high + box.corner) ** 2 - box.corner**2) < 0.1


@given(graphs())
def test_an_arrow_ends_on_the_border_of_its_state(drawn: Graph) -> None:
    layout = lay_out(drawn, describe)
    boxes = {box.node.name: box for box in layout.boxes}
    for line in layout.lines:
        if line.edge is None:
            assert is_on_border(boxes[drawn.start_at], *line.points[-1])
        elif line.edge.target is None:
            assert layout.end is not None
            assert line.points[-1] == (layout.end[0], layout.end[1] - DOT / 2)
        else:
            assert is_on_border(boxes[line.edge.target], *line.points[-1])
        if line.edge is not None:
            assert is_on_border(boxes[line.edge.source], *line.points[0])


@given(graphs())
def test_two_arrow_heads_lie_apart_or_in_one_place(drawn: Graph) -> None:
    ends = [line.points[-1] for line in lay_out(drawn, describe).lines]
    for (x, y), (other_x, other_y) in combinations(ends, 2):
        distance = max(abs(x - other_x), abs(y - other_y))
        assert distance < 1e-6 or distance > 8.9


@given(graphs())
def test_a_label_lies_on_no_line(drawn: Graph) -> None:
    picture = ET.fromstring(to_svg(drawn))
    lines = [sampled(path.get("d", "")) for path in picture.findall(f"{SVG}g/{SVG}path")]
    labels = [
        [float(rect.get(name, "")) for name in ("x", "y", "width", "height")]
        for rect in picture.findall(f"{SVG}g/{SVG}rect")
        if rect.get("height") == f"{LINE_HEIGHT:.1f}"
    ]
    assert len(labels) == sum(bool(edge.label) for edge in drawn.edges)
    for left, top, width, height in labels:
        for line in lines:
            assert not [(x, y) for x, y in line if left < x < left + width and top < y < top + height]
    for one, other in combinations(labels, 2):
        assert (
            one[0] + one[2] <= other[0]
            or other[0] + other[2] <= one[0]
            or one[1] + one[3] <= other[1]
            or other[1] + other[3] <= one[1]
        )


def test_a_large_definition_whose_states_all_lead_to_one_handler_is_drawn() -> None:
    states: dict[str, Any] = {
        f"S{n}": {
            "Type": "Task",
            "Resource": "r",
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Broken"}],
            "Next": f"S{n + 1}",
        }
        for n in range(400)
    }
    states |= {"S400": {"Type": "Succeed"}, "Broken": {"Type": "Fail"}}
    drawn = to_svg(graph_of(load({"StartAt": "S0", "States": states}).model))
    assert len(list(ET.fromstring(drawn).iter(f"{SVG}path"))) > 800
