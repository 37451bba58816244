"""``run`` and ``redrive``: one execution, followed to its end; only its output goes to standard output."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

import click
from rich.console import Console
from rich.markup import escape

from statechain.asl import load_stored
from statechain.asl.substitutions import Substitutions
from statechain.cli.commands.validate import read_definition, show_faults, unserved
from statechain.cli.definitions import SUFFIXES, Checked, substitutions_options
from statechain.cli.render import STYLES, duration_of, echo_json
from statechain.cli.selection import find_execution, find_machine
from statechain.cli.session import (
    Failure,
    Storage,
    asynchronous,
    echo_err,
    errors,
    exit_with,
    storage_option,
    usage_errors,
)
from statechain.cli.values import JSON, TASKS
from statechain.codec import JSONValue
from statechain.drawing.picture import printable, spoken
from statechain.engine.engine import Engine
from statechain.engine.handle import ExecutionHandle
from statechain.engine.machine import StateMachine
from statechain.errors import DefinitionError, Diagnostic
from statechain.records.executions import Execution, ExecutionStatus
from statechain.tasks.registry import TaskRegistry

__all__ = ["check_served", "files_option", "machine_of", "name_of", "redrive", "run", "tasks_option"]

NAME_THEM = "name the handlers by --tasks module:registry"
SECONDS_BETWEEN_LOOKS = 0.2

tasks_option = click.option("--tasks", type=TASKS, help="The handlers: a TaskRegistry, as module:attribute.")
files_option = click.option(
    "--files",
    type=click.Path(exists=True, file_okay=False),
    help="The folder in the place of S3, for distributed Maps: a bucket is a folder in it.",
)


@click.command()
@click.argument("file", metavar="FILE|NAME")
@click.option("--input", "value", type=JSON, default="{}", show_default=True, help="The input.")
@tasks_option
@click.option("--name", help="The execution's name; the same name and input again is the same execution.")
@click.option("--key", help="What it has in common with others, such as a tenant, where the machine has limits.")
@click.option("--priority", type=int, default=0, help="Those with a higher one are taken up first, likewise.")
@click.option("--machine", help="The state machine's name, by default the file's; or which one of a template.")
@click.option("--type", "kind", type=click.Choice(["STANDARD", "EXPRESS"]), default="STANDARD", show_default=True)
@substitutions_options
@files_option
@click.option("--compact", is_flag=True, help="Write the output on one line.")
@storage_option
@asynchronous
async def run(
    file: str,
    value: JSONValue,
    tasks: TaskRegistry | None,
    name: str | None,
    key: str | None,
    priority: int,
    machine: str | None,
    kind: Literal["STANDARD", "EXPRESS"],
    files: str | None,
    substitutions: Substitutions | None,
    storage: Storage,
    *,
    compact: bool,
) -> None:
    """Run a definition (or a stored state machine) once, and write its output as JSON.

    Leaves with 0 where it SUCCEEDED, with 1 where it ended otherwise. Ctrl-C or SIGTERM aborts it; it can be
    redriven.
    """
    async with storage.engine(tasks=tasks or TaskRegistry(), files=files) as engine:
        target = await machine_of(engine, file, machine, kind, tasks=tasks, substitutions=substitutions)
        with usage_errors():
            handle = await target.start_execution(value, name=name, key=key, priority=priority)
        execution = await follow(engine, handle)
    show_end(execution, indent=None if compact else 2)


@click.command()
@click.argument("execution", metavar="ID|NAME")
@tasks_option
@files_option
@storage_option
@asynchronous
async def redrive(execution: str, tasks: TaskRegistry | None, files: str | None, storage: Storage) -> None:
    """Go on with an execution that ended without success, from the state that failed; as run does."""
    async with storage.engine(tasks=tasks, files=files, read_only=True) as engine:
        found = await find_execution(engine, execution)
        await check_served(engine, found.state_machine_id, found.state_machine_revision, tasks)
        with usage_errors():
            handle = await engine.redrive_execution(found.id)
        ended = await follow(engine, handle)
    show_end(ended, indent=2)


async def machine_of(
    engine: Engine,
    target: str,
    name: str | None = None,
    kind: Literal["STANDARD", "EXPRESS"] = "STANDARD",
    *,
    tasks: TaskRegistry | None,
    substitutions: Substitutions | None = None,
) -> StateMachine:
    """Return the machine that a file defines, or the stored one of that name."""
    checked = _read_target(target, name, substitutions, kind)
    if checked is None:
        return await _stored_machine(engine, target, tasks)
    try:
        with usage_errors():
            return await engine.create_state_machine(
                _own_name(checked, name), {**cast("dict[str, Any]", checked.loaded.value)}, type=checked.type
            )
    except DefinitionError as error:
        _refuse(checked, error.diagnostics, tasks)


async def name_of(engine: Engine, target: str, name: str | None = None, *, tasks: TaskRegistry | None) -> str:
    """Return the name of the machine that `machine_of` would return; check its definition, and store nothing."""
    checked = _read_target(target, name)
    if checked is None:
        return (await _stored_machine(engine, target, tasks)).name
    if missing := unserved(checked.loaded, tasks or TaskRegistry()):
        _refuse(checked, missing, tasks)
    return _own_name(checked, name)


def _read_target(
    target: str,
    name: str | None,
    substitutions: Substitutions | None = None,
    kind: Literal["STANDARD", "EXPRESS"] = "STANDARD",
) -> Checked | None:
    """Return the definition that a file has; None where the target names a stored machine."""
    if target == "-":
        if name is None:
            raise click.UsageError("a definition from standard input has no name: give one by --machine")
        return read_definition(target, name, substitutions, kind)
    # A file comes before a stored state machine of that name.
    if Path(target).is_file():
        return read_definition(target, name, substitutions, kind)
    if target.endswith(SUFFIXES):
        raise click.UsageError(f"there is no file {target}")
    return None


def _own_name(checked: Checked, name: str | None) -> str:
    return checked.name if name is None or checked.is_of_template else name


async def _stored_machine(engine: Engine, name_or_id: str, tasks: TaskRegistry | None) -> StateMachine:
    machine = await find_machine(engine, name_or_id)
    await check_served(engine, machine.id, machine.revision, tasks)
    return machine


def _refuse(checked: Checked, diagnostics: Iterable[Diagnostic], tasks: TaskRegistry | None) -> NoReturn:
    """Show the errors of a definition, and leave."""
    found = [checked.loaded.place(each) for each in diagnostics]
    show_faults(checked.file, checked.text, found)
    if tasks is None and any(each.code == "unknown-resource" for each in found):
        echo_err(NAME_THEM)
    raise click.exceptions.Exit(2) from None


async def check_served(engine: Engine, state_machine_id: str, revision: int, tasks: TaskRegistry | None) -> None:
    """Refuse to run a stored revision whose handlers are not among these."""
    record = await engine.repository.state_machine(state_machine_id, revision)
    # Before anything runs: a Task without a handler would fail its execution.
    faults = [] if record is None else unserved(load_stored(record.definition), tasks or TaskRegistry())
    if record is not None and faults:
        messages = "; ".join(fault.message for fault in faults[:3])
        raise Failure(f"{record.name}: {messages}" + ("" if tasks else f"; {NAME_THEM}"))


async def follow(engine: Engine, handle: ExecutionHandle) -> Execution:
    """Wait for an execution's end, with a live line on a terminal; being interrupted aborts it."""
    console = errors()
    if not console.is_terminal:
        named = "" if handle.name == handle.id else f" ({handle.id})"
        echo_err(f"started {handle.name}{named}")
    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(_watch(engine, handle, console)) if console.is_terminal else None
            execution = await handle.wait()
            if watcher is not None:
                watcher.cancel()
    except asyncio.CancelledError:
        # Ctrl-C has cancelled this task once: the end is recorded before the cancellation goes on.
        stopped = await handle.stop(cause="interrupted on the command line")
        echo_err(f"{handle.name} {stopped.status}; go on with\n  statechain redrive {handle.id} --tasks …")
        raise
    return execution


