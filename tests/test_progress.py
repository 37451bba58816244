"""Ready callbacks for batches: what they count and what they show."""

from __future__ import annotations

import asyncio
import io

from rich.console import Console

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, MemoryRepository, TaskRegistry
from statechain.progress import BatchProgress, batch_progress

SOURCES = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}
TARGETS = {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": "odd", "End": True}}}


def paper(*, is_terminal: bool = False) -> tuple[Console, io.StringIO]:
    """Return a console that writes to a string."""
    file = io.StringIO()
    return Console(file=file, force_terminal=is_terminal, width=100), file


class Ticking:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_the_callbacks_count_a_batch() -> None:
    tasks = TaskRegistry()

    @tasks.register
    async def odd(value: int) -> int:
        if value % 2 == 0:
            raise ValueError(value)
        return value

    console, file = paper()
    async with Engine(MemoryRepository(), tasks=tasks) as engine:
        sources = await engine.create_state_machine("sources", SOURCES)
        targets = await engine.create_state_machine("targets", TARGETS)
        await sources.execute_bulk(range(5))
        select = ExecutionFilter(state_machine_id=sources.id)
        with batch_progress(await engine.count_executions(select), description="odd", console=console) as callbacks:
            results = await targets.execute_batch(select, options=BatchExecutionOptions(**callbacks))
    assert len(results) == 5
    assert file.getvalue().startswith("odd: 5/5, 3 failed (")


async def test_what_is_cancelled_counts_as_aborted() -> None:
    tasks = TaskRegistry()
    both_run = asyncio.Event()

    @tasks.register
    async def odd(value: int) -> None:
        if value == 1:
            both_run.set()
            await asyncio.Event().wait()
        await both_run.wait()

    console, file = paper()
    async with Engine(MemoryRepository(), tasks=tasks) as engine:
        machine = await engine.create_state_machine("targets", TARGETS)
        with batch_progress(console=console) as callbacks:
            options = BatchExecutionOptions(concurrent_batches=2, **callbacks)
            async with machine.stream_bulk(range(2), options=options) as results:
                async for _ in results:
                    break
    assert file.getvalue().startswith("batch: 2, 1 aborted (")


async def test_what_could_not_be_started_counts_as_failed() -> None:
    console, file = paper()
    async with Engine(MemoryRepository()) as engine:
        machine = await engine.create_state_machine("sources", SOURCES)
        with batch_progress(console=console) as callbacks:
            await machine.execute_bulk([object()], options=BatchExecutionOptions(**callbacks))  # type: ignore[list-item]
    assert file.getvalue().startswith("batch: 1, 1 failed (")


def test_a_pipe_gets_a_line_now_and_then_and_one_at_the_end() -> None:
    console, file = paper()
    clock = Ticking()
    with BatchProgress(4, console=console, now=clock) as callbacks:
        for index in range(4):
            callbacks["on_execution_start"]("source", index)
            clock.now += 2
            callbacks["on_execution_complete"]("source", index, None)
    assert file.getvalue().splitlines() == [
        "batch: 3/4 (0.5/s, 0:02 left)",
        "batch: 4/4 (0.5/s)",
    ]


def test_a_terminal_gets_a_bar_with_counts() -> None:
    console, file = paper(is_terminal=True)
    progress = BatchProgress(2, description="[bills]", console=console)
    with progress as callbacks:
        callbacks["on_execution_start"](None, 0)
        callbacks["on_execution_complete"](None, 0, ValueError("no"))
        progress.total = 1
    shown = file.getvalue()
    assert "[bills]" in shown
    assert "1/1" in shown
    assert "1 failed" in shown


def test_the_pace_is_told_as_one_would_say_it() -> None:
    clock = Ticking()
    progress = BatchProgress(10_000, now=clock)
    assert progress.pace() == ""
    progress.on_start(None, 0)
    progress.on_complete(None, 0, None)
    clock.now = 60
    assert progress.pace() == "1.0/min, 166:39:00 left"
    clock.now = 0.05
    assert progress.pace() == "20/s, 8:20 left"
    progress.total = None
    assert progress.pace() == "20/s"
    assert progress.counts() == "1"
