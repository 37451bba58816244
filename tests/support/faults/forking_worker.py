"""Programs that the tests of processes and threads run by themselves: what forks, and what takes too much memory."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Any

from statechain import Engine, TaskRegistry

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
    """A worker that is killed while a child of it lives on."""

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
    """A worker whose handler takes memory until the kernel kills it, or what stands for the kernel does."""
    held: list[bytearray] = []

    async def hoard(_value: object) -> None:
        while True:
            held.append(bytearray(os.urandom(1 << 16)) * 64)
            if resident() > int(limit):
                os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does past a group's limit: no word, no clean-up
            await asyncio.sleep(0)

    async def run() -> None:
        async with Engine(url, tasks=tasks_of(hoard), lease=1) as engine:
            machine = await engine.create_state_machine("forked", PASS)
            await machine.start_execution(1)
            await asyncio.Event().wait()

    asyncio.run(run())


def resident() -> int:
    """Return how many bytes of memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    {each.__name__: each for each in (fork_before_start, fork_under_way, leave_a_child, take_memory)}[sys.argv[1]](
        *sys.argv[2:]
    )
