"""Errors of definitions, shown with places and carets as a compiler shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from statechain.asl import Definition
from statechain.drawing.picture import printable
from statechain.errors import Diagnostic
from statechain.tasks import services
from statechain.tasks.registry import TaskRegistry

__all__ = ["show_diagnostics", "unserved"]

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s,\]}:]+')


def unserved(definition: Definition, tasks: TaskRegistry) -> list[Diagnostic]:
    """Return an error for each Resource that nothing registered."""
    return [
        definition.place(Diagnostic("unknown-resource", f"no handler is registered for {resource!r}", pointer=pointer))
        for pointer, resource in definition.resources()
        if not services.is_known(resource, tasks)
    ]


def show_diagnostics(name: str, text: str, diagnostics: Sequence[Diagnostic]) -> None:
    """Write errors to standard error, each with its line and a caret."""
    lines = text.splitlines()
    for each in diagnostics:
        place = name if each.line is None else f"{name}:{each.line}:{each.column}"
        kind = click.style("error:", fg="red", bold=True)
        code = click.style(f"[{each.code}]", dim=True)
        click.echo(f"{click.style(place, bold=True)}: {kind} {printable(each.message)} {code}", err=True)
        if each.line is not None and each.column is not None and each.line <= len(lines):
            _show_line(lines[each.line - 1], each.line, each.column)
        elif each.pointer:
            click.echo(f"  at {each.pointer}", err=True)
    count = len(diagnostics)
    click.echo(f"{name}: {count} fault{'' if count == 1 else 's'}", err=True)


def _show_line(line: str, number: int, column: int) -> None:
    """Write a line and, below the token at the column, a caret with its tail; long lines are cut round it."""
    begin = max(0, column - 60)
    # A tab takes one column, so that the caret is below its token.
    shown = printable(line[begin : begin + 110].replace("\t", " ")).rstrip()
    token = TOKEN.match(line, column - 1)
    length = min(len(token[0]) if token else 1, len(shown) - (column - 1 - begin)) or 1
    dots = "…" if begin else ""
    caret = click.style("^" + "~" * (length - 1), fg="red", bold=True)
    click.echo(click.style(f"{number:>5} │ ", dim=True) + dots + shown, err=True)
    click.echo(click.style("      │ ", dim=True) + " " * (column - 1 - begin + len(dots)) + caret, err=True)
