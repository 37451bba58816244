"""A Choice's rules: what they are made of, and what they are not."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl.rules import KNOWN_OPERATORS

AT = "/States/A/Choices/0"
NULL = {"Variable": "$.a", "IsNull": True}


def choice(rule: Any, language: str = "JSONPath") -> dict[str, Any]:
    states = {"A": {"Type": "Choice", "Choices": [rule], "Default": "B"}, "B": {"Type": "Succeed"}}
    return {"QueryLanguage": language, "StartAt": "A", "States": states}


def operand(operator: str) -> Any:
    kinds, name = KNOWN_OPERATORS[operator]
    text = "2024-08-18T17:33:00Z" if operator.startswith("Timestamp") else "x"
    return "$.b" if name == "a path" else True if bool in kinds else 1 if int in kinds else text


@pytest.mark.parametrize("operator", sorted(KNOWN_OPERATORS))
def test_every_operator_takes_its_kind_of_operand_alone(faults: Any, operator: str) -> None:
    good = operand(operator)
    assert faults(choice({"Variable": "$.a", operator: good, "Next": "B"})) == {}
    for bad in (None, [], {}, "x" if not isinstance(good, str) else 1, 1 if isinstance(good, bool) else True):
        assert faults(choice({"Variable": "$.a", operator: bad, "Next": "B"})) == {f"{AT}/{operator}": "wrong-type"}


@pytest.mark.parametrize("operator", ["TimestampEquals", "TimestampLessThan", "TimestampGreaterThanEquals"])
def test_a_timestamp_is_compared_with_a_moment(faults: Any, operator: str) -> None:
    for text in ("noon", "2024-08-18", "2024-08-18T17:33:00", ""):
        assert faults(choice({"Variable": "$.a", operator: text, "Next": "B"})) == {f"{AT}/{operator}": "wrong-value"}


def test_there_are_thirty_nine_operators() -> None:
    assert len(KNOWN_OPERATORS) == 39


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({**NULL}, {AT: "missing-field"}),
        ({"IsNull": True, "Next": "B"}, {AT: "missing-field"}),
        ({"Variable": "$.a", "Next": "B"}, {AT: "operator"}),
        ({**NULL, "IsString": True, "Next": "B"}, {AT: "operator"}),
        ({"Variable": "$.a", "StringEqual": "x", "Next": "B"}, {f"{AT}/StringEqual": "operator"}),
        ({"And": [], "Next": "B"}, {AT: "missing-field"}),
        ({"And": NULL, "Next": "B"}, {f"{AT}/And": "wrong-type", AT: "missing-field"}),
        ({"Or": [5], "Next": "B"}, {f"{AT}/Or/0": "wrong-type", AT: "missing-field"}),
        ({"Or": [NULL], "Variable": "$.b", "Next": "B"}, {f"{AT}/Variable": "unknown-field"}),
        ({"Or": [{**NULL, "Next": "B"}], "Next": "B"}, {f"{AT}/Or/0/Next": "unknown-field"}),
        ({"Or": [{**NULL, "Assign": {}}], "Next": "B"}, {f"{AT}/Or/0/Assign": "unknown-field"}),
        ({"Not": [NULL], "Next": "B"}, {f"{AT}/Not": "wrong-type"}),
        ({**NULL, "Output": 1, "Next": "B"}, {f"{AT}/Output": "mixed-query-languages"}),
        ({"Variable": "$.a[", "IsNull": True, "Next": "B"}, {f"{AT}/Variable": "bad-path"}),
        ({"Variable": "$.a", "StringEqualsPath": "b", "Next": "B"}, {f"{AT}/StringEqualsPath": "bad-path"}),
        ({"Not": {"And": [{"Variable": "a", "IsNull": True}]}, "Next": "B"}, {f"{AT}/Not/And/0/Variable": "bad-path"}),
    ],
)
def test_faults_in_jsonpath(faults: Any, rule: Any, expected: dict[str, str]) -> None:
    found = faults(choice(rule))
    assert {pointer: found[pointer] for pointer in expected} == expected
    assert set(found) - set(expected) <= {f"{AT}/Not"}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"Condition": "{% true %}", "Next": "B", "Output": {"a": "{% 1 %}"}, "Assign": {"x": 1}}, {}),
        ({"Condition": False, "Next": "B", "Comment": "never"}, {}),
        ({"Next": "B"}, {AT: "missing-field"}),
        ({"Condition": "true", "Next": "B"}, {f"{AT}/Condition": "wrong-type"}),
        ({"Condition": 1, "Next": "B"}, {f"{AT}/Condition": "wrong-type"}),
        ({"Condition": "{% 1 + %}", "Next": "B"}, {f"{AT}/Condition": "bad-expression"}),
        (
            {"Condition": True, **NULL, "Next": "B"},
            {f"{AT}/Variable": "mixed-query-languages", f"{AT}/IsNull": "mixed-query-languages"},
        ),
        ({"Condition": True, "Whatever": 1, "Next": "B"}, {f"{AT}/Whatever": "unknown-field"}),
    ],
)
def test_faults_in_jsonata(faults: Any, rule: Any, expected: dict[str, str]) -> None:
    assert faults(choice(rule, "JSONata")) == expected
