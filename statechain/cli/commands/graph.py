"""``graph``: a definition, or an execution on it, as Mermaid, DOT, SVG, a timeline, or a tree for the terminal."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from statechain.asl import Definition, load_stored
from statechain.cli.command import asynchronous
from statechain.cli.definitions.targets import read_definition
from statechain.cli.lookup import find_execution, find_machine
from statechain.cli.storage import Storage, storage_option
from statechain.cli.terminal import console_of, echo_err
from statechain.cli.tree import tree_of
from statechain.drawing.draw import GRAPHS, draw_definition, draw_execution
from statechain.drawing.graph import graph_of
from statechain.drawing.picture import trace_of
from statechain.records.executions import Execution, Visit

__all__ = ["graph"]

SUFFIXES = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid", ".dot": "dot", ".gv": "dot", ".txt": "tree"}


@click.command()
@click.argument("target", required=False, metavar="[FILE|NAME]")
@click.option("--execution", metavar="ID|NAME", help="Draw this execution on its definition, instead of a file.")
@click.option("--machine", help="Which state machine of a template to draw.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["tree", "mermaid", "dot", "svg", "timeline"]),
    help="By --output's suffix where it is left out; else a tree on a terminal, and Mermaid in a pipe.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, writable=True), help="The file to write.")
@storage_option
@asynchronous
async def graph(
    target: str | None,
    execution: str | None,
    machine: str | None,
    kind: str | None,
    output: str | None,
    storage: Storage,
) -> None:
    """Draw a definition (a file, or the name of a stored state machine), or an execution on it.

    A timeline is an execution's Gantt chart, as SVG.
    """
    if (target is None) == (execution is None):
        raise click.UsageError("give a file or a state machine to draw, or else --execution")
    chosen = kind or _kind_of(output)
    found: tuple[Execution, list[Visit]] | None = None
    if execution is not None:
        async with storage.reader() as engine:
            one = await find_execution(engine, execution)
            found = one, list(await engine.repository.visits(one.id))
            record = await engine.repository.state_machine(one.state_machine_id, one.state_machine_revision)
            # An empty string is refused as a definition, in words.
            definition, name = load_stored("" if record is None else record.definition), one.name
    else:
        definition, name = await _definition(str(target), machine, storage)
    if chosen == "tree":
        _print_tree(definition, name, found, output)
        return
    drawn = _drawn(definition, found, chosen)
    if output is None:
        click.echo(drawn if sys.stdout.isatty() else drawn.encode(), nl=False)  # a file of it is UTF-8
    else:
        Path(output).write_text(drawn, encoding="utf-8")  # noqa: ASYNC240 -- nothing else runs
        echo_err(f"wrote {output}")


def _kind_of(output: str | None) -> str:
    if output is None:
        return "tree" if sys.stdout.isatty() else "mermaid"
    suffix = Path(output).suffix
    if suffix not in SUFFIXES:
        raise click.UsageError(f"the suffix of {output} names no format: say which by --format")
    return SUFFIXES[suffix]


async def _definition(target: str, machine: str | None, storage: Storage) -> tuple[Definition, str]:
    if target == "-" or Path(target).is_file():  # noqa: ASYNC240 -- nothing else runs
        checked = read_definition(target, machine)
        return checked.loaded, checked.name if checked.is_of_template else Path(target).name
    async with storage.reader() as engine:
        stored = await find_machine(engine, target)
        record = await engine.repository.state_machine(stored.id, stored.revision)
        return load_stored("" if record is None else record.definition), stored.name


def _drawn(definition: Definition, found: tuple[Execution, list[Visit]] | None, kind: str) -> str:
    if found is not None:
        return draw_execution(found[0], definition.model, found[1], datetime.now(UTC), kind)  # type: ignore[arg-type]
    if kind not in GRAPHS:
        raise click.UsageError("a timeline is drawn of an execution: give --execution")
    return draw_definition(definition.model, kind)  # type: ignore[arg-type]


def _print_tree(
    definition: Definition, name: str, found: tuple[Execution, list[Visit]] | None, output: str | None
) -> None:
    trace = None if found is None else trace_of(found[0], found[1], datetime.now(UTC))
    tree = tree_of(graph_of(definition.model), name, trace)
    if output is None:
        console_of().print(tree)
        return
    with Path(output).open("w", encoding="utf-8") as file:
        console_of(file=file, width=200).print(tree)
    echo_err(f"wrote {output}")
