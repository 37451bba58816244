"""The part of a repository that claims executions and releases them, by the scripts that both databases run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from statechain_backends.sql.leases import scripts as lease_scripts

if TYPE_CHECKING:
    from statechain.records.executions import Claim
    from statechain.storage.leases import WorkerLease
    from statechain_backends.sql.scripts.steps import Script

__all__ = ["Leases"]


class Leases(ABC):
    """The claiming half of a repository's leases; how a worker's lease is renewed and looked at differs."""

    @abstractmethod
    async def _perform(self, script: Script) -> object:
        """Run a script in a separate transaction."""

    async def release_dead(self, leases: Sequence[WorkerLease]) -> Sequence[str]:
        """Release what dead workers own."""
        return cast("Sequence[str]", await self._perform(lease_scripts.release_dead(leases)))

    async def retain(self, worker_id: str, epochs: Mapping[str, int]) -> None:
        """Own again what was released while the worker runs it."""
        await self._perform(lease_scripts.retain(worker_id, epochs))

    async def owned(self, worker_id: str) -> Mapping[str, int]:
        """Return the epochs of the executions that a worker owns, by their ids."""
        return cast("Mapping[str, int]", await self._perform(lease_scripts.owned(worker_id)))

    async def claim(
        self,
        worker_id: str,
        *,
        page: int,
        excluded_revisions: Collection[tuple[str, int]] = (),
        orphaned: Mapping[str, int] | None = None,
        suspects: range | None = None,
        only_queued: Collection[str] | None = None,
    ) -> Sequence[Claim]:
        """Take over executions without an owner."""
        script = lease_scripts.claim(worker_id, page, excluded_revisions, orphaned or {}, suspects, only_queued)
        return cast("Sequence[Claim]", await self._perform_claim(script))

    async def _perform_claim(self, script: Script) -> object:
        """Run the script of a claim in a separate transaction."""
        return await self._perform(script)

    async def release(self, worker_id: str) -> None:
        """Release all that a worker owns."""
        await self._perform(lease_scripts.release(worker_id))
