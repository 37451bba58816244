"""Choice: every operator on values that fit and that do not, junctions, timestamps and patterns."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl.expressions.choice import OPERATORS, matches_pattern, parse_timestamp
from statechain.asl.outcome import Next
from statechain.errors import StateError
from support.calls import counted_lines

EARLY, LATE = "2016-08-18T17:33:00Z", "2016-08-18T17:33:01+00:00"
ODD: tuple[Any, ...] = (None, True, 0, 1.5, "x", EARLY, [], {})
SECOND = "2016-08-18T17:33:00"


def leads_to_b(enter: Any, rule: dict[str, Any], value: Any, **variables: Any) -> bool:
    choice = {"Type": "Choice", "Choices": [{**rule, "Next": "B"}], "Default": "A"}
    outcome = enter(choice, value, **variables)
    assert isinstance(outcome, Next)
    assert outcome.output == value
    return outcome.state == "B"


@pytest.mark.parametrize(
    ("operator", "operand", "holds", "fails"),
    [
        ("StringEquals", "b", ["b"], ["a", ""]),
        ("StringLessThan", "b", ["a", ""], ["b", "c"]),
        ("StringGreaterThan", "b", ["c", "ba"], ["b", "a"]),
        ("StringLessThanEquals", "b", ["a", "b"], ["c"]),
        ("StringGreaterThanEquals", "b", ["b", "c"], ["a"]),
        ("StringMatches", "a*z", ["az", "abcz"], ["a", "azb"]),
        ("NumericEquals", 2, [2, 2.0], [1, 2.1]),
        ("NumericLessThan", 2, [1, 1.9], [2, 3]),
        ("NumericGreaterThan", 2, [3], [2, 1]),
        ("NumericLessThanEquals", 2, [2, 1], [3]),
        ("NumericGreaterThanEquals", 2, [2, 3], [1]),
        ("BooleanEquals", True, [True], [False]),
        ("BooleanEquals", False, [False], [True]),
        ("TimestampEquals", EARLY, [EARLY, "2016-08-18T18:33:00+01:00"], [LATE]),
        ("TimestampLessThan", LATE, [EARLY], [LATE]),
        ("TimestampGreaterThan", EARLY, [LATE], [EARLY]),
        ("TimestampLessThanEquals", EARLY, [EARLY], [LATE]),
        ("TimestampGreaterThanEquals", LATE, [LATE], [EARLY]),
        ("StringLessThan", "\uff5e", ["\U0001f600"], ["\uff5e", "\uffff"]),  # by UTF-16 code units, as Java has it
        ("TimestampEquals", f"{SECOND}.1234567Z", [f"{SECOND}.123456700Z"], [f"{SECOND}.1234568Z"]),
        ("TimestampLessThan", f"{SECOND}.000000002Z", [f"{SECOND}.000000001Z", f"{SECOND}Z"], [f"{SECOND}.000000002Z"]),
    ],
)
def test_an_operator_compares_with_a_literal_and_with_a_path(
    enter: Any, operator: str, operand: Any, holds: list[Any], fails: list[Any]
) -> None:
    for value, expected in [*((each, True) for each in holds), *((each, False) for each in fails)]:
        assert leads_to_b(enter, {"Variable": "$.v", operator: operand}, {"v": value}) is expected
        if operator != "StringMatches":
            rule = {"Variable": "$.v", f"{operator}Path": "$.o"}
            assert leads_to_b(enter, rule, {"v": value, "o": operand}) is expected


@pytest.mark.parametrize("operator", sorted(name for name in OPERATORS if not name.startswith("Is")))
def test_another_type_is_never_equal_less_or_more(enter: Any, operator: str) -> None:
    kind = {"S": str, "N": int | float, "B": bool, "T": type(None)}[operator[0]]
    operand: Any = {"S": "m", "N": 1, "B": True, "T": EARLY}[operator[0]]
    for value in ODD:
        fits = isinstance(value, kind) and not (kind is not bool and isinstance(value, bool))  # type: ignore[arg-type]
        if not fits and not (operator[0] == "T" and value == EARLY):
            assert not leads_to_b(enter, {"Variable": "$.v", operator: operand}, {"v": value})


@pytest.mark.parametrize(
    ("operator", "those"),
    [
        ("IsNull", [None]),
        ("IsBoolean", [True]),
        ("IsNumeric", [0, 1.5]),
        ("IsString", ["x", EARLY]),
        ("IsTimestamp", [EARLY]),
        ("IsPresent", list(ODD)),
    ],
)
def test_a_type_operator_is_true_of_its_type_alone(enter: Any, operator: str, those: list[Any]) -> None:
    for value in ODD:
        is_one = any(value is each or (type(value) is type(each) and value == each) for each in those)
        assert leads_to_b(enter, {"Variable": "$.v", operator: True}, {"v": value}) is is_one
        assert leads_to_b(enter, {"Variable": "$.v", operator: False}, {"v": value}) is not is_one


def test_what_is_missing_is_not_present_and_an_error_to_all_others(enter: Any) -> None:
    assert not leads_to_b(enter, {"Variable": "$.a.b", "IsPresent": True}, {})
    assert leads_to_b(enter, {"Variable": "$.a[7]", "IsPresent": False}, {"a": []})
    for rule in ({"Variable": "$.v", "IsNull": True}, {"Variable": "$.o", "StringEqualsPath": "$.v"}):
        with pytest.raises(StateError) as caught:
            leads_to_b(enter, rule, {"o": "x"})
        assert caught.value.error == "States.Runtime"
        assert caught.value.cause == (
            "Invalid path '$.v': The choice state's condition path references an invalid value."
        )


def test_joins_and_turns_rules(enter: Any) -> None:
    one, two = {"Variable": "$.a", "NumericEquals": 1}, {"Variable": "$.b", "NumericEquals": 2}
    for a, b, both, either in ((1, 2, True, True), (1, 0, False, True), (0, 0, False, False)):
        value = {"a": a, "b": b}
        assert leads_to_b(enter, {"And": [one, two]}, value) is both
        assert leads_to_b(enter, {"Or": [one, two]}, value) is either
        assert leads_to_b(enter, {"Not": {"Or": [one, two]}}, value) is not either


def test_a_junction_stops_at_the_first_that_decides(enter: Any) -> None:
    missing = {"Variable": "$.none", "NumericEquals": 1}
    assert leads_to_b(enter, {"Or": [{"Variable": "$.a", "IsPresent": True}, missing]}, {"a": 1})
    assert not leads_to_b(enter, {"And": [{"Variable": "$.a", "IsPresent": False}, missing]}, {"a": 1})


def test_variables_and_the_context_object_can_be_compared(enter: Any) -> None:
    assert leads_to_b(enter, {"Variable": "$limit", "NumericLessThanPath": "$.n"}, {"n": 5}, limit=4)
    assert leads_to_b(enter, {"Variable": "$$.State.Name", "StringEquals": "A"}, {})


def test_a_jsonata_condition_must_be_boolean(enter: Any) -> None:
    def ask(condition: Any, value: Any) -> Any:
        choice = {"Type": "Choice", "Choices": [{"Condition": condition, "Next": "B"}], "Default": "A"}
        return enter(choice, value, language="JSONata").state

    assert ask(True, {}) == "B"
    assert ask("{% $states.input.n > 1 %}", {"n": 2}) == "B"
    assert ask("{% $states.input.n > 1 %}", {"n": 1}) == "A"
    with pytest.raises(StateError) as caught:
        ask("{% $states.input.n %}", {"n": 2})
    assert caught.value.cause == (
        "The JSONata expression '$states.input.n' specified for the field 'Condition' returned an unexpected result "
        "type. Expected 'boolean', but was 'number' for value: 2"
    )


def test_without_a_default_no_rule_is_an_error(enter: Any) -> None:
    with pytest.raises(StateError) as caught:
        enter({"Type": "Choice", "Choices": [{"Variable": "$.v", "IsNull": True, "Next": "B"}]}, {"v": 1})
    assert caught.value.error == "States.NoChoiceMatched"
    assert caught.value.cause == "Failed to transition out of the state. The state does not point to a next state."


@pytest.mark.parametrize(
    ("text", "pattern", "matches"),
    [
        ("", "", True),
        ("", "*", True),
        ("log-7.txt", "log-*.txt", True),
        ("log-7.txtx", "log-*.txt", False),
        ("aXbXc", "a*b*c", True),
        ("ab", "a*b*b", False),
        ("a*c", r"a\*c", True),
        ("abc", r"a\*c", False),
        ("a\\c", r"a\\c", True),
        (r"a\c", r"a\c", True),
        ("[a]", "[a]", True),
        ("ä*ö", "ä*", True),
        ("line\nline", "l*e", True),
        ("***", r"\***", True),
    ],
)
def test_a_star_in_string_matches_stands_for_any_characters(text: str, pattern: str, matches: bool) -> None:
    assert matches_pattern(text, pattern) is matches


@pytest.mark.parametrize("ending", ["b", "b*"])
def test_a_pattern_of_stars_is_read_once(ending: str) -> None:
    pattern = "a*" * 200 + ending
    with counted_lines() as lines:
        assert not matches_pattern("a" * 100_000, pattern)
    assert lines() <= 10 * len(pattern)


def test_a_long_pattern_is_not_read_by_its_characters() -> None:
    pattern = "é" * 100_000
    with counted_lines() as lines:
        assert matches_pattern(pattern, pattern)
    assert lines() < 100


def test_a_rule_reads_its_pattern_once(enter: Any) -> None:
    rule = {"Variable": "$.v", "StringMatches": r"a*\*b", "Next": "B"}
    choice = {"Type": "Choice", "Choices": [rule], "Default": "A"}
    assert [enter(choice, {"v": text}).state for text in ("a*b", "axx*b", "ab", 7)] == ["B", "B", "A", "A"]


@pytest.mark.parametrize(
    "text",
    ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00.123456789Z", "2024-02-29T23:59:59+14:00", "2024-01-01T00:00Z"],
)
def test_a_timestamp_has_a_date_a_time_and_an_offset(text: str) -> None:
    assert parse_timestamp(text) is not None


@pytest.mark.parametrize(
    "value",
    ["2024-01-01", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00", "2024-13-01T00:00:00Z", "2023-02-29T00:00:00Z",
     "2024-01-01T25:00:00Z", "20240101T000000Z", "2024-01-01T00:00:00z", "", "now", None, 5, [],
     "\uff12024-01-01T00:00:00Z"],
)  # fmt: skip
def test_refuses_what_is_no_timestamp(value: Any) -> None:
    assert parse_timestamp(value) is None
