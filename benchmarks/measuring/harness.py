"""What every benchmark shares: its command line, its event loop, the machine's description, a table or JSON."""

import argparse
import asyncio
import gc
import json
import os
import platform
import resource
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

PATIENT = (10_000, 20, 50)
"""Thresholds of the garbage collector: what waits for its commits is no garbage, and need not be looked at so often."""

Row = Mapping[str, Any]
T = TypeVar("T")


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a command line with the options that all benchmarks take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print JSON, in one line, instead of a table")
    parser.add_argument("--rounds", type=int, default=3, help="repeat, and report medians (default: 3)")
    parser.add_argument("--tuned", action="store_true", help="run on uvloop, with a patient garbage collector")
    return parser


def storage_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the command line of a benchmark of one storage."""
    of_storage = parser(description)
    of_storage.add_argument("--url", help="storage to measure (default: a temporary SQLite file, durable)")
    return of_storage


def numbers(text: str) -> list[int]:
    """Read a comma-separated list of whole numbers."""
    return [int(part) for part in text.split(",")]


def count_for(concurrency: int, most: int) -> int:
    """Return how many executions show a concurrency: a second's worth or so, but enough that all clients have some."""
    return max(2 * concurrency, min(most, 400 + 100 * concurrency))


def peak_memory_mib() -> float:
    """Return the process's peak resident memory so far.

    Linux gives that of the program; what `getrusage` returns there begins with what the parent had when it forked.
    """
    status = Path("/proc/self/status")
    if status.exists():
        told = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(told["VmHWM"].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (20 if sys.platform == "darwin" else 10)


def on_loop(work: Coroutine[Any, Any, T], *, tuned: bool = False) -> T:
    """Run a coroutine on a fresh event loop; ``tuned`` as a service may be: uvloop, and a collector that runs less."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if tuned:
        from uvloop import new_event_loop as factory

        gc.set_threshold(*PATIENT)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def processor() -> str:
    """Return the processor's name, as well as the platform knows it."""
    told = Path("/proc/cpuinfo")
    names = [line for line in told.read_text().splitlines() if line.startswith("model name")] if told.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


async def server(url: str) -> dict[str, str]:
    """Return what a PostgreSQL server says of its version and its durability."""
    connection = await asyncpg.connect(url)
    try:
        shown = {name: await connection.fetchval(f"SHOW {name}") for name in ("server_version", "fsync")}
        commit = await connection.fetchval("SHOW synchronous_commit")
    finally:
        await connection.close()
    return {"PostgreSQL": shown["server_version"], "fsync": shown["fsync"], "synchronous_commit": commit}


def settings(options: argparse.Namespace, postgres: str | None, *packages: str) -> dict[str, Any]:
    """Describe the run: the machine, the versions, the loop, and the server where there is one."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "loop": f"uvloop {version('uvloop')}" if options.tuned else "asyncio",
        "collector": ", ".join(map(str, PATIENT if options.tuned else gc.get_threshold())),
        "rounds": options.rounds,
        **{name: version(name) for name in ("statechain", "asyncpg", *packages)},
        "SQLite": sqlite3.sqlite_version,
        **(asyncio.run(server(postgres)) if postgres else {}),
    }


def run(options: argparse.Namespace, measure: Callable[[str], Coroutine[Any, Any, Sequence[Row]]]) -> None:
    """Measure on the storage that the options name, and print what came out."""
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{Path(folder) / 'benchmark.db'}"
        rows = on_loop(measure(url), tuned=options.tuned)
    storage = url.split("@")[-1] if "@" in url else url.split(":", 1)[0]
    postgres = url if url.startswith("postgres") else None
    show({"storage": storage, **settings(options, postgres)}, rows, as_json=options.json)


def show(described: Row, rows: Sequence[Row], *, as_json: bool) -> None:
    """Print the settings and the rows, as one line of JSON or as a table."""
    if as_json:
        print(json.dumps({"settings": described, "rows": list(rows)}))
        return
    print(", ".join(f"{name} {value}" for name, value in described.items()), end="\n\n")
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[place]) for line in cells)) for place, name in enumerate(names)]
    for line in [names, *cells]:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def cell(value: object) -> str:
    """Return a figure as a reader wants it."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"
    if isinstance(value, list):
        return " ".join(map(cell, value))
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
