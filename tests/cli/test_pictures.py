"""`graph`: every format, of definitions and of executions."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from desk import Desk


@pytest.mark.parametrize(
    ("kind", "begins"), [("mermaid", "flowchart TD"), ("dot", "digraph {"), ("svg", "<svg "), ("tree", "orders.json")]
)
def test_a_file_is_drawn(desk: Desk, kind: str, begins: str) -> None:
    drawn = desk.call("graph", "orders.json", "--format", kind).stdout
    assert drawn.startswith(begins)
    assert "Price" in drawn


def test_a_pipe_gets_mermaid(desk: Desk) -> None:
    assert desk.call("graph", "-", given=(desk.folder / "orders.json").read_text()).stdout.startswith("flowchart TD")


def test_the_suffix_of_the_file_tells_the_format(desk: Desk) -> None:
    for name in ("a.svg", "a.dot", "a.mmd", "a.txt"):
        assert f"wrote {name}" in desk.call("graph", "orders.json", "-o", name).stderr
    assert ET.parse(desk.folder / "a.svg").getroot().tag.endswith("svg")
    assert "say which by --format" in desk.call("graph", "orders.json", "-o", "a.png", code=2).stderr


def test_an_execution_is_drawn_on_its_definition(desk: Desk) -> None:
    desk.call("run", "orders.json", "--tasks", "handlers", "--name", "one", "--input", '{"refuse": 1}', code=1)
    mermaid = desk.call("graph", "--execution", "one", "--format", "mermaid").stdout
    assert "title: 'one · FAILED" in mermaid
    assert "class s0 failed" in mermaid
    assert "✗ Price" in desk.call("graph", "--execution", "one", "--format", "tree").stdout
    timeline = ET.fromstring(desk.call("graph", "--execution", "one", "--format", "timeline").stdout)
    assert any("Order.Refused" in (text.text or "") for text in timeline.iter("{http://www.w3.org/2000/svg}text"))


def test_a_stored_machine_is_drawn(desk: Desk) -> None:
    desk.run("one")
    assert desk.call("graph", "orders").stdout == desk.call("graph", "orders.json").stdout


def test_what_cannot_be_drawn(desk: Desk) -> None:
    assert "give a file or a state machine" in desk.call("graph", code=2).stderr
    assert "give --execution" in desk.call("graph", "orders.json", "--format", "timeline", code=2).stderr
    desk.write("bad.json", "{}")
    assert "bad.json:1:1" in desk.call("graph", "bad.json", code=2).stderr