async def _watch(engine: Engine, handle: ExecutionHandle, console: Console) -> None:
    began = time.monotonic()
    with console.status(escape(handle.name), spinner="dots", refresh_per_second=8) as status:
        while True:
            execution = await engine.get_execution(handle.id)
            elapsed = spoken(round(time.monotonic() - began, 1))
            status.update(f"{escape(handle.name)}  [bold]{escape(execution.current_state or '')}[/]  [dim]{elapsed}[/]")
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


def show_end(execution: Execution, *, indent: int | None) -> None:
    """Report how an execution ended; write its output, or leave with 1."""
    mark = "✓" if execution.status is ExecutionStatus.SUCCEEDED else "✗"
    style = STYLES[execution.status]
    reason = printable(": ".join(part for part in (execution.error, execution.cause) if part))
    state = f" in {execution.current_state}" if execution.status is not ExecutionStatus.SUCCEEDED else ""
    errors().print(
        f"[{style}]{mark} {escape(execution.name)} {execution.status}[/]{escape(state)} after {duration_of(execution)}"
        + (f": {escape(reason)}" if reason else ""),
        soft_wrap=True,
    )
    if execution.status is not ExecutionStatus.SUCCEEDED:
        echo_err(f"look closer with: statechain show {execution.id}")
        exit_with(1)
    echo_json(execution.output, indent=indent)
