"""Transactions that need not wait for the disk: the next one that does syncs all that was written before it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from statechain_backends.sqlite.writes import perform

if TYPE_CHECKING:
    from statechain_backends.sql.scripts.steps import Script

__all__ = ["claim", "no_sync"]

SYNCHRONOUS_NORMAL = 1
"""By its number, as SQLite answers it: only checkpoints sync; 0 is OFF, 2 FULL, 3 EXTRA."""


@contextmanager
def no_sync(connection: sqlite3.Connection) -> Iterator[None]:
    """Let commits of the body return before the disk has what they wrote; a checkpoint still waits for it."""
    (configured,) = connection.execute("PRAGMA synchronous").fetchone()
    # Where it is OFF, it stays so.
    connection.execute(f"PRAGMA synchronous={min(configured, SYNCHRONOUS_NORMAL)}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA synchronous={configured}")


def claim(connection: sqlite3.Connection, script: Script) -> Any:  # noqa: ANN401 -- what the script returns
    """Claim without waiting for the disk, unless some machine has limits.

    A power failure that takes a claim back ends its worker, too, and all that the worker records later syncs the claim
    first: it is as if the worker had died before it. Only what was taken of a machine's rate would be forgotten.
    """
    ((has_queues,),) = connection.execute("SELECT EXISTS (SELECT 1 FROM queues)")
    if has_queues:
        return perform(connection, script)
    with no_sync(connection):
        return perform(connection, script)
