"""The Python that is forked: it imports what the programs import, then waits for commands on a socket.

A fork does what ``python ARGUMENTS`` does, from the top level of this file, so that it ends as any program does. A
command is a message of JSON with the three standard files; answers are the process id, and later how the process ended.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

SIGNALS = (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM)


def preload() -> None:
    """Import what takes long, before there is anything that a fork could not have: threads, loops, connections."""
    import statechain_backends.postgres.repository
    import statechain_backends.sqlite.repository  # noqa: F401

    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page


def serve(connection: socket.socket) -> dict[str, Any]:
    """Fork for each command, and say when each fork ends; return the command in the fork, and never here."""
    running: set[int] = set()
    with children_woken() as woken, selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if woken in ready:
                woken.recv(1024)
                report_ended(connection, running)
            if connection in ready:
                message, files = take(connection, running)
                pid = os.fork()
                if pid == 0:
                    break
                running.add(pid)
                for file in files:
                    os.close(file)
                send(connection, {"pid": pid})
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    command: dict[str, Any] = json.loads(message)
    return command


@contextmanager
def children_woken() -> Iterator[socket.socket]:
    """Yield what can be read once a fork has ended."""
    woken, wake = socket.socketpair()
    with woken, wake:
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        try:
            yield woken
        finally:
            signal.set_wakeup_fd(-1)


def report_ended(connection: socket.socket, running: set[int]) -> None:
    """Say which forks ended since, and how."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            running.discard(found[0])
            send(connection, {"pid": found[0], "ended": found[1]})


def take(connection: socket.socket, running: set[int]) -> tuple[bytes, list[int]]:
    """Return a command and its files; where there will be no more, end, and the forks before."""
    message, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    if not message:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)
    return message, files


def send(connection: socket.socket, message: object) -> None:
    with suppress(BrokenPipeError):
        connection.sendall(json.dumps(message).encode())


def become(command: dict[str, Any]) -> None:
    """Be a new process as far as the program can see: environment, folder, signals, arguments."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL if number != signal.SIGPIPE else signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(command["environment"])
    os.chdir(command["folder"])
    sys.orig_argv = [sys.executable, *command["arguments"]]
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115 -- those of before are of other files
    for name, errors in (("stdout", "strict"), ("stderr", "backslashreplace")):
        stream = open(1 if name == "stdout" else 2, "w", errors=errors, closefd=False)  # noqa: SIM115
        stream.reconfigure(line_buffering=name == "stderr" or stream.isatty())
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def run(arguments: list[str]) -> None:
    """Do what ``python`` does with arguments."""
    while arguments[0] == "-W":
        warnings.simplefilter(arguments[1])  # type: ignore[arg-type]
        arguments = arguments[2:]
    kind, *rest = arguments
    if kind == "-m":
        sys.argv, sys.path[0] = [*rest], os.getcwd()  # noqa: PTH109 -- what Python itself puts there
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        sys.modules["__main__"] = main = ModuleType("__main__")  # where annotations of a program are looked up
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    else:
        sys.argv, sys.path[0] = arguments, str(Path(kind).parent)
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    preload()
    command = serve(socket.socket(fileno=int(sys.argv[1])))
    become(command)
    run(command["arguments"])
