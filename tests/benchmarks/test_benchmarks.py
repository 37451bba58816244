"""Every benchmark runs, at a size that measures nothing: what it prints is right in shape."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = {
    "batches": ["--sources=5,12", "--concurrency=1,3", "--steps=2"],
    "executions": ["--executions=12", "--concurrency=1,4", "--steps=2"],
    "paging": ["--executions=25", "--page=10"],
}
ROWS = {
    "batches": [{"sources": n, "concurrency": c} for n in (5, 12) for c in (1, 3)],
    "executions": [{"concurrency": c, "executions": 12} for c in (1, 4)],
    "paging": [{"executions": 25, "page": 10}],
}


def run(name: str, *arguments: str) -> str:
    """Run a benchmark of one round; return what it printed."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", "--rounds=1", *TINY[name], *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_measures_any_storage(name: str, repository_url: str) -> None:
    told: dict[str, Any] = json.loads(run(name, "--json", f"--url={repository_url}"))
    assert told["settings"]["rounds"] == 1
    assert "password" not in told["settings"]["storage"]
    assert [{key: row[key] for key in shape} for row, shape in zip(told["rows"], ROWS[name], strict=True)] == ROWS[name]
    for row in told["rows"]:
        assert all(value > 0 for value in row.values())


@pytest.mark.parametrize("name", TINY)
def test_without_a_url_it_is_a_table_of_sqlite(name: str) -> None:
    settings, _, head, *lines = run(name).splitlines()
    assert settings.startswith("storage sqlite, python ")
    assert len(lines) == len(ROWS[name])
    assert len({len(line) for line in [head, *lines]}) == 1
