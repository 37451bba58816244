"""Python programs of the tests as forks of a Python that has the library loaded, by ``multiprocessing``'s fork server.

To import the library takes a second of processor time, and the tests start hundreds of processes. What a test says
about starting itself (imports, memory, the interpreter's settings, a terminal), or about how long a process runs
before it dies of what it took up, needs a fresh interpreter. Where there is no fork server each process is one.
"""

from __future__ import annotations

import os
import runpy
import shlex
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import DEVNULL, PIPE, TimeoutExpired
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

__all__ = ["Program", "run_program", "run_script", "start"]

CONTEXT = get_context("forkserver" if sys.platform == "linux" else "spawn")
CONTEXT.set_forkserver_preload(
    [
        "statechain.engine.engine",
        "statechain.asl.definition",  # these are loaded with the first machine, and the first engine that runs
        "statechain.asl.checks.check",
        "statechain.chaining.shards.worker",
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


class Program:
    """A module of the tests that runs as a fork, as ``python -m MODULE ARGUMENTS`` does.

    It is used as a ``subprocess.Popen``, with a pipe for what it writes and with the errors of this process.
    """

    def __init__(self, module: str, *arguments: object) -> None:
        read, write = CONTEXT.Pipe(duplex=False)
        with read, write, Connection(os.dup(2), readable=False) as errors:
            work = (module, [*map(str, arguments)], dict(os.environ), write, errors)
            self._process = CONTEXT.Process(target=_run_module, args=work)
            self._process.start()
            self.stdout = os.fdopen(os.dup(read.fileno()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wait for its end; where the body fails it is killed, for it might never end."""
        if kind is not None:
            self.kill()
        self._process.join()
        self.stdout.close()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None, "it was started"
        return self._process.pid

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def wait(self, timeout: float) -> int:
        """Wait for its end; return its exit code. Raises TimeoutExpired, as a ``subprocess.Popen`` does."""
        self._process.join(timeout)
        if (code := self._process.exitcode) is None:
            raise TimeoutExpired(self._process.name, timeout)
        return code


def _run_module(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], stdout: Connection, stderr: Connection
) -> None:
    for number, pipe in ((1, stdout), (2, stderr)):
        with pipe:
            os.dup2(pipe.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


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


def run_script(script: str, folder: Path, *, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a script of bash in a folder, in which ``statechain`` is the command line, and one command runs at a time.

    The shell writes what a command is given into one pipe, and reads its exit code from another. The command takes the
    shell's files from ``/proc``; where there is none, each command is a fresh interpreter.
    """
    if sys.platform != "linux":
        fresh = f'set -eu\nstatechain() {{ {shlex.quote(sys.executable)} -m statechain "$@"; }}\n{script}'
        return subprocess.run(["bash", "-c", fresh], cwd=folder, capture_output=True, text=True, check=False)
    with TemporaryDirectory() as pipes:
        given, ended = Path(pipes, "given"), Path(pipes, "ended")
        for pipe in (given, ended):
            os.mkfifo(pipe)
        command = ["bash", "-c", SHELL + script, "bash", str(given), str(ended)]
        with subprocess.Popen(command, cwd=folder, stdout=PIPE, stderr=PIPE, stdin=DEVNULL, text=True) as shell:
            thread = threading.Thread(target=_serve, args=(given, ended))
            thread.start()
            try:
                stdout, stderr = shell.communicate(timeout=timeout)
            finally:
                shell.kill()
                given.write_bytes(b"")  # the end of what is given
                thread.join()
        return subprocess.CompletedProcess(command, shell.returncode, stdout, stderr)


SHELL = r"""
set -eu
given=$1
exec 3<>"$2"
statechain() {
  printf '%s\0' "$BASHPID" "$PWD" "$@" >"$given"
  local code
  read -r -u 3 code
  return "$code"
}
"""


def _serve(given: Path, ended: Path) -> None:
    """Run commands, each with the files of the shell that gives it, until nothing is given."""
    while command := given.read_bytes():
        shell, folder, *arguments = map(os.fsdecode, command.split(b"\0")[:-1])
        stdin, stdout, stderr = (Path("/proc", shell, "fd", str(number)) for number in range(3))
        environment = dict(os.environ)
        process = start(_command, stdin, arguments, environment, stdout=stdout, stderr=stderr, folder=Path(folder))
        process.join(60)
        if process.exitcode is None:
            process.kill()
            process.join()
        with os.fdopen(os.open(ended, os.O_RDWR), "w") as answer:  # waits for no reader: the shell may be gone
            answer.write(f"{process.exitcode}\n")


def _command(stdin: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with stdin.open("rb") as opened:
        os.dup2(opened.fileno(), 0)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 -- the process's, as the next two
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    sys.argv, sys.path[0] = ["statechain", *arguments], str(Path.cwd())
    runpy.run_module("statechain", run_name="__main__", alter_sys=True)


def _run(program: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    warnings.simplefilter("error")
    sys.argv, sys.path[0] = [str(program), *arguments], str(program.parent)
    runpy.run_path(str(program), run_name="__main__")
