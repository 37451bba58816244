"""`list`, `show`, `history`, `stop`, and where the storage is."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sqlite3
import time
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from statechain import Engine, ExecutionFilter, open_repository
from statechain.storage.repository import ReleaseExecution, StartExecution
from statechain.testing.contract.samples import execution
from support.cli_project import CliProject, rows


def test_a_pipe_gets_lines_with_tabs_that_are_never_cut(project: CliProject) -> None:
    project.run("a" * 80)
    project.run("b\\t")
    found = rows(project.call("list", "--order", "oldest_first").stdout)
    assert [row["NAME"] for row in found] == ["a" * 80, "b\\t"]
    assert found[0]["STARTED"].endswith("Z")
    assert {row["STATUS"] for row in found} == {"SUCCEEDED"}


def test_executions_are_chosen_by_every_field(project: CliProject) -> None:
    project.run("one")
    project.call("run", "orders.json", "--tasks", "handlers", "--name", "two", "--input", '{"refuse": 1}', code=1)

    def names(*options: str) -> list[str]:
        return [json.loads(line)["name"] for line in project.call("list", *options, "--json").stdout.splitlines()]

    assert names() == ["two", "one"]
    assert names("--status", "failed", "--status", "aborted") == ["two"]
    assert names("--name", "n") == ["one"]
    assert names("--current-state", "Price") == ["two"]
    assert names("--limit", "1", "--offset", "1") == ["one"]
    assert names("--start-before", "1h") == []
    assert names("--start-after", "1h", "--state-machine", "orders", "--order", "oldest_first") == ["one", "two"]
    assert project.call("list", "--status", "SUCCEEDED", "--count").stdout == "1\n"


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="no time zones of a process")
def test_the_time_that_show_gives_is_taken_by_a_list(project: CliProject, monkeypatch: pytest.MonkeyPatch) -> None:
    project.run("one")
    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        shown = project.call("show", "one").stdout
        refused = project.call("list", "--start-after", "2026-01-01 12:00", code=2).stderr
    time.tzset()
    started = re.search(r"started +(\S+ \S+[+]09:00), took", shown)
    assert started is not None
    assert "2026-01-01T12:00:00Z for UTC, or 2026-01-01T12:00:00+09:00 for the time here" in " ".join(refused.split())
    for option, count in (("--start-after", "1\n"), ("--start-before", "0\n")):
        assert project.call("list", option, started[1], "--count").stdout == count


def test_a_list_that_is_cut_says_so(project: CliProject) -> None:
    project.run("one")
    asyncio.run(_start_many(f"sqlite:///{project.folder}/statechain.db", 99))
    assert len(rows(project.call("list").stdout)) == 100
    assert project.call("list").stderr == ""
    project.run("two")
    result = project.call("list")
    names = [row["NAME"] for row in rows(result.stdout)]
    assert len(names) == 100
    assert names[:2] == ["two", "one"]
    assert "order-0" not in names  # the oldest
    assert "the first 100" in result.stderr
    assert len(rows(project.call("list", "--limit", "200").stdout)) == 101


async def _start_many(url: str, count: int) -> None:
    async with open_repository(url) as repository:
        orders = await repository.state_machine("orders")
        assert orders is not None
        made = [execution(name=f"order-{number}", state_machine_id=orders.id) for number in range(count)]
        await repository.commit([StartExecution(execution=each, owner="worker") for each in made])


def test_suspects_are_listed_with_their_deaths_and_what_comes_next(project: CliProject) -> None:
    project.run("well")
    asyncio.run(_leave_a_suspect(f"sqlite:///{project.folder}/statechain.db"))
    (row,) = rows(project.call("list", "--suspect").stdout)
    assert (row["NAME"], row["MACHINE"], row["DEATHS"]) == ("poison", "orders", "3")
    assert row["NEXT"].startswith("in ")
    (described,) = map(json.loads, project.call("list", "--suspect", "--json").stdout.splitlines())
    assert (described["name"], described["deaths"]) == ("poison", 3)
    assert project.call("list", "--suspect", "--count").stdout == "1\n"


async def _leave_a_suspect(url: str) -> None:
    async with open_repository(url) as repository:
        orders = await repository.state_machine("orders")
        assert orders is not None
        made = execution(name="poison", state_machine_id=orders.id)
        await repository.commit([StartExecution(execution=made, owner="worker")])
        backoff = timedelta(minutes=5)
        await repository.commit([ReleaseExecution(execution_id=made.id, epoch=1, claims=3, backoff=backoff)])


def test_an_execution_is_shown_with_its_visits(project: CliProject) -> None:
    project.call("run", "orders.json", "--tasks", "handlers", "--name", "one", "--input", '{"refuse": 1}', code=1)
    shown = project.call("show", "one").stdout
    assert "FAILED in Price" in shown
    assert "Order.Refused: [not] for sale" in shown
    (visit,) = project.shown("one")["visits"]
    assert (visit["state"], visit["error"], visit["retries"]) == ("Price", "Order.Refused", 0)


def test_an_execution_is_found_by_id_by_name_or_by_machine_and_name(project: CliProject) -> None:
    project.run("one")
    ident = project.shown("one")["id"]
    assert project.shown(ident)["name"] == project.shown("orders/one")["name"] == "one"
    project.call("run", "bills.json", "--tasks", "handlers", "--name", "one", "--input", '{"total": 1}')
    assert "bills/one, orders/one" in project.call("show", "one", code=2).stderr
    assert "there is no execution with the id or name 'none'" in project.call("show", "none", code=2).stderr


def test_history_is_that_of_aws(project: CliProject) -> None:
    project.run("one")
    events = json.loads(project.call("history", "one", "--json").stdout)["events"]
    assert [event["type"] for event in events][:3] == ["ExecutionStarted", "TaskStateEntered", "TaskScheduled"]
    lines = rows(project.call("history", "one", "--reverse").stdout)
    assert [line["TYPE"] for line in lines] == [event["type"] for event in reversed(events)]


def test_a_history_is_shown_in_pages(project: CliProject) -> None:
    project.run("one")
    events = json.loads(project.call("history", "one", "--json").stdout)["events"]
    page = json.loads(project.call("history", "one", "--json", "--after", "2", "--limit", "3").stdout)["events"]
    assert page == events[2:5]
    last = rows(project.call("history", "one", "--reverse", "--limit", "2").stdout)
    assert [int(line["#"]) for line in last] == [len(events), len(events) - 1]
    assert json.loads(project.call("history", "one", "--json", "--limit", "0").stdout) == {"events": []}
    assert project.call("history", "one", "--json").stdout == json.dumps({"events": events}, indent=2) + "\n"


@pytest.mark.slow
def test_one_that_runs_elsewhere_is_stopped(project: CliProject) -> None:
    with project.start("run", "hangs.json", "--tasks", "handlers", "--name", "endless") as process:
        assert process.stderr is not None
        process.stderr.readline()
        assert project.call("stop", "endless", "--error", "Enough", "--cause", "no more").stderr == "endless ABORTED\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    shown = project.shown("endless")
    assert (shown["status"], shown["error"], shown["cause"]) == ("ABORTED", "Enough", "no more")
    assert "it had ended before" in project.call("stop", "endless").stderr


def test_the_name_of_what_is_stopped_is_printed_as_it_is(project: CliProject) -> None:
    project.run("one[red]")
    assert project.call("stop", "one[red]").stderr.startswith("one[red] SUCCEEDED")


def test_looking_makes_no_database(project: CliProject) -> None:
    told = project.call("list", code=2).stderr
    assert "there is no database statechain.db yet" in told
    assert list(project.folder.glob("*.db*")) == []


def test_the_storage_is_named_by_an_option_or_the_environment(
    project: CliProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run("one")
    assert (project.folder / "statechain.db").exists()
    monkeypatch.setenv("DATABASE_URL", "sqlite:///third.db")
    assert "third.db" in project.call("list", code=2).stderr
    monkeypatch.setenv("STATECHAIN_URL", "sqlite:///second.db")
    assert "second.db" in project.call("list", code=2).stderr
    assert len(rows(project.call("list", "--repository", "sqlite:///statechain.db").stdout)) == 1
    assert len(rows(project.call("--repository", "sqlite:///statechain.db", "list").stdout)) == 1


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://root:pass%20word9@localhost/x", "no storage backend is known for mysql://"),
        ("nothing", "a storage URL starts with its scheme"),
        ("postgresql://me:pass%20word9@127.0.0.1:1/x", "PostgreSQL"),
    ],
)
def test_a_storage_that_is_not_there_is_told_without_its_password(project: CliProject, url: str, told: str) -> None:
    result = project.call("list", "--repository", url, code=2)
    assert told in result.stderr
    assert "word9" not in result.output


WAITS = {"StartAt": "Rest", "States": {"Rest": {"Type": "Wait", "Seconds": 3600, "End": True}}}
READING = [
    ("list",),
    ("show", "left"),
    ("history", "left"),
    ("graph", "waits"),
    ("graph", "--execution", "left"),
    ("batches", "list"),
    ("batches", "show", "BATCH"),
]


async def _leave_running() -> str:
    """Leave an execution RUNNING that no worker owns, and a batch; return the batch's id."""
    engine = Engine("sqlite:///statechain.db")
    with suppress(ZeroDivisionError):
        async with engine:
            machine = await engine.create_state_machine("waits", WAITS)
            await machine.execute_batch(ExecutionFilter(limit=0))
            await machine.start_execution(name="left")
            raise ZeroDivisionError
    async with Engine("sqlite:///statechain.db", role="reader") as reader:
        (batch,) = await reader.list_batches()
        return batch.id


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_command_that_only_reads_writes_nothing(project: CliProject, command: tuple[str, ...]) -> None:
    """No lease, no claim: what another connection sees of the database is the same."""
    batch = asyncio.run(_leave_running())
    with closing(sqlite3.connect("statechain.db")) as watching:
        version = watching.execute("PRAGMA data_version").fetchone()
        project.call(*(batch if word == "BATCH" else word for word in command))
        assert watching.execute("PRAGMA data_version").fetchone() == version
    assert not list(Path("statechain.db-workers").glob("*"))
    assert project.shown("left")["status"] == "RUNNING"
