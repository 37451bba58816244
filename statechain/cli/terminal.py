"""What a terminal or a pipe can show: colour (NO_COLOR, TERM=dumb), characters (cp1252, ASCII), and how many columns.

Standard output and error never fail for a character: one that their encoding lacks is written in ASCII.
"""

from __future__ import annotations

import codecs
import os
import shutil
import sys
from io import TextIOWrapper
from typing import IO, Any

import click
from rich.console import Console, ConsoleDimensions

from statechain.drawing.picture import printable

__all__ = ["console_of", "echo_err", "errors", "is_plain", "is_utf", "prepare_streams"]

FALLBACK = "statechain-ascii"
ASCII = {
    "✓": "+",
    "✗": "x",
    "×": "x",
    "■": "#",
    "●": "*",
    "○": "o",
    "◆": "?",
    "◷": "@",
    "⇉": "=",
    "⟳": "~",
    "→": "->",
    "⇢": "~>",
    "…": "...",
    "·": "-",
    "—": "-",
    "\N{REPLACEMENT CHARACTER}": "?",
}


def is_plain() -> bool:
    """Return whether no escape sequences are wanted: NO_COLOR (https://no-color.org) is set, or TERM is dumb."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM", "").lower() in {"dumb", "unknown"}


def console_of(*, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> Console:
    """Return a console that writes styles only where they are wanted."""
    console = Console(
        stderr=stderr, file=file, width=width, highlight=False, color_system=None if is_plain() else "auto"
    )
    if width is None and console.is_dumb_terminal:
        # To Rich a dumb terminal has 80 columns, whatever it says.
        columns, lines = shutil.get_terminal_size()
        console.size = ConsoleDimensions(columns, lines)
    return console


def errors() -> Console:
    """Return the console on standard error."""
    return console_of(stderr=True)


def echo_err(text: str) -> None:
    """Write a line for people to standard error."""
    click.echo(printable(text), err=True)


def is_utf() -> bool:
    """Return whether standard output can show every character."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")


def prepare_streams() -> None:
    """Have standard output and error write in ASCII what their encoding lacks, and no colour unless wanted."""
    codecs.register_error(FALLBACK, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A stream that a test or a host has put in their place is left as it is.
            stream.reconfigure(errors=FALLBACK)
    context: Any = click.get_current_context(silent=True)
    if context is not None and is_plain():
        context.color = False


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Return what is written in the place of the characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(ASCII.get(each) or each.encode("ascii", "backslashreplace").decode() for each in lacking), error.end
