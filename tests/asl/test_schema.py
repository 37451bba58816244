"""The JSON Schema of definitions: it accepts what loads, and refuses what has not the form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from statechain.asl import load
from statechain.asl.grammar import PARTS, STATE_TYPES
from statechain.asl.schema import definition_schema
from statechain.errors import DefinitionError
from support.recorded.external_cases import CONFORMANCE, require_cases

CASES = Path(__file__).parents[1] / "cases" / "cases.jsonl"
SCHEMA = definition_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
PASS = {"Type": "Pass", "End": True}
BODY = {"StartAt": "P", "States": {"P": PASS}}
RULE = {"Variable": "$.a", "NumericEquals": 1, "Next": "B"}


def of(state: Any, language: str = "JSONPath") -> dict[str, Any]:
    """Return a definition of one state, and of B where it leads there."""
    states = {"A": state, **({"B": PASS} if '"B"' in json.dumps(state) else {})}
    return {"StartAt": "A", "States": states, "QueryLanguage": language}


def definitions(path: Path) -> Iterator[Any]:
    for line in path.read_text("utf-8").splitlines():
        case = json.loads(line)
        yield case["definition"], case.get("type", "STANDARD")


def accepts_what_loads(path: Path) -> int:
    """Hold the schema against each definition of a file that loads, and return how many there are."""
    count = 0
    for definition, kind in definitions(path):
        try:
            load(definition, type=kind)
        except DefinitionError:
            continue
        VALIDATOR.validate(definition)
        count += 1
    return count


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_it_accepts_the_definitions_of_our_own_cases() -> None:
    assert accepts_what_loads(CASES) > 50


@pytest.mark.slow
def test_it_accepts_the_definitions_that_were_recorded_on_aws() -> None:
    assert accepts_what_loads(require_cases(CONFORMANCE) / "cases.jsonl") > 500


@pytest.mark.parametrize("type_", STATE_TYPES)
def test_it_has_every_field_of_every_state_type(type_: str) -> None:
    for language in ("JSONPath", "JSONata"):
        (name,) = {f"{type_}.{language}"} & SCHEMA["$defs"].keys()
        assert set(SCHEMA["$defs"][name]["properties"]) == set(PARTS[type_].of(language))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "language"),
    [
        pytest.param({"Type": "Pass", "Ende": True, "End": True}, "JSONPath", id="unknown field"),
        pytest.param({"Type": "Pas", "End": True}, "JSONPath", id="unknown type"),
        pytest.param({"End": True}, "JSONPath", id="no type"),
        pytest.param({"Type": "Pass"}, "JSONPath", id="neither Next nor End"),
        pytest.param({"Type": "Pass", "Next": "B", "End": True}, "JSONPath", id="Next and End"),
        pytest.param({"Type": "Pass", "End": False}, "JSONPath", id="End is false"),
        pytest.param({"Type": "Task", "End": True}, "JSONPath", id="no Resource"),
        pytest.param({"Type": "Task", "Resource": "f", "TimeoutSeconds": 0, "End": True}, "JSONPath", id="too small"),
        pytest.param({"Type": "Task", "Resource": "f", "TimeoutSeconds": "9", "End": True}, "JSONata", id="a string"),
        pytest.param({"Type": "Pass", "Output": 1, "End": True}, "JSONPath", id="JSONata's field in JSONPath"),
        pytest.param({"Type": "Pass", "InputPath": "$", "End": True}, "JSONata", id="JSONPath's field in JSONata"),
        pytest.param({"Type": "Pass", "InputPath": "a", "End": True}, "JSONPath", id="no path"),
        pytest.param({"Type": "Pass", "QueryLanguage": "JSONPath", "End": True}, "JSONata", id="JSONPath in JSONata"),
        pytest.param({"Type": "Wait", "End": True}, "JSONPath", id="Wait without a time"),
        pytest.param({"Type": "Wait", "Seconds": 1, "SecondsPath": "$.a", "End": True}, "JSONPath", id="both"),
        pytest.param({"Type": "Choice", "Choices": []}, "JSONPath", id="no rules"),
        pytest.param({"Type": "Choice", "Choices": [{**RULE, "StringEquals": "a"}]}, "JSONPath", id="two operators"),
        pytest.param({"Type": "Choice", "Choices": [{"And": [RULE], "Next": "B"}]}, "JSONPath", id="Next within And"),
        pytest.param({"Type": "Choice", "Choices": [RULE]}, "JSONata", id="a comparison in JSONata"),
        pytest.param({"Type": "Map", "End": True}, "JSONPath", id="no processor"),
        pytest.param({"Type": "Map", "ItemProcessor": BODY, "Label": "L", "End": True}, "JSONPath", id="inline"),
        pytest.param(
            {"Type": "Parallel", "Branches": [{**BODY, "Version": "1"}], "End": True}, "JSONPath", id="branch"
        ),
        pytest.param({**PASS, "Type": "Succeed"}, "JSONPath", id="a Succeed state ends by itself"),
        pytest.param(
            {"Type": "Task", "Resource": "f", "Retry": [{"ErrorEquals": []}], "End": True}, "JSONPath", id="no errors"
        ),
    ],
)
def test_it_refuses_what_the_loader_refuses(state: Any, language: str) -> None:
    definition = of(state, language)
    with pytest.raises(DefinitionError):
        load(definition)
    assert not VALIDATOR.is_valid(definition)


@pytest.mark.parametrize(
    "state",
    [
        {"Type": "Task", "Resource": "f", "TimeoutSeconds": "{% $n %}", "Arguments": {}, "End": True},
        {"Type": "Map", "Items": "{% [1] %}", "ItemProcessor": BODY, "ToleratedFailureCount": "{% 1 %}", "End": True},
        {"Type": "Choice", "Choices": [{"Condition": "{% true %}", "Next": "B"}], "Default": "B"},
        {"Type": "Parallel", "Branches": [BODY], "Output": {"a": "{% $states.result %}"}, "End": True},
    ],
    ids=lambda state: str(state["Type"]),
)
def test_a_jsonata_state_may_be_in_a_definition_of_either_language(state: Any) -> None:
    for definition in (of(state, "JSONata"), of({**state, "QueryLanguage": "JSONata"})):
        VALIDATOR.validate(definition)
    assert not VALIDATOR.is_valid(of(state))


def test_states_in_a_branch_have_the_language_of_the_definition() -> None:
    inner = {"StartAt": "P", "States": {"P": {"Type": "Pass", "Parameters": {}, "End": True}}}
    state = {"Type": "Parallel", "Branches": [inner], "QueryLanguage": "JSONata", "End": True}
    VALIDATOR.validate(of(state))
    assert load(of(state)).plan.states
    assert not VALIDATOR.is_valid(of(state, "JSONata"))
