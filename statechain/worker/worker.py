"""The executions that run in this process: in the engine's TaskGroup, or without a task as long as they need none.

A worker starts executions, adopts claimed ones, stops them, and records how each ended. It never decides which
execution to run: that is the callers' (machines, batches, recovery).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from statechain.cancellation import GRACE, await_shielded, wait_ignoring_cancellation
from statechain.errors import LeaseLost, RepositoryError, StatechainError
from statechain.execution.running import RunningExecution
from statechain.logs import about
from statechain.observers import ExecutionLeft, emit
from statechain.payload import Payload
from statechain.records.executions import Claim, Execution, ExecutionStatus, new_id
from statechain.storage.journal.journal import NOT_OPEN
from statechain.storage.queues import MachineLimited
from statechain.storage.repository import (
    End,
    RedriveExecution,
    StartExecution,
    StopExecution,
    TakeUpExecution,
)
from statechain.tasks.services import is_known
from statechain.worker.runner import ExecutionRunner
from statechain.worker.submissions import Submissions
from statechain.worker.suspects import backoff
from statechain.worker.unattended import UnattendedRun, UnattendedRuns
from statechain.worker.waiting import EndWatcher

if TYPE_CHECKING:
    from statechain.execution.interpreter import Interpreter
    from statechain.execution.lines.line import Line
    from statechain.settings import Settings
    from statechain.storage.journal.journal import Journal
    from statechain.storage.repository import Repository
    from statechain.worker.lease import Lease
    from statechain.worker.options import WorkerOptions
    from statechain.worker.revisions import Revision

__all__ = ["Worker"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Worker:
    """Runs executions under one identity. ``group`` is where their tasks live, set by the engine once it is open.

    ``is_in_doubt``: storage may list executions as this worker's that do not run here, after an internal error, or
    where it is behind. ``changed`` is set with it, and, while ``is_awaited``, whenever an execution leaves its slot.
    What its ``submissions`` take is left to the worker that claims it, this one or another.
    """

    def __init__(
        self,
        repository: Repository,
        journal: Journal,
        interpreter: Interpreter,
        lease: Lease,
        settings: Settings,
        options: WorkerOptions,
    ) -> None:
        self.id = options.worker_id or new_id()
        self.repository = repository
        self.journal = journal
        self._clock, self._limits, self._tasks = settings.clock, settings.limits, settings.tasks
        self._observers = settings.observers
        most = options.max_concurrent
        self._most_recovered = self._limits.recovered if most is None else most
        self._runner = ExecutionRunner(repository, journal, interpreter, lease, settings, most)
        # A list, no set: of two redrives of one execution at once, the first that is done removes only its own entry.
        self._redriving: list[str] = []
        self._live: dict[str, RunningExecution] = {}
        begin_line, conclude = self._runner.begin_line, self._conclude_line
        self.unattended = UnattendedRuns(self._live, self.tasks, self._main, begin_line, conclude)
        self.elsewhere = EndWatcher(repository)
        self._recovers = options.recovers
        self.is_interrupted = False
        self.is_in_doubt = False
        self._adopted: set[RunningExecution] = set()
        self._is_handing_over = False
        self.is_awaited = False
        self.changed = asyncio.Event()
        self.submissions = Submissions(journal, self)
        self.group: asyncio.TaskGroup | None = None
        self.why_closed = NOT_OPEN

    def __len__(self) -> int:
        return len(self._live)

    @property
    def room(self) -> int:
        """How many executions may be claimed now."""
        busy = sum(not live.has_rested for live in self._live.values())
        # What only waits counts against `recovered` (memory) alone, so that it keeps no work from being claimed.
        return max(0, min(self._most_recovered - len(self._live), self._limits.busy - busy))

    def running(self) -> frozenset[str]:
        """Return the ids of the executions that run here, or are about to, since they are being redriven.

        A lost one does not, though its task may not be over.
        """
        return frozenset(self._redriving).union(id_ for id_, live in self._live.items() if not live.is_lost)

    def running_here(self, execution_id: str) -> RunningExecution | None:
        """Return the run of an execution in this process; None where it runs elsewhere or has ended."""
        return self._live.get(execution_id)

    def held(self) -> dict[str, RunningExecution]:
        """Return what runs here under a claim that storage knows of, and is not about to end."""
        return {each: live for each, live in self._live.items() if live.is_held}

    def missing(self, revision: Revision) -> list[str]:
        """Return the Resources of a revision for which there is no handler here."""
        return [resource for resource in revision.resources if not is_known(resource, self._tasks)]

    # Beginning

    async def start(
        self,
        revision: Revision,
        execution: Execution,
        given: Payload,
        *,
        exclusive: bool = False,
        owns: bool = True,
    ) -> tuple[Execution, RunningExecution | None]:
        """Record and run an execution; return the one that holds its name, and how it runs here, if it does.

        ``given`` is the execution's input, which is its own from now on: what is encoded is not decoded again.
        With ``owns`` one that was taken over from another worker becomes this process's own: leaving waits for it.
        Returns once the start is durable. A caller that is cancelled meanwhile leaves the execution ABORTED, and waits
        for that no longer than `GRACE`.
        """
        if self.submissions.takes(execution.state_machine_id):
            return await self.submissions.start(execution, exclusive=exclusive), None
        live = self._begin_new(revision, execution, given, exclusive=exclusive)
        live.started = asyncio.get_running_loop().create_future()
        try:
            holder = await live.started
        except MachineLimited as limited:
            self.submissions.note_limited(limited)
            return await self.submissions.start(execution, exclusive=exclusive), None
        except asyncio.CancelledError:
            await self._abort_new(live)
            raise
        return (holder, live) if holder.id == execution.id else self._joined(holder, owns=owns)

    def begin(
        self,
        revision: Revision,
        execution: Execution,
        given: Payload,
        *,
        exclusive: bool = False,
        succeeding: Callable[[], None] | None = None,
    ) -> RunningExecution | None:
        """Record and run an execution as `start` does, for `conclude` to wait for; None where that has to submit it.

        ``succeeding`` is called when its end is SUCCEEDED, and about to be written.
        """
        if self.submissions.takes(execution.state_machine_id):
            return None
        live = self._begin_new(revision, execution, given, exclusive=exclusive)
        live.succeeding = succeeding
        return live

    async def conclude(
        self, execution: Execution, live: RunningExecution | None, *, exclusive: bool = False
    ) -> tuple[Execution, RunningExecution | None]:
        """Return once an execution that was begun is over here.

        Its caller is not woken for the start, only for the end.

        Returns:
            The execution as it ended, and how it ran; or, RUNNING as far as is known here, the one to wait for: another
            one that holds its name, or this one where it goes on elsewhere.
        """
        if live is None:
            return await self.submissions.start(execution, exclusive=exclusive), None
        try:
            if not live.is_over:
                await live.waiter()  # here, and not by `ended`: one coroutine less for each execution in flight
            ended = live.outcome()
        except MachineLimited as limited:
            self.submissions.note_limited(limited)
            return await self.submissions.start(execution, exclusive=exclusive), None
        except asyncio.CancelledError:
            await self.abort_begun(live)
            raise
        if ended is not None:
            return ended, live
        is_elsewhere = live.holder is None or live.holder.id == execution.id
        return (execution, live) if is_elsewhere or live.holder is None else self._joined(live.holder)

    async def abort_begun(self, live: RunningExecution) -> None:
        """End an execution that was begun, and that nothing waits for any more, as `start` does for its caller."""
        if not self.is_interrupted:  # else it stays RUNNING, for the worker that recovers it
            await self._abort_new(live)

    def _begin_new(
        self, revision: Revision, execution: Execution, given: Payload, *, exclusive: bool
    ) -> RunningExecution:
        self.tasks()  # refuses where nothing runs
        live = RunningExecution(execution.id, given=given)
        start = StartExecution(execution=execution, owner=self.id, exclusive=exclusive)
        if not self.is_interrupted:  # else it is interrupted at once, which its task records
            live.driver = self._runner.unattended(live, revision, start, self.unattended)
        if live.driver is None:
            self._spawn(live, revision, start)
        else:
            self._live[live.execution_id] = live
        return live

    async def _abort_new(self, live: RunningExecution) -> None:
        """End an execution whose caller is being cancelled, which waits for that no longer than `GRACE`."""
        live.stop(End(status=ExecutionStatus.ABORTED, end_time=self._clock.now()))
        await wait_ignoring_cancellation(live.waiter(), GRACE)

    def _joined(self, holder: Execution, *, owns: bool = True) -> tuple[Execution, RunningExecution | None]:
        """Return the execution that holds the name of one that was to be started, and how it runs here, if it does."""
        holding = self._live.get(holder.id)
        if holding is not None and owns:
            self._adopted.discard(holding)
        return holder, holding

    async def redrive(self, revision: Revision, execution: Execution) -> RunningExecution | None:
        """Make an execution that ended without success run again; None where it runs, or ended otherwise meanwhile.

        A caller that is cancelled meanwhile leaves the execution ABORTED, and waits for that no longer than `GRACE`.
        """
        redriving = self.own(self._redrive(revision, execution))
        try:
            return await await_shielded(redriving, GRACE)
        except asyncio.CancelledError:
            if not redriving.done():
                redriving.add_done_callback(self._stop_redriven)
            elif (live := self._stop_redriven(redriving)) is not None:
                await wait_ignoring_cancellation(live.waiter(), GRACE)
            raise

    def _stop_redriven(self, redriving: asyncio.Future[RunningExecution | None]) -> RunningExecution | None:
        """End what was redriven for a caller that is gone."""
        live = None if redriving.cancelled() or redriving.exception() else redriving.result()
        if live is not None:
            live.stop(End(status=ExecutionStatus.ABORTED, end_time=self._clock.now()))
        return live

    def own(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Run work among the executions, so that it goes on without its caller; its error is the caller's alone.

        Raises StatechainError where the engine is left.
        """
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            try:
                done = await work
            except StatechainError as error:
                result.set_exception(error)
                result.exception()  # its caller may be gone
            else:
                result.set_result(done)
            finally:
                # Only what the engine's end interrupted has no result yet: its caller must not wait for ever.
                result.cancel()

        running = run()
        try:
            self.tasks().create_task(running)
        except (RuntimeError, StatechainError):  # the group is gone, or its last task has just ended
            running.close()
            work.close()
            raise StatechainError(self.why_closed) from None
        return result

    async def _redrive(self, revision: Revision, execution: Execution) -> RunningExecution | None:
        redrive = RedriveExecution(execution_id=execution.id, owner=self.id, redrive_count=execution.redrive_count)
        self._redriving.append(execution.id)
        try:
            claim = await self.journal.write(redrive)
        finally:
            self._redriving.remove(execution.id)
        former = self._live.get(execution.id)  # of two redrives at once here, both get the claim, and one runs it
        if claim is None or (former is not None and former.epoch >= claim.epoch):
            return None
        return self.adopt(revision, claim, before=execution)

    def adopt(
        self, revision: Revision, claim: Claim, *, before: Execution | None = None, counts: bool = True
    ) -> RunningExecution:
        """Run an execution on from where its visits say it is.

        Where it runs here already, it had been ended elsewhere, or this worker's lease was over for a while, and it
        took over what was its own: the former run could write nothing more, and is interrupted.

        Arguments:
            revision: What it runs on.

            claim: The claim, by recovery or by a redrive.

            before: The execution as it had ended before a redrive, which is a start: no death came before it.

            counts: Whether the death of this worker counts against the execution.
        """
        former = self._live.get(claim.execution.id)
        if former is not None:
            # The epoch of the former run is behind storage's: what it writes from here on is refused.
            former.abandon()
        live = RunningExecution(claim.execution.id, claim.epoch)
        live.redriven_from, live.is_limited = before, claim.is_limited
        if before is None and claim.epoch > 1:  # the first claim is a start: no worker died of it before
            claims = claim.claims + counts
            live.take_up = TakeUpExecution(
                execution_id=claim.execution.id,
                epoch=claim.epoch,
                claims=claims,
                backoff=backoff(max(1, claims), self._limits),
            )
        self._spawn(live, revision, claim)
        if before is None:  # a redrive was asked for in this process
            self._adopted.add(live)
            if self._is_handing_over:
                self.hand_over_adopted()
        return live

    def interrupt(self) -> None:
        """Interrupt what runs here, and leave it as it is: RUNNING, for the worker that claims it."""
        self.is_interrupted = True
        for live in self._live.values():
            live.interrupt()

    def hand_over_adopted(self) -> None:
        """Interrupt and release what was taken over from other workers, now and whenever more of it may be released.

        One that something here waits for stays: a nested execution, or an item of a batch. It is released as soon as
        nothing waits for it any more.
        """
        self._is_handing_over = True
        for live in tuple(self._adopted):
            if not (live.is_interrupted or live.is_awaited or self.elsewhere.is_awaited(live.execution_id)):
                logger.info("execution %s is handed over to other workers", live.name, extra=about(live.reported))
                live.hand_over()

    def waited_for(self) -> list[str]:
        """Return the names of the executions that still have to end before the engine is left."""
        return [live.name for live in self._live.values() if not live.is_interrupted]

    def tasks(self) -> asyncio.TaskGroup:
        """Return the group in which executions, and what drives them, run."""
        if self.group is None:
            raise StatechainError(self.why_closed)
        return self.group

    def _spawn(self, live: RunningExecution, revision: Revision, beginning: StartExecution | Claim) -> None:
        self.tasks().create_task(self._main(live, revision, beginning))
        # After `tasks()`, which raises where no group is open: what has no task would stay listed.
        self._live[live.execution_id] = live
        if self.is_interrupted:
            live.interrupt()

    def _forget(self, live: RunningExecution) -> None:
        """Drop a running execution that is over; its waiters are resolved."""
        # Not the entry of a later run of the execution, which was adopted while this one came to its end.
        if self._live.get(live.execution_id) is live:
            del self._live[live.execution_id]
            if self.is_awaited or live.is_limited:  # what waits for the limit may be claimed now
                self.changed.set()
        live.driver = None  # what runs an execution without a task holds it
        if not live.is_over:  # it was interrupted
            live.resolve(None, StatechainError("the engine was closed before the execution ended: it can be recovered"))
        self._adopted.discard(live)
        if self._is_handing_over and self._adopted:  # it may have been what waited for another
            asyncio.get_running_loop().call_soon(self.hand_over_adopted)

    def abandon(self) -> None:
        """Drop what never got to its first step, once the group of the executions is gone."""
        self.group = None
        for live in tuple(self._live.values()):
            self._forget(live)

    def doubt(self) -> None:
        """Have recovery ask storage for what this worker owns and does not run."""
        self.is_in_doubt = True
        self.changed.set()

    # Running

    async def _main(
        self, live: RunningExecution, revision: Revision, beginning: StartExecution | Claim | UnattendedRun
    ) -> None:
        """Run one execution until it is over here; in any case its waiters are resolved, and no other is disturbed."""
        live.begin()
        try:
            self._resolve(live, await self._runner.run(live, revision, beginning))
        except Exception as error:  # noqa: BLE001 -- it is logged, and raised where its waiters are
            self._fail(live, error)
        finally:
            self._leave(live, revision)

    def _conclude_line(self, run: UnattendedRun, line: Line, end: End) -> None:
        """Take an execution that is over, its end durable; in any case its waiters are resolved."""
        try:
            self._resolve(run.live, self._runner.concluded(run, line, end))
        except Exception as error:  # noqa: BLE001 -- as in `_main`
            self._fail(run.live, error)
        finally:
            self._leave(run.live, run.revision)

    def _resolve(self, live: RunningExecution, ended: Execution | None) -> None:
        if ended is not None:
            self.elsewhere.note_end(ended)
        live.resolve(ended)

    def _fail(self, live: RunningExecution, error: Exception) -> None:
        self._note_failure(live, error)
        # Lost is no failure to those that wait: another worker runs the execution on, and they poll storage.
        live.resolve(None, None if isinstance(error, LeaseLost) else error)

    def _leave(self, live: RunningExecution, revision: Revision) -> None:
        """Take note that an execution is over here."""
        if self._observers and live.reported is not None:
            emit(self._observers, ExecutionLeft(live.reported, revision.record.name))
        if live.ledger is not None:
            self.journal.close_execution(live.ledger)
        self._forget(live)

    def _note_failure(self, live: RunningExecution, error: Exception) -> None:
        """Log why an execution cannot go on here; in doubt, recovery asks storage who owns it."""
        if isinstance(error, LeaseLost):
            self.note_loss(live, error)
            return
        self.doubt()
        if not isinstance(error, StatechainError):
            message = "execution %s met an error of the engine; it is left to recovery"
            logger.error(message, live.execution_id, exc_info=error, extra=about(live.reported))
        elif isinstance(error, RepositoryError) and live.holder is not None:
            logger.warning("execution %s could not go on: %s", live.execution_id, error, extra=about(live.reported))

    def note_loss(self, live: RunningExecution, lost: LeaseLost) -> None:
        """Log why an execution is lost here; where storage is behind, it may be this worker's own all the same."""
        is_behind = lost.reason == "BEHIND"
        logger.log(logging.WARNING if is_behind else logging.INFO, "%s", lost, extra=about(live.reported))
        if is_behind:
            self.doubt()

    # Ending

    async def wait(self, execution_id: str, live: RunningExecution | None = None) -> Execution:
        """Return an execution once it has ended, whichever worker runs it. Raises ExecutionNotFound."""
        live = live or self._live.get(execution_id)
        if live is not None and (ended := await live.ended()) is not None:
            return ended
        if not self._recovers:
            # Recovery sleeps until its next look, and claims what is waited for: it may wait for a limit.
            self.changed.set()
        return await self.elsewhere.wait(execution_id)

    async def stop(self, execution_id: str, *, error: str | None = None, cause: str | None = None) -> Execution:
        """End an execution as ABORTED wherever it runs; one that has ended stays as it is. Raises ExecutionNotFound."""
        end = End(status=ExecutionStatus.ABORTED, end_time=self._clock.now(), error=error, cause=cause)
        live = self._live.get(execution_id)
        if live is not None:
            live.stop(end)
            if (ended := await live.ended()) is not None:
                return ended
        # It runs elsewhere: the row is ended under its epoch, so that its worker's next write is refused.
        return await self.journal.write_for_caller(StopExecution(execution_id=execution_id, end=end))

    async def abort(self, execution_id: str) -> None:
        """End an execution whose caller is being cancelled, which waits for that no longer than `GRACE`."""
        with suppress(StatechainError):  # the engine is left: it is over here, or left to others
            await wait_ignoring_cancellation(self.own(self.stop(execution_id)), GRACE)
