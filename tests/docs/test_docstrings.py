"""Docstrings of public methods: each parameter under Arguments, what is returned, what is raised, and examples.

A method is public where `docs/reference/api.md` shows it. Those of protocols are contracts in prose.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

import statechain
from statechain import StateMachine
from support.docstrings import FUNCTIONS, OWNERS, RAISING, errors_of, section, shown

OTHER_TITLES = re.compile(r"^\s+(?:Args|Parameters|Params|Return|Throws):$", re.MULTILINE)
HEADLINES = ["execute", "execute_batch", "execute_bulk", "start_execution", "stream_batch", "stream_bulk"]
RECORDS = [value for value, _, _ in shown() if inspect.isclass(value) and attrs.has(value)]
METHODS = [pytest.param(function, id=name) for name, function in FUNCTIONS.items()]


def test_what_is_left_out_of_the_page_exists() -> None:
    for value, only, without in shown():
        for name in only | without:
            assert hasattr(value, name), f"{value.__name__} has no {name}"


def test_the_page_shows_the_methods_of_what_a_program_calls() -> None:
    for owner in OWNERS:
        assert [name for name in FUNCTIONS if name.startswith(f"{owner.__name__}.")]


@pytest.mark.parametrize("method", METHODS)
def test_a_docstring_explains_every_parameter(method: Callable[..., object]) -> None:
    arguments = section(inspect.getdoc(method) or "", "Arguments")
    for name in inspect.signature(method).parameters:
        if name in {"self", "cls"}:
            continue
        assert re.search(rf"^    (?:\*{{0,2}}\w+, )*\*{{0,2}}{name}\b.*:", arguments, flags=re.MULTILINE), name


def explained(record: Any) -> str:
    """Return what a class says of its attributes, and what the classes say that it refers to for those they share."""
    docstring = inspect.getdoc(record) or ""
    found = re.search(r"see `(\w+)` for what", docstring)
    shared = explained(getattr(sys.modules[record.__module__], found[1])) if found else ""
    return section(docstring, "Attributes") + section(docstring, "Arguments") + shared


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record.__name__))
def test_a_docstring_explains_every_attribute_of_a_record(record: type) -> None:
    for field in attrs.fields(cast("Any", record)):
        if not field.name.startswith("_"):
            wanted = rf"^    (?:\w+, )*{field.name}\b.*:"
            assert re.search(wanted, explained(record), flags=re.MULTILINE), field.name


@pytest.mark.parametrize("method", METHODS)
def test_a_docstring_says_what_is_returned(method: Callable[..., object]) -> None:
    returned = inspect.signature(method).return_annotation
    docstring = inspect.getdoc(method) or ""
    assert returned == "None" or section(docstring, "Returns") or docstring.startswith(("Return ", "Yield "))


@pytest.mark.parametrize("name", RAISING)
def test_a_docstring_says_what_is_raised_by_names_of_errors(name: str) -> None:
    errors = errors_of(RAISING[name])
    assert errors
    for error in errors:
        assert error in {"ValueError", "TypeError", "StopAsyncIteration"} or error in statechain.__all__, error


@pytest.mark.parametrize("name", HEADLINES)
def test_a_headline_has_an_example(name: str) -> None:
    assert "\n>>> " in (inspect.getdoc(getattr(StateMachine, name)) or "")


@pytest.mark.parametrize("name", ["execute_batch", "execute_bulk", "stream_batch", "stream_bulk"])
def test_what_stops_a_batch_is_under_raises(name: str) -> None:
    assert "BatchStopped:" in section(inspect.getdoc(getattr(StateMachine, name)) or "", "Raises")


def test_sections_have_one_title() -> None:
    root = Path(statechain.__file__).parents[1]
    for folder in ("statechain", "backends"):
        for path in (root / folder).rglob("*.py"):
            assert not OTHER_TITLES.search(path.read_text("utf-8")), path
