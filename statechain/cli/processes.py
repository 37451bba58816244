"""Worker processes below one parent, which starts them, replaces those that die, and ends them together.

Each is a fresh interpreter with the parent's own command line. Storage decides which of them runs what: they share
nothing, and the parent opens no storage. A child's standard input is a pipe that ends with the parent, so that no
child is left behind by a parent that was killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator, Sequence
from contextlib import suppress

import attrs

from statechain.cli.terminal import echo_err
from statechain.drawing.picture import spoken
from statechain.storage.retrying import backoff_delays

__all__ = ["Restarts", "WorkerProcesses", "own_command", "stop_at_end_of_input"]

LEAVE_SECONDS = 15.0
"""How long a child may take beyond its grace: a database that does not answer holds it up for less."""

FAILED = 1


@attrs.frozen(kw_only=True)
class Restarts:
    """When a child that died is replaced; times are in seconds.

    Attributes:
        first_delay: The longest pause before the first replacement; each further one doubles it.

        longest_delay: The longest pause.

        steady: A child that ran for so long was in order: its death begins a new count.

        most: After this many deaths in a row, each before ``steady``, the parent gives up.
    """

    first_delay: float = 0.5
    longest_delay: float = 30.0
    steady: float = 60.0
    most: int = 8

    def delays(self) -> Iterator[float]:
        """Yield the pauses of one count."""
        return backoff_delays(self.first_delay, self.longest_delay)


class WorkerProcesses:
    """A number of child processes that run one command.

    Arguments:
        command: The program of each child, and its arguments.

        count: How many run.

        grace: Seconds that a child gives to its executions once it is asked to end.

        restarts: When a child that died is replaced.

        margin: Seconds that a child may take beyond its grace, before it is killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        *,
        grace: float,
        restarts: Restarts | None = None,
        margin: float = LEAVE_SECONDS,
    ) -> None:
        self._command = command
        self._count = count
        self._bound = grace + margin
        self._restarts = restarts or Restarts()
        self._code = 0

    async def run(self, stop: asyncio.Event) -> int:
        """Run the children until ``stop`` is set, then end them all.

        Returns:
            The exit code: 0, or 1 where children kept dying, or one had to be killed since it did not leave in time.
        """
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._keep(stop), name=f"statechain worker process {number}")
        return self._code

    async def _keep(self, stop: asyncio.Event) -> None:
        """Keep one child running until ``stop`` is set."""
        deaths, delays = 0, self._restarts.delays()
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            began = loop.time()
            # The pipe is never written to: it ends with the parent, by which a child knows.
            process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE)
            try:
                if await _ends_first(process, stop):
                    await self._end(process)
                    return
            finally:
                if process.returncode is None:  # this task was cancelled, or met an error
                    process.terminate()
            # It ran well for long: what it died of is another cause than that of a child that cannot begin.
            if loop.time() - began >= self._restarts.steady:
                deaths, delays = 0, self._restarts.delays()
            deaths += 1
            how = f"worker process {process.pid} {_how_it_ended(process)}"
            if deaths >= self._restarts.most:
                echo_err(f"{how}; {deaths} deaths in a row are too many: all are ended")
                self._code = FAILED
                stop.set()
                return
            delay = next(delays)
            echo_err(f"{how}; another is started in {spoken(delay)}")
            with suppress(TimeoutError):
                # A stop ends the pause.
                await asyncio.wait_for(stop.wait(), delay)

    async def _end(self, process: Process) -> None:
        """Ask a child to end, and kill it when its time is over."""
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._bound)
        except TimeoutError:
            echo_err(f"worker process {process.pid} is killed: it did not leave within {spoken(self._bound)}")
            self._code = FAILED
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _ends_first(process: Process, stop: asyncio.Event) -> bool:
    """Wait until a child is dead or ``stop`` is set; return whether the child still runs."""
    waits = [asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        # Awaited, too: no task is left pending when the command ends.
        await asyncio.wait(waits)
    return process.returncode is None


def _how_it_ended(process: Process) -> str:
    code = process.returncode
    if code is None or code >= 0:
        return f"ended with code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def own_command(*more: str) -> list[str]:
    """Return the command that started this process, the interpreter's options included, with more arguments."""
    return [sys.executable, *sys.orig_argv[1:], *more]


def stop_at_end_of_input(stop: asyncio.Event) -> None:
    """Set an event once standard input ends: of a child that is when its parent has died."""

    def read() -> None:
        # The descriptor itself: a reader of `sys.stdin` would block in its buffer.
        if not os.read(0, 1024):
            loop.remove_reader(0)
            stop.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(0, read)
