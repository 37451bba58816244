"""Pictures of definitions and of executions: what is drawn, and that it can be drawn at all."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain import Engine, MemoryRepository, TaskError, TaskRegistry
from statechain.asl import load
from statechain.drawing.dot import to_dot
from statechain.drawing.graph import Edge, Graph, graph_of
from statechain.drawing.layers import text_width
from statechain.drawing.mermaid import to_mermaid
from statechain.drawing.picture import Trace, folded, spoken, trace_of
from statechain.drawing.svg import to_svg
from statechain.drawing.timeline import tick_text, ticks, timeline_svg
from statechain.records.executions import Execution, ExecutionStatus, Visit
from statechain.testing import VirtualClock

SVG = "{http://www.w3.org/2000/svg}"
START = datetime(2026, 1, 1, tzinfo=UTC)

NESTED = {
    "StartAt": "Choose",
    "States": {
        "Choose": {
            "Type": "Choice",
            "Choices": [
                {
                    "And": [
                        {"Variable": "$.total", "NumericGreaterThan": 100},
                        {"Not": {"Variable": "$.vip", "BooleanEquals": True}},
                    ],
                    "Next": "Both",
                },
                {"Variable": "$.name", "IsPresent": False, "Next": "Refused"},
            ],
            "Default": "Rest",
        },
        "Both": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Left", "States": {"Left": {"Type": "Task", "Resource": "Left", "End": True}}},
                {
                    "StartAt": "Each",
                    "States": {
                        "Each": {
                            "Type": "Map",
                            "ItemsPath": "$.items",
                            "ItemProcessor": {
                                "StartAt": "Item",
                                "States": {"Item": {"Type": "Task", "Resource": "Item", "End": True}},
                            },
                            "End": True,
                        }
                    },
                },
            ],
            "Catch": [{"ErrorEquals": ["No", "States.Timeout"], "ResultPath": "$.fault", "Next": "Rest"}],
            "Next": "Rest",
        },
        "Rest": {"Type": "Wait", "Seconds": 1, "Next": "Choose again"},
        "Choose again": {
            "Type": "Choice",
            "QueryLanguage": "JSONata",
            "Choices": [{"Condition": "{% $states.input.again %}", "Next": "Choose"}],
            "Default": "Done",
        },
        "Refused": {"Type": "Fail", "Error": "Refused"},
        "Done": {"Type": "Succeed"},
    },
}


def graph(definition: dict[str, Any] = NESTED) -> Graph:
    """Return the graph of a definition."""
    return graph_of(load(definition).model)


def edges(drawn: Graph) -> dict[tuple[str, str | None], Edge]:
    """Return the edges by their ends."""
    return {(edge.source, edge.target): edge for edge in drawn.edges}


def test_choices_are_labelled_as_one_would_say_them() -> None:
    found = edges(graph())
    assert found["Choose", "Both"].label == "total > 100 and not (vip = true)"
    assert found["Choose", "Refused"].label == "name is not present"
    assert found["Choose", "Rest"].label == "otherwise"
    assert found["Choose again", "Choose"].label == "$states.input.again"


def test_catchers_are_edges_of_their_own() -> None:
    both = [edge for edge in graph().edges if (edge.source, edge.target) == ("Both", "Rest")]
    assert [(edge.label, edge.is_catch) for edge in both] == [("", False), ("No, States.Timeout", True)]


def test_branches_and_processors_are_nested() -> None:
    both = next(node for node in graph().nodes if node.name == "Both")
    assert [[node.name for node in inner.nodes] for inner in both.inside] == [["Left"], ["Each"]]
    assert both.inside[1].nodes[0].about == "each of items"
    assert [node.name for node in both.inside[1].nodes[0].inside[0].nodes] == ["Item"]


def test_mermaid_opens_and_closes_each_group_once() -> None:
    lines = [line.strip() for line in to_mermaid(graph()).splitlines()]
    assert lines[0] == "flowchart TD"
    assert sum(line.startswith("subgraph ") for line in lines) == lines.count("end") == 4
    assert 's0 -->|"total #62; 100 and not (vip = true)"| s1' in lines
    assert 's1 -.->|"No, States.Timeout"| s5' in lines


def test_names_that_are_markup_elsewhere_stay_names() -> None:
    name = 'a "b" <i>&amp; \\n; end | `x` #{}'
    drawn = graph({"StartAt": name, "States": {name: {"Type": "Pass", "Next": "end"}, "end": {"Type": "Succeed"}}})
    texts = [text.text for text in ET.fromstring(to_svg(drawn)).iter(f"{SVG}text")]
    assert name in texts
    label = re.search(r'^  s0\["(.*)<br/>Pass"\]$', to_mermaid(drawn), re.MULTILINE)
    assert label is not None
    assert re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label[1]) == name
    assert re.search(r'\[label="a \\"b\\" <i>&amp; \\\\n; end', to_dot(drawn))


@pytest.mark.parametrize("draw", [to_mermaid, to_dot, to_svg])
@pytest.mark.parametrize("name", ["\ud83d", "a\x00b", "a\x1bb", "\ufffe"])
def test_names_that_no_file_can_have_are_drawn(draw: Any, name: str) -> None:
    drawn = draw(graph({"StartAt": name, "States": {name: {"Type": "Pass", "End": True}}}))
    assert name not in drawn
    assert drawn.encode().decode() == drawn


def test_dot_enters_and_leaves_groups_at_their_borders() -> None:
    dot = to_dot(graph())
    assert 's0 -> s1 [label="total > 100 and not (vip = true)", lhead=cluster_s1];' in dot
    assert "ltail=cluster_s1];" in dot
    assert dot.count("{") == dot.count("}")


# An execution on it


def visit(
    state: str, kind: str, after: float, took: float | None, *, frame: str = "", number: int = 0, **more: Any
) -> Visit:
    """Return a visit some seconds after the start."""
    entered = START + timedelta(seconds=after)
    more.setdefault("output", None if took is None or "error" in more else "{}")
    return Visit(
        execution_id="x",
        frame=frame,
        number=number,
        state=state,
        type=kind,
        entered=entered,
        exited=None if took is None else entered + timedelta(seconds=took),
        entered_event=int(after * 10) + 2,
        exited_event=0,
        **more,
    )


def execution(status: ExecutionStatus, took: float | None = 9, **more: Any) -> Execution:
    """Return an execution."""
    return Execution(
        id="x",
        name="order <1>",
        state_machine_id="m",
        state_machine_revision=1,
        status=status,
        input_text="{}",
        start_time=START,
        end_time=None if took is None else START + timedelta(seconds=took),
        **more,
    )


VISITS = [
    visit("Choose", "Choice", 0, 0, next="Both"),
    visit("Left", "Task", 1, 2, frame="Both[0]", error="No", cause="not today", detail='{"retries":[2]}'),
    visit("Item", "Task", 1, None, frame="Both[1]/Each[0]"),
    visit("Item", "Task", 1, 1, frame="Both[1]/Each[1]"),
    visit("Each", "Map", 1, None, frame="Both[1]"),
    visit("Both", "Parallel", 1, 2, number=1, error="No", next="Rest", output="{}"),
    visit("Rest", "Wait", 3, None, number=2),
    visit("Rest", "Wait", 3, 1, number=2, next="Choose again"),
]


def test_the_later_row_of_a_visit_counts() -> None:
    rest = [found for found in folded(VISITS) if found.state == "Rest"]
    assert [found.next for found in rest] == ["Choose again"]


def test_marks_tell_how_often_how_long_and_what_went_wrong() -> None:
    trace = trace_of(execution(ExecutionStatus.FAILED), VISITS, START)
    marks = trace.marks
    assert (marks["Left"].standing, marks["Left"].error, marks["Left"].described()) == (
        "failed",
        "No",
        "2 s · 2 retries",
    )
    assert (marks["Both"].standing, marks["Each"].standing) == ("caught", "stopped")
    assert (marks["Item"].visits, marks["Item"].standing) == (2, "stopped")
    assert ("Both", "Rest", True) in trace.taken
    assert ("Both", "Rest", False) not in trace.taken
    assert trace.title == "order <1> · FAILED · 9 s"


def test_one_that_runs_is_measured_against_now() -> None:
    running = execution(ExecutionStatus.RUNNING, None, current_state="Rest")
    trace = trace_of(running, [visit("Rest", "Wait", 0, None)], START + timedelta(seconds=5))
    assert (trace.marks["Rest"].standing, trace.marks["Rest"].seconds) == ("running", 5)
    started = trace_of(running, [], START)
    assert started.marks["Rest"].standing == "running"


@pytest.mark.parametrize("draw", [to_mermaid, to_dot, to_svg])
def test_an_execution_shows_on_its_graph(draw: Any) -> None:
    trace = trace_of(execution(ExecutionStatus.FAILED), VISITS, START)
    drawn = draw(graph(), trace)
    assert "2 retries" in drawn
    assert "FAILED" in drawn
    assert drawn != draw(graph())


def test_a_timeline_has_a_row_for_each_visit_nested_below_its_holder() -> None:
    drawn = ET.fromstring(timeline_svg(execution(ExecutionStatus.FAILED), VISITS, START))
    texts = [text.text or "" for text in drawn.iter(f"{SVG}text")]
    names = [text for text in texts if re.fullmatch(r"(\d: )?(Choose|Both|Left|Each|Item|Rest)", text)]
    assert names == ["Choose", "Both", "0: Left", "1: Each", "0: Item", "1: Item", "Rest"]
    assert any(text.startswith("2 s · 2 retries · No") for text in texts)


def test_a_long_timeline_says_what_is_left_out() -> None:
    many = [visit("Loop", "Pass", number, 1, number=number) for number in range(30)]
    drawn = timeline_svg(execution(ExecutionStatus.SUCCEEDED, 31), many, START, most=10)
    assert "… and 20 more visits" in drawn


@given(st.floats(1e-5, 1e9))
def test_an_axis_has_a_handful_of_ticks(whole: float) -> None:
    moments = ticks(whole)
    assert moments[0] == 0
    assert 2 <= len(moments) <= 10
    assert moments[-1] <= whole * 1.0001


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "<1 ms"), (0.0123, "12 ms"), (1.234, "1.23 s"), (61, "1 m 01 s"), (3720, "1 h 02 m"), (300_000, "3 d 11 h")],
)
def test_durations_are_told_to_three_figures(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_a_way_that_was_taken_is_drawn_over_those_that_were_not() -> None:
    trace = trace_of(execution(ExecutionStatus.FAILED), VISITS, START)
    picture = ET.fromstring(to_svg(graph(), trace))
    heads = [path.get("marker-end") for path in picture.findall(f"{SVG}g/{SVG}path")]
    assert heads == sorted(heads, key=lambda head: str(head).endswith("-taken)"))
    assert len(set(heads)) == 2


def test_notes_of_a_timeline_lie_inside_it_and_on_no_line() -> None:
    slow = visit("Slow", "Task", 0, 9, error="An.Error.WithALongName", detail='{"retries":[12]}')
    rows = [slow, visit("Next", "Pass", 4, 3.5, number=1)]
    picture = ET.fromstring(timeline_svg(execution(ExecutionStatus.FAILED), rows, START))
    drawn = list(picture.findall(f"{SVG}g/*"))
    notes = [place for place, each in enumerate(drawn) if each.text and each.text.startswith(("9 s · 12", "3.5 s"))]
    assert len(notes) == 2
    for place in notes:
        ground, text = drawn[place - 1], drawn[place]
        left, width = float(ground.get("x", "")), float(ground.get("width", ""))
        assert ground.get("fill") == "#ffffff"
        assert left <= float(text.get("x", ""))
        assert width >= text_width(text.text or "", 10)
        assert left + width <= float(picture.get("width", ""))
        assert not [each for each in drawn[place:] if each.tag == f"{SVG}line"]


# Through the public face


async def test_machines_and_executions_are_drawn_by_the_engine() -> None:
    tasks = TaskRegistry()

    @tasks.register("Left")
    async def left(_value: Any) -> None:
        raise TaskError("No")

    tasks.add("Item", lambda value: value)
    async with Engine(MemoryRepository(), tasks=tasks, clock=VirtualClock()) as engine:
        machine = await engine.create_state_machine("nested", NESTED)
        assert machine.to_mermaid() == to_mermaid(graph())
        assert machine.to_dot() == to_dot(graph())
        assert machine.to_svg() == to_svg(graph())
        order: dict[str, Any] = {"name": "x", "total": 200, "vip": False, "items": [1, 2], "again": False}
        handle = await machine.start_execution(order)
        ended = await handle.wait()
        assert ended.status == "SUCCEEDED"
        assert "class s2 failed" in await engine.draw_execution(ended.id, "mermaid")
        assert (await engine.draw_execution(ended.id, "dot")).startswith("digraph")
        assert "nested" not in await engine.draw_execution(ended.id)
        ET.fromstring(await engine.draw_execution(ended.id, "timeline"))
        with pytest.raises(ValueError, match="'timeline' or one of 'svg', 'mermaid', 'dot'"):
            await engine.draw_execution(ended.id, "png")  # type: ignore[arg-type]


def test_a_trace_without_visits_draws_nothing_on_the_graph() -> None:
    trace: Trace = trace_of(execution(ExecutionStatus.SUCCEEDED), [], START)
    assert "classDef" not in to_mermaid(graph(), trace)


@pytest.mark.parametrize("whole", [3e-6, 0.0005, 0.0031, 0.0099, 0.02, 0.7, 3.1, 59, 61, 4000, 90_000, 2_000_000])
def test_no_two_ticks_of_an_axis_read_alike(whole: float) -> None:
    texts = [tick_text(moment) for moment in ticks(whole)]
    assert len(set(texts)) == len(texts), texts
