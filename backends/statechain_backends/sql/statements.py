"""Constant statements that several modules use, for SQLite and PostgreSQL alike."""

from __future__ import annotations

from sqlalchemy import insert, update

from statechain_backends.sql import queries
from statechain_backends.sql.compiler import param, row_params
from statechain_backends.sql.schema.tables import executions, runs

__all__ = ["ADD_RUN", "END_EXECUTION", "EXECUTION", "EXECUTION_BY_NAME"]

EXECUTION = queries.execution(param("id"))
EXECUTION_BY_NAME = queries.execution_by_name(param("machine"), param("name"))
ADD_RUN = insert(runs).values(row_params(runs))

_ENDED = ("status", "output", "error", "cause", "end_time", "current_state", "epoch")
END_EXECUTION = update(executions).where(executions.c.id == param("id_")).values({name: param(name) for name in _ENDED})
