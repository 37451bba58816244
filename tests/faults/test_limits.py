"""Limits over several worker processes that are killed: a file of all calls shows that none was exceeded."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import floor
from pathlib import Path

import pytest

from statechain import Engine, ExecutionFilter
from support.faults.one_task import ONE_TASK
from support.faults.workers.limited import Notes, Totals
from support.forked import Program

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="this needs Linux"),
]

WORKERS = 3
LEASE = 5.0
"""Seconds: long, so that no worker on a busy machine is taken for dead while it runs."""

MOST, MOST_PER_KEY, RATE = 4, 2, (15, 0.5)
KEYS = ("red", "green", "blue", None)


class Workers:
    """Worker processes, killed one after the other."""

    def __init__(self, url: str, notes: Notes) -> None:
        self._url = url
        self._notes = notes
        self.processes: list[Program] = []

    def start(self) -> None:
        """Start one more."""
        self.processes.append(Program("support.faults.workers.limited", self._url, self._notes.file, LEASE))

    def kill(self, process: Program) -> None:
        """Stop a worker, note that, and kill it: its calls have ended before another worker learns of it."""
        self.processes.remove(process)
        with process:
            os.kill(process.pid, signal.SIGSTOP)
            while not is_stopped(process.pid):
                time.sleep(0.001)
            self._notes.note("killed", process.pid)
            process.kill()


def is_stopped(pid: int) -> bool:
    """Return whether all threads of a process have stopped: a signal stops one after the other."""
    states = [
        (thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in Path(f"/proc/{pid}/task").iterdir()
    ]
    return set(states) <= {"T"}


@contextmanager
def some_workers(url: str, notes: Notes) -> Iterator[Workers]:
    workers = Workers(url, notes)
    try:
        for _ in range(WORKERS):
            workers.start()
        yield workers
    finally:
        for process in [*workers.processes]:
            workers.kill(process)


async def test_no_limit_is_exceeded_while_workers_are_killed(
    durable_url: str, tmp_path: Path, seed: int, *, full: bool
) -> None:
    dice = random.Random(seed)
    count, kills = (1500, 40) if full else (90, 3)
    notes = Notes(tmp_path / "calls")
    async with Engine(durable_url, role="client") as client:
        machine = await client.create_state_machine(
            "limited", ONE_TASK, max_concurrency=MOST, max_concurrency_per_key=MOST_PER_KEY, rate=RATE
        )
        for number in range(count):
            key, seconds = dice.choice(KEYS), dice.uniform(0.0, 0.15)
            value = {"number": number, "key": key, "seconds": seconds}
            await machine.start_execution(value, key=key, priority=dice.choice([0, 0, 5]))
        running = ExecutionFilter(status="RUNNING")
        with some_workers(durable_url, notes) as workers:
            for _ in range(kills):
                await asyncio.sleep(dice.uniform(0.5, 2.0))
                await asyncio.to_thread(workers.kill, dice.choice(workers.processes))
                workers.start()
            async with asyncio.timeout(600 if full else 200):
                while await client.count_executions(running):  # noqa: ASYNC110 -- storage has no event
                    await asyncio.sleep(0.1)
        assert await client.count_executions(ExecutionFilter(status="SUCCEEDED")) == count
        (queue,) = await client.list_queues()
        assert (queue.waiting, queue.running) == (0, 0)
    totals = Totals.of(notes)
    assert 2 <= totals.most <= MOST, f"seed {seed}"
    assert totals.most_per_key <= MOST_PER_KEY, f"seed {seed}"
    allowed, period = RATE
    periods = floor((totals.begun[-1] - totals.begun[0] + LEASE) / period) + 1
    assert count <= len(totals.begun) <= allowed * periods, f"seed {seed}"
