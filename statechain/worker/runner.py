"""The run of one execution in this process, from its start or claim to the record of its end.

Storage and the interpreter meet here: what a run needs is read, how it ends is written, and what it cannot go on with
is released for other workers.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from statechain.errors import DamagedRow, InvalidPayload, LeaseLost, RepositoryError, StatechainError
from statechain.execution.restore import NO_VISITS, StoredVisits
from statechain.execution.run import Run
from statechain.execution.running import RunningExecution, RunState
from statechain.execution.slots import UNLIMITED, Slot
from statechain.execution.unexpected import PASSING, runtime_error
from statechain.logs import ATTEMPT, EXECUTION, about
from statechain.observers import ExecutionEnded, ExecutionResumed, ExecutionStarted, emit
from statechain.payload import Payload
from statechain.records.executions import Claim, Execution, ExecutionStatus
from statechain.storage.journal.ledger import ExecutionWrites
from statechain.storage.repository import End, ReleaseExecution, StartExecution, StopExecution
from statechain.tasks.retry import RUNTIME
from statechain.worker.suspects import backoff
from statechain.worker.unattended import UnattendedRun, UnattendedRuns

if TYPE_CHECKING:
    from statechain.execution.interpreter import Interpreter
    from statechain.execution.lines.line import Line
    from statechain.settings import Settings
    from statechain.storage.journal.journal import Journal
    from statechain.storage.repository import Repository
    from statechain.worker.lease import Lease
    from statechain.worker.revisions import Revision

__all__ = ["ExecutionRunner"]

logger = logging.getLogger(__name__)


class ExecutionRunner:
    """Runs executions, at most ``max_concurrent`` at once; the others wait for a slot, started and durable."""

    def __init__(
        self,
        repository: Repository,
        journal: Journal,
        interpreter: Interpreter,
        lease: Lease,
        settings: Settings,
        max_concurrent: int | None,
    ) -> None:
        self._repository = repository
        self._journal = journal
        self._interpreter = interpreter
        self._lease = lease
        self._clock, self._limits, self._observers = settings.clock, settings.limits, settings.observers
        self._gate = None if max_concurrent is None else asyncio.Semaphore(max_concurrent)

    # Without a task

    def unattended(
        self, live: RunningExecution, revision: Revision, start: StartExecution, runs: UnattendedRuns
    ) -> UnattendedRun | None:
        """Have a start written, and return what runs it from there without a task; None where it has to have one."""
        if (
            not runs.is_open
            or self._gate is not None
            or revision.record.type != "STANDARD"
            or revision.plan.timeout_seconds is not None
            or not self._journal.has_room
        ):
            return None
        run = UnattendedRun(
            live, revision, start.execution, runs=runs, lines=self._interpreter.lines, lapses=self._lease.lapses
        )
        self._journal.post_write(start, run)
        return run

    def begin_line(self, unattended: UnattendedRun) -> None:
        """Run an execution whose start is durable, as far as a line goes."""
        live, revision = unattended.live, unattended.revision
        claimed = first_claim(unattended.execution)
        run = self._run_of(live, revision, claimed, NO_VISITS, UNLIMITED, unattended.lapses)
        self._show(live, claimed, revision)
        unattended.line = self._interpreter.line_of(run, unattended.context)
        unattended.line.begin_here(unattended)

    def concluded(self, unattended: UnattendedRun, line: Line, end: End) -> Execution:
        """Return an execution that needed no task, as it ended."""
        run = line.frame.run
        run.root = None  # as where `Interpreter.run` ends
        return self._ended(unattended.live, run.ledger, unattended.revision, run.execution, end)

    # In a task

    async def run(
        self, live: RunningExecution, revision: Revision, beginning: StartExecution | Claim | UnattendedRun
    ) -> Execution | None:
        """Run an execution and write its end; return it as it ended, or None where it goes on, or ended, elsewhere.

        What this process decided about it meanwhile arrives as a cancellation; the state says what it means.
        """
        claimed = None
        try:
            if isinstance(beginning, UnattendedRun) and (line := beginning.line) is not None:
                claimed = first_claim(beginning.execution)
                if not (live.is_undecided or live.state is RunState.CLOSING):
                    cast("asyncio.Task[None]", asyncio.current_task()).cancel()  # it reaches what the line waits for
                end = await self._interpreter.run(line.frame.run, line)
            else:
                claimed, lapses = await self._claim(live, beginning)
                if claimed is None:
                    return None
                if isinstance(beginning, UnattendedRun) and beginning.fault is not None:
                    raise beginning.fault  # noqa: TRY301 -- as where a task had met it
                end = await self._interpret(live, revision, claimed, lapses)
        except asyncio.CancelledError:
            match live.state:
                case RunState.STOPPING if live.stopping is not None:
                    end = live.stopping
                    live.go_on()
                case RunState.HANDED_OVER if isinstance(beginning, Claim):
                    await self._hand_over(live, beginning)
                    raise
                case _:  # interrupted, lost, or the engine failed: storage has what others need to go on
                    raise
        except Exception as error:  # noqa: BLE001 -- what is not the end of the execution is raised again
            end = await self._end_by(error, live, claimed)
        # From here on neither a stop nor an interruption changes the end that is being written.
        live.close(end.status)
        return await self._close(live, revision, claimed, end)

    async def _close(self, live: RunningExecution, revision: Revision, claimed: Claim | None, end: End) -> Execution:
        """Write the end of an execution; return it as it ended. One that no claim is known of is stopped by its id."""
        if claimed is None or live.ledger is None:
            return await self._journal.write(StopExecution(execution_id=live.execution_id, end=end))
        try:
            if live.ledger.end is not end:  # else the line has written it with the last visit
                await self._journal.record(live.ledger, end)
        except RepositoryError:
            await self._release(live, claimed)
            raise
        return self._ended(live, live.ledger, revision, claimed.execution, end)

    def _ended(
        self, live: RunningExecution, ledger: ExecutionWrites, revision: Revision, execution: Execution, end: End
    ) -> Execution:
        """Return an execution whose end is durable as it ended; report it."""
        live.reported = None
        ended = execution.ended(
            status=end.status,
            end_time=end.end_time,
            output_text=end.output_text,
            error=end.error,
            cause=end.cause,
            current_state=ledger.current_state,
        )
        if self._observers:
            emit(self._observers, ExecutionEnded(ended, revision.record.name))
        return ended

    async def _interpret(self, live: RunningExecution, revision: Revision, claimed: Claim, lapses: int) -> End:
        """Run a claimed execution from where it is; return how it ends."""
        place = UNLIMITED if self._gate is None else Slot(self._gate)
        self._show(live, claimed, revision)
        async with place:
            # Written in the slot, not at the claim: what waits for a slot must not look as if it ran (see suspects).
            if live.take_up is not None:
                await self._journal.write(live.take_up)
            past = await self._past(live, claimed)
            return await self._interpreter.run(self._run_of(live, revision, claimed, past, place, lapses))

    def _run_of(
        self,
        live: RunningExecution,
        revision: Revision,
        claimed: Claim,
        past: StoredVisits,
        place: Slot,
        lapses: int,
    ) -> Run:
        live.ledger = ExecutionWrites(claimed)
        return Run(
            claimed.execution,
            revision.record,
            revision.plan,
            live.ledger,
            past,
            place=place,
            observers=self._observers,
            before=live.redriven_from,
            live=live,
            lapses=lapses,
            most_events=self._limits.history_events,
        )

    async def _end_by(self, error: Exception, live: RunningExecution, claimed: Claim | None) -> End:
        """Return the end of an execution by an exception that nothing here expects; raise any other."""
        if claimed is None or isinstance(error, LeaseLost):
            raise error
        if isinstance(error, DamagedRow):
            logger.warning("execution %s is ended: %s", claimed.execution.id, error, extra=about(claimed.execution))
            failed, now = ExecutionStatus.FAILED, self._clock.now()
            return End(status=failed, end_time=now, error=RUNTIME, cause=str(error))
        if isinstance(error, PASSING):
            await self._release(live, claimed)
            raise error
        fault = runtime_error(error, claimed.execution, self._limits)
        return End(status=ExecutionStatus.FAILED, end_time=self._clock.now(), error=fault.error, cause=fault.cause)

    async def _claim(
        self, live: RunningExecution, beginning: StartExecution | Claim | UnattendedRun
    ) -> tuple[Claim | None, int]:
        """Return the claim of an execution, and how often the lease had lapsed when it was surely good.

        A start is made durable first; there is no claim where another execution holds its name.
        """
        if live.state is not RunState.RUNNING:
            if isinstance(beginning, UnattendedRun):  # its start is being written: what ends it comes after that
                with suppress(StatechainError):
                    await beginning.holder()
            raise asyncio.CancelledError  # it was decided before the first step
        if isinstance(beginning, Claim):
            # It may be older than the last lapse: where the lease ever lapsed, a write before the first effect shows
            # whether it is still good.
            return beginning, 0
        if isinstance(beginning, UnattendedRun):
            execution, lapses, holder = beginning.execution, beginning.lapses, await beginning.holder()
        else:
            # Read before the start is written: a lapse meanwhile means that others may have claimed it since.
            execution, lapses = beginning.execution, self._lease.lapses
            holder = await self._journal.write(beginning)
        live.open(holder)
        return (first_claim(execution) if holder.id == execution.id else None), lapses

    def _show(self, live: RunningExecution, claimed: Claim, revision: Revision) -> None:
        """Report that an execution runs here from now on; what is logged beneath this task is about it."""
        live.reported = claimed.execution
        EXECUTION.set(claimed.execution)
        if ATTEMPT.get() is not None:
            ATTEMPT.set(None)  # it was started by a handler
        if self._observers:
            kind = ExecutionStarted if claimed.epoch == 1 else ExecutionResumed
            emit(self._observers, kind(claimed.execution, revision.record.name))

    async def _release(self, live: RunningExecution, claimed: Claim) -> None:
        """Leave an execution to recovery that this worker cannot run on; without progress that counts as a death.

        Where even that is refused, it is this worker's own and in doubt: its next claim asks for it.
        """
        # After progress this is its first death, for it is not cleared: it could not go on here.
        claims = 1 if live.has_advanced else claimed.claims + 1
        leaving = ReleaseExecution(
            execution_id=claimed.execution.id, epoch=claimed.epoch, claims=claims, backoff=backoff(claims, self._limits)
        )
        with suppress(StatechainError):
            await self._journal.write(leaving)

    async def _hand_over(self, live: RunningExecution, claimed: Claim) -> None:
        """Leave an execution to recovery at once: leaving in order is no failure of the execution."""
        # Progress clears the deaths.
        claims = 0 if live.has_advanced else claimed.claims
        with suppress(StatechainError):
            await self._journal.write(
                ReleaseExecution(execution_id=claimed.execution.id, epoch=claimed.epoch, claims=claims)
            )

    async def _past(self, live: RunningExecution, claimed: Claim) -> StoredVisits:
        """Return what storage remembers of an execution; one without visits has no past."""
        # The first owner started it: no other worker can have written visits.
        if claimed.epoch == 1:
            return NO_VISITS
        live.given = Payload.of_text(claimed.execution.input_text)
        try:
            live.given.value  # noqa: B018 -- decoded here, so that one that cannot be is known by its row
        except InvalidPayload as error:
            raise DamagedRow("executions", (claimed.execution.id,), "its input is not JSON") from error
        if claimed.seq == 0:
            return StoredVisits()  # its own: a redrive adds to it
        return await StoredVisits.load(self._repository, claimed.execution.id)


def first_claim(execution: Execution) -> Claim:
    """Return the claim that comes with a start: it has epoch 1 and no visits, so that nothing is read back."""
    return Claim(execution=execution, epoch=1, seq=0)
