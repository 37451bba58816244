"""A program of the tests as a fork of a Python that has the library loaded: a process as any other, but for its start.

To import the library takes a second of processor time, and the fault harnesses start hundreds of processes. What a
test says about starting itself (imports, memory, the interpreter's settings, a terminal), or about how long a process
lives before it dies of what it took up, needs a fresh interpreter.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from support.warm import server

__all__ = ["WarmProgram", "run_warm"]

CAN_FORK = sys.platform == "linux"
"""Elsewhere forks of what has loaded native libraries are not to be relied upon, and a fresh interpreter is started."""


class _Server:
    """The process that forks, started with the first program, and ended with this one."""

    def __init__(self) -> None:
        self._ended: dict[int, int] = {}
        self._connection, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = Lock()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, server.__file__, str(other.fileno())],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._owner = os.getpid()
        atexit.register(self._close)

    def _close(self) -> None:
        if os.getpid() == self._owner:
            self._connection.close()
            self._process.wait()

    def fork(self, command: Mapping[str, object], files: Sequence[int]) -> int:
        """Start a process that does what a command says; return its id."""
        with self._lock:
            socket.send_fds(self._connection, [json.dumps(command).encode()], files)
            while True:
                answer = self._receive(0)
                if answer is not None and "ended" not in answer:
                    return int(answer["pid"])

    def status(self, pid: int, flags: int) -> tuple[int, int]:
        """Return what ``os.waitpid`` does."""
        with self._lock:
            while pid not in self._ended:
                if self._receive(flags) is None:
                    return 0, 0
            return pid, self._ended.pop(pid)

    def _receive(self, flags: int) -> dict[str, Any] | None:
        """Return a message; None where none is there, and is not to be waited for."""
        try:
            message = self._connection.recv(1 << 16, socket.MSG_DONTWAIT if flags & os.WNOHANG else 0)
        except BlockingIOError:
            return None
        except OSError:  # this process ends: nothing is of interest any more
            if self._connection.fileno() == -1:
                return None
            raise
        if not message:
            raise RuntimeError("the Python that programs of the tests are forked from has ended")
        answer: dict[str, Any] = json.loads(message)
        if "ended" in answer:
            self._ended[answer["pid"]] = answer["ended"]
        return answer


_server: _Server | None = None


class WarmProgram(subprocess.Popen[Any]):
    """`subprocess.Popen` of ``[sys.executable, …]``, where the process is forked, and need not import anything."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self._is_fork = CAN_FORK and command[0] == sys.executable and not options.get("start_new_session")
        super().__init__(list(command), **options)

    def _execute_child(self, args: Sequence[str], *options: Any) -> None:
        if not self._is_fork:
            super()._execute_child(args, *options)  # type: ignore[misc]
            return
        global _server  # noqa: PLW0603 -- one for each process of pytest
        _server = _server or _Server()
        folder, environment = options[4], options[5]
        stdin, _, _, stdout, _, stderr = pipes = options[9:15]
        command = {
            "arguments": [os.fspath(argument) for argument in args[1:]],
            "folder": os.fspath(folder or os.getcwd()),  # noqa: PTH109
            "environment": dict(os.environ if environment is None else environment),
        }
        files = [own if file == -1 else file for own, file in enumerate((stdin, stdout, stderr))]
        self.pid = _server.fork(command, files)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _internal_poll(self, *options: Any, **more: Any) -> int | None:
        if not self._is_fork:
            return super()._internal_poll(*options, **more)  # type: ignore[misc, no-any-return]
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if not self._is_fork:
            return super()._try_wait(wait_flags)  # type: ignore[misc, no-any-return]
        assert _server is not None
        return _server.status(self.pid, wait_flags)


def run_warm(
    command: Sequence[str], *, timeout: float, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """Run a program to its end, as `subprocess.run` does, with its output captured as text."""
    with WarmProgram(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
        done = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    if check:
        done.check_returncode()
    return done
