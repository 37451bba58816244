"""Stored definitions → compiled plans, each compiled once in a process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs

from statechain import asl
from statechain.codec import decode
from statechain.errors import DamagedRow, InvalidPayload, StateMachineNotFound
from statechain.execution.lengthy import loaded

if TYPE_CHECKING:
    from statechain.asl import Definition, Plan
    from statechain.limits import Limits
    from statechain.records.executions import StateMachineRecord
    from statechain.storage.repository import Repository

__all__ = ["Revision", "Revisions"]

logger = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class Revision:
    """One revision of a state machine, what it compiles to, and the Resources of its Tasks."""

    record: StateMachineRecord
    plan: Plan
    resources: tuple[str, ...]


class Revisions:
    """The revisions that this process has read or created."""

    def __init__(self, repository: Repository, limits: Limits) -> None:
        self._repository = repository
        self._limits = limits
        self._known: dict[tuple[str, int], Revision] = {}

    def add(self, record: StateMachineRecord, definition: Definition) -> Revision:
        """Remember a revision, with its definition."""
        resources = tuple(dict.fromkeys(resource for _, resource in definition.resources()))
        revision = Revision(record, definition.plan, resources)
        # Of two that loaded the same revision at once the first one's plan is used by all.
        return self._known.setdefault((record.id, record.revision), revision)

    async def get(self, state_machine_id: str, revision: int) -> Revision:
        """Return a revision, loaded from storage at the first time. Raises StateMachineNotFound, DamagedRow."""
        known = self._known.get((state_machine_id, revision))
        if known is not None:
            return known
        record = await self._repository.state_machine(state_machine_id, revision)
        if record is None:
            raise StateMachineNotFound(f"there is no revision {revision} of a state machine {state_machine_id!r}")
        return self.add(record, await loaded(record.definition, partial(self._load, record)))

    def _load(self, record: StateMachineRecord) -> Definition:
        try:
            decode(record.definition)
        except InvalidPayload as error:
            raise DamagedRow("state_machines", (record.id, record.revision), "definition is not JSON") from error
        definition = asl.load_stored(record.definition, limits=self._limits)
        # Compiled here, where a large definition is in a thread.
        _ = definition.plan
        return definition

    async def readable(self, records: Sequence[StateMachineRecord]) -> list[Revision]:
        """Return the revisions of some records; one whose definition is damaged is left out and logged."""
        found: list[Revision] = []
        for record in records:
            try:
                found.append(await self.get(record.id, record.revision))
            except DamagedRow as damage:
                logger.warning("a state machine was left out: %s", damage)
        return found
