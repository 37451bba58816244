"""Paging through a great many executions: the first and the last page of filters, a walk, counting, statistics.

The executions are loaded by the database itself. Pages are asked for as `Engine.iterate_executions` asks: by the place
in the filter's order after which they begin, never by an offset; so the last page can be asked for without the walk.
"""

import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import attrs
from measuring.harness import run, storage_parser
from measuring.machines import chain_of, tasks
from measuring.sources import load

from statechain import Engine, ExecutionFilter
from statechain.records.filters import Cursor


async def timed(ask: Callable[[], Awaitable[object]], times: int = 1) -> float:
    """Return the milliseconds that an answer takes, in the median."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await ask()
        taken.append(time.perf_counter() - began)
    return 1000 * median(taken)


async def pages(engine: Engine, what: str, select: ExecutionFilter) -> dict[str, Any]:
    """Measure the first and the last page of a filter, and count what it means."""
    repository, size = engine.repository, options.page
    back = attrs.evolve(select, order="oldest_first" if select.order == "newest_first" else "newest_first")
    before_last = Cursor.of((await repository.executions(back, after=None, page=size + 1))[-1])
    times = options.rounds * options.pages
    row: dict[str, Any] = {"what": what, "executions": await engine.count_executions(select), "page": size}
    for name, after in (("first page ms", None), ("last page ms", before_last)):

        async def ask(after: Cursor | None = after) -> None:
            found = await repository.executions(select, after=after, page=size)
            if len(found) != size:
                raise RuntimeError(f"a page of {size} had {len(found)}")

        await ask()  # the statement is prepared
        row[name] = await timed(ask, times)
    row["count ms"] = await timed(lambda: engine.count_executions(select), options.rounds)
    return row


async def walk(engine: Engine, select: ExecutionFilter) -> None:
    """Page through what the filter means."""
    async for _ in engine.iterate_executions(select, page_size=options.page):
        pass


async def measure(url: str) -> list[dict[str, Any]]:
    """Load, and measure each filter; the last row is of the walk and of the statistics."""
    async with Engine(url, tasks=tasks) as engine:
        machine = await engine.create_state_machine("paged", chain_of(1), type="EXPRESS")
        have = await engine.count_executions()
        began = time.perf_counter()
        if have < options.executions:
            await load(url, machine, options.executions, failed=True)
        loading = time.perf_counter() - began
        filters = {
            "all": ExecutionFilter(),
            "all, oldest first": ExecutionFilter(order="oldest_first"),
            "of a status": ExecutionFilter(status="SUCCEEDED"),
            "of a machine and a status": ExecutionFilter(state_machine_id=machine.id, status="SUCCEEDED"),
        }
        rows = [await pages(engine, what, select) for what, select in filters.items()]
        some = min(options.executions, options.walk)
        walking = await timed(lambda: walk(engine, ExecutionFilter(limit=some)), options.rounds)
        statistics = await timed(lambda: engine.execution_statistics(machine.id), options.rounds)
    whole = {"what": "the machine's statistics; a walk", "executions": options.executions, "page": options.page}
    return [*rows, {**whole, "statistics ms": statistics, "walked/s": 1000 * some / walking, "load s": loading}]


if __name__ == "__main__":
    arguments = storage_parser(__doc__)
    arguments.add_argument("--executions", type=int, default=100_000)
    arguments.add_argument("--page", type=int, default=100)
    arguments.add_argument("--pages", type=int, default=30, help="ask for each page so often in each round")
    arguments.add_argument("--walk", type=int, default=50_000, help="walk over so many")
    options = arguments.parse_args()
    run(options, measure)
