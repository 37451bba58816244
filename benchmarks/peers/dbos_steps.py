"""DBOS: async workflows of async steps, awaited by so many clients at once; its defaults throughout."""

import asyncio
import time
from typing import Any

from dbos import DBOS, DBOSConfig
from peer import PAYLOAD, arguments, clients, report


@DBOS.step()
async def step(value: Any) -> Any:
    """Do nothing."""
    return value


@DBOS.workflow()
async def chain(value: Any, steps: int) -> Any:
    """Run so many steps, one after the other."""
    for _ in range(steps):
        value = await step(value)
    return value


async def measure(options: Any) -> None:
    """Run the executions, after some that do not count."""

    async def one() -> None:
        await chain(PAYLOAD, options.steps)

    await clients(one, min(20, options.executions), options.concurrency)
    began = time.perf_counter()
    latencies = await clients(one, options.executions, options.concurrency)
    report("dbos", options, time.perf_counter() - began, latencies)


if __name__ == "__main__":
    settings = arguments(__doc__)
    config: DBOSConfig = {"name": "peer", "system_database_url": settings.url, "log_level": "ERROR"}
    DBOS(config=config)
    DBOS.launch()
    asyncio.run(measure(settings))
    DBOS.destroy()
