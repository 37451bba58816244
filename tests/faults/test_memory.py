"""However many executions there are, and sources of a batch, the process needs no more memory for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Figures

pytestmark = pytest.mark.timeout(3600)

CROWD = Path(__file__).with_name("crowd.py")
GROWTH = 50 * 1024
"""How many KiB the peak may grow from the smallest crowd to the largest."""


def test_memory_does_not_grow_with_the_crowd(durable_url: str, figures: Figures, *, full: bool) -> None:
    """Each crowd runs in a process of its own; the batch chains all that was run before it."""
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
    """Run so many executions; return the peak of their process, in KiB."""
    arguments = [sys.executable, str(CROWD), what, url, str(count)]
    return int(subprocess.run(arguments, capture_output=True, text=True, timeout=1800, check=True).stdout)
