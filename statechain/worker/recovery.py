"""Taking over what dead workers left: a loop over the claiming statement, never over a list in memory.

With each period of the lease a worker looks at the leases of the others and releases what dead ones own. It claims
what has no owner, as many executions as it has free slots, four times a second, and at once when a slot frees and more
is waiting: executions that were submitted, too, have no owner.
Suspects are claimed apart, in groups (see `suspects`). With the same period it learns what others took from it: an
execution that rests would not notice before it writes. What cannot be run here, for want of its handlers or of a
definition that can be read, stays for others.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from statechain.errors import DamagedRow, LeaseLost, RepositoryError, StatechainError
from statechain.logs import about
from statechain.observers import (
    ExecutionPoisoned,
    ExecutionsClaimed,
    QueueCounted,
    SuspectsCounted,
    SuspectTakenUp,
    emit,
)
from statechain.records.executions import Claim, ExecutionStatus
from statechain.storage.leases import lease_lost
from statechain.storage.repository import Advance, End, ReleaseExecution
from statechain.storage.retrying import retry_while_unavailable
from statechain.worker.peers import Peers
from statechain.worker.submissions import SUBMITS_ONLY
from statechain.worker.suspects import Trials, backoff, deaths_alone, group_size, is_poisoned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from statechain.execution.running import RunningExecution
    from statechain.settings import Settings
    from statechain.storage.journal.ledger import ExecutionWrites
    from statechain.storage.leases import SuspectGroup, WorkerLease
    from statechain.worker.lease import Lease
    from statechain.worker.revisions import Revision, Revisions
    from statechain.worker.worker import Worker

__all__ = ["Recovery", "pause_after"]

logger = logging.getLogger(__name__)

PAGE = 100
PAGE_OF_EPOCHS = 500
MOST_AWAITED = 500
LOOKS_PER_SWEEP = 30
SHORTEST_PAUSE = 0.02
CLAIM_SECONDS = 0.25
MOST_DOUBLINGS = 10
LONGEST_TRIAL_PAUSE = 1.0


def pause_after(failures: int, period: float) -> float:
    """Return the seconds to wait after that many looks failed in a row: twice as many each time, up to a period."""
    return min(CLAIM_SECONDS * 2.0 ** min(failures - 1, MOST_DOUBLINGS), period)


class Recovery:
    """Claims executions without an owner, for one worker, and cancels those that are its own no more."""

    def __init__(self, worker: Worker, revisions: Revisions, lease: Lease, settings: Settings) -> None:
        self._repository, self._journal = worker.repository, worker.journal
        self._worker = worker
        self._revisions = revisions
        self._lease = lease
        self._clock, self._limits, self._observers = settings.clock, settings.limits, settings.observers
        self._peers = Peers(lambda: worker.id, lease.length)
        self._trials = Trials(lease.clock)
        self._opened = lease.clock()
        self._next_look = 0.0
        self._next_trial: float | None = None
        self._looks = 0
        self._failures = 0
        self._is_sweep_due = False
        self._unserved: set[tuple[str, int]] = set()
        self._reported: tuple[int, int] = (0, 0)
        self._doubts = lease.doubts
        self._is_in_doubt = False
        self._is_leaving = False
        self._turn = asyncio.Lock()

    async def run(self, *, claims: bool) -> None:
        """With each period of the lease look for what is lost and (``claims``) for orphans, until cancelled.

        An outage of storage is waited out, with a pause that grows, and no other error ends it either: it would
        interrupt all that runs.
        """
        self._schedule_look()
        while True:
            await self._pause(claims=claims)
            try:
                await self._look(claims=claims)
            except Exception as error:  # noqa: BLE001 -- an error of the repository must not end all executions here
                self._put_off(error)
                await asyncio.sleep(pause_after(self._failures, self._lease.period))
            else:
                self._failures = 0

    async def begin(self) -> None:
        """Take over what dead workers left as the engine opens; where storage refuses that, the next look does."""
        try:
            await self.recover()
        except Exception as error:  # noqa: BLE001 -- nor must it keep an engine from opening
            self._put_off(error)

    def _put_off(self, error: Exception) -> None:
        self._failures += 1
        reason = error if isinstance(error, StatechainError) else type(error).__name__
        logger.warning("executions could not be recovered, trying again: %s", reason)
        # What changed before the failure must not cut the backoff short.
        self._worker.changed.clear()

    def stop_claiming(self) -> None:
        """Take over nothing more: the engine is being left. What is lost is still released."""
        self._is_leaving = True

    async def _look(self, *, claims: bool) -> None:
        # After a failure at once: what the failed look was about to do would otherwise wait for the next period.
        is_due = self._failures > 0 or self._lease.clock() >= self._next_look
        if is_due:
            self._schedule_look()
            self._looks += 1
            # What could not be run here may be by now: with each look it is claimed, and tried, again.
            self._unserved.clear()
            await self.drop_lost()
            if self._observers and claims:
                await self._count_queues()
        if self._doubts != self._lease.doubts:
            await self._reconcile()
        if claims and not self._is_leaving:
            async with self._turn:
                await self._recover(is_full=is_due or self._peers.is_due(self._lease.clock()))
            return
        if self._worker.is_in_doubt or self._is_in_doubt:
            async with self._turn:
                await self._claim(0)  # releases what storage lists as this worker's and does not run, for others
                self._is_in_doubt = False
        if not self._worker.is_interrupted and (awaited := self._worker.elsewhere.awaited(MOST_AWAITED)):
            async with self._turn:
                await self._claim_awaited(awaited)

    async def _count_queues(self) -> None:
        """Report how many executions wait and run under limits, by their state machines."""
        for queue in await self._repository.queues():
            record = await self._repository.state_machine(queue.state_machine_id)
            name = queue.state_machine_id if record is None else record.name
            fact = QueueCounted(
                worker_id=self._worker.id, state_machine=name, waiting=queue.waiting, running=queue.running
            )
            emit(self._observers, fact)

    # When to look

    def _schedule_look(self) -> None:
        self._next_look = self._lease.clock() + self._lease.period

    async def _pause(self, *, claims: bool) -> None:
        """Sleep until the next look, or until something is to be claimed: by a slot that frees, a backoff, a death."""
        moments = [self._next_look]
        if claims:
            moments += [each for each in (self._next_trial, self._peers.next_due()) if each is not None]
        now = self._lease.clock()
        if claims or self._worker.elsewhere.awaited(1):
            moments.append(now + CLAIM_SECONDS)
        # A moment that has passed and changed nothing must not make this a busy loop: the next claim comes soon anyway.
        seconds = max(SHORTEST_PAUSE, min(each for each in moments if each > now or each == self._next_look) - now)
        changed = self._worker.changed
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()
        changed.clear()

    # What is lost

    async def drop_lost(self) -> None:
        """Cancel what others have ended or taken over.

        Only what storage knew of before it was asked, and what is the same run and not about to end afterwards: a
        start or an end that is being written meanwhile is no loss.
        """
        held = list(self._worker.held().items())
        for begin in range(0, len(held), PAGE_OF_EPOCHS):
            page = held[begin : begin + PAGE_OF_EPOCHS]
            epochs = await self._repository.epochs([id_ for id_, _ in page])
            still = self._worker.held()
            for id_, live in page:
                # A start or an end may have been written while storage was asked: its answer is not about that.
                epoch = epochs.get(id_)
                if epoch != live.epoch and still.get(id_) is live:
                    self._lose(live, lease_lost(id_, live.epoch, epoch))

    def _lose(self, live: RunningExecution, lost: LeaseLost) -> None:
        self._worker.note_loss(live, lost)
        live.abandon()

    async def _reconcile(self) -> None:
        """After a lapse or an outage: own again what was released and not claimed, and find out what storage lost.

        Storage may have failed over to a server that is behind. What runs here asks for it by an empty write, which is
        refused where storage has less; what storage lists as this worker's and does not run, the next claim takes.
        """
        # Read first: after a doubt that arises while this reconciles, it reconciles once more.
        doubts = self._lease.doubts
        await self._lease.regained()
        held = self._worker.held()
        await self._repository.retain(self._worker.id, {id_: live.epoch for id_, live in held.items()})
        async with asyncio.TaskGroup() as confirming:
            for live in held.values():
                if live.ledger is not None and live.ledger.has_advanced:
                    confirming.create_task(self._confirm(live, live.ledger))
        self._worker.is_in_doubt = True
        self._is_sweep_due = True
        self._doubts = doubts

    async def _confirm(self, live: RunningExecution, ledger: ExecutionWrites) -> None:
        try:
            await self._journal.record(ledger)
        except LeaseLost as lost:
            if not live.is_over:
                self._lose(live, lost)
        except StatechainError:
            pass  # the run itself meets it with its next write

    # What is free

    async def recover(self) -> list[str]:
        """Take over what dead workers left, page after page while there is room, and run it on; return the ids.

        Nothing once the engine is being left. One at a time, so that what one has claimed and not begun to run is
        never another one's doubt.
        """
        if self._worker.submissions.takes_all:
            raise StatechainError(SUBMITS_ONLY)
        self._worker.tasks()  # of an engine that is not open, the lease would be waited for in vain
        self._unserved.clear()
        async with self._turn:
            return await self._recover(is_full=True)

    async def _recover(self, *, is_full: bool) -> list[str]:
        """Claim; ``is_full``: also what dead workers own. Between looks it is only what had no room before."""
        if is_full:
            await self._release_dead()
        recovered: list[str] = []
        self._worker.is_awaited = True  # where a slot frees after this, more is claimed
        while not self._is_leaving and (room := self._worker.room):
            claims = await self._claim(min(PAGE, room))
            recovered += [claim.execution.id for claim in claims if await self._resume(claim)]
            self._is_in_doubt = False
            if not claims:
                self._worker.is_awaited = False
                break
        if is_full or self._next_trial is not None:
            recovered += await self._try_suspects()
        return recovered

    async def _release_dead(self) -> None:
        """Release what dead workers own.

        A sweep also looks for owners without a lease: now and then, after a doubt, and for as long as there are any.
        """
        is_sweep = self._is_sweep_due or self._looks % LOOKS_PER_SWEEP == 0
        dead = await self._find_dead(is_sweep=is_sweep)
        if dead and not self._is_leaving:
            for worker_id in await self._repository.release_dead(dead):
                logger.info("worker %s is dead: what it ran is taken over", worker_id)
        if is_sweep:
            self._worker.is_in_doubt = True

    async def _find_dead(self, *, is_sweep: bool) -> Sequence[WorkerLease]:
        """Look at the leases of the others, and return those of dead workers."""
        asked = self._lease.clock()
        try:
            leases = await self._repository.workers()
            strays = await self._repository.strays() if is_sweep else ()
        except RepositoryError:
            # This worker was cut off: leases may have been renewed that it could not see.
            self._peers.forget()
            self._is_sweep_due = True
            raise
        # A stray is released once it was seen missing for the length of a lease: until then each look is a sweep.
        self._is_sweep_due = bool(strays)
        answered, doubts = self._lease.clock(), self._lease.doubts
        return self._peers.find_dead([*leases, *strays], asked=asked, answered=answered, doubts=doubts)

    async def _claim_awaited(self, execution_ids: Sequence[str]) -> None:
        """Claim what something here waits for and waits itself for a limit, also of an engine that is being left."""
        room = min(PAGE, self._worker.room)
        if room and self._lease.holds:
            with self._doubting():
                claims = await self._repository.claim(
                    self._worker.id, page=room, excluded_revisions=self._unserved, only_queued=execution_ids
                )
                for claim in claims:
                    await self._resume(claim)

    @contextmanager
    def _doubting(self) -> Iterator[None]:
        """Be in doubt until what is claimed runs: where that fails, storage lists as this worker's what does not run.

        A doubt from before stays: what is claimed here does not clear it up.
        """
        before, self._is_in_doubt = self._is_in_doubt, True
        yield
        self._is_in_doubt = before

    async def _claim(self, page: int) -> list[Claim]:
        """Claim one page of executions without deaths.

        In doubt, storage may list executions as this worker's that do not run here: the reply to the last claim was
        lost, or an execution met an internal error, or storage failed over. They are released first.

        Waits for a lease that holds: what is claimed without one is not safe from others.
        """
        if not self._lease.holds:
            await self._lease.regained()
        is_in_doubt = self._is_in_doubt or self._worker.is_in_doubt
        # The worker's doubt is cleared before storage is asked: one that arises meanwhile is for the next claim. This
        # one's own stays until what was claimed runs, since the reply may be lost.
        self._is_in_doubt, self._worker.is_in_doubt = True, False
        orphaned = await self._find_orphaned() if is_in_doubt else None
        began = self._lease.clock()
        claims = list(
            await self._repository.claim(
                self._worker.id, page=page, excluded_revisions=self._unserved, orphaned=orphaned
            )
        )
        seconds = self._lease.clock() - began
        limited = sum(claim.is_limited for claim in claims)
        fact = ExecutionsClaimed(worker_id=self._worker.id, count=len(claims), seconds=seconds, limited=limited)
        emit(self._observers, fact)
        return claims

    async def _find_orphaned(self) -> Mapping[str, int]:
        """Return the epochs of what storage lists as this worker's and does not run here.

        What runs here is looked up once storage has answered: an execution that is started meanwhile is no orphan. One
        that is redriven after that has another epoch.
        """
        # Storage first, then memory: in the other order, what is started in between would look like an orphan.
        owned = await self._repository.owned(self._worker.id)
        running = self._worker.running()
        return {each: epoch for each, epoch in owned.items() if each not in running}

    async def _resume(self, claim: Claim) -> bool:
        """Run a claimed execution on; return whether it is run here."""
        try:
            is_left = self._is_leaving and not self._worker.elsewhere.is_awaited(claim.execution.id)
            revision = None if is_left else await self._served(claim)
        except DamagedRow as damage:
            # No worker can read the row: released, it would be claimed again for ever.
            await self._fail(claim, str(damage))
            return False
        if revision is None:
            execution = claim.execution
            self._unserved.add((execution.state_machine_id, execution.state_machine_revision))
            # With the deaths that it had: not to be served here is neither progress nor a death.
            await self._journal.write(
                ReleaseExecution(execution_id=execution.id, epoch=claim.epoch, claims=claim.claims)
            )
            return False
        if is_poisoned(claim, self._limits):
            await self._fail_poisoned(claim, revision)
            return False
        live = self._worker.adopt(revision, claim, counts=self._counts(claim.claims))
        if claim.claims:
            self._trials.begin(live, claim.claims)
            if self._observers:
                size = group_size(claim.claims)
                name = revision.record.name
                fact = SuspectTakenUp(
                    execution=claim.execution, state_machine=name, deaths=claim.claims, group_size=size
                )
                emit(self._observers, fact)
        return True

    async def _served(self, claim: Claim) -> Revision | None:
        """Return the revision of an execution, or None where it cannot be run here.

        Raises DamagedRow where no worker can run it, since the revision's row cannot be read.
        """
        machine, number = claim.execution.state_machine_id, claim.execution.state_machine_revision
        try:
            revision = await retry_while_unavailable(lambda: self._revisions.get(machine, number))
        except DamagedRow:
            raise
        except StatechainError as fault:
            logger.warning("revision %s of the state machine %s cannot be run here: %s", number, machine, fault)
            return None
        missing = self._worker.missing(revision)
        if missing:
            logger.info("executions of %s are left to others: no handler for %s", revision.record.name, missing[0])
            return None
        return revision

    # Suspects

    def _counts(self, deaths: int) -> bool:
        """Return whether this worker's death would count against an execution that it takes up now.

        One that is tried alone is blamed only by a worker that has lived for its backoff before: in a deployment whose
        workers die anyway, each sooner than that, nothing is blamed for it.
        """
        if group_size(deaths or 1) > 1:
            return True
        has_lived = self._lease.clock() - self._opened >= backoff(deaths, self._limits).total_seconds()
        return has_lived and self._trials.are_over

    async def _try_suspects(self) -> list[str]:
        """Take up suspects whose backoff is over, as many beside each other as their deaths allow."""
        groups = await self._repository.suspect_groups()
        taken: list[str] = []
        moments: list[float] = []
        for group in groups:
            due = group.due.total_seconds()
            room = 0 if self._is_leaving else min(self._trials.room(group.deaths), self._worker.room)
            if room and due <= 0:
                # One number of deaths at a time, since each has its own size of a group.
                suspects = range(group.deaths, group.deaths + 1)
                with self._doubting():
                    claims = await self._repository.claim(
                        self._worker.id, page=room, excluded_revisions=self._unserved, suspects=suspects
                    )
                    taken += [claim.execution.id for claim in claims if await self._resume(claim)]
            moments.append(due if due > 0 else LONGEST_TRIAL_PAUSE)
        self._next_trial = self._lease.clock() + min(LONGEST_TRIAL_PAUSE, *moments) if moments else None
        self._worker.is_awaited |= bool(groups)
        self._report(groups)
        return taken

    def _report(self, groups: Sequence[SuspectGroup]) -> None:
        """Log how many suspects there are, and what comes next, whenever that changes."""
        count = sum(group.count for group in groups)
        most = max((group.deaths for group in groups), default=0)
        if self._observers and (count or self._reported[0]):
            emit(self._observers, SuspectsCounted(worker_id=self._worker.id, count=count, most_deaths=most))
        if groups and self._reported != (count, most):
            first = min(groups, key=lambda group: group.due)
            logger.warning(
                "suspects: %s executions, up to %s workers died after taking one up. Next, in %.1f s, a worker tries "
                "%s of them at once (statechain list --suspect shows them)",
                count,
                most,
                max(0.0, first.due.total_seconds()),
                min(first.count, group_size(first.deaths)),
            )
        self._reported = count, most

    async def _fail_poisoned(self, claim: Claim, revision: Revision) -> None:
        """End an execution as FAILED of which its workers die."""
        cause = (
            f"{claim.claims} workers died after they had taken the execution up, {deaths_alone(claim.claims)} of them "
            f"while it was the only suspect, over {claim.suspected.total_seconds():.0f} s without progress: it may be "
            "what ends them. Redrive it once that is fixed."
        )
        if await self._fail(claim, cause) and self._observers:
            name = revision.record.name
            fact = ExecutionPoisoned(execution=claim.execution, state_machine=name, deaths=claim.claims)
            emit(self._observers, fact)

    async def _fail(self, claim: Claim, cause: str) -> bool:
        """End a claimed execution as FAILED; return False where it is another worker's by now."""
        end = End(status=ExecutionStatus.FAILED, end_time=self._clock.now(), error="States.Runtime", cause=cause)
        failing = Advance(
            execution_id=claim.execution.id,
            epoch=claim.epoch,
            seq=claim.seq,
            visits=(),
            current_state=claim.execution.current_state,
            end=end,
        )
        try:
            await self._journal.write(failing)
        except LeaseLost as lost:
            logger.info("%s", lost, extra=about(claim.execution))
            return False
        logger.warning("execution %s is ended: %s", claim.execution.id, cause, extra=about(claim.execution))
        return True
