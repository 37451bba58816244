"""The operators' commands: tasks that wait, statistics, a payload, the redrive of a batch, and the console's own."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, TaskError, TaskRegistry
from statechain.cli.app import cli

WAITS = {"StartAt": "Ask", "States": {"Ask": {"Type": "Task", "Resource": "ask.waitForTaskToken", "End": True,
         "Parameters": {"t.$": "$$.Task.Token"}}}}  # fmt: skip
WORKS = {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "work", "End": True}}}


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


@pytest.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the storage of an execution that waits, and of a batch of which a part failed."""
    monkeypatch.chdir(tmp_path)
    tasks = TaskRegistry()
    tasks.add("ask", lambda _value: None)

    @tasks.register("work")
    async def work(value: dict) -> dict:
        if value.get("fails"):
            raise TaskError("Broken")
        return value

    (tmp_path / "mended.py").write_text(
        "from statechain import TaskRegistry\ntasks = TaskRegistry()\ntasks.add('work', lambda value: value)\n"
    )
    url = f"sqlite:///{tmp_path}/test.db"
    with pytest.raises(RuntimeError, match="leave"):  # noqa: PT012 -- left by an exception, it goes on waiting
        async with Engine(url, tasks=tasks) as engine:
            source = await engine.create_state_machine(
                "source", {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
            )
            works = await engine.create_state_machine("works", WORKS)
            for number in range(4):
                await source.execute({"fails": number % 2 == 0}, name=f"source-{number}")
            await works.execute_batch(
                ExecutionFilter(state_machine_id=source.id), options=BatchExecutionOptions(name_prefix="part")
            )
            waits = await engine.create_state_machine("waits", WAITS)
            await waits.start_execution({}, name="asks")
            while not await engine.list_waiting_tasks():  # noqa: ASYNC110 -- the storage has no event to await
                await asyncio.sleep(0.001)
            raise RuntimeError("leave it waiting")
    return url


def test_a_task_that_waits_is_listed_and_answered(url: str) -> None:
    listed = run("tasks", "list", "--json", "--state-machine", "waits", "--state", "Ask", "--repository", url)
    (task,) = [json.loads(line) for line in listed.output.splitlines()]
    assert (task["execution_name"], task["state"], task["is_taken"]) == ("asks", "Ask", True)
    assert "token" not in listed.output
    for older, count in (("1h", 0), ("2999-01-01T00:00:00Z", 1)):
        old = run("tasks", "list", "--json", "--older-than", older, "--repository", url)
        assert len(old.output.splitlines()) == count
    assert "asks" in run("tasks", "list", "--repository", url).output
    assert run("tasks", "answer", "asks", "--state", "Nowhere", "--repository", url).exit_code == 2
    done = run("tasks", "answer", "asks", "--output", '{"ok": true}', "--repository", url)
    assert (done.exit_code, done.stderr) == (0, "asks: Ask was answered\n")
    assert "no task" in run("tasks", "fail", "asks", "--repository", url).stderr
    assert asyncio.run(recovered(url, "asks")) == {"ok": True}


def test_a_list_says_what_executions_wait_for(url: str) -> None:
    async def start_limited() -> None:
        async with Engine(url, role="client") as engine:
            machine = await engine.create_state_machine(
                "limited", {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}, max_concurrency=0
            )
            await machine.start_execution({}, name="queued")

    asyncio.run(start_limited())
    listed = run("list", "--status", "RUNNING", "--repository", url).output
    rows = {row[0]: row for row in (line.split("\t") for line in listed.splitlines())}
    assert rows["NAME"][4] == "WAITS FOR"
    assert rows["asks"][4] == "an answer to Ask"
    assert rows["queued"][4] == "a limit, or its turn"
    waits = run("list", "--text", "asks", "--json", "--repository", url).output
    assert json.loads(waits)["waits"] == {"reason": "answer", "about": "Ask", "until": None}
    assert "an answer to Ask" in run("show", "asks", "--repository", url).output
    assert "max_concurrency (0 at once" in run("show", "queued", "--repository", url).output


def test_a_task_that_waits_is_failed(url: str) -> None:
    done = run("tasks", "fail", "asks", "--error", "No", "--cause", "too large", "--repository", url)
    assert done.exit_code == 0, done.stderr
    assert run("tasks", "list", "--json", "--repository", url).output == ""


async def recovered(url: str, name: str) -> object:
    """Return the output of an execution, once another engine has finished it."""
    tasks = TaskRegistry()
    tasks.add("ask", lambda _value: None)
    async with Engine(url, tasks=tasks, wait_for="all") as engine:
        await engine.recover()
    async with Engine(url, role="reader") as engine:
        (found,) = await engine.list_executions(ExecutionFilter(text=name))
        return found.output


def test_statistics_count_by_status_in_parts_of_a_window(url: str) -> None:
    listed = run("statistics", "--since", "1h", "--intervals", "2", "--json", "--repository", url)
    first, second = [json.loads(line) for line in listed.output.splitlines()]
    assert sum(first["counts"].values()) == 0
    assert second["counts"] == {"RUNNING": 1, "SUCCEEDED": 6, "FAILED": 2, "TIMED_OUT": 0, "ABORTED": 0}
    assert second["durations"]["count"] == 8
    of_one = run("statistics", "--state-machine", "works", "--repository", url)
    assert of_one.output.splitlines()[1].split("\t")[1:7] == ["4", "0", "2", "2", "0", "0"]
    assert run("statistics", "--since", "2999-01-01T00:00:00Z", "--repository", url).exit_code == 2


def test_what_waits_for_a_worker_is_counted(url: str) -> None:
    async def submit() -> str:
        async with Engine(url, role="client") as client:
            machine = await client.create_state_machine("works", WORKS)
            await machine.start_execution({})
            chosen = ExecutionFilter(state_machine_id=machine.id, status="SUCCEEDED")
            return (await machine.start_batch(chosen, options=BatchExecutionOptions(concurrent_batches=2))).id

    batch = asyncio.run(submit())
    counted = json.loads(run("statistics", "--backlog", "--json", "--repository", url).output)
    assert (counted["shards"], counted["running_shards"]) == (1, 0)
    assert counted["executions"] >= 1
    table = run("statistics", "--backlog", "--repository", url).output.splitlines()
    assert table[0].split("\t") == ["WHAT", "COUNT"]
    assert table[2].split("\t") == ["shards without a worker", "1"]
    assert "shards" not in json.loads(run("batches", "show", batch, "--json", "--repository", url).output)


def test_a_text_is_looked_for_in_names_and_ids(url: str) -> None:
    assert run("list", "--text", "ource-", "--count", "--repository", url).output == "4\n"
    (line,) = run("list", "--text", "asks", "--json", "--repository", url).output.splitlines()
    assert run("list", "--text", json.loads(line)["id"], "--count", "--repository", url).output == "1\n"


def test_what_failed_of_a_batch_is_redriven(url: str) -> None:
    (line,) = run("batches", "list", "--json", "--repository", url).output.splitlines()
    id_ = json.loads(line)["id"]
    assert "--tasks" in run("batches", "redrive", id_, "--repository", url).stderr
    done = run("batches", "redrive", id_, "--tasks", "mended:tasks", "--repository", url)
    assert (done.exit_code, done.stderr) == (0, "2 executions redriven\n")


def test_the_console_needs_a_database_and_a_free_port(url: str, tmp_path: Path) -> None:
    missing = run("console", "--repository", f"sqlite:///{tmp_path}/none.db")
    assert missing.exit_code == 2
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = run("console", "--port", str(taken.getsockname()[1]), "--repository", url)
    assert refused.exit_code == 2
    assert "cannot be listened on" in refused.stderr
