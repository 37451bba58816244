"""What every benchmark shares: its command line, its rows as a table or as JSON, and the machine's description."""

import argparse
import asyncio
import json
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


def parser(description: str) -> argparse.ArgumentParser:
    """Return a command line with the options that all benchmarks take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", help="storage to measure (default: a temporary SQLite file, durable)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=3, help="repeat, and report medians (default: 3)")
    return parser


def numbers(text: str) -> list[int]:
    """Read a comma-separated list of whole numbers."""
    return [int(part) for part in text.split(",")]


def peak_memory_mib() -> float:
    """Return the process's peak resident memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def run(options: argparse.Namespace, measure: Callable[[str], Coroutine[Any, Any, Sequence[Row]]]) -> None:
    """Measure on the storage that the options name, and print what came out."""
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{Path(folder) / 'benchmark.db'}"
        rows = asyncio.run(measure(url))
    settings = {
        "storage": url.split("@")[-1] if "@" in url else url.split(":", 1)[0],
        "python": platform.python_version(),
        "statechain": version("statechain"),
        "cores": os.cpu_count(),
        "rounds": options.rounds,
    }
    if options.json:
        json.dump({"settings": settings, "rows": list(rows)}, sys.stdout, indent=2)
        print()
    else:
        print(", ".join(f"{name} {value}" for name, value in settings.items()), end="\n\n")
        _print_table(rows)


def _print_table(rows: Sequence[Row]) -> None:
    names = list(rows[0])
    cells = [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[place]) for line in cells)) for place, name in enumerate(names)]
    print("  ".join(name.rjust(width) for name, width in zip(names, widths, strict=True)))
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
