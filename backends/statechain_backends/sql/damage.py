"""What can be wrong with a stored row by itself, column by column, and what a repair puts in its place.

The readers in `records` refuse the same values. A string that is no JSON is kept as a JSON string: nothing is lost.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import BigInteger, Integer

from statechain.codec import decode, encode
from statechain.records.batches import BatchStatus
from statechain.records.callbacks import CallbackStatus
from statechain.records.executions import ExecutionStatus
from statechain_backends.sql.decoding import json_object, member, moment, number, text
from statechain_backends.sql.schema.tables import batches, callbacks, executions, metadata, state_machines, visits

if TYPE_CHECKING:
    from sqlalchemy import Column, Table

__all__ = ["TABLES", "damage_of", "replacements"]

Check: TypeAlias = Callable[[object, str], object]

TIMES = frozenset({"created", "start_time", "end_time", "entered", "exited", "beat"})
JSON = {
    state_machines.name: frozenset({"definition"}),
    executions.name: frozenset({"input", "output"}),
    visits.name: frozenset({"output", "detail"}),
    callbacks.name: frozenset({"input", "output"}),
}
STATUSES: Mapping[str, Callable[[str], object]] = {
    executions.name: ExecutionStatus,
    callbacks.name: CallbackStatus,
    batches.name: BatchStatus,
}
LAST_STATUS = {
    executions.name: ExecutionStatus.FAILED.value,
    callbacks.name: CallbackStatus.CLOSED.value,
    batches.name: BatchStatus.FAILED.value,
}
OBJECTS = {batches.name: frozenset({"filter", "options"})}

TABLES: Sequence[Table] = tuple(metadata.tables.values())


def _json(value: object, column: str) -> object:
    try:
        return decode(text(value, column))
    except ValueError as error:
        raise ValueError(f"{column} is not JSON") from error


def _check(table: Table, column: Column[Any]) -> Check:
    if column.name == "status" and table.name in STATUSES:
        statuses = STATUSES[table.name]
        return lambda value, name: member(statuses, value, name)
    if column.name in OBJECTS.get(table.name, ()):
        return json_object
    if column.name in JSON.get(table.name, ()):
        return _json
    if isinstance(column.type, BigInteger | Integer):
        return moment if column.name in TIMES else number
    return text


CHECKS: Mapping[str, Sequence[tuple[str, bool, Check]]] = {
    table.name: [(column.name, bool(column.nullable), _check(table, column)) for column in table.columns]
    for table in TABLES
}


def damage_of(table: Table, row: Sequence[object]) -> dict[str, str]:
    """Return what is wrong with the columns of a row, by their names."""
    found: dict[str, str] = {}
    for (column, is_nullable, check), value in zip(CHECKS[table.name], row, strict=True):
        if value is None and is_nullable:
            continue
        try:
            check(value, column)
        except (TypeError, ValueError) as error:
            found[column] = str(error)
    return found


def replacements(table: Table, row: Sequence[object], damaged: Sequence[str]) -> dict[str, object] | None:
    """Return what a repair puts into the damaged columns; None where the row cannot be repaired."""
    values = dict(zip(table.columns.keys(), row, strict=True))
    new: dict[str, object] = {}
    for name in damaged:
        column = table.columns[name]
        # A key names the row, and a definition cannot be made up.
        if column.primary_key or name == "definition":
            return None
        new[name] = _replacement(table, column, values)
    return new


def _replacement(table: Table, column: Column[Any], values: Mapping[str, object]) -> object:
    name, value = column.name, values[column.name]
    if name == "status":
        return LAST_STATUS[table.name]
    if name in OBJECTS.get(table.name, ()):
        return "{}"
    if name in JSON.get(table.name, ()):
        return encode(_as_text(value))
    if name in TIMES:
        return None if column.nullable and name != "end_time" else _time_of(values)
    if isinstance(column.type, BigInteger | Integer):
        return None if column.nullable else 0
    return _as_text(value)


def _as_text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else "" if value is None else str(value)


def _time_of(values: Mapping[str, object]) -> int:
    """Return a time for a row that has lost one: that in its execution's id, which is a UUIDv7, or else now."""
    now = time.time_ns() // 1000
    for name in ("id", "execution_id", "target_execution_id"):
        try:
            found = uuid.UUID(str(values.get(name)))
        except ValueError:
            continue
        if found.version == 7:
            # The first 48 bits are milliseconds since 1970.
            return min((found.int >> 80) * 1000, now)
    return now
