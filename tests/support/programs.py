"""Programs of the tests, each run in a process of its own: ``support.faults.batch_worker`` and its neighbours."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["command"]

TESTS = Path(__file__).parents[1]
RUN = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
del sys.argv[:2]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def command(module: str, *arguments: object) -> list[str]:
    """Return the command that runs a module of `support` with arguments."""
    return [sys.executable, "-c", RUN, str(TESTS), module, *map(str, arguments)]
