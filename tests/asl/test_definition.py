"""Definitions: from mappings, texts and files; what they keep; every error at its place."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statechain.asl import load
from statechain.errors import DefinitionError, Diagnostic
from statechain.limits import Limits

DEFINITION: dict[str, Any] = {
    "Comment": "all eight",
    "StartAt": "Each",
    "States": {
        "Each": {
            "Type": "Map",
            "ItemProcessor": {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "work", "End": True}}},
            "Next": "Both",
        },
        "Both": {
            "Type": "Parallel",
            "Branches": [{"StartAt": "Hold", "States": {"Hold": {"Type": "Wait", "Seconds": 1, "End": True}}}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Bad"}],
            "Next": "Pick",
        },
        "Pick": {
            "Type": "Choice",
            "Choices": [{"Variable": "$[0]", "IsPresent": True, "Next": "Go"}],
            "Default": "Good",
        },
        "Go": {"Type": "Pass", "Next": "Good"},
        "Good": {"Type": "Succeed"},
        "Bad": {"Type": "Fail", "Error": "Bad"},
    },
}
YAML = """\
# an order
StartAt: Price
States:
  Price:
    Type: Task
    Resource: price
    Nxt: Done
  Done: {Type: Succeed}
"""


def test_a_mapping_a_text_and_a_file_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "orders.asl"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(DEFINITION, indent=2).encode())
    texts = [load(each).text for each in (DEFINITION, json.dumps(DEFINITION), file)]
    assert texts[0] == texts[1] == texts[2]
    assert json.loads(texts[0]) == DEFINITION


def test_it_keeps_its_own_copy() -> None:
    given_ = json.loads(json.dumps(DEFINITION))
    loaded = load(given_)
    given_["States"].clear()
    assert loaded.value == DEFINITION
    assert set(loaded.plan.states) == set(DEFINITION["States"])


def test_serialising_and_parsing_again_gives_the_same_model() -> None:
    loaded = load(DEFINITION)
    assert load(loaded.text).model == loaded.model


def test_it_tells_its_resources() -> None:
    assert list(load(DEFINITION).resources()) == [("/States/Each/ItemProcessor/States/Work/Resource", "work")]


def test_every_fault_at_once_with_line_and_column() -> None:
    with pytest.raises(DefinitionError) as caught:
        load(YAML)
    assert [(each.code, each.pointer, each.line, each.column) for each in caught.value.diagnostics] == [
        ("missing-field", "/States/Price", 5, 5),
        ("unknown-field", "/States/Price/Nxt", 7, 5),
        ("unreachable", "/States/Done", 8, 3),
    ]
    assert "did you mean 'Next'?" in str(caught.value)


def test_a_fault_can_be_placed_later() -> None:
    loaded = load(json.dumps(DEFINITION, indent=1))
    [(pointer, _)] = loaded.resources()
    placed = loaded.place(Diagnostic("unknown-resource", "nobody", pointer=pointer))
    assert placed.line is not None
    assert json.dumps(DEFINITION, indent=1).splitlines()[placed.line - 1].strip() == '"Resource": "work",'


def test_a_file_is_read_no_further_than_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "big.json"
    with file.open("wb") as out:
        out.truncate(50_000_000)
    with pytest.raises(DefinitionError, match="longer than 1048576 bytes"):
        load(file)
    file.write_text("{}" + "ä" * 100)
    with pytest.raises(DefinitionError, match="longer than 51 bytes"):
        load(file, limits=Limits(definition_bytes=51))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "orders.yaml"
    file.write_bytes(b"a: \xff")
    with pytest.raises(DefinitionError, match=r"orders\.yaml is not UTF-8 text"):
        load(file)


def test_a_mapping_that_is_no_json() -> None:
    loop: dict[str, Any] = {"StartAt": "A"}
    loop["States"] = loop
    for value in ({"StartAt": {1, 2}}, loop, {1: 2}, {"StartAt": float("nan")}):
        with pytest.raises(DefinitionError) as caught:
            load(value)  # type: ignore[arg-type]
        assert caught.value.diagnostics[0].code == "not-json"


def test_anything_else_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="not list"):
        load([])  # type: ignore[arg-type]


def test_a_definition_has_a_bounded_number_of_states() -> None:
    def chain(length: int) -> dict[str, Any]:
        states: dict[str, Any] = {f"S{n}": {"Type": "Pass", "Next": f"S{n + 1}"} for n in range(length - 1)}
        return {"StartAt": "S0", "States": {**states, f"S{length - 1}": {"Type": "Succeed"}}}

    load(chain(10), limits=Limits(definition_states=10))
    with pytest.raises(DefinitionError, match="at most 10 states"):
        load(chain(11), limits=Limits(definition_states=10))


FIELDS = st.sampled_from(
    ["Type", "Next", "End", "StartAt", "States", "Branches", "ItemProcessor", "Choices", "Retry", "Catch", "Assign",
     "Parameters", "Resource", "QueryLanguage", "ErrorEquals", "Variable", "And", "Not", "StringEquals", "Seconds",
     "ResultPath", "Output", "Condition", "ProcessorConfig", "Mode", "ItemReader", "ItemBatcher", "a.$", "Items"]
)  # fmt: skip
ATOMS = st.sampled_from(
    [None, True, False, 0, 1.5, "", "Pass", "Task", "Map", "Choice", "Parallel", "Wait", "Fail", "A", "$.a", "$[", "$$",
     "States.ALL", "States.Array(", "{% $states.input %}", "{% a %}", "JSONata", "DISTRIBUTED"]
)  # fmt: skip
PARTS = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS | st.just("A"), inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.dictionaries(FIELDS, PARTS, max_size=6), st.dictionaries(FIELDS, PARTS, max_size=8), ATOMS)
def test_no_definition_breaks_the_loader(top: Any, state: Any, type_: Any) -> None:
    for value in (top, {"StartAt": "A", "States": {"A": {"Type": type_, **state}}}):
        with suppress(DefinitionError):
            load(value)


def test_faults_of_one_place_are_listed_in_the_order_in_which_they_are_found() -> None:
    states = {f"Task{number}": {"Type": "Task", "Next": f"Task{number}", "End": True} for number in range(10)}
    with pytest.raises(DefinitionError) as refused:
        load({"StartAt": "Task0", "States": states})
    for name in states:
        here = [fault.code for fault in refused.value.diagnostics if fault.pointer == f"/States/{name}"]
        assert len(here) > 1
        assert here == [fault.code for fault in refused.value.diagnostics if fault.pointer == "/States/Task0"]
