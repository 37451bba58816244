"""What a `Repository` is asked about limits, answered from the tables: the same on SQLite and PostgreSQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import select

from statechain.records.queues import LimitWait, MachineLimits, Queue
from statechain.storage.queues import limit_reached
from statechain.storage.rates import RateWindow
from statechain_backends.sql.compiler import param
from statechain_backends.sql.decoding import number, reads, text
from statechain_backends.sql.queues import queries
from statechain_backends.sql.schema.tables import queues

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from statechain_backends.sql.compiler import Parameters
    from statechain_backends.sql.decoding import Row

__all__ = ["Queues"]

SECOND = 1_000_000
"""In microseconds."""

_LIMITS = select(*queries.LIMITS).where(queues.c.state_machine_id == param("machine"))


class Queues(ABC):
    """The part of a repository that shows limits; claims keep them."""

    @abstractmethod
    async def _fetch(self, statement: Executable, parameters: Parameters = None) -> Sequence[Row]:
        """Return the rows of a statement, read from what was committed."""

    async def machine_limits(self, state_machine_id: str) -> MachineLimits:
        """Return the limits of a state machine."""
        rows = await self._fetch(_LIMITS, {"machine": state_machine_id})
        return _to_limits(rows[0]) if rows else MachineLimits()

    async def queues(self) -> Sequence[Queue]:
        """Return the queues that have limits, or in which something waits."""
        return [_to_queue(row) for row in await self._fetch(queries.QUEUES, {})]

    async def limit_wait(self, execution_id: str) -> LimitWait | None:
        """Return why an execution has not been claimed."""
        rows = await self._fetch(queries.WAIT, {"execution": execution_id})
        for row in rows:
            *of_queue, running_of_key, taken, now = row
            queue = _to_queue(of_queue)
            # From what was taken, as a claim does: `free_at` is 0 from a change of the limits to the next claim.
            *_, count, period, _, _ = of_queue
            has_token = count is None or RateWindow(count, period, taken).room(now) > 0
            limit = limit_reached(queue, running_of_key=running_of_key, has_token=has_token)
            return LimitWait(limit=limit, queue=queue)
        return None


@reads("queues")
def _to_limits(row: Row) -> MachineLimits:
    most, most_per_key, count, period = row
    return MachineLimits(
        max_concurrency=most,
        max_concurrency_per_key=most_per_key,
        rate=None if count is None else (count, period / SECOND),
    )


@reads("queues", 0)
def _to_queue(row: Row) -> Queue:
    """Return a queue from a row of `queries.STATUS`."""
    machine, *limits, waiting, running = row
    return Queue(
        state_machine_id=text(machine, "state_machine_id"),
        limits=_to_limits(limits),
        waiting=number(waiting, "waiting"),
        running=number(running, "running"),
    )
