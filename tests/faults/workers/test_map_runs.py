"""kill -9 and SIGSTOP amid a distributed Map that workers share: the worker of its execution, those of its items."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import attrs
import pytest

from statechain import Engine, Execution, ExecutionFilter
from statechain.records.batches import BatchStatus
from support.faults.workers.map_run import LEASE, MACHINE, WIDTH, spawn
from support.summary import Figures

pytestmark = pytest.mark.timeout(1800)

WORKERS = 3
SILENCE = 240.0
"""After this many seconds without progress the work is stuck: suspects are tried again after up to a minute."""


@attrs.define
class Siege:
    """Worker processes of one Map, which are killed as the work comes along and replaced at once.

    Every second blow hits the process that runs the Map's execution, as far as that is known. A part of the blows,
    ``stops``, does not kill, but stops a process past its lease.
    """

    url: str
    folder: Path
    execution_id: str
    marks: list[int]
    chance: random.Random
    stops: float
    kills: Counter[str] = attrs.Factory(Counter)
    workers: dict[int, BaseProcess] = attrs.Factory(dict)

    @property
    def notes(self) -> list[list[str]]:
        """What the processes did, in order: each line's words, of which the first is the process's id."""
        file = self.folder / "notes"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    async def run(self, client: Engine) -> Execution:
        """Return the execution once it has ended, and every process with it."""
        handle = await client.get_handle(self.execution_id)
        ending = asyncio.ensure_future(handle.wait())
        try:
            while len(self.workers) < WORKERS:
                self._spawn()
            seen, moved = 0, asyncio.get_running_loop().time()
            while not ending.done():
                await asyncio.sleep(0.01)
                notes = self.notes
                if len(notes) > seen:
                    seen, moved = len(notes), asyncio.get_running_loop().time()
                assert asyncio.get_running_loop().time() - moved < SILENCE, self._log()
                self._strike(notes)
            for worker in self.workers.values():
                await asyncio.to_thread(worker.join, SILENCE)
                assert worker.exitcode == 0, self._log()
            return await ending
        finally:
            ending.cancel()
            for worker in self.workers.values():
                worker.kill()
                worker.join()

    def _spawn(self) -> None:
        process = spawn(self.url, self.folder / "notes", self.execution_id, self.folder / "log")
        assert process.pid is not None
        self.workers[process.pid] = process

    def _strike(self, notes: list[list[str]]) -> None:
        """Kill a process for each mark that the work has passed."""
        while self.marks and sum(what[0] == "item" for _, *what in notes) >= self.marks[0]:
            self.marks.pop(0)
            parent = next((int(pid) for pid, *what in reversed(notes) if what == ["parent"]), 0)
            others = [pid for pid in self.workers if pid != parent]
            is_parent = parent in self.workers and (len(self.marks) % 2 == 0 or not others)
            victim = parent if is_parent else self.chance.choice(others)
            self.kills["of the execution" if is_parent else "of items"] += 1
            if self.chance.random() < self.stops:
                self._stop(victim)
                continue
            killed = self.workers.pop(victim)
            killed.kill()
            killed.join()
            self._spawn()

    def _stop(self, worker: int) -> None:
        """Stop a process for longer than its lease."""
        self.kills["stopped"] += 1
        _send(worker, signal.SIGSTOP)
        seconds = LEASE * self.chance.uniform(1.2, 2.0)
        asyncio.get_running_loop().call_later(seconds, _send, worker, signal.SIGCONT)

    def _log(self) -> str:
        return (self.folder / "log").read_text()[-3000:]


def _send(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has ended, or was killed
        os.kill(process, number)


@pytest.mark.parametrize("stops", [0.0, 0.5], ids=["killed", "zombies"])
async def test_no_item_is_lost_or_doubled_when_workers_are_killed(
    durable_url: str, tmp_path: Path, seed: int, figures: Figures, *, full: bool, stops: float
) -> None:
    items, kills = (1000, 40) if full else (60, 6)
    chance = random.Random(seed)
    async with Engine(durable_url, role="client") as client:
        orders = await client.create_state_machine("orders", MACHINE)
        parent = await orders.start_execution(list(range(items)))
        marks = sorted(chance.sample(range(1, 2 * items - WIDTH), kills))
        siege = Siege(durable_url, tmp_path, parent.id, marks, chance, stops)
        ended = await siege.run(client)
        assert ended.output == [2 * number for number in range(items)], ended.cause
        (run,) = await client.list_batches(parent_execution_id=parent.id)
        assert (run.status, run.item_counts.succeeded) == (BatchStatus.SUCCEEDED, items)
        assert await client.count_executions(ExecutionFilter(state_machine_id=run.state_machine_id)) == items
        assert await client.count_executions(ExecutionFilter(status="RUNNING")) == 0
        assert not await client.repository.claim("examiner", page=1), "something is still to be claimed"
    calls = Counter(int(what[1]) for _, *what in siege.notes if what[0] == "item")
    repeats = sum(calls.values()) - 2 * items
    figures(
        seed=seed, items=items, blows=kills, of_the_execution=siege.kills["of the execution"],
        stops=siege.kills["stopped"], calls=sum(calls.values()), repeats=repeats,
    )  # fmt: skip
    assert set(calls) == set(range(items))
    assert siege.kills["of the execution"] > 0
    assert siege.kills["of items"] > 0
    assert 0 <= repeats <= kills * WIDTH
