"""``validate``: definitions → their faults, told as a compiler tells them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Literal

import click

from statechain.asl import Definition, load
from statechain.cli.session import leave
from statechain.cli.values import TASKS
from statechain.drawing.picture import printable
from statechain.errors import DefinitionError, Diagnostic
from statechain.tasks import services
from statechain.tasks.registry import TaskRegistry

__all__ = ["read_definition", "read_text", "show_faults", "unserved", "validate"]

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s,\]}:]+')


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--tasks", type=TASKS, help="Report Resources that are not among these handlers, too.")
@click.option("--type", "kind", type=click.Choice(["STANDARD", "EXPRESS"]), default="STANDARD", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Write the faults to standard output, one JSON object a line.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of files without faults.")
def validate(
    files: tuple[str, ...],
    tasks: TaskRegistry | None,
    kind: Literal["STANDARD", "EXPRESS"],
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check definitions and tell every fault, with its place in the file. FILE may be - for standard input.

    Leaves with 0 where there are no faults, with 1 where there are, and with 2 where a file cannot be read.
    """
    code = 0
    for name in files:
        try:
            text = read_text(name)
        except (OSError, UnicodeDecodeError) as fault:
            click.echo(f"{click.style('error:', fg='red', bold=True)} {name}: {_reason(fault)}", err=True)
            code = 2
            continue
        faults = faults_in(name, text, tasks, kind)
        if faults:
            code = max(code, 1)
        if as_json:
            for each in faults:
                click.echo(json.dumps({"file": name, **_fields(each)}, ensure_ascii=False))
        elif faults:
            show_faults(name, text, faults)
        elif not quiet:
            click.echo(f"{click.style('ok', fg='green')}  {name}", err=True)
    leave(code)


def read_text(name: str) -> str:
    """Return a file's text, or that of standard input."""
    return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8-sig")


def _reason(fault: Exception) -> str:
    if isinstance(fault, UnicodeDecodeError):
        return "is not UTF-8 text"
    return getattr(fault, "strerror", None) or str(fault)


def faults_in(
    name: str,
    text: str,
    tasks: TaskRegistry | None = None,
    kind: Literal["STANDARD", "EXPRESS"] = "STANDARD",
) -> list[Diagnostic]:
    """Return every fault of a definition's text; with handlers, the Resources that they do not serve as well."""
    try:
        definition = _load(name, text, kind)
    except DefinitionError as fault:
        return list(fault.diagnostics)
    return unserved(definition, tasks) if tasks is not None else []


def _load(name: str, text: str, kind: Literal["STANDARD", "EXPRESS"] = "STANDARD") -> Definition:
    return load(text if name == "-" else Path(name), type=kind)


def unserved(definition: Definition, tasks: TaskRegistry) -> list[Diagnostic]:
    """Return a fault for each Resource that nobody registered."""
    return [
        definition.place(Diagnostic("unknown-resource", f"no handler is registered for {resource!r}", pointer=pointer))
        for pointer, resource in definition.resources()
        if not services.is_known(resource, tasks)
    ]


def read_definition(name: str) -> Definition:
    """Return the definition in a file; tell its faults and leave where it has any."""
    try:
        text = read_text(name)
    except (OSError, UnicodeDecodeError) as fault:
        raise click.UsageError(f"{name}: {_reason(fault)}") from None
    try:
        return _load(name, text)
    except DefinitionError as fault:
        show_faults(name, text, fault.diagnostics)
        raise click.exceptions.Exit(2) from None


def show_faults(name: str, text: str, faults: list[Diagnostic] | tuple[Diagnostic, ...]) -> None:
    """Write faults to standard error, each with its line and a caret."""
    lines = text.splitlines()
    for fault in faults:
        place = name if fault.line is None else f"{name}:{fault.line}:{fault.column}"
        kind = click.style("error:", fg="red", bold=True)
        code = click.style(f"[{fault.code}]", dim=True)
        click.echo(f"{click.style(place, bold=True)}: {kind} {printable(fault.message)} {code}", err=True)
        if fault.line is not None and fault.column is not None and fault.line <= len(lines):
            _show_line(lines[fault.line - 1], fault.line, fault.column)
        elif fault.pointer:
            click.echo(f"  at {fault.pointer}", err=True)
    count = len(faults)
    click.echo(f"{name}: {count} fault{'' if count == 1 else 's'}", err=True)


def _show_line(line: str, number: int, column: int) -> None:
    """Write a line and, below the token at the column, a caret with its tail; long lines are cut round it."""
    begin = max(0, column - 60)
    shown = printable(line[begin : begin + 110].replace("\t", " ")).rstrip()
    token = TOKEN.match(line, column - 1)
    length = min(len(token[0]) if token else 1, len(shown) - (column - 1 - begin)) or 1
    dots = "…" if begin else ""
    caret = click.style("^" + "~" * (length - 1), fg="red", bold=True)
    click.echo(click.style(f"{number:>5} │ ", dim=True) + dots + shown, err=True)
    click.echo(click.style("      │ ", dim=True) + " " * (column - 1 - begin + len(dots)) + caret, err=True)


def _fields(fault: Diagnostic) -> dict[str, object]:
    return {
        "line": fault.line,
        "column": fault.column,
        "pointer": fault.pointer,
        "code": fault.code,
        "message": fault.message,
    }
