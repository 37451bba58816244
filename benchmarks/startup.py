"""Start-up, each time in a fresh process: importing the library, and opening a storage that is there.

Imports are in processor time above what Python takes by itself, since that is nearly all they take, and with bytecode
at hand, as an installed library has it. Opening, and leaving again, is what a clock shows.
"""

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from statistics import median
from typing import Any

from measuring.harness import run, storage_parser

IMPORT = "import statechain"
OPEN = """
import asyncio, logging, sys, time
from statechain import Engine

logging.disable()  # of an old SQLite every process would warn

async def opening(engine):
    began = time.perf_counter()
    async with engine:
        pass
    return time.perf_counter() - began

print(asyncio.run(opening(Engine(sys.argv[1]))))
"""


def fresh(program: str, *arguments: str, environment: Mapping[str, str]) -> tuple[float, str]:
    """Run a program in a fresh Python; return the processor seconds that it took, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def measured(url: str) -> list[dict[str, Any]]:
    """Measure all in turn, round after round."""
    imports, whole, opens = [], [], []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    fresh(OPEN, url, environment=environment)  # makes the storage, and the bytecode where there is none
    for _ in range(options.rounds):
        bare, _none = fresh("pass", environment=environment)
        imports.append(fresh(IMPORT, environment=environment)[0] - bare)
        seconds, told = fresh(OPEN, url, environment=environment)
        whole.append(seconds - bare)
        opens.append(float(told))
    return [
        {"what": "import statechain", "ms": 1000 * median(imports)},
        {"what": "open an existing storage, its driver loaded", "ms": 1000 * median(opens)},
        {"what": "import, load the driver, and open", "ms": 1000 * median(whole)},
    ]


async def measure(url: str) -> list[dict[str, Any]]:
    """Measure beside the loop, which has nothing else to do."""
    return await asyncio.to_thread(measured, url)


if __name__ == "__main__":
    options = storage_parser(__doc__).parse_args()
    run(options, measure)
