"""A process needs no more memory for more executions, sources of a batch, or visits that it recovers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from support.faults.workers.recovered import DEATH
from support.programs import command
from support.summary import Figures

pytestmark = pytest.mark.timeout(3600)

GROWTH = 50 * 1024
"""How many KiB the peak may grow from the smallest crowd to the largest."""


def test_memory_does_not_grow_with_the_crowd(durable_url: str, figures: Figures, *, full: bool) -> None:
    """Each crowd runs in a separate process; the batch chains all that was run before it."""
    counts = [1_000, 10_000, 100_000] if full else [500, 2_500]
    peaks: dict[str, list[int]] = {"stream": [], "batch": []}
    stored = 0
    for count in counts:
        peaks["stream"].append(run("stream", durable_url, count - stored))
        stored = count
        peaks["batch"].append(run("batch", durable_url, count))
    figures(counts=counts, **{f"MiB_of_the_{what}": [kib // 1024 for kib in found] for what, found in peaks.items()})
    for found in peaks.values():
        assert max(found) - found[0] < GROWTH


def run(what: str, url: str, count: int) -> int:
    """Run this many executions; return the peak of their process, in KiB."""
    arguments = command("support.faults.workers.memory", what, url, count)
    return int(subprocess.run(arguments, capture_output=True, text=True, timeout=1800, check=True).stdout)


@pytest.mark.parametrize("fresh", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("kind", ["loop", "map"])
def test_to_recover_an_execution_takes_the_memory_that_it_took(
    kind: str, fresh: Callable[[], str], figures: Figures, *, full: bool
) -> None:
    """Straight through, and recovered before its last step, in a process each."""
    counts = {"loop": 1_500, "map": 300} if full else {"loop": 150, "map": 60}
    count, size = counts[kind], 200_000
    peaks = {"straight": measured(kind, "straight", fresh(), count, size)}
    begun = fresh()
    measured(kind, "begin", begun, count, size, code=DEATH)
    peaks["recovered"] = measured(kind, "recover", begun, count, size)
    figures(visits=count, bytes_each=size, **{f"MiB_{way}": kib // 1024 for way, kib in peaks.items()})
    assert peaks["recovered"] < 1.5 * peaks["straight"]


def measured(*arguments: object, code: int = 0) -> int:
    """Run the worker of a large execution; return the peak of its process, in KiB."""
    program = command("support.faults.workers.recovered", *arguments)
    done = subprocess.run(program, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == code, done.stderr
    return int(done.stdout or 0)
