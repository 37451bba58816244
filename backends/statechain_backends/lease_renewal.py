"""A renewer for repositories whose heartbeat any thread and event loop may call."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Self

import attrs

if TYPE_CHECKING:
    from statechain.storage.leases import LeaseStorage

__all__ = ["SharedLeaseRenewer"]


@attrs.frozen
class SharedLeaseRenewer:
    """Renews through the repository itself, and so has its own nothing to open."""

    repository: LeaseStorage
    worker_id: str
    lease: timedelta

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        pass

    async def renew(self) -> bool:
        """Renew the lease."""
        return await self.repository.renew_lease(self.worker_id, self.lease)
