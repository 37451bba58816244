"""Many executions in flight in one process: bytes and objects each, and how long the engine blocks the event loop.

Executions wait: in a Wait state, for an answer under a task token, or for their handler. A heartbeat task measures how
late it is woken while they are started, while they wait, and while they end.
"""

import asyncio
import gc
import resource
import sys
import time
from typing import Any

from measuring.harness import run, storage_parser

from statechain import Engine, TaskContext, TaskRegistry

tasks = TaskRegistry()
tokens: list[str] = []

released = asyncio.Semaphore(0)

STATES = {
    "Wait": {"Type": "Wait", "SecondsPath": "$.seconds", "End": True},
    "Callback": {"Type": "Task", "Resource": "ask.waitForTaskToken", "End": True},
    "Handler": {"Type": "Task", "Resource": "hold", "End": True},
}


@tasks.register("ask")
async def ask(_value: Any, context: TaskContext) -> None:
    """Remember the token."""
    tokens.append(context.task_token or "")


@tasks.register("hold")
async def hold(_value: Any) -> None:
    """Wait until it is released."""
    await released.acquire()


def resident() -> int:
    """Return the process's resident bytes now."""
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 -- a file of the kernel's
        return int(statm.read().split()[1]) * resource.getpagesize()


class Heartbeat:
    """Measures how late the event loop wakes a task, and how late without what the garbage collector took of it."""

    def __init__(self) -> None:
        self._latest = self._latest_alone = 0.0
        self._collected = self._began = 0.0

    def collect(self, phase: str, _told: dict[str, int]) -> None:
        """Take note that a collection begins or ends (one of `gc.callbacks`)."""
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._collected += time.perf_counter() - self._began

    async def beat(self) -> None:
        """Sleep a millisecond at a time, until cancelled."""
        gc.callbacks.append(self.collect)
        try:
            while True:
                asked, collected = time.perf_counter(), self._collected
                await asyncio.sleep(0.001)
                late = time.perf_counter() - asked - 0.001
                self._latest = max(self._latest, late)
                self._latest_alone = max(self._latest_alone, late - (self._collected - collected))
        finally:
            gc.callbacks.remove(self.collect)

    def take(self) -> tuple[float, float]:
        """Return the longest lateness since the last call, with and without collections, in milliseconds."""
        latest, alone = self._latest * 1000, self._latest_alone * 1000
        self._latest = self._latest_alone = 0.0
        return latest, alone


async def start(machine: Any, value: Any, count: int) -> list[Any]:
    """Start executions, a hundred at a time."""
    handles: list[Any] = []
    while len(handles) < count:
        handles += await asyncio.gather(*(machine.start_execution(value) for _ in range(100)))
    return handles


async def measure_one(url: str, name: str, count: int) -> dict[str, Any]:
    """Measure executions that wait in one way."""
    heartbeat = Heartbeat()
    async with Engine(url, tasks=tasks) as engine, asyncio.TaskGroup() as group:
        machine = await engine.create_state_machine(name, {"StartAt": name, "States": {name: STATES[name]}})
        pulse = group.create_task(heartbeat.beat())
        gc.collect()
        before, objects, blocks = resident(), len(gc.get_objects()), sys.getallocatedblocks()
        handles = await start(machine, {"seconds": 3600}, count)
        await asyncio.sleep(0.5)
        starting = heartbeat.take()
        gc.collect()
        each = (resident() - before) / count
        objects, blocks = len(gc.get_objects()) - objects, sys.getallocatedblocks() - blocks
        await asyncio.sleep(0.01)  # the heartbeat was late because of the collection
        heartbeat.take()
        await asyncio.sleep(2)
        waiting = heartbeat.take()
        for begin in range(0, count, 100):
            some = handles[begin : begin + 100]
            if name == "Wait":
                await asyncio.gather(*(handle.stop() for handle in some))
            elif name == "Handler":
                for _ in some:
                    released.release()
                await asyncio.sleep(0.001)
            else:
                await asyncio.gather(*(engine.send_task_success(token, {}) for token in tokens[begin : begin + 100]))
                await asyncio.gather(*(handle.wait() for handle in some))
        for handle in handles:  # no task for each, which would hold the loop
            await handle.wait()
        ending = heartbeat.take()
        pulse.cancel()
    tokens.clear()
    return {
        "executions": count,
        "waiting for": name,
        "bytes each": each,
        "objects each": objects / count,
        "allocations each": blocks / count,
        "late ms, starting": starting[0],
        "late ms, waiting": waiting[0],
        "late ms, ending": ending[0],
        "without collections, starting": starting[1],
        "without collections, waiting": waiting[1],
        "without collections, ending": ending[1],
    }


async def measure(url: str) -> list[dict[str, Any]]:
    """Measure each way of waiting."""
    return [await measure_one(url, name, options.executions) for name in STATES]


if __name__ == "__main__":
    arguments = storage_parser(__doc__)
    arguments.add_argument("--executions", type=int, default=10_000)
    options = arguments.parse_args()
    run(options, measure)
