"""Start-up: importing the library, above what Python takes by itself, and opening a SQLite file that is there."""

import asyncio
import subprocess
import sys
import time
from statistics import median
from typing import Any

from harness import run, storage_parser

from statechain import Engine


def seconds_of(program: str) -> float:
    """Return the seconds that a fresh Python takes for a program."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.perf_counter() - began


async def opening(url: str) -> float:
    """Return the seconds that it takes to open an engine, its driver loaded before."""
    began = time.perf_counter()
    async with Engine(url):
        return time.perf_counter() - began


async def measure(url: str) -> list[dict[str, Any]]:
    """Measure both, in turn."""
    await opening(url)
    imports, opens = [], []
    for _ in range(options.rounds * 5):
        bare = await asyncio.to_thread(seconds_of, "pass")
        imports.append(await asyncio.to_thread(seconds_of, "import statechain") - bare)
        opens.append(await opening(url))
    return [
        {"what": "import statechain", "ms": 1000 * median(imports)},
        {"what": "open an existing storage", "ms": 1000 * median(opens)},
    ]


if __name__ == "__main__":
    options = storage_parser(__doc__).parse_args()
    run(options, measure)
