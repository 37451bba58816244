"""A shared batch while its workers are killed and stopped past their lease: each source is chained once, in its width.

Small by default; `--full` is 200 kills and 100 stops. Without a dispatcher, with procrastinate, with Ray's actors. The
processes are those of ``statechain worker``, which the parent of ``--processes`` replaces, and Ray's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest

from statechain import BatchExecutionOptions, BatchStatus, Engine, ExecutionFilter
from statechain.cli.processes import Restarts, WorkerProcesses
from statechain.dispatchers import open_dispatcher
from statechain.storage.shards import ShardStatus
from statechain.tickets import Dispatcher
from support.faults.strikes import Strikes
from support.faults.width_ledger import WidthLedger
from support.programs import TESTS
from support.ray.cluster import ray_cluster
from support.summary import Figures

WIDTH = 9
LEASE = 1.5
WORKERS = 3
PASS = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
OFTEN = Restarts(first_delay=0.1, longest_delay=0.5, most=10_000)

Workers: TypeAlias = Callable[[str, Path], AbstractAsyncContextManager[Dispatcher | None]]


@attrs.frozen(kw_only=True)
class Size:
    """How large the batch is, and how many signals fall."""

    sources: int
    strikes: Strikes


@pytest.fixture
def size(full: bool) -> Size:
    if full:
        return Size(sources=6000, strikes=Strikes(kills=200, stops=100, lease=LEASE))
    return Size(sources=150, strikes=Strikes(kills=4, stops=1, lease=LEASE))


def environment(url: str, ledger: Path) -> dict[str, str]:
    """Return what `support.faults.width_app` reads."""
    settings = {"url": url, "ledger": str(ledger), "seconds": 0.02, "lease": LEASE}
    return {"WIDTH_APP": json.dumps(settings), "PYTHONPATH": str(TESTS)}


@asynccontextmanager
async def processes(url: str, ledger: Path, *, dispatcher: str | None) -> AsyncIterator[Dispatcher | None]:
    """Run workers of the command line; yield a dispatcher for the client."""
    os.environ.update(environment(url, ledger))
    chosen = [] if dispatcher is None else ["--dispatcher", dispatcher]
    arguments = ["--tasks", "support.faults.width_app:tasks", "--lease", str(LEASE), "--quiet", "--child", *chosen]
    command = [sys.executable, "-m", "statechain", "worker", "--repository", url, "--grace", "1", *arguments]
    stop = asyncio.Event()
    running = asyncio.create_task(WorkerProcesses(command, WORKERS, grace=1, restarts=OFTEN).run(stop))
    try:
        yield None if dispatcher is None else open_dispatcher(dispatcher, url)
    finally:
        stop.set()
        await running


@asynccontextmanager
async def actors(url: str, ledger: Path) -> AsyncIterator[Dispatcher | None]:
    """Run Ray's actors; yield their dispatcher."""
    pytest.importorskip("ray")
    from statechain.dispatchers.ray import RayDispatcher

    async with ray_cluster(environment(url, ledger)):
        yield RayDispatcher("support.faults.width_app:make_engine", actors=WORKERS, slots=4, num_cpus=0)


async def chain(url: str, dispatcher: Dispatcher | None, size: Size, ledger: WidthLedger, seed: int) -> tuple[int, int]:
    """Start the batch, and strike; return how many sources have no execution, and how many have one too many."""
    async with Engine(url, role="client", dispatcher=dispatcher) as client:
        if hasattr(dispatcher, "report_death"):
            dispatcher.report_death = client.report_death  # type: ignore[union-attr]
        sources = await client.get_state_machine("sources")
        machine = await client.create_state_machine("target", CALL)
        options = BatchExecutionOptions(concurrent_batches=WIDTH, shard_size=5)
        chosen = ExecutionFilter(state_machine_id=sources.id, order="oldest_first")
        handle = await machine.start_batch(chosen, options=options)
        await size.strikes.fall(ledger, size.sources, seed)
        async with asyncio.timeout(120):
            batch = await handle.wait()
        assert (batch.status, batch.item_counts.succeeded) == (BatchStatus.SUCCEEDED, size.sources), f"seed {seed}"
        assert {each.status for each in await client.repository.shards(batch.id)} == {ShardStatus.DONE}
        assert await client.count_executions(ExecutionFilter(status="RUNNING")) == 0, f"seed {seed}"
        chained: Counter[Any] = Counter()
        async for each in client.iterate_executions(ExecutionFilter(state_machine_id=machine.id)):
            chained[each.output] += 1
    assert set(ledger.begun()) == set(range(size.sources))
    wanted = Counter([2 * number for number in range(size.sources)])
    return (wanted - chained).total(), (chained - wanted).total()


