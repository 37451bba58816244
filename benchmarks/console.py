"""The console's pages over a million executions: how long each takes, and how long it holds the service's event loop.

Beside the million there are an execution with 25,000 events in the branches of a Map, one with as many in a loop, one
whose loop failed and was redriven, two batches of a hundred thousand items, as many tasks that wait, and as many
executions that a limit holds back. The service runs in another process, on uvicorn. A task in it asks for
the loop every millisecond; the longest that it had to wait is how long the loop was held. On a machine that other
processes share, that and the time that a page takes include their turns. The processor time that the service used for
the page does not, nor does the one that the loop's thread used during a wait: how long the console itself held it.
The first request of each page is printed apart; the first of all is the first one that the process answers.
"""

import asyncio
import gc
import http.client
import json
import multiprocessing
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from statistics import median
from typing import Any

import uvicorn
from measuring.console_storage import BATCHES, MACHINES, Sizes, fill
from measuring.harness import run, storage_parser
from measuring.machines import tasks
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from statechain import Engine, ExecutionFilter
from statechain.clock import to_micros
from statechain.console import ADMINISTRATOR, Grant, app

TICK = 0.001
LONG = ("fanned", "looped", "redriven")


async def pages(url: str) -> dict[str, str]:
    """Return the URLs to measure, each with its name."""
    async with Engine(url, role="reader") as engine:
        last = f"queued-{options.waiting - 1}"
        ids = {name: await _id_of(engine, name) for name in (*LONG, "order-500", "asking-0", last)}
        machines = {each.name: each.id for each in await engine.repository.state_machines()}
        middle = await engine.count_executions() // 2
        keys = await engine.repository.execution_keys(ExecutionFilter(offset=middle), after=None, page=1)
    machine, asks = machines["orders-3"], machines["asks"]
    after = f"{to_micros(keys[0].start_time)}_{keys[0].id}"
    found = {f"overview, {window}": f"/?window={window}" for window in ("1h", "24h", "7d", "30d")}
    found |= {f"statistics, {window}": f"/statistics?window={window}" for window in ("24h", "30d")}
    found |= {
        "statistics of a machine, 30d": f"/statistics?window=30d&machine={machine}",
        "executions": "/executions",
        "executions, in the middle": f"/executions?after={after}",
        "executions, oldest first": "/executions?order=oldest_first",
        "executions, failed": "/executions?status=FAILED",
        "executions, failed of a machine": f"/executions?status=FAILED&machine={machine}",
        "executions, running": "/executions?status=RUNNING",
        "executions in a state": "/executions?state=Step0&status=FAILED",
        "executions, text": "/executions?text=order-7777",
        "executions, text of an old one": "/executions?text=order-500&order=newest_first",
        "executions, text of none": "/executions?text=no-such-thing",
        "executions, text of none, failed": "/executions?text=no-such-thing&status=FAILED",
        "executions, text of none, of a machine": f"/executions?text=no-such-thing&machine={machine}",
        "executions, text of none, of both": f"/executions?text=no-such-thing&machine={machine}&status=FAILED",
        "executions, text of none, oldest first": "/executions?text=no-such-thing&order=oldest_first",
        "executions, running, oldest first": "/executions?status=RUNNING&order=oldest_first",
        "executions, waiting for a limit": f"/executions?machine={machines['calls']}",
        "execution": f"/executions/{ids['order-500']}",
        "execution that waits for a task": f"/executions/{ids['asking-0']}",
        "execution, last of a queue": f"/executions/{ids[last]}",
    }
    for name in LONG:
        one = f"/executions/{ids[name]}"
        found |= {
            f"{name}": one,
            f"{name}, failed only": f"{one}?failed=1",
            f"{name}, a state": f"{one}?state=Step",
            f"{name}, last visits": f"{one}?after=2500",
            f"{name}, timeline": f"{one}/timeline",
            f"{name}, timeline, end": f"{one}/timeline?after=3400",
            f"{name}, events": f"{one}/events",
            f"{name}, events, in the middle": f"{one}/events?order=oldest_first&after=12000",
            f"{name}, events, last first": f"{one}/events?order=newest_first",
            f"{name}, payload": f"{one}/payload",
            f"{name}, output": f"{one}/payload?of=output",
            f"{name}, payload, found": f"{one}/payload?of=output&find=3",
            f"{name}, chain": f"{one}/chain",
        }
    return found | {
        "machines": "/machines",
        "machine": f"/machines/{machine}",
        "batches": "/batches",
        "batch": f"/batches/{BATCHES[0]}",
        "batch, all items": f"/batches/{BATCHES[0]}?items=all",
        "batch, in the middle": f"/batches/{BATCHES[0]}?items=all&after={options.executions // MACHINES // 2}",
        "new batch": "/batches/new",
        "waiting": "/waiting",
        "waiting, of a machine": f"/waiting?machine={asks}",
        "waiting, of a machine without any": f"/waiting?machine={machine}",
        "waiting, of a machine that none waits of": f"/waiting?machine={machines['calls']}",
        "waiting, in a state": "/waiting?state=Ask",
        "waiting, in no state": "/waiting?state=Nowhere",
        "waiting, of a machine, in no state": f"/waiting?machine={asks}&state=Nowhere",
        "waiting, old ones": "/waiting?older=1h",
        "waiting, of an execution": f"/waiting?execution={ids['asking-0']}",
    }


