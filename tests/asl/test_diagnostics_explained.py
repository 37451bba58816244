"""Every code that a diagnostic may have is explained in the reference, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import statechain

SOURCE = Path(statechain.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "diagnostics.md"
CODE = re.compile(r"[a-z]+(?:-[a-z]+)*")
FILES = (*SOURCE.glob("asl/**/*.py"), *SOURCE.glob("templates/*.py"), SOURCE / "tasks" / "services.py")
NOTING = {"Diagnostic", "report", "text_error", "_report", "_bad"}
"""The functions whose first argument is a code."""


def emitted() -> set[str]:
    return {code for path in FILES for code in codes_in(path)}


def codes_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and node.args and name_of(node.func) in NOTING:
            yield from codes_of(node.args[0])


def name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def codes_of(argument: ast.expr) -> Iterator[str]:
    if isinstance(argument, ast.IfExp):
        yield from codes_of(argument.body)
        yield from codes_of(argument.orelse)
    elif isinstance(argument, ast.Constant) and CODE.fullmatch(str(argument.value)):
        yield str(argument.value)


def explained() -> list[str]:
    return re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)


def test_each_code_is_explained_once() -> None:
    assert len(emitted()) > len({"syntax", "no-end"})
    assert sorted(explained()) == sorted(emitted())
