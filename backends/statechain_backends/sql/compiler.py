"""Core expressions → SQL text and positional arguments, for drivers that are spoken to directly.

A statement that comes with parameters is compiled once, and kept for as long as it exists: most are constants of their
modules. One without was built for the occasion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from weakref import WeakKeyDictionary

import attrs
from sqlalchemy import BindParameter, bindparam

from statechain_backends.sql.text_escape import escape_text

if TYPE_CHECKING:
    from sqlalchemy import Dialect, Executable, Table
    from sqlalchemy.sql import ClauseElement
    from sqlalchemy.sql.compiler import SQLCompiler

__all__ = ["SQL", "Compiler", "Number", "Parameters", "Text", "named_row", "param", "row_params"]

Parameters: TypeAlias = Mapping[str, object] | None
Text: TypeAlias = str | BindParameter[Any]
Number: TypeAlias = int | BindParameter[Any]


def param(name: str) -> BindParameter[Any]:
    """Return a parameter of a constant statement; its value comes with each use."""
    return bindparam(name, required=False)


def row_params(table: Table) -> dict[str, BindParameter[Any]]:
    """Return a parameter for each column of a table, in their order and by their names."""
    return {name: param(name) for name in table.columns.keys()}  # noqa: SIM118 -- no mapping


def named_row(table: Table, row: Sequence[object]) -> dict[str, object]:
    """Return the values of a row by the names of the table's columns, as `row_params` takes them."""
    return dict(zip(table.columns.keys(), row, strict=True))


@attrs.frozen(eq=False)
class SQL:
    """A compiled statement: its text, the names of its places, and the values that are its own."""

    text: str
    names: tuple[str, ...]
    values: Mapping[str, Any]

    def arguments(self, parameters: Mapping[str, object]) -> list[Any]:
        """Return the arguments in the order of their places."""
        values = {**self.values, **parameters}
        return [escape_text(values[name]) for name in self.names]


class Compiler:
    """Compiles for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        # By weak references: a claim may build statements, with parameters, that are gone with it.
        self._known: WeakKeyDictionary[Executable, SQL] = WeakKeyDictionary()

    def known(self, statement: Executable) -> SQL:
        """Return a statement that takes parameters, compiled once."""
        found = self._known.get(statement)
        if found is None:
            found = self._known[statement] = self._compile(statement)
        return found

    def render(self, statement: Executable, parameters: Parameters = None) -> tuple[str, list[Any]]:
        """Return a statement's text and its arguments."""
        sql = self._compile(statement) if parameters is None else self.known(statement)
        return sql.text, sql.arguments(parameters or {})

    def _compile(self, statement: Executable) -> SQL:
        element = cast("ClauseElement", statement)
        compiled = cast(
            "SQLCompiler",
            # Constants and lists are expanded now: SQLAlchemy's own connections would do it at each execution.
            element.compile(dialect=self._dialect, compile_kwargs={"render_postcompile": True}),
        )
        return SQL(str(compiled), tuple(compiled.positiontup or ()), compiled.construct_params())
