"""`worker --processes`: one parent keeps its worker processes running, and ends them together."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from statechain import Engine
from statechain.cli.processes import Restarts, WorkerProcesses
from support.cli_project import CliProject

pytestmark = pytest.mark.slow  # starts and kills processes

PIDS = {"StartAt": "Pid", "States": {"Pid": {"Type": "Task", "Resource": "Pid", "End": True}}}
HANDLERS = """
import asyncio, os
from statechain import TaskRegistry
tasks = TaskRegistry()

@tasks.register
async def Pid(value):
    await asyncio.sleep(0.05)
    return os.getpid()
"""
WORKER = ("worker", "--tasks", "pids", "--processes", "2", "--concurrency", "2", "--quiet")


def lines_until(stream: IO[str] | None, text: str, times: int = 1) -> list[str]:
    """Return the lines up to the one that holds a string for the last of some times."""
    lines = []
    assert stream is not None
    for line in stream:
        lines.append(line.rstrip())
        times -= text in line
        if times == 0:
            return lines
    raise AssertionError(lines)


async def pids(folder: Path, count: int) -> set[int]:
    """Have executions run by the workers; return the ids of the processes that ran them."""
    async with Engine(f"sqlite:///{folder / 'statechain.db'}", role="client") as client:
        machine = await client.create_state_machine("pids", PIDS)
        handles = [await machine.start_execution(number) for number in range(count)]
        async with asyncio.timeout(60):
            return {(await handle.wait()).output for handle in handles}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_end(found: set[int]) -> None:
    """Wait until processes that are no children of this one are gone."""
    while any(map(is_alive, found)):
        time.sleep(0.01)


@pytest.fixture
def workers(project: CliProject) -> CliProject:
    project.write("pids.py", HANDLERS)
    return project


def test_a_killed_child_is_replaced_and_sigterm_ends_all(workers: CliProject) -> None:
    with workers.start(*WORKER) as parent:
        lines_until(parent.stderr, "serving", 2)
        found = asyncio.run(pids(workers.folder, 40))
        assert len(found) == 2, "one process ran everything"
        assert parent.pid not in found
        killed = found.pop()
        os.kill(killed, signal.SIGKILL)
        lines = lines_until(parent.stderr, "serving")
        assert any(f"worker process {killed} was ended by SIGKILL; another is started in" in line for line in lines)
        after = asyncio.run(pids(workers.folder, 40))
        assert len(after - {killed}) == 2
        parent.send_signal(signal.SIGTERM)
        _, said = parent.communicate(timeout=60)
        assert (parent.returncode, said.count("ending")) == (0, 2), said
    assert not any(map(is_alive, after))


def test_children_do_not_outlive_a_parent_that_is_killed(workers: CliProject) -> None:
    with workers.start(*WORKER) as parent:
        lines_until(parent.stderr, "serving", 2)
        found = asyncio.run(pids(workers.folder, 40))
        parent.kill()
        lines_until(parent.stderr, "ending", 2)
    wait_for_end(found)


def test_ctrl_c_ends_all(workers: CliProject) -> None:
    with workers.start(*WORKER, start_new_session=True) as parent:
        lines_until(parent.stderr, "serving", 2)
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does, which asks the children, too
        parent.communicate(timeout=60)
        assert parent.returncode == 0


def test_what_a_dispatcher_lacks_is_said_once(workers: CliProject) -> None:
    said = workers.call(*WORKER, "--dispatcher", "procrastinate", code=2).stderr
    assert said.count("procrastinate needs PostgreSQL") == 1


FAST = Restarts(first_delay=0.01, most=3)


async def run(
    code: str, *, count: int = 2, grace: float = 5, until: Callable[[], bool] | None = None, **options: float
) -> int:
    """Run Python code in children; ask them to end once a condition holds."""
    stop = asyncio.Event()
    command = [sys.executable, "-c", code]
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(WorkerProcesses(command, count, grace=grace, restarts=FAST, **options).run(stop))
        if until is not None:
            while not until():  # noqa: ASYNC110 -- another process makes it true
                await asyncio.sleep(0.01)
            stop.set()
        return await running


async def test_children_that_keep_dying_end_all_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("raise SystemExit(3)") == 1
    said = capsys.readouterr().err
    assert "ended with code 3; another is started in" in said
    assert "3 deaths in a row are too many: all are ended" in said


async def test_a_child_that_dies_again_and_again_ends_those_in_order(tmp_path: Path) -> None:
    once = tmp_path / "once"
    code = f"""
import os, sys
try:
    os.mkdir({str(once)!r})
except FileExistsError:
    sys.exit(3)
sys.stdin.read()
"""
    assert await run(code) == 1


async def test_a_child_that_does_not_leave_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ready = tmp_path / "ready"
    code = f"""
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({str(ready)!r}).touch()
time.sleep(600)
"""
    assert await run(code, count=1, grace=0, until=ready.exists, margin=0.2) == 1
    assert "is killed: it did not leave within 200 ms" in capsys.readouterr().err


def test_a_worker_needs_a_system_with_signals(workers: CliProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert "workers need Linux or macOS" in workers.call(*WORKER, code=2).stderr


def test_the_option_of_children_is_hidden() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "statechain", "worker", "--help"], capture_output=True, text=True, check=True
    )
    assert "--processes" in done.stdout
    assert "--child" not in done.stdout
