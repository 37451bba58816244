"""A chained batch: sources a second, the time to the first result, processor time, and the process's peak memory.

The sources are there beforehand. One process measures one number of sources at one concurrency, so that the peak is
its own; `growth.py` runs it for many. Small batches are repeated, each under a fresh prefix, until there is something
to measure.
"""

import time
from statistics import median
from typing import Any

from measuring.harness import peak_memory_mib, run, storage_parser
from measuring.machines import chain_of, tasks
from measuring.sources import load
from measuring.usage import Usage

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, StateMachine


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
    """Measure the batch."""
    size = options.sources
    async with Engine(url, tasks=tasks) as engine:
        sources = await engine.create_state_machine("sources", chain_of(1))
        targets = await engine.create_state_machine("targets", chain_of(options.steps))
        await load(url, sources, size)
        select = ExecutionFilter(state_machine_id=sources.id, status="SUCCEEDED")
        warm = ExecutionFilter(state_machine_id=sources.id, status="SUCCEEDED", limit=min(size, 200))
        await one_batch(targets, warm, options.concurrency)
        repeats = max(options.rounds, min(10, options.enough // size))
        usage = Usage(url)
        await usage.start()
        times = [await one_batch(targets, select, options.concurrency) for _ in range(repeats)]
        used = await usage.figures(size * repeats)
    seconds = median(total for _, total in times)
    return [
        {
            "sources": size,
            "concurrency": options.concurrency,
            "sources/s": size / seconds,
            "seconds": seconds,
            "first result ms": 1000 * median(first for first, _ in times),
            "peak MiB": peak_memory_mib(),
            **used,
        }
    ]


if __name__ == "__main__":
    arguments = storage_parser(__doc__)
    arguments.add_argument("--sources", type=int, default=10_000)
    arguments.add_argument("--concurrency", type=int, default=100)
    arguments.add_argument("--steps", type=int, default=3)
    arguments.add_argument("--enough", type=int, default=5000, help="repeat smaller batches up to so many sources")
    arguments.set_defaults(rounds=1)
    options = arguments.parse_args()
    run(options, measure)
