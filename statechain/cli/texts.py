"""Files and standard input → texts, of which no more is read than a command can use."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["MOST_BYTES", "read_text", "reason_of"]

MOST_BYTES: Final = 64 * 1024 * 1024
"""Far more than any definition, template or input has; a device or a pipe may never end."""


def read_text(name: str | Path) -> str:
    """Return a file's text, or that of standard input where the name is ``-``; raise OSError, UnicodeDecodeError."""
    if name == "-":
        return _decoded(sys.stdin.buffer)
    if not name:
        raise OSError(errno.ENOENT, "no file is named")  # as a path it would be the working directory
    with Path(name).open("rb") as file:
        return _decoded(file)


def _decoded(file: BinaryIO) -> str:
    # One byte more than may be read shows that there are too many.
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"is longer than {MOST_BYTES // 1024 // 1024} MiB")
    # utf-8-sig: editors on Windows write a byte order mark, which JSON does not have. A line ends as in a text file.
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def reason_of(error: Exception) -> str:
    """Return why a file cannot be read."""
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text"
    return getattr(error, "strerror", None) or str(error)
