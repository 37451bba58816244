"""Docstrings of public methods: each parameter under Arguments, what is returned, what is raised, and examples."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import statechain
from statechain import BatchHandle, Engine, ExecutionHandle, ResultStream, StateMachine, TaskRegistry

INSIDE = {"abandon", "cancel", "end", "has_room", "put", "try_redrive", "begin_chained", "start_child", "is_full"}
INSIDE |= {"for_state", "find", "find_transformer", "with_dependencies", "wanted"}
"""What the library calls itself."""

NEVER_FAILS = {"to_dot", "to_mermaid", "to_svg", "list_state_machines", "recover", "list_suspects", "aclose"}
"""What raises nothing but an error of the storage."""

OTHER_TITLES = re.compile(r"^\s+(?:Args|Parameters|Params|Return|Throws):$", re.MULTILINE)
HEADLINES = ["execute", "execute_batch", "execute_bulk", "start_execution", "stream_batch", "stream_bulk"]
METHODS = [
    pytest.param(function, id=f"{owner.__name__}.{name}")
    for owner in (Engine, StateMachine, ExecutionHandle, BatchHandle, ResultStream, TaskRegistry)
    for name, function in inspect.getmembers(owner, inspect.isfunction)
    if not name.startswith("_") and name not in INSIDE
]


def section(docstring: str, title: str) -> str:
    """Return the text under a title; empty where there is none."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)+)", docstring + "\n", flags=re.MULTILINE)
    return found.group(1) if found else ""


@pytest.mark.parametrize("method", METHODS)
def test_a_docstring_explains_every_parameter(method: Callable[..., object]) -> None:
    arguments = section(inspect.getdoc(method) or "", "Arguments")
    for name in list(inspect.signature(method).parameters)[1:]:
        assert re.search(rf"^    (?:\*{{0,2}}\w+, )*\*{{0,2}}{name}\b.*:", arguments, flags=re.MULTILINE), name


@pytest.mark.parametrize("method", METHODS)
def test_a_docstring_says_what_is_returned(method: Callable[..., object]) -> None:
    returned = inspect.signature(method).return_annotation
    docstring = inspect.getdoc(method) or ""
    assert returned == "None" or section(docstring, "Returns") or docstring.startswith(("Return ", "Yield "))


@pytest.mark.parametrize("method", [each for each in METHODS if each.values[0].__name__ not in NEVER_FAILS])
def test_a_docstring_says_what_is_raised_by_names_of_errors(method: Callable[..., object]) -> None:
    raised = section(inspect.getdoc(method) or "", "Raises")
    names = re.findall(r"^    ((?:\w+, )*\w+):", raised, flags=re.MULTILINE)
    assert names
    for name in ", ".join(names).split(", "):
        assert name in {"ValueError", "TypeError", "StopAsyncIteration"} or name in statechain.__all__, name


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
