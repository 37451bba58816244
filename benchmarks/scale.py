"""One batch over 1, 2 and 3 worker processes, two processes that run one batch, and how soon a client's start runs.

The handlers wait for 10 ms, and each process runs at most ``--at-once`` executions. A line has the pace, against that
of the first line of its kind; the steady pace, of the middle half of the calls, without the batch's start and end, and
that against one, too; the least part of the batch that a process ran; the latency of a start by a client, from the call
until the handler begins (median); and what an execution used: processor time of the worker processes and of a
PostgreSQL server on this machine, and WAL.

- "shards": a client starts a DISTRIBUTED batch, and worker processes run it.
- "one process" runs an INLINE batch, and is what the next two are held against, with the same ``concurrent_batches``.
- "resumed by both": two processes call ``resume_batch`` for one DISTRIBUTED batch.
- "same name_prefix": two processes call ``execute_batch`` with it, DISTRIBUTED, and share the batch of the
  one that comes first.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from measuring.harness import numbers, run, storage_parser
from measuring.machines import chain_of
from measuring.sources import load
from measuring.usage import Usage, processor_time

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, StateMachine, TaskRegistry

HANDLER_SECONDS = 0.01
ALONE, RESUMED, NAMED = "one process", "resumed by both", "same name_prefix"


@attrs.frozen
class Job:
    """What a child process does: run what it finds, or (``kind``) take part in a batch that its input names."""

    url: str
    log: str
    at_once: int
    kind: str = ""
    sources: str = ""


async def work(job: Job) -> None:
    """Be a child: write a line for each call of the handler."""
    tasks = TaskRegistry()
    lines = await asyncio.to_thread(Path(job.log).open, "a", buffering=1)

    @tasks.register("step")
    async def step(value: Any) -> Any:
        lines.write(f"{time.time()} {value.get('sent', 0)}\n")
        await asyncio.sleep(HANDLER_SECONDS)
        return value

    with lines:
        async with Engine(job.url, tasks=tasks, max_concurrent_executions=job.at_once) as engine:
            print("ready", flush=True)
            name = (await asyncio.to_thread(sys.stdin.readline)).strip()
            if job.kind == RESUMED:
                await engine.resume_batch(name)
            elif job.kind:
                mode: Any = "DISTRIBUTED" if job.kind == NAMED else "INLINE"
                wanted = BatchExecutionOptions(name_prefix=name, concurrent_batches=job.at_once, mode=mode)
                targets = await engine.get_state_machine("targets")
                await targets.execute_batch(ExecutionFilter(state_machine_id=job.sources), options=wanted)
            print("done", flush=True)
            await asyncio.to_thread(sys.stdin.readline)


@attrs.frozen
class Children:
    """Child processes, and the files of their calls."""

    processes: list[subprocess.Popen[str]]
    logs: list[Path]

    def calls(self) -> list[list[str]]:
        """Return the words of all lines that they wrote."""
        return [line.split() for log in self.logs for line in log.read_text().splitlines()]

    def least_share(self) -> float:
        """Return the least part of the calls that one of them made."""
        counts = [len(log.read_text().splitlines()) for log in self.logs]
        return min(counts) / sum(counts)

    def steady_pace(self) -> float:
        """Return the pace of the middle half of the calls."""
        times = sorted(float(at) for at, _ in self.calls())
        quarter = len(times) // 4
        return (len(times) - 2 * quarter - 1) / (times[-1 - quarter] - times[quarter])

    def processor_seconds(self) -> float:
        """Return how much processor time they have used."""
        return sum(processor_time(process.pid) or 0.0 for process in self.processes)

    async def say(self, word: str) -> None:
        """Have each of them go on with a word."""
        for process in self.processes:
            if process.stdin is not None:
                process.stdin.write(f"{word}\n")
                process.stdin.flush()

    async def hear(self) -> None:
        """Wait for a line from each of them."""
        for process in self.processes:
            if process.stdout is None or not await asyncio.to_thread(process.stdout.readline):
                raise RuntimeError("a child process has died")


@asynccontextmanager
async def children(folder: Path, count: int, job: Job) -> AsyncIterator[Children]:
    """Run child processes."""
    logs = [folder / f"{time.time_ns()}-{place}.log" for place in range(count)]
    found = Children([_spawn(attrs.evolve(job, log=str(log))) for log in logs], logs)
    try:
        await found.hear()
        yield found
    finally:
        # At the end of their input they leave their engines. One that was killed would be counted as a worker of the
        # next batch until its lease is over.
        await asyncio.gather(*(asyncio.to_thread(process.communicate) for process in found.processes))


def _spawn(job: Job) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--work", json.dumps(attrs.asdict(job))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def start_latency(targets: StateMachine, workers: Children) -> float:
    """Return the median of the milliseconds from a client's start to the handler."""
    handles = []
    for _ in range(options.starts):
        handles.append(await targets.start_execution({"sent": time.time()}))
        await asyncio.sleep(0.02)
    for each in handles:
        await each.wait()
    return median(1000 * (float(at) - float(sent)) for at, sent in workers.calls() if float(sent))


