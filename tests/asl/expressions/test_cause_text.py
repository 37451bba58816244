"""How causes show values."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl.expressions.cause_text import format_unquoted, format_value, is_number, type_name


@pytest.mark.parametrize(
    ("value", "text", "name"),
    [
        (None, "null", "null"),
        (True, "true", "boolean"),
        (1, "1", "number"),
        (1.5, "1.5", "number"),
        ("ä\n", '"ä\\n"', "string"),
        ([1, "a"], '[1,"a"]', "array"),
        ({"a": {}}, '{"a":{}}', "object"),
    ],
)
def test_shows_a_value_and_its_type(value: Any, text: str, name: str) -> None:
    assert (format_value(value), type_name(value)) == (text, name)


def test_a_bare_text_has_no_quotes() -> None:
    assert (format_unquoted("a b"), format_unquoted(["a"])) == ("a b", '["a"]')


def test_booleans_are_no_numbers() -> None:
    assert [is_number(value) for value in (0, 1.5, True, "1", None)] == [True, True, False, False, False]
