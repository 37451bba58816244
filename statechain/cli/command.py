"""What every command is: a coroutine that is run, whose errors become one line on standard error and an exit code."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from io import StringIO
from typing import Any, ParamSpec, TypeVar, cast

import click

from statechain.cli.exits import INTERRUPTED, TERMINATED, Failure
from statechain.cli.storage import Storage
from statechain.errors import DefinitionError, StatechainError

__all__ = ["Commands", "asynchronous"]

P = ParamSpec("P")
T = TypeVar("T")


class Commands(click.Group):
    """All commands: Ctrl-C, and an output that cannot be written, have an exit code and no traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- click's signature
        """Run the command that was asked for, and leave with its exit code."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            # One of a file has its name.
            if error.filename is not None:
                raise
            # The interpreter writes what is left when it ends, which would fail again.
            sys.stdout = StringIO()
            failure = Failure(f"the output cannot be written: {error.strerror or error}")
            failure.show()
            sys.exit(failure.exit_code)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 -- click's signature
        """Run the command; Ctrl-C while an option or a file is read ends it as it does while the command runs."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


def asynchronous(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Run a coroutine function as a command: errors become one line, Ctrl-C and SIGTERM an exit code."""

    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> T:
        storage = kwargs.get("storage")
        hide = storage.hide if isinstance(storage, Storage) else str
        try:
            return asyncio.run(_cancelled_by_sigterm(function(*args, **kwargs)))
        # asyncio.run has cancelled the command, and awaited its end.
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except _Terminated:
            raise click.exceptions.Exit(TERMINATED) from None
        except BaseExceptionGroup as group:
            # What is not the library's error is a defect: its traceback is shown.
            known, unknown = group.split(StatechainError)
            if known is None or unknown is not None:
                raise
            raise Failure(hide(_message(_first(known)))) from None
        except StatechainError as error:
            raise Failure(hide(_message(error))) from None

    return command


class _Terminated(Exception):
    """SIGTERM has ended a command."""


async def _cancelled_by_sigterm(command: Coroutine[Any, Any, T]) -> T:
    """Await a command; on SIGTERM cancel it, as asyncio.run does on Ctrl-C, and raise _Terminated after its end."""
    terminated, task = asyncio.Event(), cast("asyncio.Task[Any]", asyncio.current_task())

    def terminate() -> None:
        terminated.set()
        task.cancel()

    with suppress(NotImplementedError, RuntimeError):  # on Windows, and outside the main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await command
    except asyncio.CancelledError:
        if not terminated.is_set():
            raise
        raise _Terminated from None


def _first(group: BaseExceptionGroup[StatechainError]) -> StatechainError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _message(error: StatechainError) -> str:
    cause = error.__cause__
    text = str(error) or type(error).__name__
    # The cause has the driver's words, which no message of a repository repeats.
    if isinstance(error, DefinitionError) or cause is None or str(cause) in text:
        return text
    return f"{text} ({type(cause).__name__}: {cause})"