def steady(processes: Children, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the pace without start and end, and against that of the first row."""
    pace = processes.steady_pace()
    return {"steady/s": pace, "to one": pace / (rows[0]["steady/s"] if rows else pace)}


async def shards(url: str, targets: StateMachine, meant: ExecutionFilter, folder: Path) -> list[dict[str, Any]]:
    """Measure a batch in shards with each number of workers."""
    rows: list[dict[str, Any]] = []
    for count in options.workers:
        async with children(folder, count, Job(url, "", options.at_once)) as workers:
            usage, used = Usage(url), workers.processor_seconds()
            await usage.start()
            began = time.perf_counter()
            handle = await targets.start_batch(
                meant, options=BatchExecutionOptions(concurrent_batches=options.at_once * count)
            )
            batch = await handle.wait()
            pace = options.sources / (time.perf_counter() - began)
            if batch.item_counts.succeeded != options.sources:
                raise RuntimeError(f"the batch ended {batch.status}: {batch.item_counts}")
            figures = await usage.figures(options.sources)
            figures["workers us"] = 1e6 * (workers.processor_seconds() - used) / options.sources
            rows.append(
                {
                    "what": "shards",
                    "processes": count,
                    "executions/s": pace,
                    "against one": pace / (rows[0]["executions/s"] if rows else pace),
                    **steady(workers, rows),
                    "least share": workers.least_share(),
                    "start p50 ms": await start_latency(targets, workers),
                    **{name: figures[name] for name in ("workers us", "server us", "WAL bytes") if name in figures},
                }
            )
    return rows


async def same_batch(url: str, targets: StateMachine, meant: ExecutionFilter, folder: Path) -> list[dict[str, Any]]:
    """Measure two processes that take part in one batch, against one."""
    rows: list[dict[str, Any]] = []
    for count, kind in ((1, ALONE), (2, RESUMED), (2, NAMED)):
        job = Job(url, "", options.at_once, kind, str(meant.state_machine_id))
        async with children(folder, count, job) as found:
            usage, used = Usage(url), found.processor_seconds()
            await usage.start()
            began = time.perf_counter()
            name = f"batch-{len(rows)}"
            if kind == RESUMED:
                wanted = BatchExecutionOptions(concurrent_batches=options.at_once)
                name = (await targets.start_batch(meant, options=wanted)).id
            await found.say(name)
            await found.hear()
            pace = options.sources / (time.perf_counter() - began)
            if len(found.calls()) != options.sources:
                raise RuntimeError(f"{len(found.calls())} calls of {options.sources}")
            figures = await usage.figures(options.sources)
            rows.append(
                {
                    "what": kind,
                    "processes": count,
                    "executions/s": pace,
                    "against one": pace / (rows[0]["executions/s"] if rows else pace),
                    **steady(found, rows),
                    "least share": found.least_share(),
                    "workers us": 1e6 * (found.processor_seconds() - used) / options.sources,
                    **{name: figures[name] for name in ("server us", "WAL bytes") if name in figures},
                }
            )
    return rows


async def measure(url: str) -> list[dict[str, Any]]:
    """Measure both kinds."""
    with TemporaryDirectory() as folder:
        async with Engine(url, role="client") as client:
            sources = await client.create_state_machine("sources", chain_of(1))
            targets = await client.create_state_machine("targets", chain_of(1))
            await load(url, sources, options.sources)
            meant = ExecutionFilter(state_machine_id=sources.id)
            return [
                *await shards(url, targets, meant, Path(folder)),
                *await same_batch(url, targets, meant, Path(folder)),
            ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        asyncio.run(work(Job(**json.loads(sys.argv[2]))))
    else:
        arguments = storage_parser(__doc__)
        arguments.add_argument("--sources", type=int, default=2000)
        arguments.add_argument("--workers", type=numbers, default=[1, 2, 3], help="numbers of worker processes")
        arguments.add_argument("--at-once", type=int, default=10, help="executions at once in each process")
        arguments.add_argument("--starts", type=int, default=50, help="starts by a client")
        options = arguments.parse_args()
        run(options, measure)
