"""Every example runs as its reader would run it: alone, on SQLite, and on PostgreSQL by DATABASE_URL."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.forked import run_program

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTS = {
    "basic_batch": ["4 {'invoice': 'INV-0001', 'amount': 99.5, 'priority': 'normal'}"],
    "batch_chained_execution": [
        "1. five orders",
        "[4]",
        "sequential: all five, one after the other            5      0",
        "concurrent: all five, three at a time                5      0",
        "time range: the three most recent                    3      0",
        "transformed: two, with priority                      2      0",
        "INV-0005   339.75  high",
        "15 invoices have been chained",
    ],
    "data_pipeline": ["{'station': 'S2', 'mean': 276.15}"],
    "etl": ["SUCCEEDED loaded ['Ada', 'Alan', 'Edsger', 'Grace']"],
    "input_transformation": ["order 5 -> {'invoice': 'INV-0005', 'amount': 339.75, 'priority': 'high'}"],
    "notifications": [
        "to customer-2: your order comes to 49.00",
        "to the operator: order-of-a-sofa failed with KeyError",
    ],
    "order_processing": ["1 shipped {'price': 24.5, 'address': '1 Main Street'}", "2 on back order"],
    "progress_monitoring": [
        "[5] succeeded",
        "failed: order 99 has nothing to invoice",
        "batch summary: 5 succeeded, 1 failed",
    ],
    "report_generation": ["no report: A-3 has no bookings", "A-2: your balance of 2026-10 is 10.00"],
    "state_output": ["listed 377.50, sold for 339.75"],
    "stop_on_error": ["stopped: ValueError, order 99 has nothing to invoice", "[0] ABORTED", "[2] FAILED"],
    "time_range": ["5 invoices for the last hour's orders"],
}
SHARED = {"orders"}


@pytest.fixture(params=["sqlite", "postgresql"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """What an example finds around it: nothing for SQLite, DATABASE_URL for PostgreSQL."""
    found = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "STATECHAIN_URL"}}
    if request.param == "postgresql":
        found["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    return found


def run(name: str, folder: Path, environment: dict[str, str]) -> str:
    """Run an example in a folder; return what it printed."""
    done = run_program(EXAMPLES / f"{name}.py", folder, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_every_example_is_known() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(PRINTS) | SHARED


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_runs_and_prints_what_it_promises(name: str, tmp_path: Path, environment: dict[str, str]) -> None:
    printed = run(name, tmp_path, environment)
    for text in PRINTS[name]:
        assert text in printed
    assert (tmp_path / "orders.db").exists() == ("DATABASE_URL" not in environment)


def test_a_variable_that_is_empty_is_as_one_that_is_not_set(tmp_path: Path) -> None:
    # As a Compose file sets it by `DATABASE_URL: ${DATABASE_URL:-}`.
    run("basic_batch", tmp_path, {**os.environ, "DATABASE_URL": ""})
    assert (tmp_path / "orders.db").exists()


def test_the_batch_example_can_be_run_again(tmp_path: Path, environment: dict[str, str]) -> None:
    run("batch_chained_execution", tmp_path, environment)
    assert "30 invoices have been chained" in run("batch_chained_execution", tmp_path, environment)
