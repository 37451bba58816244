"""``validate``: definitions → their errors, with places and carets as a compiler shows them."""

from __future__ import annotations

import re

import attrs
import click

from statechain.asl import Definition
from statechain.asl.substitutions import Substitutions
from statechain.cli.definitions import Checked, MachineType, read_machines, substitutions_options, text_of
from statechain.cli.reports import REPORTS, Finding
from statechain.cli.session import exit_with
from statechain.cli.texts import read_text, reason_of
from statechain.cli.values import TASKS
from statechain.drawing.picture import printable
from statechain.errors import Diagnostic
from statechain.tasks import services
from statechain.tasks.registry import TaskRegistry

__all__ = ["read_definition", "show_faults", "unserved", "validate"]

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s,\]}:]+')


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--tasks", type=TASKS, help="Report Resources that are not among these handlers, too.")
@click.option("--type", "kind", type=click.Choice(["STANDARD", "EXPRESS"]), default="STANDARD", show_default=True)
@substitutions_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", *REPORTS]),
    default="text",
    show_default=True,
    help="For people; or JSON lines, GitHub's annotations, SARIF, to standard output.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of files without faults.")
def validate(
    files: tuple[str, ...],
    tasks: TaskRegistry | None,
    kind: MachineType,
    substitutions: Substitutions | None,
    format_: str,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check definitions and report every error, with its place in the file. FILE may be - for standard input.

    FILE is a definition, or a template of SAM, CloudFormation or the Serverless Framework, of which every state
    machine is checked. Leaves with 0 where there are no errors, with 1 where there are, and with 2 where a file cannot
    be read.
    """
    code = 0
    findings: list[Finding] = []
    for name in files:
        try:
            text = read_text(name)
        except (OSError, UnicodeDecodeError) as fault:
            click.echo(
                f"{click.style('error:', fg='red', bold=True)} {name or repr(name)}: {reason_of(fault)}", err=True
            )
            code = 2
            continue
        checked = [_with_unserved(each, tasks) for each in read_machines(name, text, substitutions, kind)]
        findings += [(each.file, found) for each in checked for found in each.diagnostics]
        if any(each.diagnostics for each in checked):
            # A file that could not be read weighs more.
            code = max(code, 1)
        if format_ == "text" and not as_json:
            _show(name, checked, quiet=quiet)
    if format_ != "text" or as_json:
        REPORTS["json" if as_json else format_](findings)
    exit_with(code)


def _show(name: str, checked: list[Checked], *, quiet: bool) -> None:
    for each in checked:
        if each.diagnostics:
            show_faults(each.file, each.text, each.diagnostics)
        elif not quiet:
            shown = f"{name}: {each.name}" if each.is_of_template else name
            click.echo(f"{click.style('ok', fg='green')}  {shown}", err=True)
    if not checked and not quiet:
        click.echo(f"{click.style('ok', fg='green')}  {name}: a template without state machines", err=True)


def _with_unserved(checked: Checked, tasks: TaskRegistry | None) -> Checked:
    if checked.definition is None or tasks is None:
        return checked
    return attrs.evolve(checked, diagnostics=tuple(unserved(checked.definition, tasks)))


def unserved(definition: Definition, tasks: TaskRegistry) -> list[Diagnostic]:
    """Return an error for each Resource that nothing registered."""
    return [
        definition.place(Diagnostic("unknown-resource", f"no handler is registered for {resource!r}", pointer=pointer))
        for pointer, resource in definition.resources()
        if not services.is_known(resource, tasks)
    ]


def read_definition(
    name: str,
    machine: str | None = None,
    substitutions: Substitutions | None = None,
    kind: MachineType = "STANDARD",
) -> Checked:
    """Return the definition in a file; show its errors and leave where it has any.

    Arguments:
        name: The file.

        machine: Which state machine of a template it is; it may be left out where there is one.

        substitutions: What ``${Name}`` means.

        kind: The type of the machine, where it is not one of a template.
    """
    found = read_machines(name, text_of(name), substitutions, kind)
    names = [each.name for each in found]
    if found and found[0].is_of_template and machine is not None:
        found = [each for each in found if each.name == machine]
    if len(found) != 1:
        which = f"name one of {', '.join(names)} by --machine" if names else "it has no state machine"
        raise click.UsageError(f"{name} is a template: {which}")
    (checked,) = found
    if checked.definition is None:
        show_faults(checked.file, checked.text, checked.diagnostics)
        raise click.exceptions.Exit(2)
    return checked


def show_faults(name: str, text: str, faults: list[Diagnostic] | tuple[Diagnostic, ...]) -> None:
    """Write errors to standard error, each with its line and a caret."""
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
    # A tab takes one column, so that the caret is below its token.
    shown = printable(line[begin : begin + 110].replace("\t", " ")).rstrip()
    token = TOKEN.match(line, column - 1)
    length = min(len(token[0]) if token else 1, len(shown) - (column - 1 - begin)) or 1
    dots = "…" if begin else ""
    caret = click.style("^" + "~" * (length - 1), fg="red", bold=True)
    click.echo(click.style(f"{number:>5} │ ", dim=True) + dots + shown, err=True)
    click.echo(click.style("      │ ", dim=True) + " " * (column - 1 - begin + len(dots)) + caret, err=True)
