"""`worker`: takes over what a killed process left, resumes batches that no process runs, ends on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from typing import IO

import pytest

from statechain import Engine
from support.cli_project import CliProject

pytestmark = pytest.mark.slow  # starts and kills processes

WAITS = {
    "StartAt": "Pause",
    "States": {
        "Pause": {"Type": "Wait", "Seconds": 1, "Next": "Price"},
        "Price": {"Type": "Task", "Resource": "Price", "End": True},
    },
}


def read_until(stream: IO[str] | None, text: str) -> list[str]:
    """Return the lines up to the one that contains a string."""
    lines = []
    assert stream is not None
    for line in stream:
        lines.append(line.rstrip())
        if text in line:
            return lines
    raise AssertionError(lines)


def ended(process: subprocess.Popen[str]) -> str:
    """Send SIGTERM to a worker; return what else it said."""
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 0, told
    return told


def test_it_takes_over_what_a_killed_process_left(project: CliProject) -> None:
    project.write("waits.json", WAITS)
    arguments = ("--tasks", "handlers", "--name", "left", "--input", '{"quantity": 3}')
    with project.start("run", "waits.json", *arguments) as process:
        read_until(process.stderr, "started left")
        process.kill()
    assert project.shown("left")["status"] == "RUNNING"
    with project.start("worker", "--tasks", "handlers") as worker:
        read_until(worker.stderr, "left SUCCEEDED")
        assert "ending" in ended(worker)
    assert project.shown("left")["output"] == {"quantity": 3, "total": 6}


def test_what_outlasts_the_grace_is_handed_over(project: CliProject) -> None:
    with project.start("run", "hangs.json", "--tasks", "handlers", "--name", "endless") as process:
        read_until(process.stderr, "started endless")
        process.kill()
    with project.start("worker", "--tasks", "handlers", "--grace", "0") as worker:
        read_until(worker.stderr, "serving")
        assert "handed over" in ended(worker)
    assert project.shown("endless")["status"] == "RUNNING"


def test_it_finishes_a_batch_whose_process_is_gone(project: CliProject) -> None:
    for number in range(3):
        project.run(f"order-{number}", number + 1)
    project.write("waits.json", WAITS)
    project.write("noisy.py", "def started(source, index):\n    print('started', index, flush=True)\n")
    command = ("batch", "waits.json", "--tasks", "handlers", "--state-machine", "orders")
    with project.start(*command, "--on-execution-start", "noisy:started") as process:
        read_until(process.stdout, "started 0")
        process.kill()
    with project.start("worker", "--tasks", "handlers", "--batches", "waits", "--patience", "0.3") as worker:
        for _ in range(3):
            read_until(worker.stderr, "SUCCEEDED")
        ended(worker)
    (batch,) = [json.loads(line) for line in project.call("batches", "list", "--json").stdout.splitlines()]
    assert batch["item_counts"]["succeeded"] == 3


def test_a_worker_of_batches_of_a_missing_machine_ends_with_usage(project: CliProject) -> None:
    project.run("one")
    told = project.call("worker", "--tasks", "handlers", "--batches", "none", code=2).stderr
    assert "there is no state machine 'none'" in told


EACH = {
    "StartAt": "Each",
    "States": {
        "Each": {
            "Type": "Map",
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "Price",
                "States": {"Price": {"Type": "Task", "Resource": "Price", "End": True}},
            },
            "End": True,
        }
    },
}


async def _submit() -> str:
    """Leave an execution with a distributed Map to a worker; return its id."""
    async with Engine("sqlite:///statechain.db", role="client") as client:
        machine = await client.create_state_machine("each", EACH)
        return (await machine.start_execution([{"quantity": 1}, {"quantity": 2}], name="parent")).id


def test_it_shares_the_items_of_distributed_maps(project: CliProject) -> None:
    parent = asyncio.run(_submit())
    with project.start("worker", "--tasks", "handlers", "--map-runs", "shared") as worker:
        read_until(worker.stderr, "parent SUCCEEDED")
        ended(worker)
    assert [each["total"] for each in project.shown("parent")["output"]] == [2, 4]
    (run,) = [json.loads(line) for line in project.call("batches", "list", "--json").stdout.splitlines()]
    assert (run["parent_execution_id"], run["item_counts"]["succeeded"]) == (parent, 2)
