"""What every command shares: where the storage is, an engine on it, errors → one line and an exit code.

Exit codes: 0, it is done; 1, the answer is no (an error in a definition, an execution that failed); 2, it could not be
done (a wrong option, nothing of that name, storage away); 130, interrupted; 143, ended by SIGTERM.
"""

from __future__ import annotations

import asyncio
import functools
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import unquote

import attrs
import click
from rich.console import Console

from statechain.cli.terminal import console_of, is_plain
from statechain.drawing.picture import printable
from statechain.engine.engine import Engine
from statechain.errors import DefinitionError, StatechainError
from statechain.storage.open import open_repository
from statechain.tasks.registry import TaskRegistry

__all__ = [
    "INTERRUPTED",
    "Commands",
    "Failure",
    "Storage",
    "asynchronous",
    "echo_err",
    "errors",
    "exit_with",
    "storage_option",
    "usage_errors",
]

P = ParamSpec("P")
T = TypeVar("T")
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

DEFAULT_URL = "sqlite:///statechain.db"
VARIABLES = ["STATECHAIN_URL", "DATABASE_URL"]
INTERRUPTED = 130
TERMINATED = 143
# Up to the last @: one in a password may have been left as it is.
PASSWORD = re.compile(r"[^:]+://[^:@/]*:(?P<password>.*)@", re.DOTALL)


class Failure(click.ClickException):
    """Something that could not be done, reported in a few words."""

    exit_code = 2

    def show(self, file: Any = None) -> None:  # noqa: ANN401 -- click's signature
        """Write it to standard error, coloured on a terminal."""
        message = printable(self.format_message())
        line = f"{click.style('error:', fg='red', bold=True)} {message}"
        click.echo(line, file=file, err=True, color=False if is_plain() else None)


def errors() -> Console:
    """Return the console on standard error."""
    return console_of(stderr=True)


def echo_err(text: str) -> None:
    """Write a line for people to standard error."""
    click.echo(printable(text), err=True)


@attrs.frozen(repr=False)
class Storage:
    """Where executions are kept: a URL that is never shown with its password."""

    url: str

    def __str__(self) -> str:
        return self.hide(self.url)

    def hide(self, text: str) -> str:
        """Return a string without the password, in case it holds it."""
        found = PASSWORD.match(self.url)
        password = None if found is None else found["password"]
        # Drivers decode it.
        for secret in {password, unquote(password)} if password else ():
            text = text.replace(f":{secret}@", ":***@")
            # A shorter one would blank out parts of words.
            if len(secret) > 3:
                text = text.replace(secret, "***")
        return text

    @asynccontextmanager
    async def engine(
        self,
        *,
        tasks: TaskRegistry | None = None,
        read_only: bool = False,
        recovery: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> AsyncIterator[Engine]:
        """Open an engine that takes over nothing unless asked to; ``read_only`` wants a database that exists."""
        if read_only:
            self._check_exists()
        try:
            # Not to be opened: what is wrong with the URL, or missing of a driver, shows in making it.
            open_repository(self.url)
        except (ValueError, ImportError) as fault:
            raise Failure(self.hide(str(fault))) from None
        seconds = 30.0 if recovery else 5.0  # a worker outlives a restart of its database; at a terminal nothing waits
        async with Engine(self.url, tasks=tasks, recovery=recovery, connect_timeout=seconds, **options) as engine:
            yield engine

    def reader(self) -> AbstractAsyncContextManager[Engine]:
        """Open an engine that only reads: no lease is written, and no database made."""
        return self.engine(read_only=True, role="reader")

    def _check_exists(self) -> None:
        scheme, _, rest = self.url.partition("://")
        path = unquote(rest.partition("?")[0].removeprefix("/"))
        if scheme.lower().startswith("sqlite") and path and not Path(path).exists():
            raise Failure(
                f"there is no database {path} yet: run something first, or name another storage by --repository "
                f"or STATECHAIN_URL"
            )


def storage_option(command: FunctionT) -> FunctionT:
    """Add ``--repository``; the command gets it as ``storage``."""

    def read(ctx: click.Context, _param: click.Parameter, value: str | None) -> Storage:
        above = ctx.find_root().params.get("repository")
        explicit = ctx.get_parameter_source("storage") is click.core.ParameterSource.COMMANDLINE
        # Behind the command it counts most, then before the command, then in the environment.
        return Storage((value if explicit or above is None else above) or DEFAULT_URL)

    return click.option(
        "--repository",
        "storage",
        metavar="URL",
        envvar=VARIABLES,
        callback=read,
        help=f"The storage; STATECHAIN_URL or DATABASE_URL where it is left out, else {DEFAULT_URL}.",
    )(command)


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
        except StatechainError as fault:
            raise Failure(hide(_message(fault))) from None

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


def _first(group: BaseExceptionGroup[StatechainError]) -> StatechainError:
    fault = group.exceptions[0]
    return _first(fault) if isinstance(fault, BaseExceptionGroup) else fault


def _message(fault: StatechainError) -> str:
    cause = fault.__cause__
    text = str(fault) or type(fault).__name__
    # The cause has the driver's words, which no message of a repository repeats.
    if isinstance(fault, DefinitionError) or cause is None or str(cause) in text:
        return text
    return f"{text} ({type(cause).__name__}: {cause})"


@contextmanager
def usage_errors() -> Iterator[None]:
    """Report a ValueError of what the user chose as a usage error."""
    try:
        yield
    except StatechainError:  # some are ValueErrors, too
        raise
    except ValueError as fault:
        raise click.UsageError(str(fault)) from None


def exit_with(code: int) -> None:
    """Leave with an exit code, once everything is closed."""
    if code:
        sys.stdout.flush()
        raise click.exceptions.Exit(code)
