"""How long other writes wait while a batch freezes its sources: one execution after the other, before and meanwhile.

Each execution of one Pass state waits for two commits. The longest of them, and the share of it that the garbage
collector of this process took, show what a freeze holds up; a machine that is busy holds them up as well, before the
freeze too. On PostgreSQL the last column has what the commits of the longest one waited for in the server, as
pg_stat_activity says every ten milliseconds, and how often.
"""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from statistics import quantiles
from typing import Any

import asyncpg
from measuring.harness import run, storage_parser
from measuring.machines import chain_of, tasks
from measuring.sources import load

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, StateMachine

PASS: Any = {"StartAt": "Only", "States": {"Only": {"Type": "Pass", "End": True}}}


class Collections:
    """The longest run of the garbage collector since it was last asked."""

    def __init__(self) -> None:
        self._began = 0.0
        self._longest = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _info: object) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._longest = max(self._longest, time.perf_counter() - self._began)

    def longest(self) -> float:
        """Return its seconds, and begin anew."""
        longest, self._longest = self._longest, 0.0
        return longest


COMMITS = """
    SELECT coalesce(wait_event, 'running') FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE 'WITH given_%'
"""


class Server:
    """What the commits of executions wait for in PostgreSQL."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, str]] = []

    @classmethod
    @asynccontextmanager
    async def watched(cls, url: str) -> AsyncIterator["Server"]:
        """Look every ten milliseconds, while the body runs; SQLite has no server."""
        server = cls()
        if not url.startswith("postgresql"):
            yield server
            return
        looking = asyncio.create_task(server._look(url))
        try:
            yield server
        finally:
            looking.cancel()

    async def _look(self, url: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            while True:
                moment = time.perf_counter()
                self._seen += [(moment, event) for (event,) in await connection.fetch(COMMITS)]
                await asyncio.sleep(0.01)
        finally:
            connection.terminate()

    def waits(self, began: float, ended: float) -> str:
        """Return what was waited for between two moments, most often first."""
        found = Counter(event for moment, event in self._seen if began <= moment <= ended)
        return ", ".join(f"{event} {count}" for event, count in found.most_common(4))


async def watch(
    machine: StateMachine, collections: Collections, server: Server, is_over: Callable[[float], bool]
) -> dict[str, float | int | str]:
    """Run one execution after the other; return how long they took."""
    began, latencies = time.perf_counter(), list[float]()
    longest, waits = 0.0, ""
    collections.longest()
    while len(latencies) < 2 or not is_over(time.perf_counter() - began):
        asked = time.perf_counter()
        await machine.execute(None)
        answered = time.perf_counter()
        latencies.append(answered - asked)
        if latencies[-1] > longest:
            longest, waits = latencies[-1], server.waits(asked, answered)
    percentiles = quantiles(latencies, n=1000)
    return {
        "seconds": time.perf_counter() - began,
        "executions": len(latencies),
        "p50 ms": 1000 * percentiles[499],
        "p99 ms": 1000 * percentiles[989],
        "longest ms": 1000 * max(latencies),
        "over 100 ms": sum(each > 0.1 for each in latencies),
        "longest collection ms": 1000 * collections.longest(),
        "the longest waited for": waits,
    }


async def measure(url: str) -> list[dict[str, Any]]:
    """Measure before a freeze, and during it."""
    collections = Collections()
    async with Engine(url, tasks=tasks) as engine, Server.watched(url) as server:
        sources = await engine.create_state_machine("sources", chain_of(1))
        await load(url, sources, options.sources)
        target = await engine.create_state_machine("target", PASS)
        before = await watch(target, collections, server, lambda passed: passed >= options.before)
        chosen = ExecutionFilter(state_machine_id=sources.id, status="SUCCEEDED")
        rows = [{"what": "before", **before}]
        for number in range(options.rounds):
            several = BatchExecutionOptions(name_prefix=f"freeze-{number}", concurrent_batches=1)
            async with target.stream_batch(chosen, options=several) as results:
                first = asyncio.ensure_future(anext(results))
                meanwhile = await watch(target, collections, server, lambda _, first=first: first.done())
                await first
            rows.append({"what": f"while {options.sources:,} are frozen", **meanwhile})
    return rows


if __name__ == "__main__":
    arguments = storage_parser(__doc__)
    arguments.add_argument("--sources", type=int, default=1_000_000)
    arguments.add_argument("--before", type=float, default=5.0, help="seconds to watch before")
    arguments.set_defaults(rounds=1)
    options = arguments.parse_args()
    run(options, measure)
