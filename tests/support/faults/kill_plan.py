"""A plan of signals to worker processes: SIGKILL at random moments, and SIGSTOP past the lease, then SIGCONT.

The signals are spread over the progress of the work, not over time, so that a slow machine gets as many as a fast one;
those that come late fall on processes that find the work done. One in five follows the last at once, and hits the new
process while it starts up or recovers.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import attrs

from support.faults.ledger import Ledger
from support.faults.workers.batch import main
from support.faults.workload import TARGETS
from support.forked import start

__all__ = ["KillPlan", "Outcome", "spawn"]

CALLS = 11
"""How many calls of handlers one execution makes in a calm run."""

SILENCE = 60.0
"""After this many seconds without progress the work is stuck."""

assert len(TARGETS["States"]) == 10, "CALLS counts the handlers of this machine"


@attrs.frozen(kw_only=True)
class KillPlan:
    """How many workers run a batch, and how often they are killed or stopped.

    Attributes:
        sources: How many sources the batch has.

        kills: How often a process is killed or stopped.

        workers: How many processes run the batch at once.

        stops: The part of them that stop a process past its lease instead of killing it.

        concurrency: How many executions each worker runs at once.

        seconds: How long each handler takes.

        lease: The workers' lease, in seconds.

        shares: Whether the batch is DISTRIBUTED: then ``concurrency`` counts over all workers.

        joins: Whether the workers join one batch that is not DISTRIBUTED, and share it in shards.

        dispatcher: The name of the dispatcher between the workers.
    """

    sources: int
    kills: int
    workers: int = 1
    stops: float = 0.0
    concurrency: int = 12
    seconds: float = 0.01
    lease: float = 1.5
    shares: bool = False
    joins: bool = False
    dispatcher: str | None = None

    def run(self, url: str, folder: Path, ledger: Ledger, seed: int) -> Outcome:
        """Run the workers until every one has ended by itself, after all kills have fallen."""
        return _KillRun(self, url, folder, ledger, random.Random(seed)).run()


@attrs.define
class Outcome:
    """What happened: how many were killed and stopped, who was stopped, and what went wrong with the processes."""

    kills: int = 0
    zombies: set[int] = attrs.Factory(set)
    stops: int = 0
    early: int = 0
    faults: list[str] = attrs.Factory(list)


def spawn(url: str, ledger: Path, errors: Path, **options: object) -> BaseProcess:
    """Start a worker process; what it says goes to a file."""
    return start(_work, url, ledger, options, stdout=errors, stderr=errors, folder=errors.parent)


def _work(url: str, ledger: Path, options: dict[str, Any]) -> None:
    asyncio.run(main(url, Ledger(ledger), **options))


@attrs.define
class _Worker:
    """One place at the front, and the process that fills it."""

    process: BaseProcess
    struck_at: float | None = None
    wakes_at: float | None = None
    is_killed: bool = False

    @property
    def pid(self) -> int:
        assert self.process.pid is not None, "it was started"
        return self.process.pid

    @property
    def is_unhurt(self) -> bool:
        return self.struck_at is None and self.wakes_at is None and not self.is_killed


class _KillRun:
    def __init__(self, plan: KillPlan, url: str, folder: Path, ledger: Ledger, chance: random.Random) -> None:
        self._assault = plan
        self._url = url
        self._file = ledger.file
        self._errors = folder / "workers.log"
        self._chance = chance
        calls = plan.sources * CALLS
        self._marks = sorted((chance.uniform(0, 0.95) * calls for _ in range(plan.kills)), reverse=True)
        self._lines = 0
        self._offset = 0
        self._moved_at = time.monotonic()
        self._outcome = Outcome()

    def run(self) -> Outcome:
        workers = [_Worker(self._spawn()) for _ in range(self._assault.workers)]
        try:
            while workers:
                time.sleep(0.005)
                self._watch_progress()
                self._choose_target(workers)
                workers = [worker for worker in workers if self._tend(worker)]
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.join()
        return self._outcome

    def _spawn(self) -> BaseProcess:
        plan = self._assault
        return spawn(
            self._url, self._file, self._errors, concurrency=plan.concurrency, seconds=plan.seconds,
            lease=plan.lease, resumes=self._chance.random() < 0.5, shares=plan.shares, joins=plan.joins,
            dispatcher=plan.dispatcher,
        )  # fmt: skip

    def _watch_progress(self) -> None:
        with self._file.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        if new:
            self._offset += len(new)
            self._lines += new.count(b"\n")
            self._moved_at = time.monotonic()
        elif time.monotonic() - self._moved_at > SILENCE:
            raise AssertionError(f"nothing moved for {SILENCE} s:\n{self._errors.read_text()[-3000:]}")

    def _choose_target(self, workers: list[_Worker]) -> None:
        """Once the work has come far enough for the next signal, choose its worker and moment."""
        free = [worker for worker in workers if worker.is_unhurt]
        if free and self._marks and self._lines >= self._marks[-1]:
            self._marks.pop()
            self._chance.choice(free).struck_at = time.monotonic() + self._chance.uniform(0, 0.1)

    def _tend(self, worker: _Worker) -> bool:
        """Strike, wake or replace a worker; return whether its place is still filled."""
        now = time.monotonic()
        if worker.wakes_at is not None and now >= worker.wakes_at:
            worker.wakes_at = None
            os.kill(worker.pid, signal.SIGCONT)
        if worker.process.exitcode is not None:
            return self._replace(worker)
        if worker.struck_at is not None and now >= worker.struck_at:
            worker.struck_at = None
            self._strike(worker)
        return True

    def _strike(self, worker: _Worker) -> None:
        if self._chance.random() < self._assault.stops:
            os.kill(worker.pid, signal.SIGSTOP)
            worker.wakes_at = time.monotonic() + self._assault.lease * self._chance.uniform(1.2, 2.0)
            self._outcome.stops += 1
            self._outcome.zombies.add(worker.pid)
            self._moved_at = worker.wakes_at
        else:
            worker.is_killed = True
            worker.process.kill()
            self._outcome.kills += 1

    def _replace(self, worker: _Worker) -> bool:
        code = worker.process.exitcode
        if code == -signal.SIGKILL and worker.is_killed:
            worker.process = self._spawn()
            worker.is_killed = False
            if self._marks and self._chance.random() < 0.2:
                self._marks.pop()
                self._outcome.early += 1
                worker.struck_at = time.monotonic() + self._chance.uniform(0, 0.6)
            return True
        if code != 0:
            self._outcome.faults.append(f"a worker ended with {code}:\n{self._errors.read_text()[-3000:]}")
        if worker.struck_at is not None:
            self._marks.append(0.0)  # it ended just before the signal, which goes to another
        if code == 0 and self._marks:
            worker.process, worker.struck_at, worker.is_killed = self._spawn(), None, False
            return True
        return False
