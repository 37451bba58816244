"""Taking over what dead workers left: a loop over the claiming statement, never over a list in memory.

What cannot be run here, for want of its handlers or of a definition that can be read, stays for others; what brings
its workers down each time is ended.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from statechain.errors import RepositoryError, StatechainError
from statechain.logs import about
from statechain.records import Claim, ExecutionStatus
from statechain.storage.patience import patiently
from statechain.storage.repository import Advance, End, ReleaseExecution

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.limits import Limits
    from statechain.runtime.lease import Lease
    from statechain.runtime.revisions import Revision, Revisions
    from statechain.runtime.worker import Worker
    from statechain.storage.journal import Journal
    from statechain.storage.repository import Repository

__all__ = ["Recovery"]

logger = logging.getLogger(__name__)

PAGE = 100


class Recovery:
    """Claims executions that nobody owns, for one worker."""

    def __init__(
        self,
        repository: Repository,
        journal: Journal,
        clock: Clock,
        worker: Worker,
        revisions: Revisions,
        lease: Lease,
        limits: Limits,
    ) -> None:
        self._repository = repository
        self._journal = journal
        self._clock = clock
        self._worker = worker
        self._revisions = revisions
        self._lease = lease
        self._limits = limits
        self._is_in_doubt = False

    async def run(self) -> None:
        """Look for orphans with each beat of the lease, until cancelled; an outage of storage is waited out."""
        while True:
            await asyncio.sleep(self._lease.period)
            try:
                await self.recover()
            except RepositoryError as fault:
                logger.warning("executions could not be recovered, trying again: %s", fault)

    async def recover(self) -> list[str]:
        """Take over what dead workers left, page after page while there is room, and run it on; return the ids."""
        recovered: list[str] = []
        leaving: set[tuple[str, int]] = set()
        while room := self._worker.room:
            claims = await self._claim(min(PAGE, room), leaving)
            if not claims:
                break
            recovered += [claim.execution.id for claim in claims if await self._take(claim, leaving)]
        return recovered

    async def _claim(self, page: int, leaving: set[tuple[str, int]]) -> list[Claim]:
        """Claim a page; after a claim whose reply was lost, what this worker owns and does not run is nobody's.

        Without a lease that holds, it would claim its own, and what it claims would be anybody's.
        """
        if not self._lease.holds:
            await self._lease.regained()
        running = self._worker.running() if self._is_in_doubt else None
        self._is_in_doubt = True
        claims = await self._repository.claim(self._worker.id, page=page, leaving=leaving, running=running)
        self._is_in_doubt = False
        return list(claims)

    async def _take(self, claim: Claim, leaving: set[tuple[str, int]]) -> bool:
        """Run a claimed execution on; tell whether it is run here."""
        revision = await self._served(claim)
        if revision is None:
            execution = claim.execution
            leaving.add((execution.state_machine_id, execution.state_machine_revision))
            await self._journal.write(
                ReleaseExecution(execution_id=execution.id, epoch=claim.epoch, claims=claim.claims - 1)
            )
            return False
        if claim.claims > self._limits.claims:
            await self._park(claim)
            return False
        self._worker.adopt(revision, claim)
        return True

    async def _served(self, claim: Claim) -> Revision | None:
        """Return the revision of an execution, or None where it cannot be run here."""
        machine, number = claim.execution.state_machine_id, claim.execution.state_machine_revision
        try:
            revision = await patiently(lambda: self._revisions.get(machine, number))
        except StatechainError as fault:
            logger.warning("revision %s of the state machine %s cannot be run here: %s", number, machine, fault)
            return None
        missing = self._worker.missing(revision)
        if missing:
            logger.info("executions of %s are left to others: no handler for %s", revision.record.name, missing[0])
            return None
        return revision

    async def _park(self, claim: Claim) -> None:
        """End an execution that was taken over again and again without progress."""
        cause = (
            f"The execution was taken over {claim.claims - 1} times without making progress, and each of its workers "
            "ended: it may be what ends them. Redrive it once that is mended."
        )
        end = End(status=ExecutionStatus.FAILED, end_time=self._clock.now(), error="States.Runtime", cause=cause)
        await self._journal.write(
            Advance(
                execution_id=claim.execution.id,
                epoch=claim.epoch,
                seq=claim.seq,
                visits=(),
                current_state=claim.execution.current_state,
                end=end,
            )
        )
        logger.warning("execution %s is ended: %s", claim.execution.id, cause, extra=about(claim.execution))
