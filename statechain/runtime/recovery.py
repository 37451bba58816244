"""Leases: keep this worker's own alive, and take over what dead workers left.

Leases live on real time, by the database's clock; the engine's clock plays no part.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from statechain.errors import RepositoryError

if TYPE_CHECKING:
    from statechain.runtime.revisions import Revisions
    from statechain.runtime.worker import Worker
    from statechain.storage.repository import Repository

__all__ = ["Recovery"]

logger = logging.getLogger(__name__)

PAGE = 100
HEARTBEATS_PER_LEASE = 3


class Recovery:
    """Renews the worker's lease and claims executions that nobody owns."""

    def __init__(self, repository: Repository, worker: Worker, revisions: Revisions, lease: timedelta) -> None:
        self._repository = repository
        self._worker = worker
        self._revisions = revisions
        self._lease = lease

    async def open(self) -> None:
        """Register the worker, before it starts or claims anything."""
        await self._repository.heartbeat(self._worker.id, self._lease)

    async def run(self) -> None:
        """Renew the lease and look for orphans, until cancelled; an outage of storage is waited out."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / HEARTBEATS_PER_LEASE)
            try:
                await self._repository.heartbeat(self._worker.id, self._lease)
                await self.recover()
            except RepositoryError as fault:
                logger.warning("the lease could not be renewed, trying again: %s", fault)

    async def recover(self) -> list[str]:
        """Take over what dead workers left, page after page, and run it on; return the ids."""
        recovered: list[str] = []
        while claims := await self._repository.claim(self._worker.id, page=PAGE):
            for claim in claims:
                execution = claim.execution
                revision = await self._revisions.get(execution.state_machine_id, execution.state_machine_revision)
                self._worker.adopt(revision, claim)
                recovered.append(execution.id)
        return recovered

    async def close(self) -> None:
        """Hand over at once: whatever this worker still owns can be claimed by others."""
        await self._repository.release(self._worker.id)
