"""Functions of SQL that SQLite and PostgreSQL write differently, or that SQLAlchemy does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler

__all__ = ["now", "position", "size", "unindexed"]


class position(FunctionElement[int]):  # noqa: N801 -- reads as the SQL function that it is
    """Where a string first occurs in another, bytewise, from 1; 0 where it does not."""

    type = Integer()
    inherit_cache = True


@compiles(position)
def _position(element: position, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    return f"strpos({compiler.process(element.clauses, **options)})"


@compiles(position, "sqlite")
def _position_on_sqlite(element: position, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    return f"instr({compiler.process(element.clauses, **options)})"


class unindexed(FunctionElement[str]):  # noqa: N801 -- reads as the SQL function that it is
    """A string as it is, by which no index is chosen: one in the order of a page is better."""

    type = String()
    inherit_cache = True


@compiles(unindexed)
def _unindexed(element: unindexed, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    return f"({compiler.process(element.clauses, **options)} || '')"


class size(FunctionElement[int]):  # noqa: N801 -- reads as the SQL function that it is
    """How many bytes (SQLite: characters) a string has. JSON texts are ASCII; PostgreSQL reads none of it for that."""

    type = Integer()
    inherit_cache = True


@compiles(size)
def _size(element: size, compiler: SQLCompiler, **options: object) -> str:
    return f"octet_length({compiler.process(element.clauses, **options)})"


@compiles(size, "sqlite")
def _size_on_sqlite(element: size, compiler: SQLCompiler, **options: object) -> str:
    return f"length({compiler.process(element.clauses, **options)})"


class now(FunctionElement[int]):  # noqa: N801 -- reads as the SQL function that it is
    """The database's clock, in microseconds since the epoch."""

    type = BigInteger()
    inherit_cache = True


@compiles(now)
def _now(_element: now, _compiler: SQLCompiler, **_options: object) -> str:
    # Not now(), which is when the transaction began: it may have waited for locks since.
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


@compiles(now, "sqlite")
def _now_on_sqlite(_element: now, _compiler: SQLCompiler, **_options: object) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
