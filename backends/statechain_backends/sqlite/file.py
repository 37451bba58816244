"""The file of a SQLite database: made for its owner alone, and noticed to be gone.

An open file that is deleted or replaced can still be written: what is committed is lost then, without an error. So each
commit is followed by a look at what the path names now: microseconds beside its fsync.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from statechain.errors import RepositoryError

__all__ = ["OWNERS_ALONE", "DatabaseFile"]

OWNERS_ALONE = 0o600


class DatabaseFile:
    """The file at a path, and the write-ahead log beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = Path(f"{path}-wal")
        self._file: tuple[int, int] | None = None
        self._log_file: tuple[int, int] | None = None

    def make(self) -> None:
        """Make the file where there is none: only its owner may read it. SQLite gives its other files the same mode.

        A file that cannot be made is refused here: the thread of a connection that fails may outlive the event loop.
        """
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNERS_ALONE))
        except OSError as error:
            if not self.path.exists():
                raise RepositoryError(
                    "SQLite: the file could not be opened: its folder must exist and be writable (SQLITE_CANTOPEN)"
                ) from error

    def remember(self) -> None:
        """Note the file that was opened just now."""
        self._file, self._log_file = _identity(self.path), None

    def check(self) -> None:
        """Raise RepositoryError where the path no longer names the file that was opened."""
        log_file = _identity(self._log)
        if self._log_file is None:  # it is there from the first transaction on
            self._log_file = log_file
        if self._file is not None and (log_file != self._log_file or _identity(self.path) != self._file):
            raise RepositoryError(
                f"SQLite: {self.path}, or its -wal file, was deleted or replaced while it was open: what is written to "
                "it would be lost; put it back, or end this process and start it again"
            )

    def shared_mode(self) -> int:
        """Return the mode for files beside it: for all who may read and write the database."""
        with suppress(OSError):
            mode = stat.S_IMODE(self.path.stat().st_mode)
            # To lock a file takes the right to write it: those who may only read the database get none.
            return OWNERS_ALONE | sum(each for each in (0o060, 0o006) if mode & each == each)
        return OWNERS_ALONE


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 -- half the time of Path.stat
    except OSError:
        return None
    return found.st_dev, found.st_ino
