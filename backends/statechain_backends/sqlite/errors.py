"""What SQLite refuses → the library's errors, by a table of its result codes.

The driver raises them as they are, SQLAlchemy wrapped into its own; both are known here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from statechain.errors import RepositoryError, RepositoryUnavailable

__all__ = ["translated"]

# A full or a broken disk passes too: the journal waits until there is room, in place of failing what runs.
PASSING = {
    sqlite3.SQLITE_BUSY: "the database is locked by another connection",
    sqlite3.SQLITE_LOCKED: "a table is locked by another connection",
    sqlite3.SQLITE_PROTOCOL: "the database's lock could not be had",
    sqlite3.SQLITE_FULL: "the disk is full: make room",
    sqlite3.SQLITE_IOERR: "the file could not be read or written: look at the disk",
    sqlite3.SQLITE_NOMEM: "there was not enough memory",
}

LASTING = {
    sqlite3.SQLITE_CANTOPEN: "the file could not be opened: its folder must exist and be writable",
    sqlite3.SQLITE_READONLY: "the file is read-only: it, and its folder, must be writable",
    sqlite3.SQLITE_PERM: "access was denied: the file, and its folder, must be writable",
    sqlite3.SQLITE_AUTH: "access was denied",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database: check the URL",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it from a backup",
    sqlite3.SQLITE_TOOBIG: "a value is larger than SQLite takes",
    sqlite3.SQLITE_CONSTRAINT: "a row breaks a rule of the schema",
    sqlite3.SQLITE_ERROR: "a statement does not fit the schema: was it changed by hand?",
}

# The lowest byte of an extended result code is its primary one.
PRIMARY = 0xFF


@contextmanager
def translated() -> Iterator[None]:
    """Raise what SQLite refuses as RepositoryUnavailable where it may pass, else as RepositoryError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _refusal(error) from error
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise _refusal(error.orig) from error.orig
        raise RepositoryError("SQLite: the driver refused the call") from error
    except PoolTimeoutError as error:
        raise RepositoryUnavailable("SQLite: all connections were busy for too long") from error
    except UnicodeEncodeError as error:
        raise RepositoryError("SQLite: a string has a lone surrogate, which UTF-8 has no form for") from error


def _refusal(error: sqlite3.Error) -> RepositoryError:
    code = getattr(error, "sqlite_errorcode", -1)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    # -1: the error is the driver's own, such as ProgrammingError; SQLite gave no result code.
    if code != -1 and code & PRIMARY in PASSING:
        return RepositoryUnavailable(f"SQLite: {PASSING[code & PRIMARY]} ({name})")
    return RepositoryError(f"SQLite: {LASTING.get(code & PRIMARY, 'the driver refused the call')} ({name})")
