"""Docstrings of what `docs/reference/api.md` shows: which functions and methods are public, and their sections."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from statechain import BatchHandle, Engine, ExecutionHandle, ResultStream, StateMachine, TaskRegistry
from support.pages import ROOT

__all__ = ["FUNCTIONS", "OWNERS", "RAISING", "errors_of", "section", "shown"]

PAGE = ROOT / "docs" / "reference" / "api.md"
OWNERS = (Engine, StateMachine, ExecutionHandle, BatchHandle, ResultStream, TaskRegistry)
"""What a program calls: all of its public methods say what they raise."""

NEVER_FAILS = {"to_dot", "to_mermaid", "to_svg", "list_state_machines", "recover", "list_suspects", "aclose"}
"""What raises nothing but an error of the storage."""

KEEPS_A_CONTRACT = {"depth", "dispatch", "filter", "hold", "now", "observe", "serve", "sleep_until", "timeout_at"}
"""Methods that a protocol of the library, or of logging, explains."""

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
            yield from ((getattr(value, name), set(), set()) for name in sorted({*value.__all__} - names[1]))
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
"""The functions and methods of the page by their names."""

RAISING = {
    name: function
    for name, function in FUNCTIONS.items()
    if name.rpartition(".")[0] in {owner.__name__ for owner in OWNERS} and name.rpartition(".")[2] not in NEVER_FAILS
}
"""Those that say what they raise, by their names."""


def section(docstring: str, title: str) -> str:
    """Return the text under a title; empty where there is none."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)+)", docstring + "\n", flags=re.MULTILINE)
    return found.group(1) if found else ""


def errors_of(method: Callable[..., object]) -> list[str]:
    """Return the names of the errors under Raises, in order."""
    found = re.findall(r"^    ((?:\w+, )*\w+):", section(inspect.getdoc(method) or "", "Raises"), flags=re.MULTILINE)
    return [name for names in found for name in names.split(", ")]
