"""``batch``: chain one execution from each that the filter means, and watch."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import click
from rich.markup import escape

from statechain.chaining.source import InputTransformer
from statechain.cli.command import asynchronous
from statechain.cli.definitions.targets import machine_of, name_of
from statechain.cli.exits import exit_with, usage_errors
from statechain.cli.options.handlers import files_option, tasks_option, transformer_option
from statechain.cli.options.objects import FUNCTION
from statechain.cli.options.selection import FilterOptions, batch_options, filter_options, make_options
from statechain.cli.render import echo_json
from statechain.cli.storage import Storage, storage_option
from statechain.cli.terminal import echo_err, errors
from statechain.drawing.picture import shortened
from statechain.engine.engine import Engine
from statechain.engine.machine import StateMachine
from statechain.launcher import ResultStream
from statechain.progress import BatchProgress
from statechain.records.batches import Batch
from statechain.records.executions import new_id
from statechain.records.filters import ExecutionFilter
from statechain.records.results import BatchExecutionResult, BatchStopped
from statechain.storage.existing import why_nothing_matches
from statechain.tasks.registry import TaskRegistry

__all__ = ["batch"]

MOST_FAILURES = 10


@click.command()
@click.argument("target", metavar="FILE|NAME")
@tasks_option
@click.option("--machine", help="The name of the state machine that FILE defines; the file's where it is left out.")
@click.option("--source-state", metavar="STATE", help="Chain the output of this state instead of the final output.")
@transformer_option
@files_option
@filter_options
@click.option("--name-prefix", help="Executions are named PREFIX-SOURCE: the same again finishes what is missing.")
@batch_options
@click.option(
    "--mode",
    type=click.Choice(["inline", "distributed"], case_sensitive=False),
    default="inline",
    show_default=True,
    help="Whether this process runs the batch, or all workers of the storage share it.",
)
@click.option("--on-execution-start", "on_start", type=FUNCTION, help="Called with (source id, index).")
@click.option("--on-execution-complete", "on_complete", type=FUNCTION, help="Called with (source id, index, error).")
@click.option("--dry-run", is_flag=True, help="Only say how many executions would be started; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Write each result to standard output, one JSON object a line.")
@storage_option
@asynchronous
async def batch(
    target: str,
    tasks: TaskRegistry | None,
    machine: str | None,
    source_state: str | None,
    transformer: InputTransformer | str | None,
    selection: FilterOptions,
    name_prefix: str | None,
    options: dict[str, Any],
    mode: str,
    on_start: Callable[..., Any] | None,
    on_complete: Callable[..., Any] | None,
    files: str | None,
    storage: Storage,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Start one execution of a state machine from each finished execution that the options choose.

    Leaves with 0 where all SUCCEEDED, with 1 where any did not. Ctrl-C or SIGTERM aborts what runs, and
    says how to go on.
    """
    if dry_run:
        await _count(storage, target, machine, selection, tasks=tasks)
        return
    # Made here, so that the batch is found again when Ctrl-C has interrupted it.
    prefix = name_prefix or new_id()
    async with storage.engine(tasks=tasks or TaskRegistry(), files=files, read_only=True) as engine:
        chained = await machine_of(engine, target, machine, tasks=tasks)
        filter_ = await selection.filter(engine)
        total = await engine.count_executions(filter_)
        await _explain_none(engine, filter_, total)
        progress = BatchProgress(total, description=chained.name, console=errors())
        callbacks = _counted(progress, on_start, on_complete)
        made = make_options({**options, **callbacks, "name_prefix": prefix, "mode": mode.upper()})
        with usage_errors():
            stream = chained.stream_batch(filter_, source_state, options=made, input_transformer=transformer)
        report = _Report(as_json=as_json)
        async with resume_hint(engine, chained, prefix):
            with progress:
                await report.take(stream)
    # Once the engine is left: what was cancelled has ended, too.
    report.show()
    exit_with(report.code)


async def _count(
    storage: Storage, target: str, machine: str | None, selection: FilterOptions, *, tasks: TaskRegistry | None
) -> None:
    """Say how many executions a batch would start; write nothing, not even its state machine."""
    async with storage.reader() as engine:
        name = await name_of(engine, target, machine, tasks=tasks)
        if selection.unchained_to == name and await engine.repository.state_machine(name) is None:
            selection = selection.without_target()  # the batch would create it
        filter_ = await selection.filter(engine)
        total = await engine.count_executions(filter_)
        await _explain_none(engine, filter_, total)
    echo_err(f"{total} execution{'' if total == 1 else 's'} of {name} would be started")


