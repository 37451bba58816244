"""What asyncpg and PostgreSQL refuse → the library's errors, by a table of SQLSTATEs.

The driver's texts may quote values, so that no message repeats them: they stand in the ``__cause__``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from statechain.errors import RepositoryError, RepositoryUnavailable

__all__ = ["RETRIED", "translated"]

RETRIED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""Two transactions were in each other's way: the same one, tried again, succeeds."""

PASSING = {
    "08": "the connection failed",
    "25006": "the server is read-only: a standby, or one that was failed over",
    "25P03": "the server ended a transaction that stood idle",
    "40": "transactions were in each other's way",
    "53": "the server is short of a resource",
    "53100": "the server's disk is full: make room",
    "53300": "the server takes no more connections",
    "55P03": "a lock could not be had in time",
    "57": "the server ended or refused the call",
    "57P01": "the server is shutting down",
    "57P02": "the server crashed and restarts",
    "57P03": "the server is starting up or shutting down",
    "58": "the server's system failed: look at its disk",
}

LASTING = {
    "22": "a value does not fit its column",
    "23": "a row breaks a rule of the schema",
    "28": "the user, or the password, is not accepted",
    "3D000": "the database does not exist: create it",
    "42": "a statement does not fit the schema: was it changed by hand?",
    "42501": "the user lacks a right: it needs to create tables in the schema, and to read and write them",
    "54": "a limit of the server was passed",
    "XX": "the server met a fault of its own, or its files are damaged",
}


def _find(table: dict[str, str], state: str) -> str | None:
    return table.get(state) or table.get(state[:2])


@contextmanager
def translated() -> Iterator[None]:
    """Raise what the driver raises as RepositoryUnavailable where it may pass, else as RepositoryError."""
    try:
        yield
    except asyncpg.PostgresError as fault:
        state = fault.sqlstate or "XX000"
        if reason := _find(PASSING, state):
            raise RepositoryUnavailable(f"PostgreSQL: {reason} (SQLSTATE {state})") from fault
        reason = _find(LASTING, state) or "the server refused the call"
        raise RepositoryError(f"PostgreSQL: {reason} (SQLSTATE {state})") from fault
    except asyncpg.DataError as fault:
        raise RepositoryError("PostgreSQL: a value does not fit its column") from fault
    except asyncpg.ClientConfigurationError as fault:
        raise RepositoryError("PostgreSQL: the URL, or a file that it names, cannot be used") from fault
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as fault:
        raise RepositoryUnavailable("PostgreSQL: the server cannot be reached, or the connection was lost") from fault
