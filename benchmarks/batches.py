"""Chained batches: sources a second, the time to the first result, and the peak memory, by size and concurrency."""

import time
from statistics import median
from typing import Any

from harness import numbers, parser, peak_memory_mib, run
from machines import PAYLOAD, chain_of, tasks

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, StateMachine


async def make_sources(sources: StateMachine, count: int) -> None:
    """Run so many executions to their end, fast."""
    options = BatchExecutionOptions(concurrent_batches=200)
    async with sources.stream_bulk((PAYLOAD for _ in range(count)), options=options) as results:
        async for _ in results:
            pass


async def one_batch(targets: StateMachine, select: ExecutionFilter, concurrency: int) -> tuple[float, float]:
    """Chain one batch; return the seconds to the first result and to the last."""
    began = time.perf_counter()
    first = 0.0
    options = BatchExecutionOptions(concurrent_batches=concurrency)
    async with targets.stream_batch(select, options=options) as results:
        async for result in results:
            if result.error is not None:
                raise result.error
            first = first or time.perf_counter() - began
    return first, time.perf_counter() - began


async def measure(url: str) -> list[dict[str, Any]]:
    """Measure every size at every concurrency, the smallest first, so that peaks tell."""
    rows = []
    async with Engine(url, tasks=tasks) as engine:
        sources = await engine.create_state_machine("sources", chain_of(1))
        targets = await engine.create_state_machine("targets", chain_of(options.steps))
        have = await engine.count_executions(ExecutionFilter(state_machine_id=sources.id))
        for size in sorted(options.sources):
            await make_sources(sources, max(0, size - have))
            have = max(have, size)
            select = ExecutionFilter(state_machine_id=sources.id, status="SUCCEEDED", limit=size)
            for concurrency in options.concurrency:
                times = [await one_batch(targets, select, concurrency) for _ in range(options.rounds)]
                rows.append(
                    {
                        "sources": size,
                        "concurrency": concurrency,
                        "sources/s": size / median(total for _, total in times),
                        "first result ms": 1000 * median(first for first, _ in times),
                        "peak MiB": peak_memory_mib(),
                    }
                )
    return rows


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--sources", type=numbers, default=[1000, 10_000])
    arguments.add_argument("--concurrency", type=numbers, default=[1, 10, 100])
    arguments.add_argument("--steps", type=int, default=3)
    options = arguments.parse_args()
    run(options, measure)
