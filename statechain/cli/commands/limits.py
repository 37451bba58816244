"""``limits``: how many executions of a state machine run at once, and how many wait for that."""

from __future__ import annotations

from typing import Any

import attrs
import click

from statechain.cli.command import asynchronous
from statechain.cli.exits import usage_errors
from statechain.cli.lookup import find_machine, machine_names
from statechain.cli.options.values import NO_LIMIT, OR_NONE, RATE
from statechain.cli.render import Cell, Column, echo_json, print_table
from statechain.cli.storage import Storage, storage_option
from statechain.cli.terminal import echo_err
from statechain.records.queues import UNCHANGED, Queue

__all__ = ["limits"]

COLUMNS = (
    Column("MACHINE"),
    Column("AT ONCE", is_figure=True),
    Column("EACH KEY", is_figure=True),
    Column("RATE", is_figure=True),
    Column("RUNNING", is_figure=True),
    Column("WAITING", is_figure=True),
)


@click.group()
def limits() -> None:
    """Show and set the limits of state machines, which hold over all processes of a storage."""


@limits.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line.")
@storage_option
@asynchronous
async def list_limits(storage: Storage, *, as_json: bool) -> None:
    """List the state machines that have limits, with how many of their executions run and wait."""
    async with storage.reader() as engine:
        queues = await engine.list_queues()
        names = await machine_names(engine)
    if as_json:
        for queue in queues:
            echo_json({"state_machine": names.get(queue.state_machine_id), **attrs.asdict(queue)})
    else:
        print_table(COLUMNS, [_row(queue, names) for queue in queues])


def _row(queue: Queue, names: dict[str, str]) -> list[Cell]:
    limits = queue.limits
    rate = "" if limits.rate is None else f"{limits.rate[0]}/{limits.rate[1]:g}s"
    at_once, each_key = (
        "" if each is None else str(each) for each in (limits.max_concurrency, limits.max_concurrency_per_key)
    )
    name = names.get(queue.state_machine_id, queue.state_machine_id)
    return [name, at_once, each_key, rate, str(queue.running), str(queue.waiting)]


@limits.command("set")
@click.argument("machine", metavar="NAME|ID")
@click.option("--max-concurrency", type=OR_NONE, help="How many run at once; 0 pauses the machine.")
@click.option("--rate", type=RATE, help="How many are taken up in a time, such as 100/60s.")
@click.option("--max-concurrency-per-key", type=OR_NONE, help="How many with the same key run at once.")
@storage_option
@asynchronous
async def set_limits(machine: str, storage: Storage, **given: Any) -> None:  # noqa: ANN401
    """Limit a state machine from now on, over all processes.

    A limit that is left out stays as it is; "none" removes it. What runs goes on.
    """
    # click's None is an option that was not given; what is to be None is NO_LIMIT until the next line.
    changes = {name: UNCHANGED if value is None else value for name, value in given.items()}
    changes = {name: None if value is NO_LIMIT else value for name, value in changes.items()}
    async with storage.engine(read_only=True) as engine:
        found = await find_machine(engine, machine)
        with usage_errors():
            made = await engine.set_machine_limits(found.id, **changes)
    echo_err(f"{found.name}: {made}")
