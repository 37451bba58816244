"""Fields: read where they are right, noted where they are not, and never an end to reading."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl.grammar import INPUT, Field, Holds, Part
from statechain.asl.model import ABSENT
from statechain.asl.reader import Reader, hint, is_expression


@pytest.fixture
def reader() -> Reader:
    return Reader()


def noted(reader: Reader) -> list[tuple[str, str]]:
    return [(each.code, each.pointer) for each in reader.diagnostics]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("{% 1 %}", True), ("{%%}", True), ("{%}", False), (" {% 1 %}", False), ("{% 1 %} ", False), ("1", False)],
)
def test_what_is_an_expression(text: str, expected: bool) -> None:
    assert is_expression(text) is expected


def test_names_what_is_near() -> None:
    assert hint("Resorce", ["Resource", "Result"]) == "; did you mean 'Resource'?"
    assert hint("Zzz", ["Resource"]) == ""


@pytest.mark.parametrize(
    ("value", "code"),
    [
        *((value, None) for value in (0, 1, 10)),
        *((value, "out-of-range") for value in (-1, 11)),
        *((value, "wrong-type") for value in (1.0, True, "1", None, "{% 1 %}")),
    ],
)
def test_a_number_is_whole_and_within_its_bounds(reader: Reader, value: Any, code: str | None) -> None:
    found = reader.number({"N": value}, Field("N", Holds.WHOLE, most=10, reads=INPUT), "/a", "JSONPath")
    assert noted(reader) == ([] if code is None else [(code, "/a/N")])
    assert found == (value if code is None else ABSENT)


def test_a_number_may_be_an_expression_in_jsonata(reader: Reader) -> None:
    field = Field("N", Holds.NUMBER, reads=INPUT)
    assert reader.number({"N": "{% 1 %}"}, field, "", "JSONata") == "{% 1 %}"
    assert reader.number({"N": 1.5}, field, "", "JSONata") == 1.5
    assert reader.number({}, field, "", "JSONata") is ABSENT
    assert noted(reader) == []
    assert reader.number({"N": "{% 1 %}"}, Field("N", Holds.NUMBER), "", "JSONata") is ABSENT
    assert noted(reader) == [("wrong-type", "/N")]


def test_paths_may_be_null(reader: Reader) -> None:
    assert reader.path({"P": None}, "P", "") is None
    assert reader.path({"P": "$.a"}, "P", "") == "$.a"
    assert reader.path({}, "P", "") is ABSENT
    assert reader.path({"P": 1}, "P", "") is ABSENT
    assert noted(reader) == [("wrong-type", "/P")]


def test_a_required_text_that_is_missing_or_no_string_is_noted(reader: Reader) -> None:
    assert reader.required_text({"T": ""}, "T", "/x", "it") == ""
    assert reader.required_text({}, "T", "/x", "it") == ""
    assert reader.required_text({"T": 1}, "T", "/x", "it") == ""
    assert noted(reader) == [("missing-field", "/x"), ("wrong-type", "/x/T")]


def test_members_that_are_no_objects_are_noted_and_the_others_read(reader: Reader) -> None:
    assert reader.each({"A": [{"n": 1}, 2, {"n": 3}]}, "A", "", lambda item, at: (item["n"], at)) == (
        (1, "/A/0"),
        (3, "/A/2"),
    )
    assert noted(reader) == [("wrong-type", "/A/1")]


def test_fields_of_the_other_language(reader: Reader) -> None:
    fields = (
        Field("S", Holds.VALUE),
        Field("P", Holds.VALUE, language="JSONPath"),
        Field("O", Holds.VALUE, language="JSONata"),
    )
    reader.part({"S": 1, "P": 1, "O": 1, "a/b": 1, "F": 1}, Part("it", fields), "JSONata", "/x", {"F"})
    assert noted(reader) == [
        ("mixed-query-languages", "/x/P"),
        ("unknown-field", "/x/a~1b"),
        ("mixed-query-languages", "/x/F"),
    ]


def test_fields_that_exclude_one_another(reader: Reader) -> None:
    fields = (Field("A", Holds.VALUE), Field("B", Holds.VALUE))
    optional = Part("it", fields, alternatives=(("A", "B"),))
    needed = Part("it", fields, needed=(("A", "B"),))
    reader.part({"A": 1}, needed, "JSONPath", "/x")
    reader.part({}, optional, "JSONPath", "/x")
    assert noted(reader) == []
    reader.part({"A": 1, "B": 1}, optional, "JSONPath", "/x")
    reader.part({}, needed, "JSONPath", "/y")
    assert noted(reader) == [("exclusive-fields", "/x"), ("missing-field", "/y")]