async def _id_of(engine: Engine, name: str) -> str:
    """Return the id of an execution by its name."""
    for record in await engine.repository.state_machines():
        found = await engine.repository.execution_by_name(record.id, name)
        if found is not None:
            return found.id
    raise LookupError(name)


# The service


class Watch:
    """Measures how long the event loop does not come round, and how much of that its own thread worked."""

    def __init__(self) -> None:
        self.longest = self.longest_worked = 0.0

    async def run(self) -> None:
        """Ask for the loop again and again, until cancelled."""
        last, last_worked = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(TICK)
            now, worked = time.perf_counter(), time.thread_time()
            self.longest = max(self.longest, now - last - TICK)
            self.longest_worked = max(self.longest_worked, worked - last_worked)
            last, last_worked = now, worked


def serve(url: str, port: int, *, is_frozen: bool) -> None:
    """Serve the console, and at /held how long the loop was held since that was asked before."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with Engine(url, tasks=tasks, role="client") as engine:
            if is_frozen:
                gc.collect()
                gc.freeze()
            watch = Watch()
            watching = asyncio.create_task(watch.run())
            yield {"engine": engine, "watch": watch}
            watching.cancel()

    async def held(request: Request) -> JSONResponse:
        watch: Watch = request.state.watch
        seen = [watch.longest, watch.longest_worked, time.process_time()]
        watch.longest = watch.longest_worked = 0.0
        return JSONResponse(seen)

    console = app(lambda request: request.state.engine, access=lambda _request: Grant(ADMINISTRATOR))
    service = Starlette(routes=[Route("/held", held), Mount("/", console)], lifespan=lifespan)
    uvicorn.run(service, port=port, log_level="warning")


@contextmanager
def served(url: str) -> Iterator[http.client.HTTPConnection]:
    """Run the service in a process; return a connection to it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(url, port), kwargs={"is_frozen": options.freeze}, daemon=True
    )
    process.start()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        while True:
            try:
                get(client, "/held")
                break
            except ConnectionRefusedError:
                client.close()
                time.sleep(0.05)
        yield client
    finally:
        client.close()
        process.terminate()
        process.join()


def get(client: http.client.HTTPConnection, path: str) -> bytes:
    """Return what the service answers."""
    client.request("GET", path, headers={"Host": "localhost"})
    answer = client.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
    return body


def measure_page(client: http.client.HTTPConnection, name: str, path: str) -> dict[str, Any]:
    """Ask for a page some times; the first one loads what is used then, and counts what is kept for the others."""
    began = time.perf_counter()
    get(client, path)
    first = time.perf_counter() - began
    columns: dict[str, list[float]] = {"ms": [], "held ms": [], "held, worked ms": [], "processor ms": []}
    size = 0
    for _ in range(options.rounds):
        *_, used_before = json.loads(get(client, "/held"))
        began = time.perf_counter()
        size = len(get(client, path))
        took = time.perf_counter() - began
        held, worked, used = json.loads(get(client, "/held"))
        for figures, seconds in zip(columns.values(), (took, held, worked, used - used_before), strict=True):
            figures.append(1000 * seconds)
    medians = {column: median(figures) for column, figures in columns.items()}
    most = {f"most {column}": max(columns[column]) for column in ("held ms", "held, worked ms")}
    return {"page": name, "first ms": 1000 * first, **medians, **most, "KiB": round(size / 1024)}


async def measure(url: str) -> list[dict[str, Any]]:
    """Fill the storage, and ask for each page."""
    began = time.perf_counter()
    await fill(url, Sizes(options.executions, options.events, options.waiting))
    print(f"filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    wanted = {name: path for name, path in (await pages(url)).items() if options.only in name}

    def ask() -> list[dict[str, Any]]:
        with served(url) as client:
            return [measure_page(client, name, path) for name, path in wanted.items()]

    return await asyncio.to_thread(ask)


if __name__ == "__main__":
    arguments = storage_parser(__doc__)
    arguments.add_argument("--executions", type=int, default=1_000_000)
    arguments.add_argument("--events", type=int, default=25_000, help="of each of the long executions")
    arguments.add_argument("--waiting", type=int, default=100_000, help="tasks that wait, and executions in a queue")
    arguments.add_argument("--freeze", action="store_true", help="gc.freeze() once the service is up, as the docs say")
    arguments.add_argument("--only", default="", help="the pages whose name holds this")
    options = arguments.parse_args()
    run(options, measure)
