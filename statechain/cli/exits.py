"""How a command ends: with an exit code, and where something could not be done with one line that says what.

Exit codes: 0, it is done; 1, the answer is no (an error in a definition, an execution that failed); 2, it could not be
done (a wrong option, nothing of that name, storage away); 130, interrupted; 143, ended by SIGTERM.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from statechain.cli.terminal import is_plain
from statechain.drawing.picture import printable
from statechain.errors import StatechainError

__all__ = ["INTERRUPTED", "TERMINATED", "Failure", "exit_with", "usage_errors"]

INTERRUPTED = 130
TERMINATED = 143


class Failure(click.ClickException):
    """Something that could not be done, reported in a few words."""

    exit_code = 2

    def show(self, file: Any = None) -> None:  # noqa: ANN401 -- click's signature
        """Write it to standard error, coloured on a terminal."""
        message = printable(self.format_message())
        line = f"{click.style('error:', fg='red', bold=True)} {message}"
        click.echo(line, file=file, err=True, color=False if is_plain() else None)


@contextmanager
def usage_errors() -> Iterator[None]:
    """Report a ValueError of what the user chose as a usage error."""
    try:
        yield
    except StatechainError:  # some are ValueErrors, too
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def exit_with(code: int) -> None:
    """Leave with an exit code, once everything is closed."""
    if code:
        sys.stdout.flush()
        raise click.exceptions.Exit(code)
