"""What asyncpg and PostgreSQL refuse → the library's errors, by a table of SQLSTATEs.

The driver's texts may quote values, so that no message repeats them: they are in the ``__cause__``.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
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
    "55P03": "another session has held a lock on a row for too long: pg_locks and pg_stat_activity show whose it is, "
    "and pg_terminate_backend ends it",
    "57": "the server ended or refused the call",
    "57014": "the statement was cancelled, or took longer than statement_timeout allows: raise that for this user",
    "57P01": "the server is shutting down",
    "57P02": "the server crashed and restarts",
    "57P03": "the server is starting up or shutting down",
    "58": "the server's system failed: look at its disk",
}

LASTING = {
    "22": "a value does not fit its column",
    "23": "a row breaks a rule of the schema",
    "26000": "a pooler gave the connection another session: write pool_mode=transaction in the URL",
    "28": "the user, or the password, is not accepted",
    "28000": "the server takes no such connection: the user must exist and have LOGIN, and its pg_hba.conf says which "
    "user, database, host and encryption",
    "3D000": "the database does not exist: create it",
    "3F000": "no schema of the user's search_path exists: create one, or set search_path for this user",
    "42": "a statement does not fit the schema: was it changed by hand?",
    "42P05": "a pooler gave the connection another's session: write pool_mode=transaction in the URL",
    "42501": "the user lacks a right: it needs to create tables in the schema, and to read and write them",
    "54": "a limit of the server was passed",
    "XX": "the server met an internal error, or its files are damaged",
}


def _find(table: dict[str, str], state: str) -> str | None:
    # The SQLSTATE itself, else its class: the first two of its five characters.
    return table.get(state) or table.get(state[:2])


TIMED_OUT = ("40", "55P03", "57014")
"""Those by which the server answers, and says that something else was in the way or took too long."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise what the driver raises as RepositoryUnavailable where it may pass, else as RepositoryError."""
    try:
        yield
    except Exception as error:
        if (translation := _translation(error)) is None:
            raise
        raise translation from error


def _translation(error: Exception) -> RepositoryError | None:
    if isinstance(error, asyncpg.PostgresError):
        return _of_the_server(error)
    if isinstance(error, asyncpg.ClientConfigurationError):
        return RepositoryError(f"PostgreSQL: the URL, or a file that it names, cannot be used: {error.args[0]}")
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return RepositoryUnavailable("PostgreSQL: no server is what target_session_attrs in the URL asks for")
    if isinstance(error, TimeoutError) and error.errno is None:  # it was the driver, not the network
        limit = "a statement took longer than command_timeout in the URL allows"
        return RepositoryUnavailable(f"PostgreSQL: {limit}", timed_out=True)
    if isinstance(error, OSError) and (reason := _of_tls(error)):
        return RepositoryError(f"PostgreSQL: {reason}")
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        reason = _of_the_network(error)
        return RepositoryUnavailable(f"PostgreSQL: the server cannot be reached, or the connection was lost{reason}")
    return None


def _of_the_network(error: Exception) -> str:
    """Return what the operating system says of a connection, in parentheses; it is empty where it says nothing."""
    if isinstance(error, socket.gaierror):
        return f" (the host's name: {error.strerror})"
    if isinstance(error, OSError) and error.errno:
        return f" ({os.strerror(error.errno)})"  # `strerror` of asyncio's errors has addresses in it
    return ""


def _of_the_server(error: asyncpg.PostgresError) -> RepositoryError:
    state = error.sqlstate or "XX000"
    if refused := re.search(r"startup parameters?: (\w+)", str(error)):
        return RepositoryError(
            f"PostgreSQL: a pooler refuses the start-up parameter {refused[1]} (SQLSTATE {state}): name it in its "
            "ignore_startup_parameters"
        )
    if passing := _find(PASSING, state):
        return RepositoryUnavailable(f"PostgreSQL: {passing} (SQLSTATE {state})", timed_out=state.startswith(TIMED_OUT))
    lasting = _find(LASTING, state) or "the server refused the call"
    return RepositoryError(f"PostgreSQL: {lasting} (SQLSTATE {state})")


def _of_tls(error: OSError) -> str | None:
    """Return what is wrong where encryption could not be agreed on; None where that is not what is wrong."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not accepted: {error.verify_message}; sslrootcert in the URL names the "
            "authority that signed it, and sslmode=verify-full compares the host's name too"
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return None  # the connection was lost in the midst of it
    if isinstance(error, ssl.SSLError):
        return f"TLS could not be agreed on, or a file of certificates or keys cannot be read: {error.reason}"
    if "rejected SSL upgrade" in str(error):
        return (
            "the server offers no TLS, which sslmode in the URL asks for: turn ssl on there, or ask for less; where it "
            "does not ask, what listens at this port is no PostgreSQL server"
        )
    return None
