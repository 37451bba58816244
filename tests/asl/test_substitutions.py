"""DefinitionSubstitutions: values in the place of ``${Name}``, an error for each that is missing, places as written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain import Engine
from statechain.asl import load
from statechain.asl.substitutions import substitute_text, substitute_value
from statechain.errors import DefinitionError

TEXT = """{
  "StartAt": "${First}",
  "States": {"A": {"Type": "Task", "Resource": "${Arn}", "TimeoutSeconds": ${Seconds}, "Nxt": 1, "End": true}}
}"""


def test_a_value_is_put_in_as_it_is() -> None:
    definition = load(TEXT.replace('"Nxt": 1, ', ""), substitutions={"First": "A", "Arn": "f", "Seconds": 30})
    state = json.loads(definition.text)["States"]["A"]
    assert (state["Resource"], state["TimeoutSeconds"]) == ("f", 30)


def test_booleans_are_those_of_json() -> None:
    assert substitute_text("${a} ${b}", {"a": True, "b": 1.5}).text == "true 1.5"


def test_every_missing_name_is_an_error_of_its_own_at_its_place() -> None:
    with pytest.raises(DefinitionError) as caught:
        load(TEXT, substitutions={"Arn": "f"})
    found = [(each.code, each.line, each.column) for each in caught.value.diagnostics]
    assert found == [("missing-substitution", 2, 15), ("missing-substitution", 3, 76)]
    assert "${First}" in caught.value.diagnostics[0].message


def test_what_is_missing_in_a_mapping_is_named_by_its_pointer() -> None:
    with pytest.raises(DefinitionError) as caught:
        load({"StartAt": "${A}", "States": {"${B}": {"Type": "${A}"}}}, substitutions={})
    assert [each.pointer for each in caught.value.diagnostics] == ["/StartAt", "/States/${B}"]


def test_without_substitutions_a_placeholder_is_a_string() -> None:
    definition = load({"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "${Arn}", "End": True}}})
    assert [resource for _, resource in definition.resources()] == ["${Arn}"]


def test_places_are_those_of_the_text_that_was_written() -> None:
    with pytest.raises(DefinitionError) as caught:
        load(TEXT, substitutions={"First": "A", "Arn": "a-name-that-is-long\\n", "Seconds": 30})
    (found,) = caught.value.diagnostics
    assert (found.code, found.line) == ("unknown-field", 3)
    assert TEXT.splitlines()[2][found.column - 1 if found.column else 0 :].startswith('"Nxt"')


def test_a_value_that_is_no_json_is_named_at_its_placeholder() -> None:
    with pytest.raises(DefinitionError) as caught:
        load(TEXT, substitutions={"First": "A", "Arn": "f", "Seconds": "\n\nnine"})
    (found,) = caught.value.diagnostics
    assert (found.code, found.line, found.column) == ("syntax", 3, 76)


@given(st.lists(st.sampled_from([" ", "\n", "${x}", "${y}", "${", "}", "é"])), st.text(), st.text())
def test_what_was_not_replaced_keeps_its_place(parts: list[str], x: str, y: str) -> None:
    written = "".join(parts)
    substituted = substitute_text(written, {"x": x, "y": y})
    assert substituted.text == "".join({"${x}": x, "${y}": y}.get(part, part) for part in parts)
    lines = written.split("\n")
    for number, line in enumerate(substituted.text.split("\n"), start=1):
        for column, character in enumerate(line, start=1):
            at, place = substituted.written((number, column))
            rest = lines[at - 1][place - 1 :]
            assert rest.startswith(("${x}", "${y}", character))


def test_keys_are_replaced_too() -> None:
    assert substitute_value({"${a}": ["${a}-${b}", 1, None]}, {"a": "x", "b": 2}) == {"x": ["x-2", 1, None]}


async def test_a_machine_is_created_with_substitutions() -> None:
    definition = {"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": "${Stage}", "End": True}}}
    async with Engine() as engine:
        machine = await engine.create_state_machine("m", definition, substitutions={"Stage": "test"})
        assert (await machine.execute({})).output == "test"
