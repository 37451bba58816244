"""`graph`: every format, of definitions and of executions."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from support.cli_project import CliProject


@pytest.mark.parametrize(
    ("kind", "begins"), [("mermaid", "flowchart TD"), ("dot", "digraph {"), ("svg", "<svg "), ("tree", "orders.json")]
)
def test_a_file_is_drawn(project: CliProject, kind: str, begins: str) -> None:
    drawn = project.call("graph", "orders.json", "--format", kind).stdout
    assert drawn.startswith(begins)
    assert "Price" in drawn


def test_a_pipe_gets_mermaid(project: CliProject) -> None:
    assert project.call("graph", "-", given=(project.folder / "orders.json").read_text()).stdout.startswith(
        "flowchart TD"
    )


def test_the_suffix_of_the_file_tells_the_format(project: CliProject) -> None:
    for name in ("a.svg", "a.dot", "a.mmd", "a.txt"):
        assert f"wrote {name}" in project.call("graph", "orders.json", "-o", name).stderr
    assert ET.parse(project.folder / "a.svg").getroot().tag.endswith("svg")
    assert "say which by --format" in project.call("graph", "orders.json", "-o", "a.png", code=2).stderr


def test_an_execution_is_drawn_on_its_definition(project: CliProject) -> None:
    project.call("run", "orders.json", "--tasks", "handlers", "--name", "one", "--input", '{"refuse": 1}', code=1)
    mermaid = project.call("graph", "--execution", "one", "--format", "mermaid").stdout
    assert "title: 'one · FAILED" in mermaid
    assert "class s0 failed" in mermaid
    assert "✗ Price" in project.call("graph", "--execution", "one", "--format", "tree").stdout
    timeline = ET.fromstring(project.call("graph", "--execution", "one", "--format", "timeline").stdout)
    assert any("Order.Refused" in (text.text or "") for text in timeline.iter("{http://www.w3.org/2000/svg}text"))


def test_a_stored_machine_is_drawn(project: CliProject) -> None:
    project.run("one")
    assert project.call("graph", "orders").stdout == project.call("graph", "orders.json").stdout


def test_what_cannot_be_drawn(project: CliProject) -> None:
    assert "give a file or a state machine" in project.call("graph", code=2).stderr
    assert "give --execution" in project.call("graph", "orders.json", "--format", "timeline", code=2).stderr
    project.write("bad.json", "{}")
    assert "bad.json:1:1" in project.call("graph", "bad.json", code=2).stderr
