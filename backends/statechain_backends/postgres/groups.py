"""The writes of one commit: starts and advances in one statement, the others each by its script."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import asyncpg

from statechain.errors import RepositoryUnavailable
from statechain.storage.leases import lease_lost
from statechain.storage.queues import MachineLimited
from statechain.storage.repository import Advance, CreateBatch, RedriveExecution, StartExecution, TakeUpExecution
from statechain_backends.postgres.connections import Connection
from statechain_backends.postgres.performing import fetch, perform
from statechain_backends.postgres.writes import changed_ids, transition
from statechain_backends.sql import queries
from statechain_backends.sql.decoding import Row, outcome
from statechain_backends.sql.queues.queries import IS_LIMITED
from statechain_backends.sql.records import to_execution
from statechain_backends.sql.scripts.redrives import redrive_all
from statechain_backends.sql.scripts.transitions import (
    current_positions,
    last_written,
    may_be_committed,
    outcome_after_guard_miss,
)
from statechain_backends.sql.scripts.writes import SCRIPTS
from statechain_backends.sql.text_escape import unescape_text

if TYPE_CHECKING:
    from statechain.storage.repository import Write

__all__ = ["CommitGroup"]


class CommitGroup:
    """The writes of one commit, sorted into those that one statement makes, and others."""

    def __init__(self, writes: Sequence[Write[object]]) -> None:
        self.outcomes: list[object] = [None] * len(writes)
        self._starts: dict[int, StartExecution] = {}
        self._advances: dict[int, Advance] = {}
        self._taken: dict[int, TakeUpExecution] = {}
        self.others: dict[int, Write[object]] = {}
        self.freezes = CreateBatch in map(type, writes)
        for place, write in enumerate(writes):
            if isinstance(write, Advance):
                self._advances[place] = write
            elif isinstance(write, StartExecution) and not (write.exclusive and write.execution.source):
                self._starts[place] = write
            elif isinstance(write, TakeUpExecution):
                self._taken[place] = write
            else:
                self.others[place] = write

    async def move(self, connection: Connection) -> None:
        """Make the starts and advances, and find out about those that were refused."""
        if not self._starts and not self._advances and not self._taken:
            return
        text, arguments = transition(self._starts.values(), self._advances.values(), self._taken.values())
        changed = await connection.fetchval(text, *arguments)
        if changed is None:
            for place, start in self._starts.items():
                self.outcomes[place] = start.execution
        else:
            await self._find_missed(connection, changed_ids(changed))

    async def _find_missed(self, connection: Connection, done: Collection[str]) -> None:
        """Find the outcomes of what did not take effect, where only some executions were changed."""
        others: dict[int, StartExecution] = {}
        for place, start in self._starts.items():
            if start.execution.id in done:
                self.outcomes[place] = start.execution
            else:
                others[place] = start
        if others:
            await self._find_holders(connection, others)
        guarded: dict[int, Advance | TakeUpExecution] = {**self._advances, **self._taken}
        missed = {place: write for place, write in guarded.items() if write.execution_id not in done}
        if missed:
            rows = await fetch(connection, current_positions([write.execution_id for write in missed.values()]), None)
            found = {unescape_text(row[0]): row for row in cast("Sequence[asyncpg.Record]", rows)}
            for place, write in missed.items():
                row, last = found.get(write.execution_id), cast("Sequence[Row]", [])
                if isinstance(write, Advance) and may_be_committed(write, row):
                    last = await fetch(connection, last_written(write), None)
                self.outcomes[place] = _outcome_of_missed(write, row, last)

    async def _find_holders(self, connection: Connection, starts: Mapping[int, StartExecution]) -> None:
        """Find the executions that hold the names of refused starts: one query for all."""
        names = {place: (each.execution.state_machine_id, each.execution.name) for place, each in starts.items()}
        rows = await fetch(connection, queries.executions_by_names(sorted(set(names.values()))), None)
        holders: dict[tuple[str, str], Row] = {}
        for row in rows:
            _, name, machine, *_ = row
            holders[unescape_text(machine), unescape_text(name)] = row
        for place, name_in_machine in names.items():
            if name_in_machine in holders:
                self.outcomes[place] = outcome(to_execution, holders[name_in_machine])
            else:
                self.outcomes[place] = await _why_not_started(connection, starts[place])

    async def perform(self, connection: Connection) -> None:
        """Run the scripts of the other writes; redrives have one for all of them."""
        for place, write in self.others.items():
            if not isinstance(write, RedriveExecution):
                self.outcomes[place] = await perform(connection, SCRIPTS[type(write)](write))
        redrives = {place: write for place, write in self.others.items() if isinstance(write, RedriveExecution)}
        if redrives:
            outcomes = await perform(connection, redrive_all([*redrives.values()]))
            for place, each in zip(redrives, cast("Sequence[object]", outcomes), strict=True):
                self.outcomes[place] = each


def _outcome_of_missed(write: Advance | TakeUpExecution, row: Row | None, last: Sequence[Row]) -> object:
    if isinstance(write, Advance):
        return outcome_after_guard_miss(write, row, last[0] if last else None)
    _, _, epoch, *_ = row or (None, None, None)
    return lease_lost(write.execution_id, write.epoch, epoch)


async def _why_not_started(connection: Connection, start: StartExecution) -> MachineLimited:
    """Return the refusal of a start that no holder of its name explains."""
    machine = start.execution.state_machine_id
    rows = await fetch(connection, IS_LIMITED, {"machine": machine})
    if start.owner is not None and any(is_limited for (is_limited,) in rows):
        return MachineLimited(machine)
    # The journal commits the group again: what is committed has the same outcome, and this start is tried anew.
    raise RepositoryUnavailable("what kept an execution from being started is gone: another one of its name, or limits")
