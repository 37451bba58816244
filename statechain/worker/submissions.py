"""What a client submits: executions without an owner, durable at once, which any worker claims."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Protocol, TypeVar

from statechain.cancellation import GRACE, await_shielded, wait_ignoring_cancellation
from statechain.storage.repository import RedriveExecution, StartExecution

if TYPE_CHECKING:
    from statechain.records.executions import Execution
    from statechain.storage.journal import Journal

__all__ = ["SUBMITS_ONLY", "Submissions"]

T = TypeVar("T")

SUBMITS_ONLY = "this engine only submits (role='client'): it runs no execution, so that it recovers none"


class Owner(Protocol):
    """What runs its own submission in a task: it is made also where its caller is cancelled."""

    def own(self, work: Coroutine[None, None, T]) -> asyncio.Future[T]:
        """Run work in a task of the engine; its error is the caller's alone."""

    async def stop(self, execution_id: str) -> Execution:
        """End an execution as ABORTED."""


class Submissions:
    """Starts and redrives for workers to claim."""

    def __init__(self, journal: Journal, owner: Owner) -> None:
        self._journal = journal
        self._owner = owner

    async def start(self, execution: Execution, *, exclusive: bool) -> Execution:
        """Record an execution; return the one that holds its name.

        A caller that is cancelled meanwhile leaves the execution ABORTED, and waits for that no longer than `GRACE`.
        """
        start = StartExecution(execution=execution, owner=None, exclusive=exclusive)
        submitting = self._owner.own(self._journal.write(start))
        try:
            return await await_shielded(submitting, GRACE)
        except asyncio.CancelledError:
            await wait_ignoring_cancellation(self._owner.own(self._stop(execution.id, submitting)), GRACE)
            raise

    async def _stop(self, execution_id: str, submitting: asyncio.Future[Execution]) -> None:
        """End what was submitted for a caller that is gone."""
        if (await submitting).id == execution_id:
            await self._owner.stop(execution_id)

    async def redrive(self, execution: Execution) -> bool:
        """Make an execution that ended without success RUNNING again.

        Return False where it runs, or ended otherwise meanwhile.
        """
        redrive = RedriveExecution(execution_id=execution.id, owner=None, redrive_count=execution.redrive_count)
        return await self._journal.write_for_caller(redrive) is not None
