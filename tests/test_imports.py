"""Imports make no cycle, those for annotations included: each module can be understood from those below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import statechain
import statechain_backends


def modules() -> dict[str, Path]:
    """Return the files of both packages by the names of their modules."""
    found = {}
    for package in (statechain, statechain_backends):
        root = Path(package.__path__[0])
        for file in root.rglob("*.py"):
            parts = [root.name, *file.relative_to(root).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imported(file: Path) -> Iterator[str]:
    """Yield what a module imports as it is loaded, or for its annotations; imports inside functions do not count."""
    pending: list[ast.stmt] = list(ast.parse(file.read_text("utf-8")).body)
    while pending:
        match pending.pop():
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=str() as module, names=names):
                yield from (f"{module}.{each.name}" for each in names)
                yield module
            case ast.If(body=body, orelse=orelse):
                pending += [*body, *orelse]
            case _:
                pass


def graph(names: dict[str, Path]) -> dict[str, set[str]]:
    """Return what each module imports; the names of a module, and a package beside its modules, are left out."""
    found: dict[str, set[str]] = {}
    for name, file in names.items():
        below = {each for each in imported(file) if each in names}
        packages = {each for each in below if any(other.startswith(f"{each}.") for other in below)}
        found[name] = below - packages - {name}
    return found


@pytest.mark.slow
def test_no_module_imports_one_that_imports_it() -> None:
    try:
        TopologicalSorter(graph(modules())).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))
