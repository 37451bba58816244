"""Paging through many executions: the cost of the first and of the last page, of the whole walk, and of counting."""

import time
from statistics import median
from typing import Any

from batches import make_sources
from harness import parser, peak_memory_mib, run
from machines import chain_of, tasks

from statechain import Engine, ExecutionFilter


async def walk(engine: Engine, select: ExecutionFilter, page: int) -> list[float]:
    """Page through all that the filter means; return the seconds of each page."""
    pages: list[float] = []
    began = time.perf_counter()
    place = 0
    async for _ in engine.iterate_executions(select, page_size=page):
        place += 1
        if place % page == 0:
            now = time.perf_counter()
            pages.append(now - began)
            began = now
    if place % page:
        pages.append(time.perf_counter() - began)
    return pages


async def measure(url: str) -> list[dict[str, Any]]:
    """Measure a walk over everything."""
    async with Engine(url, tasks=tasks) as engine:
        machine = await engine.create_state_machine("paged", chain_of(1), type="EXPRESS")
        select = ExecutionFilter(state_machine_id=machine.id, status="SUCCEEDED")
        await make_sources(machine, max(0, options.executions - await engine.count_executions(select)))
        walks = [await walk(engine, select, options.page) for _ in range(options.rounds)]
        began = time.perf_counter()
        count = await engine.count_executions(select)
        counting = time.perf_counter() - began
    tenth = max(1, len(walks[0]) // 10)
    return [
        {
            "executions": count,
            "page": options.page,
            "first pages ms": 1000 * median(seconds for pages in walks for seconds in pages[:tenth]),
            "last pages ms": 1000 * median(seconds for pages in walks for seconds in pages[-tenth:]),
            "executions/s": count / median(sum(pages) for pages in walks),
            "count ms": 1000 * counting,
            "peak MiB": peak_memory_mib(),
        }
    ]


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--executions", type=int, default=100_000)
    arguments.add_argument("--page", type=int, default=100)
    options = arguments.parse_args()
    run(options, measure)
