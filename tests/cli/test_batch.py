"""`batch` and `batches`: what is chosen, what is printed, how it is stopped and resumed."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from statechain import Engine
from support.cli_project import CliProject, rows

CHAIN = ("batch", "bills.json", "--tasks", "handlers", "--state-machine", "orders", "--order", "oldest_first")


def dump(database: Path) -> list[str]:
    """Return everything that a database holds, as SQL."""
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


@pytest.fixture
def orders(project: CliProject) -> CliProject:
    """Return a project with four orders, of which the third is never paid."""
    for number in range(1, 5):
        project.run(f"order-{number}", number)
    return project


def test_each_result_is_a_json_line_and_failures_are_told(orders: CliProject) -> None:
    result = orders.call(*CHAIN, "--json", code=1)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["output"] for line in lines] == [{"paid": 2}, {"paid": 4}, None, {"paid": 8}]
    assert [line["error"] for line in lines] == [None, None, "ValueError", None]
    assert "bills: 4/4, 1 failed" in result.stderr
    assert "FAILED: ValueError: nobody pays" in result.stderr


def test_all_that_succeeded_leave_with_0(orders: CliProject) -> None:
    orders.call(*CHAIN, "--limit", "2", "--concurrent-batches", "2")
    orders.call(*CHAIN, "--name", "order-4")


def test_a_prefix_makes_a_second_run_finish_what_is_missing(orders: CliProject) -> None:
    orders.call(*CHAIN, "--name-prefix", "bill", "--limit", "2")
    orders.call(*CHAIN, "--name-prefix", "bill", code=1)
    bills = orders.call("list", "--state-machine", "bills", "--json").stdout.splitlines()
    assert len(bills) == 4


def test_what_is_chained_already_can_be_left_out(orders: CliProject) -> None:
    orders.call(*CHAIN, code=1)
    left = orders.call(*CHAIN, "--unchained-to", "bills", "--dry-run")
    assert left.stderr == "1 execution of bills would be started\n"


def test_a_dry_run_writes_nothing(orders: CliProject) -> None:
    database = orders.folder / "statechain.db"
    before = dump(database)
    for more in ([], ["--unchained-to", "bills"]):  # which the batch itself would create
        assert orders.call(*CHAIN, "--dry-run", *more).stderr == "4 executions of bills would be started\n"
    assert dump(database) == before


def test_a_dry_run_refuses_what_the_batch_would_refuse(orders: CliProject) -> None:
    command = ["batch", "bills.json", "--dry-run"]
    assert "no handler is registered for 'Bill'" in orders.call(*command, code=2).stderr
    assert "there is no file" in orders.call("batch", "bill.json", "--dry-run", code=2).stderr
    assert "there is no state machine 'bill'" in orders.call("batch", "bill", "--dry-run", code=2).stderr


def test_an_input_transformer_and_callbacks_of_the_user(orders: CliProject) -> None:
    hooks = ("--input-transformer", "handlers:double", "--on-execution-start", "handlers:on_start")
    result = orders.call(*CHAIN, *hooks, "--json")
    outputs = [json.loads(line)["output"] for line in result.stdout.splitlines()]
    assert outputs == [{"paid": 20}, {"paid": 40}, {"paid": 60}, {"paid": 80}]
    assert sys.modules["handlers"].seen == [0, 1, 2, 3]


def test_a_named_transformer_is_found_again_when_the_batch_is_resumed(orders: CliProject) -> None:
    handlers = (orders.folder / "handlers.py").read_text()
    tenfold = 'def tenfold(order):\n    return {**order, "total": order["total"] * 10}\n'
    orders.write("named.py", f'{handlers}\n\n@tasks.transformer("Tenfold")\n{tenfold}')
    chain = tuple("named" if each == "handlers" else each for each in CHAIN)
    result = orders.call(*chain, "--mode", "distributed", "--input-transformer", "Tenfold", "--json")
    assert sorted(json.loads(line)["output"]["paid"] for line in result.stdout.splitlines()) == [20, 40, 60, 80]
    (batch,) = rows(orders.call("batches", "list").stdout)
    assert "input transformer Tenfold" in orders.call("batches", "show", batch["ID"]).stdout
    orders.call("batches", "resume", batch["ID"], "--tasks", "named")
    assert json.loads(orders.call("batches", "show", batch["ID"], "--json").stdout)["options"]["mode"] == "DISTRIBUTED"
    told = orders.call("batches", "resume", batch["ID"], "--tasks", "handlers", code=2).stderr
    assert "no input_transformer is registered under the name 'Tenfold'" in told


def test_the_output_of_a_state_is_chained(orders: CliProject) -> None:
    result = orders.call(*CHAIN, "--source-state", "Price", "--limit", "1", "--json")
    assert json.loads(result.stdout)["output"] == {"paid": 2}


def test_the_first_failure_stops_where_that_is_asked_for(orders: CliProject) -> None:
    result = orders.call(*CHAIN, "--stop-on-error", "--json", code=1)
    assert len(result.stdout.splitlines()) == 3
    assert "more failures than are tolerated" in result.stderr
    for name in ("--continue-on-error", "--go-on-after-errors"):  # the second is the old one
        assert len(orders.call(*CHAIN, name, "--json", code=1).stdout.splitlines()) == 4
    orders.call(*CHAIN, "--tolerated-failure-count", "1", "--tolerated-failure-percentage", "50", code=1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--start-after", "1h", "--start-before", "2h"), "start_after must be earlier"),
        (("--start-after", "2026-01-01T00:00:00"), "has no timezone: write 2026-01-01T00:00:00Z"),
        (("--start-after", "soon"), "neither a time"),
        (("--status", "DONE"), "Invalid value for '--status'"),
        (("--concurrent-batches", "-1"), "Invalid value for '--concurrent-batches'"),
        (("--unchained-state", "Bill"), "--unchained-state needs --unchained-to"),
        (("--unchained-to", "letters"), "there is no state machine 'letters'; stored are: bills, orders"),
    ],
)
def test_what_is_not_legal_is_a_usage_error(orders: CliProject, options: tuple[str, ...], told: str) -> None:
    assert told in orders.call(*CHAIN, *options, code=2).stderr


def test_stored_batches_are_listed_and_shown(orders: CliProject) -> None:
    orders.call(*CHAIN, "--name-prefix", "bill", code=1)
    (row,) = rows(orders.call("batches", "list").stdout)
    assert (row["MACHINE"], row["PREFIX"], row["STATUS"]) == ("bills", "bill", "SUCCEEDED")
    assert (row["TOTAL"], row["OK"], row["FAILED"], row["LEFT"]) == ("4", "3", "1", "0")
    shown = json.loads(orders.call("batches", "show", row["ID"], "--json").stdout)
    assert shown["item_counts"]["succeeded"] == 3
    assert "3 succeeded" in orders.call("batches", "show", row["ID"]).stdout
    assert orders.call("batches", "list", "--status", "running", "--json").stdout == ""
    assert "there is no batch 'x'" in orders.call("batches", "show", "x", code=2).stderr


def test_what_failed_is_redriven_when_the_batch_is_resumed(orders: CliProject) -> None:
    orders.call(*CHAIN, "--name-prefix", "bill", code=1)
    (row,) = rows(orders.call("batches", "list").stdout)
    orders.call("batches", "resume", row["ID"], "--tasks", "handlers", code=1)
    orders.write("mended.py", (orders.folder / "handlers.py").read_text().replace("[6]", "[]"))
    told = orders.call("batches", "resume", row["ID"], "--tasks", "mended", "--redrive-failed").stderr
    assert "batch bill: 4/4" in told


@pytest.mark.slow
def test_ctrl_c_aborts_what_runs_and_tells_how_to_go_on(orders: CliProject) -> None:
    command = ("batch", "hangs.json", "--tasks", "handlers", "--state-machine", "orders", "--concurrent-batches", "2")
    orders.write("noisy.py", "def started(source, index):\n    print('started', index, flush=True)\n")
    with orders.start(*command, "--on-execution-start", "noisy:started") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started 0\n"
        assert process.stdout.readline() == "started 1\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert "2 aborted, 2 not started" in told
    resume = next(line.split() for line in told.splitlines() if line.startswith("  statechain batches resume"))
    handlers = (orders.folder / "handlers.py").read_text()
    orders.write("mended.py", handlers.replace("await asyncio.Event().wait()", "return order"))
    orders.call(*resume[1:-1], "mended")
    assert orders.call("list", "--state-machine", "hangs", "--status", "SUCCEEDED", "--count").stdout == "4\n"


def test_a_batch_is_stopped(orders: CliProject) -> None:
    orders.call(*CHAIN, "--name-prefix", "bill", code=1)
    (row,) = rows(orders.call("batches", "list").stdout)
    assert "SUCCEEDED" in orders.call("batches", "stop", row["ID"]).stderr  # it had ended


EACH = {
    "StartAt": "Each",
    "States": {
        "Each": {
            "Type": "Map",
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
                "StartAt": "Same",
                "States": {"Same": {"Type": "Pass", "End": True}},
            },
            "End": True,
        }
    },
}


async def _share() -> str:
    """Run a distributed Map whose items are executions; return its execution's id."""
    async with Engine("sqlite:///statechain.db", map_runs="shared") as engine:
        machine = await engine.create_state_machine("each", EACH)
        return (await machine.execute([1, 2, 3])).id


def test_the_map_runs_of_an_execution_are_listed_and_shown(orders: CliProject) -> None:
    execution = asyncio.run(_share())
    (run,) = rows(orders.call("batches", "list", "--execution", execution).stdout)
    assert (run["MACHINE"], run["STATUS"], run["OK"]) == ("each/Each", "SUCCEEDED", "3")
    shown = orders.call("batches", "show", run["ID"]).stdout
    assert f"execution {execution}" in shown
    stored = json.loads(orders.call("batches", "show", run["ID"], "--json").stdout)
    assert stored["parent_execution_id"] == execution
    assert rows(orders.call("batches", "list", "--execution", "no-execution").stdout) == []
