"""``validate``: definitions → their errors, with places and carets as a compiler shows them."""

from __future__ import annotations

import attrs
import click

from statechain.asl.substitutions import Substitutions
from statechain.cli.definitions.diagnostics import show_diagnostics, unserved
from statechain.cli.definitions.files import Checked, MachineType, read_machines, substitutions_options
from statechain.cli.definitions.reports import REPORTS, Finding
from statechain.cli.exits import exit_with
from statechain.cli.options.objects import TASKS
from statechain.cli.texts import read_text, reason_of
from statechain.tasks.registry import TaskRegistry

__all__ = ["validate"]


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
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of files without errors.")
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
        except (OSError, UnicodeDecodeError) as error:
            click.echo(
                f"{click.style('error:', fg='red', bold=True)} {name or repr(name)}: {reason_of(error)}", err=True
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
            show_diagnostics(each.file, each.text, each.diagnostics)
        elif not quiet:
            shown = f"{name}: {each.name}" if each.is_of_template else name
            click.echo(f"{click.style('ok', fg='green')}  {shown}", err=True)
    if not checked and not quiet:
        click.echo(f"{click.style('ok', fg='green')}  {name}: a template without state machines", err=True)


def _with_unserved(checked: Checked, tasks: TaskRegistry | None) -> Checked:
    if checked.definition is None or tasks is None:
        return checked
    return attrs.evolve(checked, diagnostics=tuple(unserved(checked.definition, tasks)))
