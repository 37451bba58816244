"""Every benchmark runs, at a size that measures nothing: what it prints is right in shape. No time is asserted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from support.forked import run_program
from support.postgres import Postgres

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = BENCHMARKS / "results"
TINY = {
    "batches": ["--sources=12", "--concurrency=3", "--steps=2"],
    "claims": ["--running=40", "--page=5", "--claims=3", "--looks=3"],
    "commits": ["--commits=20"],
    "console": ["--executions=600", "--events=90", "--waiting=20", "--only=events"],
    "executions": ["--executions=12", "--concurrency=1,4", "--steps=2"],
    "floor": ["--executions=12", "--concurrency=1,4", "--steps=2"],
    "inflight": ["--executions=100"],
    "large_batch": ["--sources=30"],
    "scale": ["--sources=12", "--starts=2", "--workers=1,2"],
}
MAY_BE_ZERO = {"bytes each", "server us", "workers us", "least share"}
"""Figures of so few executions that the system counts none: processor time comes in ticks of 10 ms."""

FRESH = {"costs", "inflight"}
"""Benchmarks of a process's memory, and of where its time goes: a fork begins with what its parent had."""

ROWS: dict[str, list[dict[str, Any]]] = {
    "batches": [{"sources": 12, "concurrency": 3}],
    "claims": [{"RUNNING": 40, "what": "an idle look"}, {"RUNNING": 60}, *({"RUNNING": 80} for _ in range(4))],
    "commits": [{"commits": 20}],
    "console": [
        {"page": f"{name}, events{part}"}
        for name in ("fanned", "looped", "redriven")
        for part in ("", ", in the middle", ", last first")
    ],
    "executions": [{"concurrency": c, "executions": 12} for c in (1, 4)],
    "floor": [{"concurrency": c, "executions": 12} for c in (1, 4)],
    "large_batch": [{"sources": 30}],
    "scale": [
        {"what": "shards", "processes": 1},
        {"what": "shards", "processes": 2},
        {"what": "one process", "processes": 1},
        {"what": "resumed by both", "processes": 2},
        {"what": "same name_prefix", "processes": 2},
    ],
    "inflight": [{"waiting for": name, "executions": 100} for name in ("Wait", "Callback", "Handler")],
}


