"""Statements of SQLAlchemy Core on a connection of asyncpg: one, or a script that asks one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

import asyncpg

from statechain.errors import DamagedRow
from statechain_backends.postgres.connections import Connection
from statechain_backends.postgres.writes import COMPILER
from statechain_backends.sql.compiler import Parameters
from statechain_backends.sql.decoding import Row
from statechain_backends.sql.scripts.steps import Script

if TYPE_CHECKING:
    from sqlalchemy import Executable

__all__ = ["fetch", "perform"]

AnyConnection: TypeAlias = "Connection | asyncpg.Connection[asyncpg.Record]"


async def fetch(connection: AnyConnection, statement: Executable, parameters: Parameters) -> Sequence[Row]:
    """Return the rows of a statement."""
    text, arguments = COMPILER.render(statement, parameters)
    return cast("Sequence[Row]", await connection.fetch(text, *arguments))


async def perform(connection: AnyConnection, script: Script) -> object:
    """Answer a script with rows until it is done; return what it returns."""
    try:
        question = next(script)
        while True:
            question = script.send(await fetch(connection, *question))
    except StopIteration as done:
        return done.value
    except DamagedRow as damage:  # of this write alone; the others of the group take effect
        return damage
