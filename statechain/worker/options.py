"""How one process takes part: as whom, in which role, under which lease, and what it waits for when it is left."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, TypeAlias

import attrs

__all__ = ["Role", "WorkerOptions"]

Role: TypeAlias = Literal["worker", "client", "reader"]


@attrs.frozen(kw_only=True)
class WorkerOptions:
    """The arguments of an `Engine` that concern its worker, under the same names where they are the same.

    Attributes:
        worker_id: The identity under which executions are owned; None for a random one.

        role: ``"worker"`` runs executions, ``"client"`` submits them, ``"reader"`` only reads.

        lease: How long executions are kept without a renewal.

        connect_timeout: For how long storage may be away when the engine is entered.

        max_concurrent: How many executions run at once; None for no limit.

        recovers: Whether what has no owner is claimed.

        waits_for_adopted: Whether leaving waits for what was taken over from other workers.
    """

    worker_id: str | None = None
    role: Role = "worker"
    lease: timedelta
    connect_timeout: timedelta
    max_concurrent: int | None = None
    recovers: bool = True
    waits_for_adopted: bool = False
