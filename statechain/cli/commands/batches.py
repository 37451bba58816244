"""``batches``: the stored batches, and what an operator does with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from statechain.chaining.options import stored_arguments
from statechain.chaining.source import InputTransformer
from statechain.cli.command import asynchronous
from statechain.cli.definitions.targets import check_served
from statechain.cli.exits import exit_with, usage_errors
from statechain.cli.lookup import find_machine, machine_names
from statechain.cli.options.handlers import files_option, tasks_option, transformer_option
from statechain.cli.options.selection import batch_options, make_options
from statechain.cli.render import Cell, Column, duration_of, echo_json, moment, print_table, styled_batch
from statechain.cli.storage import Storage, storage_option
from statechain.cli.terminal import echo_err, errors
from statechain.progress import BatchProgress
from statechain.records.batches import Batch, BatchStatus
from statechain.records.json_shapes import batch_json
from statechain.records.results import BatchStopped
from statechain.tasks.registry import TaskRegistry

__all__ = ["batches"]

COLUMNS = (
    Column("ID"),
    Column("MACHINE", rank=1),
    Column("PREFIX", is_wide=True, rank=6),
    Column("STATUS"),
    Column("STARTED", rank=5),
    Column("TOOK", is_figure=True, rank=4),
    Column("TOTAL", is_figure=True, rank=2),
    Column("OK", is_figure=True, rank=3),
    Column("FAILED", is_figure=True),
    Column("LEFT", is_figure=True),
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")


@click.group()
def batches() -> None:
    """List, show, resume and stop stored batches."""


@batches.command("list")
@click.option("--state-machine", metavar="NAME|ID", help="Of this state machine.")
@click.option("--status", type=click.Choice([str(each) for each in BatchStatus], case_sensitive=False))
@click.option("--execution", metavar="ID", help="The Map Runs of this execution.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many are listed, at most.")
@json_option
@storage_option
@asynchronous
async def list_batches(
    state_machine: str | None, status: str | None, execution: str | None, limit: int, storage: Storage, *, as_json: bool
) -> None:
    """List batches, newest first."""
    async with storage.reader() as engine:
        machine = None if state_machine is None else await find_machine(engine, state_machine)
        found = await engine.repository.batches(
            state_machine_id=None if machine is None else machine.id,
            status=None if status is None else BatchStatus(status),
            parent_execution_id=execution,
            page=limit,
        )
        names = await machine_names(engine)
    if as_json:
        for each in found:
            echo_json(batch_json(each, names.get(each.state_machine_id)))
        return
    print_table(COLUMNS, [_row(each, names) for each in found])


def _row(batch: Batch, names: dict[str, str]) -> list[Cell]:
    counts = batch.item_counts
    return [
        batch.id,
        names.get(batch.state_machine_id, batch.state_machine_id),
        batch.name_prefix,
        styled_batch(batch, is_brief=True),
        batch.start_time,
        duration_of(batch),
        str(counts.total),
        str(counts.succeeded),
        str(counts.failed + counts.timed_out + counts.aborted),
        str(counts.pending + counts.running),
    ]


@batches.command()
@click.argument("batch_id", metavar="ID")
@json_option
@storage_option
@asynchronous
async def show(batch_id: str, storage: Storage, *, as_json: bool) -> None:
    """Show one batch: what was asked, and how far it has come."""
    async with storage.reader() as engine:
        batch = await engine.get_batch(batch_id)
        names = await machine_names(engine)
        shards = Counter(shard.status for shard in await engine.repository.shards(batch_id))
    machine = names.get(batch.state_machine_id, batch.state_machine_id)
    if as_json:
        counts = {str(status): count for status, count in sorted(shards.items())}
        echo_json(batch_json(batch, machine) | ({"shards": counts} if counts else {}), indent=2)
        return
    counts = batch_json(batch)["item_counts"]
    rows: list[list[Cell]] = [
        ["batch", batch.id],
        ["state machine", f"{machine} (revision {batch.state_machine_revision})"],
        ["name prefix", batch.name_prefix],
        ["status", styled_batch(batch)],
        ["started", f"{moment(batch.start_time)}, took {duration_of(batch)}"],
        ["items", ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())],
        ["sources", _said(batch.filter) or "stored inputs"],
        ["options", _said(batch.options)],
    ]
    if shards:
        rows.insert(6, ["shards", ", ".join(f"{count} {status.lower()}" for status, count in sorted(shards.items()))])
    if batch.parent_execution_id is not None:
        rows.insert(3, ["map run of", f"execution {batch.parent_execution_id}"])
    if batch.source_state_name is not None:
        rows.insert(3, ["source state", batch.source_state_name])
    print_table((Column("WHAT"), Column("IS")), rows)


def _said(mapping: Mapping[str, Any]) -> str:
    """Return a filter or options as a person would list them: what is false or empty is not worth a word."""
    parts = []
    for name, value in mapping.items():
        words = name.replace("_", " ")
        if value is True:
            parts.append(words)
        elif value not in (False, None, [], {}):
            parts.append(f"{words} {' or '.join(value) if isinstance(value, list) else value}")
    return ", ".join(parts)


@batches.command()
@click.argument("batch_id", metavar="ID")
@tasks_option
@transformer_option
@files_option
@batch_options
@storage_option
@asynchronous
async def resume(
    batch_id: str,
    tasks: TaskRegistry | None,
    transformer: InputTransformer | str | None,
    options: dict[str, Any],
    files: str | None,
    storage: Storage,
) -> None:
    """Finish what is missing of a batch, with the options it had unless others are given.

    An input transformer that is a function is not stored: give the one that the batch was started with. What Ctrl-C
    aborted counts as ended: --redrive-failed goes on with it.
    """
    async with storage.engine(tasks=tasks, files=files, read_only=True) as engine:
        stored = await engine.get_batch(batch_id)
        await check_served(engine, stored.state_machine_id, stored.state_machine_revision, tasks)
        progress = BatchProgress(stored.item_counts.total, description=f"batch {stored.name_prefix}", console=errors())
        made = make_options({**stored_arguments(stored), **options, **progress.callbacks})
        try:
            with progress, usage_errors():
                await engine.resume_batch(batch_id, options=made, input_transformer=transformer)
        except BatchStopped as stop:
            echo_err(str(stop))
        ended = await engine.get_batch(batch_id)
    counts = ended.item_counts
    exit_with(0 if counts.succeeded == counts.total else 1)


@batches.command()
@click.argument("batch_ids", nargs=-1, required=True, metavar="ID…")
@storage_option
@asynchronous
async def stop(batch_ids: tuple[str, ...], storage: Storage) -> None:
    """Stop batches: nothing more of them is started, and what runs is aborted."""
    async with storage.engine(read_only=True) as engine:
        for batch_id in batch_ids:
            batch = await engine.stop_batch(batch_id)
            echo_err(f"{batch.id} {batch.status}")


@batches.command()
@click.argument("batch_id", metavar="ID")
@tasks_option
@files_option
@storage_option
@asynchronous
async def redrive(batch_id: str, tasks: TaskRegistry | None, files: str | None, storage: Storage) -> None:
    """Redrive the executions of a batch that ended without success, and wait for them."""
    async with storage.engine(tasks=tasks, files=files, read_only=True) as engine:
        stored = await engine.get_batch(batch_id)
        await check_served(engine, stored.state_machine_id, stored.state_machine_revision, tasks)
        after, count, is_more = -1, 0, True
        while is_more:
            # In portions: one call redrives a bounded number.
            done = await engine.redrive_batch(batch_id, after=after)
            after, count, is_more = done.last, count + done.count, done.is_more
        echo_err(f"{count} execution{'' if count == 1 else 's'} redriven")
    async with storage.reader() as engine:
        # The engine that redrove has been left, which waits for what runs: the counts are final.
        counts = (await engine.get_batch(batch_id)).item_counts
    exit_with(0 if counts.succeeded == counts.total else 1)