async def _explain_none(engine: Engine, filter_: ExecutionFilter, total: int) -> None:
    if not total:
        echo_err(f"no execution matches: {await why_nothing_matches(engine.repository, filter_)}")


def _counted(
    progress: BatchProgress, on_start: Callable[..., Any] | None, on_complete: Callable[..., Any] | None
) -> dict[str, Callable[..., Any]]:
    """Return the callbacks that count, and call the user's."""
    return {
        "on_execution_start": _both(progress.on_start, on_start),
        "on_execution_complete": _both(progress.on_complete, on_complete),
    }


def _both(ours: Callable[..., None], theirs: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return a callback that calls two, the user's sync or async."""
    if theirs is None:
        return ours

    async def call(*facts: Any) -> None:  # noqa: ANN401 -- the facts of any callback
        ours(*facts)
        result: Awaitable[None] | None = theirs(*facts)
        if inspect.isawaitable(result):
            await result

    return call


class _Report:
    """What became of a batch: the failures, and the exit code."""

    def __init__(self, *, as_json: bool) -> None:
        self.code = 0
        self._as_json = as_json
        self._failures: list[str] = []
        self._failed = 0
        self._stopped: BatchStopped | None = None

    async def take(self, stream: ResultStream[BatchExecutionResult]) -> None:
        """Take every result as it completes, keeping none."""
        async with stream:
            try:
                async for result in stream:
                    self._take(result)
            except BatchStopped as stop:
                self._stopped, self.code = stop, 1

    def _take(self, result: BatchExecutionResult) -> None:
        if self._as_json:
            echo_json(_result_json(result))
        if result.error is not None:
            self._failed += 1
            self.code = 1
            if len(self._failures) < MOST_FAILURES:
                name = result.execution.name if result.execution else f"item {result.index}"
                self._failures.append(f"{name}  {shortened(_reason(result), 160)}")

    def show(self) -> None:
        """Report the first failures, and whether they stopped the batch."""
        console = errors()
        for line in self._failures:
            console.print(f"[red]✗[/] {escape(line)}", soft_wrap=True)
        if self._failed > len(self._failures):
            echo_err(f"… and {self._failed - len(self._failures)} more")
        if self._stopped is not None:
            echo_err("stopped: more failures than are tolerated")


def _reason(result: BatchExecutionResult) -> str:
    execution = result.execution
    if execution is None:
        return f"{type(result.error).__name__}: {result.error}"
    return ": ".join(part for part in (str(execution.status), execution.error, execution.cause) if part)


def _result_json(result: BatchExecutionResult) -> dict[str, Any]:
    execution = result.execution
    return {
        "index": result.index,
        "source_execution_id": result.source_execution_id,
        "execution_id": execution and execution.id,
        "name": execution and execution.name,
        "status": execution and str(execution.status),
        "output": execution.output if execution else None,
        "error": execution.error if execution else type(result.error).__name__,
        "cause": execution.cause if execution else str(result.error),
    }


@asynccontextmanager
async def resume_hint(engine: Engine, machine: StateMachine, prefix: str) -> AsyncIterator[None]:
    """Report, where the body is interrupted, how the batch is resumed."""
    try:
        yield
    except asyncio.CancelledError:
        stored = await find_batch(engine, machine, prefix)
        if stored is not None:
            counts = stored.item_counts
            echo_err(
                f"interrupted: {counts.succeeded} of {counts.total} succeeded, {counts.aborted} aborted, "
                f"{counts.pending} not started; go on with\n"
                f"  statechain batches resume {stored.id} --redrive-failed --tasks …"
            )
        raise


async def find_batch(engine: Engine, machine: StateMachine, prefix: str) -> Batch | None:
    """Return the newest batch of a machine with this prefix."""
    # It was begun last, or nearly so. Its items alone are counted.
    page = await engine.repository.batches(state_machine_id=machine.id, page=20, is_counted=False)
    found = next((each for each in page if each.name_prefix == prefix), None)
    return None if found is None else await engine.get_batch(found.id)
