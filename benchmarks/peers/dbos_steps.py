"""DBOS: async workflows of async steps, awaited in their process by several clients at once; its defaults throughout.

Chained: the finished workflows are listed with their outputs, and each starts one under an id that it gives.
"""

import time
from typing import Any

from dbos import DBOS, DBOSConfig, SetWorkflowID
from peer import PAYLOAD, arguments, clients, play, report


@DBOS.step()
async def step(value: Any) -> Any:
    """Do nothing."""
    return value


@DBOS.workflow()
async def chain(value: Any, steps: int) -> Any:
    """Run the steps, one after the other."""
    for _ in range(steps):
        value = await step(value)
    return value


@DBOS.workflow()
async def source(value: Any) -> Any:
    """Run one step."""
    return await step(value)


async def chained(options: Any) -> None:
    """Chain a workflow from each of as many finished ones."""
    await clients(lambda _: source(PAYLOAD), range(options.executions), options.concurrency)
    await clients(lambda _: chain(PAYLOAD, options.steps), range(20), options.concurrency)

    async def one(finished: Any) -> None:
        with SetWorkflowID(f"chained-{finished.workflow_id}"):
            await chain(finished.output, options.steps)

    began = time.perf_counter()
    finished = await DBOS.list_workflows_async(name=source.__qualname__, status="SUCCESS", limit=options.executions)
    latencies = await clients(one, finished, options.concurrency)
    report(options, time.perf_counter() - began, latencies)


async def alone(options: Any) -> None:
    """Run the executions, after some that do not count."""
    await clients(lambda _: chain(PAYLOAD, options.steps), range(20), options.concurrency)
    began = time.perf_counter()
    latencies = await clients(lambda _: chain(PAYLOAD, options.steps), range(options.executions), options.concurrency)
    report(options, time.perf_counter() - began, latencies)


if __name__ == "__main__":
    settings = arguments(__doc__)
    config: DBOSConfig = {"name": "peer", "system_database_url": settings.url, "log_level": "ERROR"}
    DBOS(config=config)
    DBOS.launch()
    play(settings, (chained if settings.chained else alone)(settings))
    DBOS.destroy()
