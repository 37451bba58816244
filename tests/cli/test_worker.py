"""`worker`: takes over what a killed process left, resumes batches that stand still, ends on SIGTERM."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import IO

import pytest

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
    """Tell a worker to end; return what else it said."""
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