KINDS: dict[str, Any] = {
    "no dispatcher": lambda url, ledger: processes(url, ledger, dispatcher=None),
    "procrastinate": lambda url, ledger: processes(url, ledger, dispatcher="procrastinate"),
    "ray": actors,
}


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.parametrize("kind", KINDS)
async def test_a_shared_batch_survives_its_workers_and_is_never_too_wide(
    kind: str,
    postgres_url: str,
    size: Size,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    figures: Figures,
) -> None:
    if kind != "no dispatcher":
        pytest.importorskip(kind)
    for name in ("WIDTH_APP", "PYTHONPATH"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    file = tmp_path / "calls.ledger"
    ledger = WidthLedger(file)
    async with Engine(postgres_url) as engine:
        sources = await engine.create_state_machine("sources", PASS)
        await sources.execute_bulk(range(size.sources), options=BatchExecutionOptions(concurrent_batches=50))
    async with KINDS[kind](postgres_url, file) as dispatcher:
        lost, doubled = await chain(postgres_url, dispatcher, size, ledger, seed)
    figures(
        seed=seed,
        sources=size.sources,
        calls=len(ledger.begun()),
        kills=size.strikes.kills,
        stops=size.strikes.stops,
        width=ledger.width(),
        lost=lost,
        doubled=doubled,
    )
    assert (lost, doubled) == (0, 0)
    assert ledger.width() <= WIDTH


CALLER = """
import asyncio, sys
from statechain import BatchExecutionOptions, Engine, ExecutionFilter

async def main(url):
    async with Engine(url, role="client") as client:
        sources = await client.get_state_machine("sources")
        machine = await client.get_state_machine("target")
        options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=9, shard_size=5)
        await machine.execute_batch(ExecutionFilter(state_machine_id=sources.id), options=options)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["no dispatcher", "procrastinate"])
async def test_a_batch_whose_caller_is_killed_goes_on(
    kind: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled caller stops its batch; one that was killed leaves it to the workers."""
    if kind != "no dispatcher":
        pytest.importorskip(kind)
    for name in ("WIDTH_APP", "PYTHONPATH"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    file = tmp_path / "calls.ledger"
    ledger = WidthLedger(file)
    async with Engine(postgres_url) as engine:
        sources = await engine.create_state_machine("sources", PASS)
        await engine.create_state_machine("target", CALL)
        await sources.execute_bulk(range(60), options=BatchExecutionOptions(concurrent_batches=50))
    async with KINDS[kind](postgres_url, file), Engine(postgres_url, role="client") as client, asyncio.timeout(200):
        caller = await asyncio.create_subprocess_exec(sys.executable, "-c", CALLER, postgres_url)
        while len(ledger.begun()) < 5:  # noqa: ASYNC110 -- other processes write it
            await asyncio.sleep(0.01)
        caller.kill()
        await caller.wait()
        (batch,) = await client.list_batches()
        while batch.status is BatchStatus.RUNNING:
            await asyncio.sleep(0.1)
            batch = await client.get_batch(batch.id)
        assert (batch.status, batch.item_counts.succeeded) == (BatchStatus.SUCCEEDED, 60)
        assert await client.count_executions(ExecutionFilter(status="RUNNING")) == 0
    assert sorted(ledger.begun()) == list(range(60))
    assert ledger.width() <= WIDTH
