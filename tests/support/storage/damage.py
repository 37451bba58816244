"""Rows damaged by hand, past the checks of the database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from statechain import open_repository

if TYPE_CHECKING:
    from support.postgres import Postgres

__all__ = ["TOO_LATE", "Damage", "damager", "unchecked_tables"]

Damage: TypeAlias = Callable[..., Awaitable[None]]
"""(statement, *arguments) → None: runs it beside the repository."""

TOO_LATE = 400_000_000_000_000_000
"""A time after the year 9999, in microseconds since 1970."""

CHECKS = ("executions_status", "executions_end_time", "callbacks_status", "batches_status")


def unchecked_tables(server: Postgres) -> str:
    """Return the name of a new PostgreSQL database whose tables have lost their checks."""
    name = server.create_database()

    async def create() -> None:
        async with open_repository(server.url(name)):
            pass

    asyncio.run(create())
    for check in CHECKS:
        server.execute(f"ALTER TABLE {check.partition('_')[0]} DROP CONSTRAINT {check}_check", name)
    return name


def damager(url: str) -> Damage:
    """Return what runs a statement beside the repository."""

    async def run(statement: str, *values: object) -> None:
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
                connection.execute("PRAGMA ignore_check_constraints = ON")
                connection.execute(statement, values)
            connection.close()
            return
        connection = await asyncpg.connect(url)
        try:
            for place in range(len(values)):
                statement = statement.replace("?", f"${place + 1}", 1)
            await connection.execute(statement, *values)
        finally:
            await connection.close()

    return run
