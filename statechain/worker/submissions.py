"""What is submitted: executions without an owner, durable at once, which any worker claims.

A client submits all of its executions, a worker those of state machines with limits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from statechain.cancellation import GRACE, await_shielded, wait_ignoring_cancellation
from statechain.errors import StatechainError
from statechain.storage.repository import RedriveExecution, StartExecution

if TYPE_CHECKING:
    from statechain.records.executions import Execution
    from statechain.storage.journal.journal import Journal
    from statechain.storage.queues import MachineLimited

__all__ = ["SUBMITS_ONLY", "Submissions"]

T = TypeVar("T")

LIMITED_SECONDS = 30.0
"""How long a machine is taken to have limits, once storage refused for them to run one of its executions directly."""

SUBMITS_ONLY = "this engine only submits (role='client'): it runs no execution, so that it recovers none"


class Owner(Protocol):
    """What runs its own submission in a task: it is made also where its caller is cancelled.

    ``changed`` is set where there is something to claim.
    """

    changed: asyncio.Event

    def own(self, work: Coroutine[None, None, T]) -> asyncio.Future[T]:
        """Run work in a task of the engine; its error is the caller's alone.

        Raises StatechainError where the engine is left.
        """

    async def stop(self, execution_id: str) -> Execution:
        """End an execution as ABORTED."""


class Submissions:
    """Starts and redrives for workers to claim.

    Attributes:
        takes_all: Whether every execution is submitted: this process runs none.
    """

    def __init__(self, journal: Journal, owner: Owner) -> None:
        self._journal = journal
        self._owner = owner
        self.takes_all = False
        self._limited: dict[str, float] = {}

    def takes(self, state_machine_id: str) -> bool:
        """Return whether the executions of a machine are submitted."""
        refused = self._limited.get(state_machine_id)
        return self.takes_all or (refused is not None and time.monotonic() - refused < LIMITED_SECONDS)

    def note_limited(self, limited: MachineLimited) -> None:
        """Remember for a while that a machine has limits, so that not each of its executions is refused first."""
        self._limited[limited.state_machine_id] = time.monotonic()

    async def start(self, execution: Execution, *, exclusive: bool) -> Execution:
        """Record an execution; return the one that holds its name.

        A caller that is cancelled meanwhile leaves the execution ABORTED, and waits for that no longer than `GRACE`.
        """
        start = StartExecution(execution=execution, owner=None, exclusive=exclusive)
        # In a task of the engine: a caller that is cancelled leaves no start of which nothing knows.
        submitting = self._owner.own(self._journal.write(start))
        try:
            holder = await await_shielded(submitting, GRACE)
        except asyncio.CancelledError:
            with suppress(StatechainError):  # the engine is left meanwhile: the cancellation goes on all the same
                await wait_ignoring_cancellation(self._owner.own(self._stop(execution.id, submitting)), GRACE)
            raise
        # Recovery claims at once where this process is a worker itself.
        self._owner.changed.set()
        return holder

    async def _stop(self, execution_id: str, submitting: asyncio.Future[Execution]) -> None:
        """End what was submitted for a caller that is gone."""
        # Another execution may hold the name: that one is not this caller's to end.
        if (await submitting).id == execution_id:
            await self._owner.stop(execution_id)

    async def redrive(self, execution: Execution) -> bool:
        """Make an execution that ended without success RUNNING again.

        Return False where it runs, or ended otherwise meanwhile.
        """
        redrive = RedriveExecution(execution_id=execution.id, owner=None, redrive_count=execution.redrive_count)
        is_redriven = await self._journal.write_for_caller(redrive) is not None
        self._owner.changed.set()
        return is_redriven
