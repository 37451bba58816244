"""Poison is contained: what ends its worker takes nothing with it, and a crash loop ends nothing as FAILED."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from statechain import Engine, ExecutionFilter, ExecutionStatus, open_repository
from statechain.storage.repository import ReleaseExecution, StartExecution
from statechain.testing.contract.samples import execution
from support.faults.workers.suspect import DEATH, MACHINES, READY
from support.forked import Program
from support.summary import Figures

pytestmark = pytest.mark.timeout(3600)

SECONDS = 600.0

# In the small runs a suspect is blamed sooner than in production, so that innocents have a chance to be.
SOON: dict[str, Any] = {
    "claims": 2,
    "suspect_seconds": 1.0,
    "suspect_backoff_seconds": 0.1,
    "suspect_backoff_longest_seconds": 0.4,
}


def start_worker(url: str, **options: Any) -> Program:
    return Program("support.faults.workers.suspect", url, json.dumps(options))


def run_worker(url: str, **options: Any) -> int:
    """Run a worker until it ends; return its exit code."""
    with start_worker(url, **options) as worker:
        return worker.wait(timeout=SECONDS)


async def prepare(url: str, **counts: int) -> None:
    """Leave executions of each machine that no worker owns, in a random order of their ids."""
    async with Engine(url, recovery=False) as engine:
        machines = {name: await engine.create_state_machine(name, MACHINES[name]) for name in counts}
    kinds = [name for name, count in counts.items() for _ in range(count)]
    random.shuffle(kinds)
    made = [execution(state_machine_id=machines[kind].id, current_state="Work") for kind in kinds]
    async with open_repository(url) as repository:
        for begin in range(0, len(made), 500):
            await repository.commit([StartExecution(execution=each, owner=None) for each in made[begin : begin + 500]])


async def statuses(url: str) -> dict[str, Counter[ExecutionStatus]]:
    """Return how many executions of each machine have each status."""
    found: dict[str, Counter[ExecutionStatus]] = {}
    async with Engine(url, role="reader") as engine:
        for machine in await engine.list_state_machines():
            counted = await engine.execution_statistics(machine.id)
            found[machine.name] = Counter({status: each.count for status, each in counted.items()})
    return found


def test_what_runs_beside_a_poison_goes_on(durable_url: str, figures: Figures, *, full: bool) -> None:
    """Each worker dies of it sooner than the others need; one worker after the other, as a supervisor starts them."""
    innocents = 50 if full else 9
    pace = {"honest": 3.0, "deadly": 1.0, "lease": 3.0} if full else {"honest": 0.9, "deadly": 0.3, "lease": 1.0}
    asyncio.run(prepare(durable_url, honest=innocents, deadly=1))
    deaths, began = 0, time.monotonic()
    while (code := run_worker(durable_url, **pace, limits=SOON)) == DEATH:
        deaths += 1
        assert deaths < 40, "the poison never ends"
    assert code == 0
    found = asyncio.run(statuses(durable_url))
    figures(innocents=innocents, deaths=deaths, seconds=round(time.monotonic() - began))
    assert found["honest"] == {ExecutionStatus.SUCCEEDED: innocents}
    assert found["deadly"] == {ExecutionStatus.FAILED: 1}


KILLS = {"few innocents": (50, 200), "many innocents": (1000, 200)}


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("name", KILLS)
def test_workers_that_are_killed_end_nothing_as_failed(
    name: str, number: int, durable_url: str, seed: int, figures: Figures, *, full: bool
) -> None:
    """As a deployment that crash-loops, with steps that hardly fit into the time that its workers live."""
    innocents, kills = KILLS[name] if full else (8, 5)
    if not full and (name == "many innocents" or number):
        pytest.skip("it is for the full run")
    killed = _kill_workers(durable_url, innocents, kills, random.Random(seed + number))
    figures(seed=seed + number, innocents=innocents, kills=killed, failed=0)


def _kill_workers(url: str, total: int, kills: int, chance: random.Random) -> int:
    asyncio.run(prepare(url, honest=total))
    pace = {"honest": 1.0, "deadly": 0.0, "lease": 1.0}
    killed = 0
    for _ in range(kills):
        with start_worker(url, **pace, limits={"suspect_seconds": 1.0}) as worker:
            assert worker.stdout.readline() == READY
            try:
                worker.wait(timeout=chance.uniform(0.0, 1.5))
                break  # it has ended all
            except subprocess.TimeoutExpired:
                worker.kill()
                killed += 1
    limits = {"suspect_backoff_longest_seconds": 1.0}
    assert run_worker(url, **pace, limits=limits) == 0
    assert asyncio.run(_counted(url)) == {ExecutionStatus.SUCCEEDED: total}
    return killed


async def _counted(url: str) -> Counter[ExecutionStatus]:
    async with Engine(url, recovery=False) as engine:
        await engine.create_state_machine("honest", MACHINES["honest"])
    return (await statuses(url))["honest"]


async def test_suspects_are_logged_and_told_with_what_comes_next(
    durable_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await prepare(durable_url, deadly=3)
    async with open_repository(durable_url) as repository:
        claims = await repository.claim("dead", page=9)
        backoff = timedelta(hours=1)
        await repository.commit(
            [
                ReleaseExecution(execution_id=claim.execution.id, epoch=claim.epoch, claims=2, backoff=backoff)
                for claim in claims
            ]
        )
    async with Engine(durable_url, recovery=False) as engine:
        assert await engine.recover() == []
        assert [each.deaths for each in await engine.list_suspects()] == [2, 2, 2]
        assert await engine.count_executions(ExecutionFilter(status="RUNNING")) == 3
    assert "suspects: 3 executions, up to 2 workers died after taking one up" in caplog.text
    assert "3 of them at once" in caplog.text
