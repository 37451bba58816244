"""Where the processor time of durable executions goes: microseconds an execution by package, and by function.

The event loop's thread is sampled by a timer of processor time; the samples share what the thread has used. A C
function counts for the Python function that calls it. What the garbage collector takes, what the event loop's selector
takes, and what other threads use, such as a driver's, is measured and not sampled.
"""

import asyncio
import gc
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

from executions import drive
from measuring.harness import run, storage_parser
from measuring.machines import chain_of, tasks

from statechain import Engine

INTERVAL = 0.001
"""Seconds of processor time between two samples; the kernel may take its own tick instead."""

PACKAGES = ("asyncpg", "sqlalchemy", "msgspec", "asyncio")
BENCHMARKS = str(Path(__file__).parent)


def place_of(file: str) -> str:
    """Return to which part the code of a file belongs."""
    parts = Path(file).with_suffix("").parts
    for ours in ("statechain_backends", "statechain"):
        if ours in parts:
            within = parts[len(parts) - parts[::-1].index(ours) :]
            return f"{ours}.{within[0]}" if within else ours
    if "attrs generated" in file:
        return "attrs, making records"
    if file.startswith(BENCHMARKS):
        return "the benchmark"
    return next((name for name in PACKAGES if name in parts), "the standard library")


class Costs:
    """Samples while it is entered, on the event loop's thread. Figures are in seconds of processor time."""

    def __init__(self) -> None:
        self.total = self.collected = self.waited = self._thread = 0.0
        self._places: Counter[str] = Counter()
        self._functions: Counter[str] = Counter()
        self._is_apart = False
        self._selector: Any = getattr(asyncio.get_running_loop(), "_selector", None)  # uvloop has none

    def __enter__(self) -> Self:
        """Begin to sample."""
        gc.callbacks.append(self._collect)
        if self._selector is not None:
            self._selector.select = self._timed(self._selector.select)
        signal.signal(signal.SIGPROF, self._sample)
        self.total, self._thread = time.process_time(), time.thread_time()
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.total, self._thread = time.process_time() - self.total, time.thread_time() - self._thread
        if self._selector is not None:
            del self._selector.select
        gc.callbacks.remove(self._collect)

    def places(self) -> Counter[str]:
        """Return what each part took, and what was measured beside the samples."""
        apart = {
            "the garbage collector": self.collected,
            "asyncio's selector": self.waited,
            "other threads": max(0.0, self.total - self._thread),
        }
        return Counter({**self._shares(self._places), **apart})

    def functions(self) -> Counter[str]:
        """Return what each function took."""
        return self._shares(self._functions)

    def _shares(self, samples: Counter[str]) -> Counter[str]:
        sampled = self._thread - self.collected - self.waited
        return Counter({name: sampled * count / samples.total() for name, count in samples.items()})

    def _sample(self, _signal: int, frame: FrameType | None) -> None:
        if frame is not None and not self._is_apart:
            place = place_of(frame.f_code.co_filename)
            self._places[place] += 1
            self._functions[f"{place}: {frame.f_code.co_qualname}"] += 1

    def _collect(self, phase: str, _told: dict[str, int]) -> None:
        if phase == "start":
            self._is_apart, self._collection = True, time.thread_time()
        else:
            self.collected += time.thread_time() - self._collection
            self._is_apart = False

    def _timed(self, select: Callable[..., Any]) -> Callable[..., Any]:
        """Return a `select` that is measured: a sample of another thread would show this one there."""

        def timed(timeout: float | None = None) -> Any:
            self._is_apart, began = True, time.thread_time()
            try:
                return select(timeout)
            finally:
                self.waited += time.thread_time() - began
                self._is_apart = False

        return timed


async def measure(url: str) -> list[dict[str, Any]]:
    """Run executions that do not count, then sample others."""
    count = options.executions
    async with Engine(url, tasks=tasks) as engine:
        machine = await engine.create_state_machine("chain", chain_of(options.steps))
        await drive(machine, max(50, options.concurrency), options.concurrency)
        with Costs() as costs:
            await drive(machine, count, options.concurrency)
    told = [("all", costs.total), *costs.places().most_common(), *costs.functions().most_common(options.functions)]
    return [
        {"where": where, "us each": 1e6 * used / count, "percent": 100 * used / costs.total}
        for where, used in told
        if used
    ]


if __name__ == "__main__":
    arguments = storage_parser(__doc__)
    arguments.add_argument("--executions", type=int, default=10_000)
    arguments.add_argument("--concurrency", type=int, default=100)
    arguments.add_argument("--steps", type=int, default=5)
    arguments.add_argument("--functions", type=int, default=15, help="how many functions are shown (default: 15)")
    options = arguments.parse_args()
    run(options, measure)
