"""What the peers' scripts share: the command line, the clients, the event loop, and one line of JSON as the report."""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from statistics import quantiles
from typing import Any, TypeVar

PAYLOAD = {"id": 1, "customer": "c" * 40, "lines": [1, 2, 3], "note": "n" * 80, "total": 12.5}

T = TypeVar("T")


def arguments(description: str | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", default="", help="the storage, where the peer has one")
    parser.add_argument("--executions", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--chained", action="store_true", help="chain from as many finished executions of one step")
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--json", action="store_true", help="as it prints anyhow")
    return parser.parse_args()


def play(options: argparse.Namespace, work: Coroutine[Any, Any, None]) -> None:
    """Run a script's coroutine on the event loop that the options ask for."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if options.tuned:
        from uvloop import new_event_loop as factory
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


async def clients(one: Callable[[T], Awaitable[object]], items: Iterable[T], concurrency: int) -> list[float]:
    """Run one execution for each item, up to ``concurrency`` at once; return the seconds that each took."""
    left = iter(items)
    latencies: list[float] = []

    async def client() -> None:
        for item in left:
            began = time.perf_counter()
            await one(item)
            latencies.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(client())
    return latencies


def report(options: argparse.Namespace, seconds: float, latencies: list[float] | None = None) -> None:
    """Print what came out, as one line of JSON."""
    figures: dict[str, Any] = {
        "executions/s": options.executions / seconds,
        "transitions/s": options.executions * options.steps / seconds,
    }
    if latencies and len(latencies) > 1:
        percentiles = quantiles(latencies, n=100)
        figures |= {"p50 ms": percentiles[49] * 1000, "p99 ms": percentiles[98] * 1000}
    print(json.dumps({"rows": [figures]}))
