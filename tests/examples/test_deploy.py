"""The files of examples/deploy: what they name exists, their commands are right, and KEDA's query counts the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, TaskRegistry
from statechain.cli.commands.worker import worker

EXAMPLES = Path(__file__).parents[2] / "examples"
DEPLOY = EXAMPLES / "deploy"
SETS = {"Deployment", "StatefulSet"}
PASS = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
ASK = {
    "StartAt": "Ask",
    "States": {"Ask": {"Type": "Task", "Resource": "ask.waitForTaskToken", "End": True}},
}


def documents(name: str) -> list[Any]:
    """Return the documents of a YAML file."""
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def manifests() -> dict[tuple[str, str], Any]:
    """Return what the Kubernetes files define, by kind and name."""
    found = [*documents("kubernetes.yaml"), *documents("keda.yaml")]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def check_worker(arguments: list[str], grace: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the command read its arguments, and compare the time that it is given to leave."""
    monkeypatch.setattr(sys, "path", [str(EXAMPLES / "service"), *sys.path])
    options = worker.make_context("worker", [*arguments]).params
    assert isinstance(options["tasks"], TaskRegistry)
    assert grace > options["grace"] + 15


def test_compose_names_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    (compose,) = documents("compose.yaml")
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in compose["volumes"]
    check_worker(services["worker"]["command"], float(services["worker"]["stop_grace_period"][:-1]), monkeypatch)
    assert services["web"]["entrypoint"][:2] == ["uvicorn", "app:app"]
    assert services["web"]["environment"]["ROLE"] == "client"
    url = services["worker"]["environment"]["DATABASE_URL"]
    assert url == services["web"]["environment"]["DATABASE_URL"]
    assert "@postgres:5432/shop" in url


def test_kubernetes_selects_what_it_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = manifests()
    pods = {
        name: each["spec"]["template"] for (kind, name), each in made.items() if kind in {"Deployment", "StatefulSet"}
    }
    for (kind, name), each in made.items():
        if kind in {"Deployment", "StatefulSet"}:
            assert each["spec"]["selector"]["matchLabels"] == pods[name]["metadata"]["labels"]
        elif kind == "Service":
            assert each["spec"]["selector"] in [pod["metadata"]["labels"] for pod in pods.values()]
    running = pods["shop-worker"]["spec"]
    check_worker(running["containers"][0]["args"], running["terminationGracePeriodSeconds"], monkeypatch)
    scaled = made["ScaledObject", "shop-worker"]["spec"]
    assert ("Deployment", scaled["scaleTargetRef"]["name"]) in made
    assert all(("TriggerAuthentication", each["authenticationRef"]["name"]) in made for each in scaled["triggers"])


async def test_keda_counts_the_workers_that_are_needed(postgres_url: str) -> None:
    query = manifests()["ScaledObject", "shop-worker"]["spec"]["triggers"][0]["metadata"]["query"]

    async def needed() -> int:
        connection = await asyncpg.connect(postgres_url)
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    async def ask(_value: object) -> None:
        asked.append(1)

    asked: list[int] = []
    tasks = TaskRegistry()
    tasks.add("ask", ask)
    async with Engine(postgres_url, role="client") as client:
        assert await needed() == 0
        machine = await client.create_state_machine("echo", PASS)
        handles = [await machine.start_execution(number) for number in range(51)]
        assert await needed() == 2
        async with Engine(postgres_url, tasks=tasks):
            for handle in handles:
                await handle.wait()
            assert await needed() == 0
            await (await client.create_state_machine("ask", ASK)).start_execution(1)
            while await needed() or not asked:  # it waits for its answer, and needs no worker for that
                pass
        chosen = ExecutionFilter(state_machine_id=machine.id)
        batch = await machine.start_batch(chosen, options=BatchExecutionOptions(concurrent_batches=9, shard_size=3))
        assert await needed() == 1, "a batch that is not cut yet needs a worker"
        shard = await client.repository.claim_shard(batch.id, "worker", running=(), at=client.clock.now())
        assert shard is not None
        assert await needed() == 3, "17 shards, of which 8 fill a worker"
        await batch.stop()
        assert await needed() == 0
        limited = await client.create_state_machine("limited", PASS, max_concurrency=0)
        for number in range(3):
            await limited.start_execution(number)
        assert await needed() == 0, "nothing of a machine that is paused may run"
        await client.set_machine_limits("limited", max_concurrency=2)
        assert await needed() == 1
