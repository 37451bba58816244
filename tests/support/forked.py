"""Python programs of the tests as forks of a Python that has the library loaded, by ``multiprocessing``'s fork server.

To import the library takes a second of processor time, and the tests start hundreds of processes. What a test says
about starting itself (imports, memory, the interpreter's settings, a terminal), or about how long a process runs
before it dies of what it took up, needs a fresh interpreter. Where there is no fork server each process is one.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["run_program", "start"]

CONTEXT = get_context("forkserver" if sys.platform == "linux" else "spawn")
CONTEXT.set_forkserver_preload(
    [
        "statechain.engine.engine",
        "statechain.asl.definition",  # these are loaded with the first machine, and the first engine that runs
        "statechain.asl.checks.check",
        "statechain.chaining.shards",
        "statechain.worker.opening",
        "statechain.worker.supervisor",
        "statechain_backends.postgres.repository",
        "statechain_backends.sqlite.repository",
        "aiosqlite",
        "alembic.command",  # for programs that open a new storage
        "alembic.config",
    ]
)


def start(work: Callable[..., object], *given: object, stdout: Path, stderr: Path, folder: Path) -> BaseProcess:
    """Start a process that calls a function of a module in a folder; what it prints is added to two files."""
    process = CONTEXT.Process(target=_call, args=(work, given, stdout, stderr, folder))
    process.start()
    return process


def _call(work: Callable[..., object], given: tuple[object, ...], stdout: Path, stderr: Path, folder: Path) -> None:
    for number, file in ((1, stdout), (2, stderr)):
        with file.open("ab") as opened:
            os.dup2(opened.fileno(), number)
    os.chdir(folder)
    work(*given)


def run_program(
    program: Path,
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    timeout: float = 100,
) -> subprocess.CompletedProcess[str]:
    """Do what ``python -W error PROGRAM ARGUMENTS`` does in a folder."""
    environment = dict(os.environ if environment is None else environment)
    with TemporaryDirectory() as prints:
        stdout, stderr = Path(prints, "stdout"), Path(prints, "stderr")
        process = start(_run, program, arguments, environment, stdout=stdout, stderr=stderr, folder=folder)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise AssertionError(f"{program.name} did not end within {timeout} s:\n{stderr.read_text()[-3000:]}")
        return subprocess.CompletedProcess([program], process.exitcode, stdout.read_text(), stderr.read_text())


def _run(program: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    warnings.simplefilter("error")
    sys.argv, sys.path[0] = [str(program), *arguments], str(program.parent)
    runpy.run_path(str(program), run_name="__main__")
