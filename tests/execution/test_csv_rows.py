"""Delimited text: quotes, escapes, and fields of any length."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from statechain.execution.files.csv_rows import csv_rows


def rows(text: str, delimiter: str = ",") -> list[list[str]]:
    """Return the rows of a string."""
    return list(csv_rows(io.StringIO(text, newline=""), delimiter))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\r\n1,2\r\n", [["a", "b"], ["1", "2"]]),
        ("a,b\r1,2", [["a", "b"], ["1", "2"]]),
        ("a\n\n\nb\n", [["a"], ["b"]]),
        (" a, \n", [[" a", " "]]),
        ("a,,c\n,\n", [["a", "", "c"], ["", ""]]),
        ('"a,b",c\n', [["a,b", "c"]]),
        ('"one\ntwo","three\r\nfour"\n5,6\n', [["one\ntwo", "three\r\nfour"], ["5", "6"]]),
        ('"say ""hi""",""\n', [['say "hi"', ""]]),
        ('5" wide,b\n', [['5" wide', "b"]]),
        ('a, "b"\n', [["a", ' "b"']]),
        ("C:\\\\Dir\\\\App.exe,6\n", [["C:\\Dir\\App.exe", "6"]]),
        ("a\\,b,c\n", [["a,b", "c"]]),
        ('\\"a\\",b\n', [['"a"', "b"]]),
        ('"a \\"b\\" c",d\n', [['a "b" c', "d"]]),
        ("x\\qy\n", [["xqy"]]),
        ("a\\\nb\\", [["a"], ["b"]]),
        ('"a\\\nb"\n', [["a\nb"]]),
        ('"last"', [["last"]]),
    ],
)
def test_rows_are_read_by_the_readers_rules(text: str, expected: list[list[str]]) -> None:
    assert rows(text) == expected


@pytest.mark.parametrize("text", ['"never closed\n', '"a"b,c\n', '"'])
def test_quotes_that_do_not_match_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quoted field"):
        rows(text)


@pytest.mark.parametrize("delimiter", [",", "|", ";", " ", "\t"])
def test_any_delimiter_separates(delimiter: str) -> None:
    assert rows(f'a{delimiter}"b{delimiter}c"{delimiter}\\{delimiter}\n', delimiter) == [
        ["a", f"b{delimiter}c", delimiter]
    ]


@pytest.mark.parametrize("delimiter", [",", "|", ";", " ", "\t"])
def test_the_last_field_of_a_row_may_be_empty(delimiter: str) -> None:
    assert rows(f"a{delimiter}\r\n{delimiter}\n", delimiter) == [["a", ""], ["", ""]]


def test_a_field_may_be_longer_than_the_csv_module_allows() -> None:
    long = "x" * (csv.field_size_limit() + 1)
    assert rows(f'{long},"{long}"\n') == [[long, long]]


FIELDS = st.lists(st.text(st.sampled_from('ab",\\\r\n ;é'), max_size=6), min_size=2, max_size=4)


@example([["\\", '"'], ["\r", "\n"]])
@given(st.lists(FIELDS, min_size=1, max_size=4))
def test_what_the_csv_module_writes_is_read_back(table: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, escapechar="\\", quoting=csv.QUOTE_ALL).writerows(table)
    assert rows(text.getvalue()) == table
