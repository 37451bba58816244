"""Programs that the tests of processes and threads run by themselves: what forks, and what takes too much memory."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from statechain import Engine, TaskRegistry

PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
PASS = {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "work", "End": True}}}


def tasks_of(handler: Any) -> TaskRegistry:
    tasks = TaskRegistry()
    tasks.add("work", handler)
    return tasks


async def answer(value: object) -> object:
    await asyncio.sleep(0.01)
    return value


async def endless(_value: object) -> None:
    await asyncio.Event().wait()


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def wait_for(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_before_start(url: str) -> None:
    """Engines that were made before a fork run in each of the children."""
    engine = Engine(url, tasks=tasks_of(answer))
    children = []
    for _ in range(2):
        if not (child := os.fork()):
            asyncio.run(_run(engine))
            os._exit(0)
        children.append(child)
    say(f"ended {[wait_for(child) for child in children]}")


async def _run(engine: Engine) -> None:
    async with engine:
        machine = await engine.create_state_machine("forked", PASS)
        for each in range(10):
            assert (await machine.execute(each)).output == each
        say(f"worker {engine.worker.id}")


def fork_under_way(url: str) -> None:
    """A child that is forked while an engine runs, and ends, disturbs nothing."""

    async def run() -> None:
        async with Engine(url, tasks=tasks_of(answer)) as engine:
            machine = await engine.create_state_machine("forked", PASS)
            await machine.execute(0)
            for _ in range(3):
                if not (child := os.fork()):
                    gc.collect()
                    os._exit(0)
                wait_for(child)
                for number in range(20):
                    assert (await machine.execute(number)).output == number
        say("well")

    asyncio.run(run())


def leave_a_child(url: str) -> None:
    """A worker that is killed while a child of it runs on."""

    async def run() -> None:
        async with Engine(url, tasks=tasks_of(endless)) as engine:
            machine = await engine.create_state_machine("forked", PASS)
            await machine.start_execution(1)
            if not (child := os.fork()):
                signal.pause()
            say(str(child))
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(run())


def take_memory(url: str, limit: str) -> None:
    """A worker whose handler takes memory until the kernel, or a stand-in for it, kills it."""
    held: list[bytearray] = []

    async def hoard(_value: object) -> None:
        while True:
            held.append(bytearray(os.urandom(1 << 16)) * 64)
            if memory()[1] > int(limit):
                os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does past a group's limit: no word, no clean-up
            await asyncio.sleep(0)

    async def run() -> None:
        async with Engine(url, tasks=tasks_of(hoard), lease=1) as engine:
            machine = await engine.create_state_machine("forked", PASS)
            await machine.start_execution(1)
            await asyncio.Event().wait()

    asyncio.run(run())


def bound_memory(url: str, limit: str) -> None:
    """A worker whose handler meets the bound of the process's memory (RLIMIT_AS) beside handlers that need little."""

    async def hoard(value: int) -> int:
        held = []
        while value == 0:
            held.append(bytearray(1 << 22))
        return value

    async def run() -> None:
        async with Engine(url, tasks=tasks_of(hoard), lease=1) as engine:
            machine = await engine.create_state_machine("forked", PASS)
            resource.setrlimit(resource.RLIMIT_AS, (memory()[0] + int(limit), resource.RLIM_INFINITY))
            ended = await asyncio.gather(*[(await machine.start_execution(number)).wait() for number in range(5)])
            say(f"ended {[str(each.status) for each in ended]} {ended[0].error}")

    asyncio.run(run())


def memory() -> tuple[int, int]:
    """Return how many bytes of memory this process has mapped, and how many are resident."""
    mapped, resident, *_ = Path("/proc/self/statm").read_text().split()
    return int(mapped) * PAGE_SIZE, int(resident) * PAGE_SIZE


PROGRAMS = (fork_before_start, fork_under_way, leave_a_child, take_memory, bound_memory)

if __name__ == "__main__":
    {each.__name__: each for each in PROGRAMS}[sys.argv[1]](*sys.argv[2:])