def run(name: str, *arguments: object) -> str:
    """Run a benchmark; return what it printed."""
    program, given = BENCHMARKS / f"{name}.py", [*map(str, arguments)]
    if name in FRESH:
        command = [sys.executable, str(program), *given]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    else:
        done = run_program(program, BENCHMARKS, *given, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


def result_of(name: str, *arguments: object) -> dict[str, Any]:
    """Run a benchmark; return its JSON, which is the last line that it printed."""
    told: dict[str, Any] = json.loads(run(name, "--json", *arguments).splitlines()[-1])
    return told


def check(name: str, url: str) -> None:
    told = result_of(name, "--rounds=1", *TINY[name], f"--url={url}")
    assert told["settings"]["rounds"] == 1
    assert "password" not in told["settings"]["storage"]
    assert [{key: row[key] for key in shape} for row, shape in zip(told["rows"], ROWS[name], strict=True)] == ROWS[name]
    for row in told["rows"]:
        figures = {key: value for key, value in row.items() if not isinstance(value, str)}
        assert all(value > 0 for key, value in figures.items() if key not in MAY_BE_ZERO), figures


@pytest.mark.parametrize("name", ["batches", "executions"])
def test_a_benchmark_of_the_engine_measures_any_storage(name: str, repository_url: str) -> None:
    check(name, repository_url)


def test_what_is_in_flight_is_measured(sqlite_url: str) -> None:
    check("inflight", sqlite_url)


def test_claims_are_measured_on_both(sqlite_url: str, postgres_url: str) -> None:
    check("claims", sqlite_url)
    check("claims", postgres_url)


def test_a_large_batch_is_measured_on_both(sqlite_url: str, postgres_url: str) -> None:
    check("large_batch", sqlite_url)
    check("large_batch", postgres_url)


def test_pages_of_the_console_are_measured_on_both(sqlite_url: str, postgres_url: str) -> None:
    check("console", sqlite_url)
    check("console", postgres_url)


def test_workers_that_share_a_batch_are_measured(postgres_url: str) -> None:
    check("scale", postgres_url)


@pytest.mark.parametrize("name", ["commits", "floor"])
def test_a_benchmark_of_drivers_measures_both(name: str, sqlite_url: str, postgres_url: str) -> None:
    check(name, sqlite_url)
    check(name, postgres_url)


def test_where_processor_time_goes_adds_up(sqlite_url: str) -> None:
    # Enough for some hundred samples: each part is then surely among them.
    told = result_of("costs", "--executions=1500", "--concurrency=10", "--functions=0", f"--url={sqlite_url}")
    whole, *parts = told["rows"]
    assert whole["where"] == "all"
    assert {"statechain.execution", "asyncio", "other threads"} <= {part["where"] for part in parts}
    assert sum(part["us each"] for part in parts) == pytest.approx(whole["us each"], rel=0.05)


@pytest.mark.parametrize("name", ["executions", "floor"])
def test_without_a_url_it_is_a_table_of_sqlite(name: str) -> None:
    settings, _, head, *lines = run(name, "--rounds=1", *TINY[name]).splitlines()
    assert settings.startswith("storage sqlite, ")
    assert "loop asyncio" in settings
    assert len(lines) == len(ROWS[name])
    assert len({len(line) for line in [head, *lines]}) == 1


@pytest.mark.timeout(300)
def test_the_report_keeps_tabulates_and_draws_what_it_measured(postgres_server: Postgres, tmp_path: Path) -> None:
    """One run of all that it measures, tuned: a process for each figure is what takes time here."""
    pytest.importorskip("uvloop")
    results, plots = tmp_path / "results", tmp_path / "plots"
    kept = ["ratios", "side_by_side", "growth", "paging", "interpreter", "startup"]
    server = ["--postgres", postgres_server.url()]
    run("report", "--size=tiny", "--tuned", "--only", *kept, "--results", results, "--plots", plots, *server)
    assert sorted(file.stem for file in results.glob("*.json")) == sorted(kept)
    told = {name: json.loads((results / f"{name}.json").read_text()) for name in kept}
    check_ratios(told["ratios"])
    check_pages(told["paging"])
    check_start(told["startup"])
    tables = (results / "tables.md").read_text()
    assert tables.count("\n### ") == len(kept)
    assert "| PostgreSQL, 4 |" in tables
    assert "of the tiny size" in tables
    assert "What an execution uses" in tables
    check_plots(plots)
    once = [file.read_bytes() for file in sorted(plots.iterdir())]
    run("plots", results, plots)
    assert [file.read_bytes() for file in sorted(plots.iterdir())] == once, "plots change without their results"


def check_plots(folder: Path) -> None:
    panels = {
        "batches-first-result": "PostgreSQL",
        "batches-peak-memory": "PostgreSQL",
        "batches-whole-batch": "PostgreSQL",
        "throughput-postgresql": "PostgreSQL",
        "throughput-sqlite": "SQLite",
    }
    assert {file.stem for file in folder.iterdir()} == {*panels}
    for name, storage in panels.items():
        drawn = folder / f"{name}.svg"
        texts = {element.text for element in ET.parse(drawn).iter("{http://www.w3.org/2000/svg}text")}
        assert storage in texts
        assert drawn.stat().st_size < 100_000
        assert "prefers-color-scheme:dark" in drawn.read_text()


def check_ratios(told: dict[str, Any]) -> None:
    assert told["settings"]["loop"].startswith("uvloop ")
    for storage in ("SQLite", "PostgreSQL"):
        rows = [row for row in told["rows"] if row["storage"] == storage]
        assert [(row["what"], row["who"], "ratio" in row) for row in rows] == [
            ("executions", "statechain", False),
            ("executions", "floor", True),
            ("executions", "floor, wide", True),
            ("executions", "floor, handlers", True),
            ("executions", "commits", True),
            ("chained", "statechain", False),
            ("chained", "floor", True),
        ]


def check_pages(told: dict[str, Any]) -> None:
    for storage in ("SQLite", "PostgreSQL"):
        *pages, whole = (row for row in told["rows"] if row["storage"] == storage)
        assert [(row["what"], row["executions"]) for row in pages] == [
            ("all", 200),
            ("all, oldest first", 200),
            ("of a status", 180),
            ("of a machine and a status", 180),
        ]
        assert whole["walked/s"] > 0


def check_start(told: dict[str, Any]) -> None:
    imported, opened, whole = told["rows"]
    assert imported["what"] == "import statechain"
    assert 0 < imported["ms"] < whole["ms"]
    assert opened["ms"] > 0


ROUNDS = """
import json
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from measuring.rounds import US, Measurement, take_in_turn

names = {US: "ours", "floor": "theirs"}
plan = [Measurement({"what": "executions"}, who, f"{sys.argv[2]}/{name}.py", []) for who, name in names.items()]
print(json.dumps(take_in_turn(plan, 2)))
"""
ROUND = """
import json
from pathlib import Path
log = Path(__file__).with_name("log")
with log.open("a") as file:
    file.write({name!r} + " ")
rate = {rates}[log.read_text().count({name!r}) - 1]
print(json.dumps({{"rows": [{{"executions/s": rate}}]}}))
"""


def test_rounds_are_taken_in_turn_and_every_other_one_backwards(tmp_path: Path) -> None:
    for name, rates in {"ours": [10.0, 30.0], "theirs": [20.0, 20.0]}.items():
        (tmp_path / f"{name}.py").write_text(ROUND.format(name=name, rates=rates))
    done = subprocess.run(
        [sys.executable, "-c", ROUNDS, BENCHMARKS, tmp_path], capture_output=True, text=True, check=True
    )
    assert (tmp_path / "log").read_text().split() == ["ours", "theirs", "theirs", "ours"]
    ours, theirs = json.loads(done.stdout)
    assert (ours["per second"], "ratio" in ours) == (20.0, False)
    assert (theirs["ratio"], theirs["ratios"]) == (1.0, [0.5, 1.5])


def test_what_got_faster_is_told(tmp_path: Path) -> None:
    row = {"what": "executions", "who": "floor", "concurrency": 10, "ratios": [0.5, 0.5]}
    for name, rate in (("before", 100.0), ("after", 150.0)):
        (tmp_path / name).write_text(json.dumps({"settings": {}, "rows": [{**row, "per second": rate}]}))
    (line,) = run("compare", tmp_path / "before", tmp_path / "after").splitlines()
    assert line.split() == [
        "what", "executions,", "who", "floor,", "concurrency", "10", "per", "second", "100.00", "->", "150.00", "1.50x",
    ]  # fmt: skip


def test_the_tables_are_those_of_the_results(tmp_path: Path) -> None:
    for file in RESULTS.glob("*.json"):
        shutil.copy(file, tmp_path)
    run("tables", tmp_path)
    assert (tmp_path / "tables.md").read_text() == (RESULTS / "tables.md").read_text()


def test_the_figures_that_are_published_are_of_no_tiny_run() -> None:
    sizes = {file.stem: json.loads(file.read_text())["settings"]["size"] for file in RESULTS.glob("*.json")}
    assert sizes
    assert "tiny" not in sizes.values(), sizes


def test_what_an_execution_uses_is_held_against_another_checkout() -> None:
    only = ["--only", "executions", "in flight"]
    told = result_of("against", BENCHMARKS.parent, "--rounds=1", "--executions=100", *only)
    figures = {(row["what"], row["figure"]) for row in told["rows"]}
    assert {("executions", "client us"), ("in flight", "objects each"), ("in flight", "allocations each")} <= figures
