"""absurd: tasks of checkpointed steps, spawned and worked off in one process; its schema comes with `absurdctl`.

Its worker polls, and so does who awaits a result. To leave those pauses out, each client spawns a task and at once
claims and runs one itself, over at most twenty connections.
"""

import time
from contextlib import AsyncExitStack
from typing import Any

from absurd_sdk import AsyncAbsurd
from absurdctl import BUNDLED_SCHEMA_SQL
from peer import PAYLOAD, arguments, clients, play, report
from psycopg import AsyncConnection

CONNECTIONS = 20
ended: list[Any] = []


async def step() -> Any:
    """Do nothing."""
    return PAYLOAD


async def chain(parameters: Any, context: Any) -> Any:
    """Run the steps, one after the other."""
    value = parameters["value"]
    for number in range(parameters["steps"]):
        value = await context.step(f"step{number}", step)
    ended.append(value)
    return value


def application(url: str) -> AsyncAbsurd:
    """Return a connection's worth of absurd that knows the task."""
    app = AsyncAbsurd(url)
    app.register_task("chain")(chain)
    return app


async def measure(options: Any) -> None:
    """Run the executions, after some that do not count."""
    async with await AsyncConnection.connect(options.url, autocommit=True) as connection:
        await connection.execute(BUNDLED_SCHEMA_SQL)
    async with AsyncExitStack() as stack:
        apps = [application(options.url) for _ in range(min(options.concurrency, CONNECTIONS))]
        for app in apps:
            stack.push_async_callback(app.close)
            await app.create_queue()

        async def one(number: int) -> None:
            app = apps[number % len(apps)]
            await app.spawn("chain", {"value": PAYLOAD, "steps": options.steps})
            await app.work_batch(batch_size=1)

        await clients(one, range(20), options.concurrency)
        ended.clear()
        began = time.perf_counter()
        latencies = await clients(one, range(options.executions), options.concurrency)
        while len(ended) < options.executions:  # a claim may have come away empty
            await apps[0].work_batch(batch_size=1)
        seconds = time.perf_counter() - began
    report(options, seconds, latencies)


if __name__ == "__main__":
    settings = arguments(__doc__)
    play(settings, measure(settings))
