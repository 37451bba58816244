"""Engines in forked processes and in several threads, and workers that are killed for their memory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from statechain import Engine, ExecutionFilter
from support.faults.workers.forking import PASS, answer, tasks_of
from support.programs import command

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not hasattr(os, "fork") or not Path("/proc/self").exists(), reason="this needs Linux"),
]


def program(name: str, *arguments: str) -> list[str]:
    """Return the command of a forking program; Python warns of forks beside threads, which are meant here."""
    python, *rest = command("support.faults.workers.forking", name, *arguments)
    return [python, "-W", "ignore::DeprecationWarning", *rest]


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(program(name, *arguments), capture_output=True, text=True, timeout=120, check=False)


async def all_succeed(url: str, count: int) -> None:
    """Take over what is left, and find that everything has succeeded."""
    async with asyncio.timeout(60), Engine(url, tasks=tasks_of(answer), lease=1) as engine:
        while await engine.count_executions(ExecutionFilter(status="RUNNING")):
            await engine.recover()
            await asyncio.sleep(0.05)
        assert await engine.count_executions(ExecutionFilter(status="SUCCEEDED")) == count


def test_an_engine_that_was_made_before_a_fork_runs_in_each_child(durable_url: str) -> None:
    outcome = run("fork_before_start", durable_url)
    *workers, last = outcome.stdout.splitlines()
    assert last == "ended [0, 0]", outcome.stderr
    assert len(set(workers)) == 2
    asyncio.run(all_succeed(durable_url, 20))


def test_a_child_that_is_forked_while_an_engine_runs_disturbs_nothing(durable_url: str) -> None:
    outcome = run("fork_under_way", durable_url)
    assert outcome.stdout == "well\n", outcome.stderr
    asyncio.run(all_succeed(durable_url, 61))


def test_a_worker_that_is_killed_is_taken_over_although_a_child_of_it_lives(sqlite_url: str) -> None:
    process = subprocess.Popen(
        program("leave_a_child", sqlite_url),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert process.wait(60) == -signal.SIGKILL
        asyncio.run(all_succeed(sqlite_url, 1))
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_a_worker_that_is_killed_for_its_memory_is_taken_over(durable_url: str) -> None:
    outcome = run("take_memory", durable_url, str(300 << 20))
    assert outcome.returncode == -signal.SIGKILL, outcome.stderr
    asyncio.run(all_succeed(durable_url, 1))


def test_a_handler_that_meets_the_bound_of_memory_fails_alone(durable_url: str) -> None:
    outcome = run("bound_memory", durable_url, str(300 << 20))
    expected = ["FAILED", "SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "SUCCEEDED"]
    assert outcome.stdout == f"ended {expected} MemoryError\n", outcome.stderr


def test_several_threads_have_an_engine_each(durable_url: str) -> None:
    errors: list[BaseException] = []

    async def execute(thread: int) -> None:
        async with Engine(durable_url, tasks=tasks_of(answer)) as engine:
            machine = await engine.create_state_machine("threads", PASS)
            ended = await asyncio.gather(*(machine.execute([thread, number]) for number in range(20)))
            assert [each.output for each in ended] == [[thread, number] for number in range(20)]

    def work(thread: int) -> None:
        try:
            asyncio.run(execute(thread))
        except BaseException as error:  # noqa: BLE001 -- it is raised where it can be seen
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors
    asyncio.run(all_succeed(durable_url, 80))
