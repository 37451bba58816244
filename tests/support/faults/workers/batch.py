"""A worker process for the harnesses: opens an engine, runs the batch (or resumes one that was left), and ends.

It ends in order once every source has its execution.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from statechain import BatchExecutionOptions, BatchStatus, Engine, ExecutionFilter, StateMachine
from statechain.dispatchers import open_dispatcher
from support.faults.ledger import Ledger
from support.faults.workload import SOURCES, TARGETS, make_tasks, select_sources

__all__ = ["PREFIX", "main"]

PREFIX = "chain"
SHARD_SIZE = 5


async def main(
    url: str,
    ledger: Ledger,
    *,
    concurrency: int,
    seconds: float,
    lease: float,
    resumes: bool,
    shares: bool = False,
    joins: bool = False,
    dispatcher: str | None = None,
) -> None:
    """Run the batch to its end."""

    def note_end(_source: str, _index: int, _error: Exception | None) -> None:
        pass

    tasks = make_tasks(ledger, seconds=seconds)
    carries = None if dispatcher is None else open_dispatcher(dispatcher, url)
    async with Engine(url, tasks=tasks, lease=timedelta(seconds=lease), dispatcher=carries) as engine:
        sources = await engine.create_state_machine("sources", SOURCES)
        targets = await engine.create_state_machine("targets", TARGETS)
        left = await engine.list_batches(state_machine_id=targets.id, status=BatchStatus.RUNNING)
        if shares:
            await _share(engine, targets, select_sources(sources), concurrency)
            return
        if joins:
            await _join(engine, targets, select_sources(sources), concurrency)
            return
        if resumes and left:
            await engine.resume_batch(left[-1].id)
            return
        options = BatchExecutionOptions(name_prefix=PREFIX, concurrent_batches=concurrency)
        async with targets.stream_batch(select_sources(sources), options=options) as results:
            async for result in results:
                if result.execution is not None:
                    ledger.ended(result.execution.id)


async def _share(engine: Engine, targets: StateMachine, meant: ExecutionFilter, concurrency: int) -> None:
    """Serve the DISTRIBUTED batch to its end; start it where no process has."""
    started = await engine.list_batches(state_machine_id=targets.id)
    if not started:
        options = BatchExecutionOptions(name_prefix=PREFIX, concurrent_batches=concurrency, shard_size=SHARD_SIZE)
        await targets.start_batch(meant, options=options)
    while await engine.list_batches(state_machine_id=targets.id, status=BatchStatus.RUNNING):  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def _join(engine: Engine, targets: StateMachine, meant: ExecutionFilter, concurrency: int) -> None:
    """Take part in the batch, which is not DISTRIBUTED, to its end; start it where no process has."""
    started = await engine.list_batches(state_machine_id=targets.id)
    if not started:
        options = BatchExecutionOptions(name_prefix=PREFIX, concurrent_batches=concurrency)
        started = [await engine.start_batch(targets, meant, options=options)]
    if started[-1].status is BatchStatus.RUNNING:
        await engine.join_batch(started[-1].id)
