"""One DISTRIBUTED batch over 1, 2 and 3 worker processes, and how soon a client's start begins to run.

The handlers wait for 10 ms; each worker process runs at most ``--at-once`` executions. For each number of workers it
tells the pace, the pace against one worker, the least part of the batch that a worker ran, and the latency of a start:
from the call until its handler begins.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from harness import numbers, run, storage_parser
from machines import chain_of
from sources import load

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, TaskRegistry

HANDLER_SECONDS = 0.01


async def work(url: str, log: Path, at_once: int) -> None:
    """Be a worker, and write a line for each call, until killed."""
    tasks = TaskRegistry()
    with log.open("a", buffering=1) as lines:

        @tasks.register("step")
        async def step(value: Any) -> Any:
            lines.write(f"{time.time()} {value.get('sent', 0)}\n")
            await asyncio.sleep(HANDLER_SECONDS)
            return value

        async with Engine(url, tasks=tasks, max_concurrent_executions=at_once):
            print("ready", flush=True)
            await asyncio.Event().wait()


@asynccontextmanager
async def workers(url: str, folder: Path, count: int, at_once: int) -> AsyncIterator[list[Path]]:
    """Run worker processes; yield the files of their calls."""
    logs = [folder / f"{count}-{place}.log" for place in range(count)]
    commands = [[sys.executable, __file__, "--work", json.dumps([url, str(log), at_once])] for log in logs]
    processes = [_spawn(command) for command in commands]
    try:
        for process in processes:
            if process.stdout is None or not await asyncio.to_thread(process.stdout.readline):
                raise RuntimeError("a worker did not start")
        yield logs
    finally:
        for process in processes:
            process.terminate()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _spawn(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def calls(logs: list[Path]) -> list[list[str]]:
    """Return the words of all lines that workers wrote."""
    return [line.split() for log in logs for line in log.read_text().splitlines()]


async def measure(url: str) -> list[dict[str, Any]]:
    """Measure each number of workers."""
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        async with Engine(url, role="client") as client:
            sources = await client.create_state_machine("sources", chain_of(1))
            targets = await client.create_state_machine("targets", chain_of(1))
            async with Engine(url, tasks=_plain()) as engine:
                await load(url, await engine.get_state_machine("sources"), options.sources)
            meant = ExecutionFilter(state_machine_id=sources.id, status="SUCCEEDED")
            for count in options.workers:
                async with workers(url, Path(folder), count, options.at_once) as logs:
                    began = time.perf_counter()
                    batch_options = BatchExecutionOptions(concurrent_batches=options.at_once * count)
                    handle = await targets.start_batch(meant, options=batch_options)
                    batch = await handle.wait()
                    seconds = time.perf_counter() - began
                    if batch.item_counts.succeeded != options.sources:
                        raise RuntimeError(f"the batch ended {batch.status}: {batch.item_counts}")
                    shares = Counter({log: len(calls([log])) for log in logs})
                    handles = []
                    for _ in range(options.starts):
                        handles.append(await targets.start_execution({"sent": time.time()}))
                        await asyncio.sleep(0.02)
                    for each in handles:
                        await each.wait()
                    latencies = [float(at) - float(sent) for at, sent in calls(logs) if float(sent)]
                pace = options.sources / seconds
                rows.append(
                    {
                        "workers": count,
                        "executions/s": pace,
                        "against one": pace / rows[0]["executions/s"] if rows else 1.0,
                        "least share": min(shares.values()) / sum(shares.values()),
                        "start p50 ms": 1000 * median(latencies),
                    }
                )
    return rows


def _plain() -> TaskRegistry:
    tasks = TaskRegistry()
    tasks.add("step", _nothing)
    return tasks


async def _nothing(value: Any) -> Any:
    return value


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        its_url, its_log, its_bound = json.loads(sys.argv[2])
        asyncio.run(work(its_url, Path(its_log), its_bound))
    else:
        arguments = storage_parser(__doc__)
        arguments.add_argument("--sources", type=int, default=2000)
        arguments.add_argument("--workers", type=numbers, default=[1, 2, 3], help="numbers of worker processes")
        arguments.add_argument("--at-once", type=int, default=10, help="executions at once in each worker")
        arguments.add_argument("--starts", type=int, default=50, help="starts by a client")
        options = arguments.parse_args()
        run(options, measure)
