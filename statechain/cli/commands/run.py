"""``run`` and ``redrive``: one execution, followed to its end; only its output goes to standard output."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import click
from rich.console import Console
from rich.markup import escape

from statechain.asl.substitutions import Substitutions
from statechain.cli.command import asynchronous
from statechain.cli.definitions.files import substitutions_options
from statechain.cli.definitions.targets import check_served, machine_of
from statechain.cli.exits import exit_with, usage_errors
from statechain.cli.lookup import find_execution
from statechain.cli.options.handlers import files_option, tasks_option
from statechain.cli.options.values import JSON
from statechain.cli.render import STYLES, duration_of, echo_json
from statechain.cli.storage import Storage, storage_option
from statechain.cli.terminal import echo_err, errors
from statechain.codec import JSONValue
from statechain.drawing.picture import printable, spoken
from statechain.engine.engine import Engine
from statechain.engine.handle import ExecutionHandle
from statechain.records.executions import Execution, ExecutionStatus
from statechain.tasks.registry import TaskRegistry

__all__ = ["redrive", "run"]

SECONDS_BETWEEN_LOOKS = 0.2


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
