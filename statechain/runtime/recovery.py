"""Taking over what dead workers left: a loop over the claiming statement, never over a list in memory.

With the same beat a worker learns what others took from it: an execution that rests would not notice before it writes.
What cannot be run here, for want of its handlers or of a definition that can be read, stays for others; what brings
its workers down each time is ended.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from statechain.errors import LeaseLost, StatechainError
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
PAGE_OF_EPOCHS = 500


class Recovery:
    """Claims executions that nobody owns, for one worker, and cuts short those that are its own no more."""

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
        self._is_leaving = False
        self._turn = asyncio.Lock()

    async def run(self, *, claims: bool) -> None:
        """With each beat of the lease, look for what is lost and (``claims``) for orphans, until cancelled.

        An outage of storage is waited out, and no other fault ends it either: all that runs would be cut short with it.
        """
        while True:
            await asyncio.sleep(self._lease.period)
            try:
                await self.let_go()
                if claims:
                    await self.recover()
            except Exception as fault:  # noqa: BLE001 -- a fault of the repository must not end everybody's executions
                reason = fault if isinstance(fault, StatechainError) else type(fault).__name__
                logger.warning("executions could not be recovered, trying again: %s", reason)

    def leave(self) -> None:
        """Take over nothing more: the engine is being left. What is lost is still let go."""
        self._is_leaving = True

    async def let_go(self) -> None:
        """Cut short what others have ended or taken over.

        Only what storage knew of before it was asked, and what is the same life and not about to end afterwards: a
        start or an end that is being written meanwhile is no loss.
        """
        held = list(self._worker.held().items())
        for begin in range(0, len(held), PAGE_OF_EPOCHS):
            page = held[begin : begin + PAGE_OF_EPOCHS]
            epochs = await self._repository.epochs([id_ for id_, _ in page])
            still = self._worker.held()
            for id_, live in page:
                if epochs.get(id_) != live.epoch and still.get(id_) is live:
                    logger.info("execution %s was ended or taken over elsewhere", id_, extra=about(live.shown))
                    live.lose()

    async def recover(self) -> list[str]:
        """Take over what dead workers left, page after page while there is room, and run it on; return the ids.

        Nothing once the engine is being left. One at a time, so that what one has claimed and not begun to run is
        never another one's doubt.
        """
        self._worker.tasks()  # of an engine that is not open, the lease would be waited for in vain
        async with self._turn:
            return await self._recover()

    async def _recover(self) -> list[str]:
        recovered: list[str] = []
        leaving: set[tuple[str, int]] = set()
        while not self._is_leaving and (room := self._worker.room):
            claims = await self._claim(min(PAGE, room), leaving)
            recovered += [claim.execution.id for claim in claims if await self._take(claim, leaving)]
            self._is_in_doubt = False
            if not claims:
                break
        return recovered

    async def _claim(self, page: int, leaving: set[tuple[str, int]]) -> list[Claim]:
        """Claim a page; after one whose reply was lost or that was cut off, what is owned and not run is nobody's.

        So it is after a life that met a fault: what it left may be owned, and is not run.

        Without a lease that holds, it would claim its own, and what it claims would be anybody's.
        """
        if not self._lease.holds:
            await self._lease.regained()
        running = self._worker.running() if self._is_in_doubt or self._worker.is_in_doubt else None
        self._is_in_doubt, self._worker.is_in_doubt = True, False
        return list(await self._repository.claim(self._worker.id, page=page, leaving=leaving, running=running))

    async def _take(self, claim: Claim, leaving: set[tuple[str, int]]) -> bool:
        """Run a claimed execution on; tell whether it is run here."""
        revision = None if self._is_leaving else await self._served(claim)
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
        parking = Advance(
            execution_id=claim.execution.id,
            epoch=claim.epoch,
            seq=claim.seq,
            visits=(),
            current_state=claim.execution.current_state,
            end=end,
        )
        try:
            await self._journal.write(parking)
        except LeaseLost:
            return  # it was ended, or taken over, elsewhere
        logger.warning("execution %s is ended: %s", claim.execution.id, cause, extra=about(claim.execution))
