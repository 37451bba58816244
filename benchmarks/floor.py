"""The bare floor: the rows of durable executions through the driver by group commit, with no engine at all.

One connection, one flusher; while a commit is in flight the next group fills. Each execution waits for its start and
for each of its steps, the last of which carries the end, as `executions.py` makes the engine wait. What the engine adds
(the language, handlers, contexts, records) is the difference. With ``--wide`` the rows have every column that the
engine's have, and its guards.
"""

import asyncio
import time
from statistics import median
from typing import Any

from measuring.floor_writes import BODY, Flush, Group, on_postgres, on_sqlite, start, step
from measuring.harness import count_for, numbers, run, storage_parser
from measuring.machines import PAYLOAD
from measuring.usage import Usage

from statechain import open_repository
from statechain.codec import isolate
from statechain.records.executions import new_id


class Floor:
    """Group commit of rows, and nothing else."""

    def __init__(self, flush: Flush) -> None:
        self._flush = flush
        self._group: Group = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._wake: asyncio.Future[None] | None = None

    async def write(self, rows: Group) -> None:
        """Return once the rows are durable."""
        for table, added in rows.items():
            self._group.setdefault(table, []).extend(added)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        await waiter

    async def run(self) -> None:
        """Flush group after group, until cancelled."""
        while True:
            if not self._waiters:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
            group, self._group = self._group, {}
            waiters, self._waiters = self._waiters, []
            await self._flush(group)
            for waiter in waiters:
                waiter.set_result(None)


async def handler(value: Any) -> Any:
    """Do nothing."""
    return value


async def drive(floor: Floor, executions: int, concurrency: int, steps: int) -> float:
    """Write the rows of executions, up to ``concurrency`` at once; return the seconds."""
    left = iter(range(executions))

    async def client() -> None:
        for _ in left:
            execution, value, text = new_id(), PAYLOAD, BODY
            await floor.write(start(execution, text, is_wide=options.wide))
            for place in range(steps):
                if options.handlers:
                    text, value = isolate(await asyncio.create_task(handler(value)))
                rows = step(execution, place, text, is_last=place == steps - 1, is_wide=options.wide)
                await floor.write(rows)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as clients:
        for _ in range(concurrency):
            clients.create_task(client())
    return time.perf_counter() - began


async def floor_of(url: str, executions: int, concurrency: int, steps: int) -> tuple[float, dict[str, float]]:
    """Return the seconds that the rows of executions take, with the schema in place, and what each one uses."""
    async with open_repository(url):
        pass

    usage, used = Usage(url), {}

    async def measure(flush: Flush) -> float:
        floor = Floor(flush)
        async with asyncio.TaskGroup() as group:
            flusher = group.create_task(floor.run())
            await drive(floor, min(max(50, concurrency), executions), concurrency, steps)
            await usage.start()
            seconds = await drive(floor, executions, concurrency, steps)
            used.update(await usage.figures(executions))
            flusher.cancel()
        return seconds

    return await (on_sqlite if url.startswith("sqlite") else on_postgres)(url, measure), used


async def measure(url: str) -> list[dict[str, Any]]:
    """Measure every concurrency."""
    rows = []
    for concurrency in options.concurrency:
        count = count_for(concurrency, options.executions)
        taken = [await floor_of(url, count, concurrency, options.steps) for _ in range(options.rounds)]
        rate = count / median(seconds for seconds, _ in taken)
        used = {name: median(figures[name] for _, figures in taken) for name in taken[0][1]}
        row = {"concurrency": concurrency, "executions": count, "executions/s": rate}
        rows.append({**row, "steps/s": rate * options.steps, **used})
    return rows


if __name__ == "__main__":
    arguments = storage_parser(__doc__)
    arguments.add_argument("--concurrency", type=numbers, default=[1, 10, 100, 1000])
    arguments.add_argument("--executions", type=int, default=8000, help="at most so many a round")
    arguments.add_argument("--steps", type=int, default=5)
    arguments.add_argument("--handlers", action="store_true", help="await a handler for each step, and keep its result")
    arguments.add_argument("--wide", action="store_true", help="write every column that the engine writes, guarded")
    options = arguments.parse_args()
    run(options, measure)
