"""The dispatcher over Ray: actors with engines run a batch, and one of them dies."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("ray")

from statechain import BatchExecutionOptions, BatchStatus, Engine, ExecutionFilter
from statechain.dispatchers import open_dispatcher
from statechain.dispatchers.ray import RayDispatcher
from support.ray.cluster import ray_cluster

PASS = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}
TESTS = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
async def test_actors_run_a_batch_and_one_of_them_dies(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ray.db'}"
    once = tmp_path / "killed"
    environment = {"PYTHONPATH": str(TESTS), "STORAGE_URL": url, "KILL_ONCE": str(once)}
    async with ray_cluster(environment):
        dispatcher = RayDispatcher("support.ray.app:make_engine", actors=2, slots=4)
        async with Engine(url) as engine:
            sources = await engine.create_state_machine("sources", PASS)
            for number in range(30):
                await sources.execute(number)
        async with Engine(url, role="client", dispatcher=dispatcher) as client:
            dispatcher.report_death = client.report_death
            machine = await client.create_state_machine("target", CALL)
            options = BatchExecutionOptions(mode="DISTRIBUTED", concurrent_batches=9, shard_size=4)
            found = ExecutionFilter(state_machine_id=sources.id, order="oldest_first")
            handle = await machine.start_batch(found, options=options)
            async with asyncio.timeout(60):
                batch = await handle.wait()
            assert (batch.status, batch.item_counts.succeeded) == (BatchStatus.SUCCEEDED, 30)
            outputs = [result.output async for result in handle.results()]
            assert {*outputs} == {2 * number for number in range(30)}
        assert once.is_dir(), "no actor died"


def test_the_command_line_says_how_it_is_used() -> None:
    with pytest.raises(ValueError, match=r"actors, and needs more than a URL: make RayDispatcher\('app:make_engine'"):
        open_dispatcher("ray", "memory://")
