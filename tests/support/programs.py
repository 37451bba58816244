"""Programs of the tests, each run in a separate process: ``support.faults.workers.batch`` and its neighbours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["TESTS", "command", "run_suite", "running"]

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


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program, and wait for its end; where the body fails it is killed, for it might never end."""
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def run_suite(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on the tests in a folder, with separate settings: the folder may lie below this project's."""
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
