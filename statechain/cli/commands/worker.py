"""``worker``: an engine that takes over what dead workers left, and finishes batches, until it is asked to end."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Literal

import attrs
import click

from statechain.chaining.source import InputTransformer
from statechain.cli.command import asynchronous
from statechain.cli.exits import exit_with
from statechain.cli.lookup import find_machine
from statechain.cli.options.handlers import files_option, transformer_option
from statechain.cli.options.objects import TASKS
from statechain.cli.processes import WorkerProcesses, own_command, stop_at_end_of_input
from statechain.cli.storage import Storage, storage_option
from statechain.cli.terminal import echo_err
from statechain.dispatchers import open_dispatcher
from statechain.drawing.picture import spoken
from statechain.engine.engine import Engine
from statechain.observers import ExecutionEnded, ExecutionResumed, ExecutionStarted, Fact
from statechain.records.batches import Batch, BatchStatus, ItemCounts
from statechain.storage.shards import OVER
from statechain.tasks.registry import TaskRegistry
from statechain.tickets import Dispatcher

__all__ = ["worker"]


@click.command()
@click.option("--tasks", type=TASKS, required=True, help="The handlers: a TaskRegistry, as module:attribute.")
@click.option("--concurrency", type=click.IntRange(1), help="How many executions run at once; no bound without it.")
@click.option(
    "--slots",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="How many shards of distributed batches run at once.",
)
@click.option(
    "--map-runs",
    type=click.Choice(["local", "shared"]),
    default="local",
    show_default=True,
    help="Run the items of distributed Maps in this process, or share them with all workers.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many worker processes run below this one, each with its own slots and concurrency: one for each core.",
)
@click.option("--child", "is_child", is_flag=True, hidden=True, help="Be one of them: end with standard input, too.")
@click.option("--dispatcher", metavar="NAME", help="Share shards over an installed dispatcher, such as procrastinate.")
@click.option(
    "--batches",
    "machines",
    metavar="NAME|ID",
    multiple=True,
    help="Resume batches of this state machine that make no progress; may be given more than once.",
)
@transformer_option
@files_option
@click.option(
    "--patience",
    type=click.FloatRange(0.1),
    default=30.0,
    show_default=True,
    help="Seconds without progress after which a batch is resumed here.",
)
@click.option(
    "--grace", type=click.FloatRange(0), default=10.0, show_default=True, help="Seconds that executions get to end."
)
@click.option(
    "--lease",
    type=click.FloatRange(0.1),
    default=30.0,
    show_default=True,
    help="Seconds after which other workers take over what this one ran, once it has died.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing of each execution.")
@storage_option
@asynchronous
async def worker(
    tasks: TaskRegistry,
    concurrency: int | None,
    slots: int,
    map_runs: Literal["local", "shared"],
    processes: int,
    dispatcher: str | None,
    machines: tuple[str, ...],
    transformer: InputTransformer | str | None,
    patience: float,
    grace: float,
    lease: float,
    files: str | None,
    storage: Storage,
    *,
    is_child: bool,
    quiet: bool,
) -> None:
    """Run what other processes left behind, until SIGTERM or Ctrl-C.

    What still runs when the grace is over is handed over: it stays RUNNING, and the next worker resumes it at once.

    With --processes a parent starts that many workers, replaces those that die, passes SIGTERM and Ctrl-C on, and ends
    with exit code 1 where they keep dying.
    """
    # `main` has turned them off, for commands that end at once.
    logging.getLogger("statechain_backends").setLevel(logging.WARNING)
    if sys.platform == "win32":
        raise click.UsageError("workers need Linux or macOS: they end in order by SIGTERM, which Windows has not")
    asked_to_end = _ended_by_signals()
    if is_child:
        stop_at_end_of_input(asked_to_end)
    elif processes > 1:
        _open_dispatcher(dispatcher, storage)  # what is wrong with it is said once, not by each child
        echo_err(f"{processes} worker processes; Ctrl-C or SIGTERM ends them")
        exit_with(await WorkerProcesses(own_command("--child"), processes, grace=grace).run(asked_to_end))
        return
    opening = storage.engine(
        tasks=tasks,
        files=files,
        recovery=True,
        lease=lease,
        wait_for="all",
        max_concurrent_executions=concurrency,
        slots=slots,
        map_runs=map_runs,
        dispatcher=_open_dispatcher(dispatcher, storage),
        observers=() if quiet else (_ConsoleObserver(),),
    )
    try:
        # Around the engine: the limit bounds how long leaving it may take, once it is asked to end.
        async with asyncio.timeout(None) as limit, opening as engine:
            targets = [(await find_machine(engine, name)).id for name in machines]
            echo_err(f"serving {len(tasks)} handlers on {storage}; Ctrl-C or SIGTERM ends it")
            await _serve(engine, targets, transformer, patience, asked_to_end)
            echo_err(f"ending: what runs gets {spoken(grace)}" if len(engine.worker) else "ending")
            limit.reschedule(asyncio.get_running_loop().time() + grace)
    except TimeoutError:
        echo_err("handed over what still ran")


def _ended_by_signals() -> asyncio.Event:
    """Return an event that SIGTERM and Ctrl-C set, in place of what they do else."""
    asked_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # SIGINT, too: asyncio.run would cancel the command, in place of an end in order.
        asyncio.get_running_loop().add_signal_handler(number, asked_to_end.set)
    return asked_to_end


def _open_dispatcher(name: str | None, storage: Storage) -> Dispatcher | None:
    """Return the dispatcher of a name, for a storage; none without a name."""
    try:
        return None if name is None else open_dispatcher(name, storage.url)
    except (ValueError, ImportError) as error:
        raise click.BadParameter(str(error), param_hint="--dispatcher") from error


async def _serve(
    engine: Engine,
    targets: Sequence[str],
    transformer: InputTransformer | str | None,
    patience: float,
    asked_to_end: asyncio.Event,
) -> None:
    async with asyncio.TaskGroup() as group:
        servers = [group.create_task(_serve_batches(engine, target, transformer, patience)) for target in targets]
        await asked_to_end.wait()
        for server in servers:
            server.cancel()


async def _serve_batches(
    engine: Engine, target: str, transformer: InputTransformer | str | None, patience: float
) -> None:
    """Join the batches of a machine that others resume in shards, and resume those that are stalled, one by one."""
    seen: dict[str, ItemCounts] = {}
    while True:
        running = await engine.list_batches(state_machine_id=target, status=BatchStatus.RUNNING)
        for batch in running:
            counts = batch.item_counts
            # A batch has no owner: counts that do not change while nothing runs say that its process is gone. To be
            # wrong costs nothing, since two processes that run one batch join each other's executions.
            is_stalled = counts.running == 0 and seen.get(batch.id) == counts
            # Of one that is distributed each worker looks for shards anyway.
            if not batch.is_distributed and (is_stalled or await _is_resumed(engine, batch)):
                echo_err(f"resuming batch {batch.name_prefix}: {counts.pending} of {counts.total} left")
                ended = await engine.join_batch(batch.id, input_transformer=transformer)
                echo_err(f"batch {batch.name_prefix} {ended.status}")
        seen = {batch.id: batch.item_counts for batch in running}
        await asyncio.sleep(patience)


async def _is_resumed(engine: Engine, batch: Batch) -> bool:
    """Return whether a batch that began in one process is run in shards, any of which are left."""
    return any(shard.status not in OVER for shard in await engine.repository.shards(batch.id))


@attrs.frozen
class _ConsoleObserver:
    """Reports executions that begin and end here."""

    def observe(self, fact: Fact) -> None:
        """Write a line."""
        if isinstance(fact, ExecutionStarted | ExecutionResumed):
            echo_err(f"running {fact.execution.name}")
        elif isinstance(fact, ExecutionEnded):
            execution = fact.execution
            reason = f" ({execution.error})" if execution.error else ""
            echo_err(f"{execution.name} {execution.status}{reason}")
