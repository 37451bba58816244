"""Docstrings of public methods: each parameter under Arguments, what is returned, what is raised, and examples.

A method is public where `docs/reference/api.md` shows it. Those of protocols are contracts in prose.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import statechain
from statechain import BatchHandle, Engine, ExecutionHandle, ResultStream, StateMachine, TaskRegistry

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"
OWNERS = (Engine, StateMachine, ExecutionHandle, BatchHandle, ResultStream, TaskRegistry)
"""What a program calls: all of its public methods say what they raise."""

NEVER_FAILS = {"to_dot", "to_mermaid", "to_svg", "list_state_machines", "recover", "list_suspects", "aclose"}
"""What raises nothing but an error of the storage."""

KEEPS_A_CONTRACT = {"depth", "dispatch", "filter", "hold", "now", "observe", "serve", "sleep_until", "timeout_at"}
"""Methods that a protocol of the library, or of logging, explains."""

OTHER_TITLES = re.compile(r"^\s+(?:Args|Parameters|Params|Return|Throws):$", re.MULTILINE)
HEADLINES = ["execute", "execute_batch", "execute_bulk", "start_execution", "stream_batch", "stream_bulk"]
DIRECTIVE = re.compile(r"^\.\. auto(?:class|function|module):: (\S+)\n((?:   :.*\n)*)", flags=re.MULTILINE)


def named(path: str) -> Any:
    """Return what a dotted name means: a module, or something in one."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def shown() -> Iterator[tuple[Any, set[str], set[str]]]:
    """Yield each class and function of the page, the members that it names, and those that it leaves out."""
    for path, options in DIRECTIVE.findall(PAGE.read_text("utf-8")):
        if ":no-members:" in options or path.endswith("RepositoryContract"):
            continue
        names = [
            {each.strip() for each in found.group(1).split(",")} if found else set()
            for found in (re.search(rf" :{option}: (.+)", options) for option in ("members", "exclude-members"))
        ]
        value = named(path)
        if isinstance(value, ModuleType):
            yield from ((getattr(value, name), set(), set()) for name in set(value.__all__) - names[1])
        else:
            yield value, names[0], names[1]


def public() -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield the functions and methods of the page by their names."""
    for value, only, without in shown():
        if inspect.isfunction(value):
            yield value.__name__, value
        elif inspect.isclass(value):
            for name in sorted(only or {name for name in dir(value) if not name.startswith("_")} - without):
                method = getattr(value, name)
                if (inspect.isfunction(method) or inspect.ismethod(method)) and not is_another(method):
                    yield f"{value.__name__}.{name}", method


def is_another(method: Callable[..., object]) -> bool:
    """Return whether a method is explained elsewhere, or is one of Python's own."""
    return method.__name__ in KEEPS_A_CONTRACT or not method.__module__.startswith("statechain")


FUNCTIONS = dict(public())
METHODS = [pytest.param(function, id=name) for name, function in FUNCTIONS.items()]
RAISING = [
    pytest.param(function, id=name)
    for name, function in FUNCTIONS.items()
    if name.rpartition(".")[0] in {owner.__name__ for owner in OWNERS} and name.rpartition(".")[2] not in NEVER_FAILS
]


def test_what_is_left_out_of_the_page_exists() -> None:
    for value, only, without in shown():
        for name in only | without:
            assert hasattr(value, name), f"{value.__name__} has no {name}"


def test_the_page_shows_the_methods_of_what_a_program_calls() -> None:
    for owner in OWNERS:
        assert [name for name in FUNCTIONS if name.startswith(f"{owner.__name__}.")]


def section(docstring: str, title: str) -> str:
    """Return the text under a title; empty where there is none."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)+)", docstring + "\n", flags=re.MULTILINE)
    return found.group(1) if found else ""


@pytest.mark.parametrize("method", METHODS)
def test_a_docstring_explains_every_parameter(method: Callable[..., object]) -> None:
    arguments = section(inspect.getdoc(method) or "", "Arguments")
    for name in inspect.signature(method).parameters:
        if name in {"self", "cls"}:
            continue
        assert re.search(rf"^    (?:\*{{0,2}}\w+, )*\*{{0,2}}{name}\b.*:", arguments, flags=re.MULTILINE), name


@pytest.mark.parametrize("method", METHODS)
def test_a_docstring_says_what_is_returned(method: Callable[..., object]) -> None:
    returned = inspect.signature(method).return_annotation
    docstring = inspect.getdoc(method) or ""
    assert returned == "None" or section(docstring, "Returns") or docstring.startswith(("Return ", "Yield "))


@pytest.mark.parametrize("method", RAISING)
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
