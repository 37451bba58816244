"""Durable executions and steps a second, at several concurrencies, with latencies, processor time and commits.

Commits are counted in a separate run, because an observer is called for every state and so slows what it watches.
"""

import asyncio
import time
from statistics import median, quantiles
from typing import Any

from measuring.harness import count_for, numbers, run, storage_parser
from measuring.machines import PAYLOAD, SHAPES, tasks
from measuring.usage import Usage

from statechain import Engine, StateMachine
from statechain.observers import Fact, JournalFlushed


class Commits:
    """An observer that counts the journal's commits."""

    count = 0

    def observe(self, fact: Fact) -> None:
        """Count a commit."""
        self.count += isinstance(fact, JournalFlushed)


class Silent:
    """An observer that does nothing: what is left is what the engine spends to notify it."""

    def observe(self, fact: Fact) -> None:
        """Do nothing."""


async def drive(machine: StateMachine, executions: int, concurrency: int) -> tuple[float, list[float]]:
    """Run executions, up to ``concurrency`` at once; return the seconds in all and of each."""
    left = iter(range(executions))
    latencies: list[float] = []

    async def client() -> None:
        for _ in left:
            began = time.perf_counter()
            await machine.execute(PAYLOAD)
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as clients:
        for _ in range(concurrency):
            clients.create_task(client())
    return time.perf_counter() - began, latencies


async def timed(url: str, count: int, concurrency: int) -> tuple[float, list[float], dict[str, float]]:
    """Run executions on a fresh engine, after some that do not count; return the seconds, and what each one used."""
    observers = [Silent()] if options.observed else []
    async with Engine(url, tasks=tasks, observers=observers) as engine:
        machine = await engine.create_state_machine("chain", SHAPES[options.shape](options.steps), type=options.type)
        await drive(machine, min(max(50, concurrency), count), concurrency)
        usage = Usage(url)
        await usage.start()
        seconds, latencies = await drive(machine, count, concurrency)
        return seconds, latencies, await usage.figures(count)


async def commits_of(url: str, count: int, concurrency: int) -> float:
    """Return the commits that an execution takes, on average over a run."""
    observer = Commits()
    async with Engine(url, tasks=tasks, observers=[observer]) as engine:
        machine = await engine.create_state_machine("chain", SHAPES[options.shape](options.steps), type=options.type)
        before = observer.count
        await drive(machine, count, concurrency)
        return (observer.count - before) / count


async def measure(url: str) -> list[dict[str, Any]]:
    """Measure every concurrency."""
    rows = []
    for concurrency in options.concurrency:
        count = count_for(concurrency, options.executions)
        rates: list[float] = []
        latencies: list[float] = []
        used: list[dict[str, float]] = []
        for _ in range(options.rounds):
            seconds, each, usage = await timed(url, count, concurrency)
            rates.append(count / seconds)
            latencies.extend(each)
            used.append(usage)
        percentiles = quantiles(latencies, n=100)
        rows.append(
            {
                "concurrency": concurrency,
                "executions": count,
                "executions/s": median(rates),
                "steps/s": median(rates) * options.steps,
                "commits/execution": await commits_of(url, min(count, 2 * concurrency + 50), concurrency),
                "p50 ms": percentiles[49] * 1000,
                "p99 ms": percentiles[98] * 1000,
                **{name: median(one[name] for one in used) for name in used[0]},
            }
        )
    return rows


if __name__ == "__main__":
    arguments = storage_parser(__doc__)
    arguments.add_argument("--concurrency", type=numbers, default=[1, 10, 100, 1000])
    arguments.add_argument("--executions", type=int, default=8000, help="at most so many a round")
    arguments.add_argument("--steps", type=int, default=5)
    arguments.add_argument("--shape", choices=SHAPES, default="chain", help="how the Task states are arranged")
    arguments.add_argument("--type", choices=["STANDARD", "EXPRESS"], default="STANDARD")
    arguments.add_argument("--observed", action="store_true", help="with an observer that does nothing")
    options = arguments.parse_args()
    run(options, measure)
