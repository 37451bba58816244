"""``import-aws``: definitions made for AWS → which Resource needs which handler here, and a skeleton of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import click

from statechain.asl import Definition, model
from statechain.asl.substitutions import Substitutions
from statechain.cli.definitions.diagnostics import show_diagnostics
from statechain.cli.definitions.files import read_machines, substitutions_options, text_of
from statechain.cli.definitions.scaffold import Need, skeleton
from statechain.cli.exits import exit_with
from statechain.cli.render import Column, print_table
from statechain.cli.terminal import echo_err
from statechain.tasks.registry import function_name
from statechain.tasks.services import LAMBDA_INVOKE, START_EXECUTION, TOKEN_SUFFIX, activity_name

__all__ = ["import_aws"]

COLUMNS = (Column("STATE"), Column("RESOURCE"), Column("HANDLER"), Column("WHAT IT TAKES"))
READS_FILES = "reads and writes local files: <files>/<Bucket>/<Key>, with --files or Engine(files=…)"


@click.command("import-aws")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write a skeleton of the handlers to this file.")
@substitutions_options
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def import_aws(files: tuple[str, ...], output: str | None, substitutions: Substitutions | None, *, force: bool) -> None:
    """Report what definitions made for AWS Step Functions need here, and write a skeleton of their handlers.

    FILE is a definition, the answer of `aws stepfunctions describe-state-machine`, or a template of SAM,
    CloudFormation or the Serverless Framework. Each Resource is listed with the
    name that its handler is registered under. The skeleton runs as it is: a handler that is not written yet answers
    with its input, and says so.
    """
    if output is not None and Path(output).exists() and not force:
        raise click.UsageError(f"{output} is there already: --force writes over it")
    checked = [each for name in files for each in read_machines(name, text_of(name), substitutions)]
    for each in checked:
        if each.definition is None:
            show_diagnostics(each.file, each.text, each.diagnostics)
    definitions = [each.definition for each in checked if each.definition is not None]
    needs = _merged([need for definition in definitions for need in _needs_of(definition)])
    print_table(COLUMNS, [[", ".join(n.states), n.resource, n.handler or "-", n.takes] for n in needs])
    if output is not None and definitions:
        Path(output).write_text(skeleton(needs, [Path(name).name for name in files]), encoding="utf-8")
        echo_err(f"wrote {output}; try it: statechain run {files[0]} --tasks {Path(output).stem}:tasks")
    exit_with(0 if len(definitions) == len(checked) else 1)


def _needs_of(definition: Definition) -> Iterator[Need]:
    """Yield what each Task, and each Map that reads or writes files, needs."""
    for machine in definition.model.walk():
        for state in machine.states.values():
            if isinstance(state, model.Task):
                yield _need(state)
            elif isinstance(state, model.Map):
                for part in (state.item_reader, state.result_writer):
                    if part is not None and part.resource:
                        yield Need(resource=part.resource, states=(state.name,), handler=None, takes=READS_FILES)


def _need(task: model.Task) -> Need:
    resource, states = task.resource, (task.name,)
    base = resource.removesuffix(TOKEN_SUFFIX)
    waits = base != resource
    under = "; then answer under context.task_token, by engine.send_task_success" if waits else ""
    if base == LAMBDA_INVOKE:
        name = _function_of(task)
        takes = f"the Payload{under}" if name else "the function is chosen by the input: register each by its name"
        return Need(resource=resource, states=states, handler=name, takes=takes, waits=waits)
    if base == START_EXECUTION or base.startswith(f"{START_EXECUTION}.sync"):
        takes = "no handler: create that state machine under its name, in the same storage"
        return Need(resource=resource, states=states, handler=None, takes=takes)
    activity = activity_name(base)
    if activity is not None:
        takes = "what the activity's worker was given (or leave it to workers: it needs no handler then)"
        return Need(resource=resource, states=states, handler=activity, takes=takes)
    function = function_name(base)
    if function is not None:
        return Need(resource=resource, states=states, handler=function, takes=f"the state's input{under}", waits=waits)
    takes = f"the Parameters, or Arguments: do what {base.rpartition(':::')[2]} did{under}"
    if not base.startswith("arn:"):
        takes = f"the state's input{under}"
    return Need(resource=resource, states=states, handler=base, takes=takes, waits=waits)


def _function_of(task: model.Task) -> str | None:
    """Return the name of the function that lambda:invoke calls, where the definition shows it."""
    for given in (task.parameters, task.arguments):
        named = given.get("FunctionName") if isinstance(given, dict) else None
        # A JSONata expression is no name: it is known when the Task runs.
        if isinstance(named, str) and not named.startswith("{%"):
            # Without the alias, or the version, behind a colon.
            return function_name(named) or named.partition(":")[0]
    return None


def _merged(needs: list[Need]) -> list[Need]:
    """Return one need for each Resource and handler, in order."""
    merged: dict[tuple[str, str | None], Need] = {}
    for need in needs:
        key = need.resource, need.handler
        earlier = merged.get(key)
        states = need.states if earlier is None else (*earlier.states, *need.states)
        merged[key] = attrs.evolve(need, states=tuple(dict.fromkeys(states)))
    return list(merged.values())
