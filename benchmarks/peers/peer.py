"""What the peers' scripts share: the command line, the clients, and one line of JSON as the report."""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from statistics import quantiles
from typing import Any

PAYLOAD = {"id": 1, "customer": "c" * 40, "lines": [1, 2, 3], "note": "n" * 80, "total": 12.5}


def arguments(description: str | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", default="", help="the storage, where the peer has one")
    parser.add_argument("--executions", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5)
    return parser.parse_args()


async def clients(one: Callable[[], Awaitable[None]], executions: int, concurrency: int) -> list[float]:
    """Run executions, so many at once; return the seconds that each took."""
    left = iter(range(executions))
    latencies: list[float] = []

    async def client() -> None:
        for _ in left:
            began = time.perf_counter()
            await one()
            latencies.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(client())
    return latencies


def report(name: str, options: Any, seconds: float, latencies: list[float]) -> None:
    """Print what came out, as one line of JSON."""
    figures: dict[str, Any] = {
        "name": name,
        "concurrency": options.concurrency,
        "executions/s": options.executions / seconds,
        "steps/s": options.executions * options.steps / seconds,
    }
    if len(latencies) > 1:
        percentiles = quantiles(latencies, n=100)
        figures |= {"p50 ms": percentiles[49] * 1000, "p99 ms": percentiles[98] * 1000}
    print(json.dumps(figures))
