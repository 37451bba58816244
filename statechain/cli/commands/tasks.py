"""``tasks``: the tasks that wait for an answer from outside, and answers to them without their tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs
import click

from statechain.cli.command import asynchronous
from statechain.cli.exits import usage_errors
from statechain.cli.lookup import find_execution, find_machine, machine_names
from statechain.cli.options.values import JSON, MOMENT
from statechain.cli.render import Cell, Column, echo_json, print_table
from statechain.cli.storage import Storage, storage_option
from statechain.cli.terminal import echo_err
from statechain.codec import JSONValue
from statechain.records.json_shapes import instant
from statechain.reports import WaitingTask

__all__ = ["tasks"]

COLUMNS = (
    Column("EXECUTION"),
    Column("MACHINE", rank=2),
    Column("STATE"),
    Column("SINCE", rank=1),
    Column("ACTIVITY", rank=3),
    Column("EXECUTION ID", is_wide=True),
    Column("ID", is_wide=True),
)
state_option = click.option("--state", help="The state that waits, where several do.")
task_option = click.option("--task", "task_id", metavar="ID", help="The task's id, where several wait in one state.")


@click.group()
def tasks() -> None:
    """List and answer tasks that wait for an answer from outside."""


@tasks.command("list")
@click.option("--state-machine", metavar="NAME|ID", help="Of this state machine.")
@click.option("--state", help="Of states of this name.")
@click.option("--execution", metavar="ID|NAME", help="Of this execution.")
@click.option("--older-than", type=MOMENT, help="That have waited since before this: 2h (ago), 2026-01-31T12:00:00Z.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most this many.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line.")
@storage_option
@asynchronous
async def list_tasks(
    state_machine: str | None,
    state: str | None,
    execution: str | None,
    older_than: datetime | None,
    limit: int,
    storage: Storage,
    *,
    as_json: bool,
) -> None:
    """List tasks that wait, those that have waited longest first; never their tokens."""
    async with storage.reader() as engine:
        machine = None if state_machine is None else await find_machine(engine, state_machine)
        of = None if execution is None else await find_execution(engine, execution)
        found = await engine.list_waiting_tasks(
            execution_id=None if of is None else of.id,
            state_machine_id=None if machine is None else machine.id,
            state=state,
            since_before=older_than,
            limit=limit,
        )
        names = await machine_names(engine)
    if as_json:
        for each in found:
            echo_json(_json(each))
    else:
        print_table(COLUMNS, [_row(each, names) for each in found])


def _json(task: WaitingTask) -> dict[str, Any]:
    times = {"since": instant(task.since), "last_heartbeat": instant(task.last_heartbeat)}
    return {**attrs.asdict(task), **times}


def _row(task: WaitingTask, names: dict[str, str]) -> list[Cell]:
    return [
        task.execution_name,
        names.get(task.state_machine_id, task.state_machine_id),
        task.state or "",
        task.since or "",
        task.activity or "",
        task.execution_id,
        task.id,
    ]


@tasks.command()
@click.argument("execution", metavar="ID|NAME")
@state_option
@task_option
@click.option("--output", type=JSON, default="null", show_default=True, help="The task's result.")
@storage_option
@asynchronous
async def answer(execution: str, state: str | None, task_id: str | None, output: JSONValue, storage: Storage) -> None:
    """Answer a task that waits: it succeeded, with an output."""
    async with storage.engine(read_only=True) as engine:
        found = await find_execution(engine, execution)
        with usage_errors():
            task = await engine.answer_waiting_task(found.id, output, state=state, task_id=task_id)
        echo_err(f"{found.name}: {task.state or 'the task'} was answered")


@tasks.command()
@click.argument("execution", metavar="ID|NAME")
@state_option
@task_option
@click.option("--error", help="The error's name, which Retry and Catch match.")
@click.option("--cause", help="What happened.")
@storage_option
@asynchronous
async def fail(
    execution: str,
    state: str | None,
    task_id: str | None,
    error: str | None,
    cause: str | None,
    storage: Storage,
) -> None:
    """Answer a task that waits: it failed."""
    async with storage.engine(read_only=True) as engine:
        found = await find_execution(engine, execution)
        with usage_errors():
            task = await engine.fail_waiting_task(found.id, error, cause, state=state, task_id=task_id)
        echo_err(f"{found.name}: {task.state or 'the task'} has failed")
