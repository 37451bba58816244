"""What an engine runs on: the journal, the worker, its lease and recovery, opened and ended in their order.

One task owns all others. Executions end first, then recovery, then the journal (which writes what they left), then the
lease; last, what this worker still owns is handed over.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

from statechain.asl.effort import serving_loop
from statechain.cancellation import wait_ignoring_cancellation
from statechain.errors import RepositoryError, StatechainError
from statechain.execution.calls import Caller
from statechain.execution.files.items import Files
from statechain.execution.interpreter import Interpreter
from statechain.execution.lines.fast_path import FastPath
from statechain.execution.lines.shared import Lines
from statechain.execution.recorder import VisitRecorder
from statechain.launcher import StreamGroup, first_error
from statechain.observers import LeaseRenewed, emit
from statechain.records.executions import new_id
from statechain.storage.journal.journal import Journal
from statechain.tasks.callbacks import Callbacks
from statechain.tasks.child_executions import ChildExecutions
from statechain.tasks.threads import HandlerThreads
from statechain.worker.lease import Lease, kept
from statechain.worker.leaving import wait_and_log
from statechain.worker.opening import Opening
from statechain.worker.recovery import Recovery
from statechain.worker.revisions import Revisions
from statechain.worker.watchdog import watched
from statechain.worker.worker import Worker

if TYPE_CHECKING:
    from statechain.execution.fan_out.shared import MapRuns
    from statechain.guard import Guard
    from statechain.settings import Settings
    from statechain.storage.repository import Repository
    from statechain.tasks.child_executions import Start
    from statechain.worker.options import WorkerOptions

__all__ = ["Supervisor"]

logger = logging.getLogger(__name__)

HAND_OVER_SECONDS = 1.0
"""How long the hand-over may take once an engine is interrupted."""

READS_ONLY = "this engine only reads (role='reader'): what starts, stops or answers needs an engine that works"


class Background(Protocol):
    """What runs among the executions until the engine is left."""

    async def run(self) -> None:
        """Run until drained."""

    def drain(self) -> None:
        """Begin nothing more."""

    def interrupt(self) -> None:
        """Cancel what runs, and leave it as it is."""


class Supervisor:
    """Everything that runs in one engine."""

    def __init__(
        self,
        repository: Repository,
        settings: Settings,
        options: WorkerOptions,
        *,
        start: Start,
        map_runs: Callable[[], MapRuns],
        guard: Guard,
    ) -> None:
        self._repository, self._observers, self._options = repository, settings.observers, options
        self._made_in = os.getpid()
        self._lease = Lease(options.lease)
        self._stack = AsyncExitStack()
        self._closing = asyncio.Event()
        self._hold_seconds, self._drain_seconds = settings.limits.loop_hold_seconds, settings.limits.drain_seconds
        self._opening = Opening(options.connect_timeout, self._closing)
        self._is_interrupted = False
        self._is_entered = False
        self._supervisor: asyncio.Task[None] | None = None
        # Where this process makes the commits, nothing else runs during one: two halves would only be two commits.
        in_halves = not repository.commits_in_process
        self.journal = Journal(repository, settings.clock, settings.observers, in_halves=in_halves)
        self.revisions = Revisions(repository, settings.limits)
        self.callbacks = Callbacks(repository, self.journal, settings.clock, self._tasks)
        self._threads = HandlerThreads(settings.limits.handler_threads, settings.clock)
        interpreter = self._interpreter(settings, ChildExecutions(start, repository), map_runs)
        self.worker = Worker(repository, self.journal, interpreter, self._lease, settings, options)
        self.recovery = Recovery(self.worker, self.revisions, self._lease, settings)
        self.streams = StreamGroup(self.worker.tasks, guard)
        self.shards: Background | None = None
        self.worker.submissions.takes_all = options.role == "client"
        if options.role == "reader":
            # A reader never opens the journal nor the group: both refuse for this reason.
            self.journal.why_closed = self.worker.why_closed = READS_ONLY

    def _interpreter(
        self, settings: Settings, children: ChildExecutions, map_runs: Callable[[], MapRuns]
    ) -> Interpreter:
        """Make what runs executions: it holds no state of theirs."""
        clock, tasks, limits = settings.clock, settings.tasks, settings.limits
        recorder = VisitRecorder(self.journal, self._lease)
        caller = Caller(recorder, clock, tasks, limits, self.callbacks, children, self._threads)
        fast_path = FastPath(clock, tasks, limits)
        lines = Lines(recorder, clock, tasks, caller, limits)
        files, shares = Files(settings.files, clock), settings.shares_map_runs
        return Interpreter(recorder, clock, caller, fast_path, lines, limits, files, map_runs, shares_map_runs=shares)

    @property
    def has_lease(self) -> bool:
        """Whether this worker's lease surely holds."""
        return self._lease.holds

    def _tasks(self) -> asyncio.TaskGroup:
        return self.worker.tasks()

    # Opening and closing

    def check_fresh(self) -> None:
        """Refuse an engine that was entered before."""
        if self._is_entered:
            raise StatechainError("an Engine is entered once and cannot be re-entered: create a new one")

    async def open(self, *, owns_repository: bool) -> None:
        """Open the storage where it is this engine's own; start what the engine's role needs."""
        self._is_entered = True
        # Forked since: its siblings have the same id, and two workers under one id would share a lease.
        if os.getpid() != self._made_in and self._options.worker_id is None:
            self.worker.id = new_id()
        if owns_repository:
            await self._opening.reach(lambda: self._stack.enter_async_context(self._repository))
        if self._options.role != "reader":
            await self._start()

    async def _start(self) -> None:
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A separate task, awaited by `close`: a TaskGroup must be left by the task that entered it, and an engine may
        # be entered and left by different ones (as pytest's fixtures are).
        self._supervisor = asyncio.create_task(self._supervise(ready), name="statechain engine")
        try:
            await asyncio.wait([ready, self._supervisor], return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            await self._end(self._supervisor)
            raise
        if not ready.done():
            await self._end(self._supervisor)

    async def close(self, *, at_once: bool) -> None:
        """Wait for what was started here, or (at once, or when cancelled) interrupt it; then close what was opened.

        What was taken over from other workers is handed over first, unless the engine waits for that, too.
        """
        if self._supervisor is None:
            await self._stack.aclose()
            return
        self._leave()
        self.streams.close()
        try:
            if not at_once:
                if not self._options.waits_for_adopted:
                    self.worker.hand_over_adopted()
                await wait_and_log(self._supervisor, self.worker.waited_for)
        finally:
            await self._end(self._supervisor)

    def _leave(self) -> None:
        """Begin nothing more on the engine's own account."""
        self._closing.set()
        self.recovery.stop_claiming()
        if self.shards is not None:
            self.shards.drain()

    async def _end(self, supervisor: asyncio.Task[None]) -> None:
        """Interrupt what still runs, close the storage, and raise what ended the supervisor before its time.

        A cancellation meanwhile is raised once the storage is closed.
        """
        if not supervisor.done():
            self._is_interrupted = True
            self._leave()
            # The deadline first: what is interrupted below waits for its last writes no longer than that.
            self.journal.set_deadline(self._drain_seconds)
            self.worker.interrupt()
            if self.shards is not None:
                self.shards.interrupt()
            self.streams.interrupt()
        try:
            await asyncio.wait([supervisor])
        finally:
            # Storage is closed after its last user, however often the caller is cancelled.
            await wait_ignoring_cancellation(supervisor)
            await self._stack.aclose()
        fault = None if supervisor.cancelled() else supervisor.exception()
        if fault is not None:
            raise first_error(fault) if isinstance(fault, BaseExceptionGroup) else fault

    # The tasks

    async def _supervise(self, ready: asyncio.Future[None]) -> None:
        """Own every task, in the order in which they may end."""
        if self._options.role == "client":
            await self._write(self._run_submissions(ready))
            return
        await self._opening.reach(lambda: self._opening.unless_left(self._register()))
        async with (
            kept(
                self._lease,
                lambda: self._repository.lease_renewer(self.worker.id, self._lease.length),
                self._emit_renewed if self._observers else None,
            ),
        ):
            await self._write(self._run(ready))
        # After the renewer has ended: a late renewal would register the worker again.
        await self._hand_over()

    async def _write(self, running: Coroutine[None, None, None]) -> None:
        """Keep the journal open while something runs that writes to it."""
        async with asyncio.TaskGroup() as writing:
            self.journal.open()
            writing.create_task(self.journal.run(), name="statechain journal")
            try:
                with serving_loop(), watched(self._hold_seconds):
                    await running
            finally:
                self.journal.close(self._drain_seconds)

    async def _run_submissions(self, ready: asyncio.Future[None]) -> None:
        """Own what a client does for its callers; it runs no execution, so that it needs neither lease nor recovery."""
        try:
            async with asyncio.TaskGroup() as submissions:
                self.worker.group = submissions
                ready.set_result(None)
                await self._closing.wait()
        finally:
            self.worker.abandon()
            self._threads.close()

    async def _register(self) -> None:
        """Begin the lease."""
        # Before the request, since a lease is counted from when it was asked for.
        asked = self._lease.clock()
        await self._repository.renew_lease(self.worker.id, self._lease.length)
        self._lease.renewed(asked)

    def _emit_renewed(self, seconds: float) -> None:
        emit(self._observers, LeaseRenewed(self.worker.id, seconds, self._lease.lapses))

    async def _run(self, ready: asyncio.Future[None]) -> None:
        # The outer group: until the last execution has ended, recovery drops what other workers take over.
        async with asyncio.TaskGroup() as recovering:
            recovery = recovering.create_task(
                self.recovery.run(claims=self._options.recovers), name="statechain recovery"
            )
            try:
                async with asyncio.TaskGroup() as executions:
                    self.worker.group = executions
                    if self._options.recovers:
                        await self._opening.unless_left(self.recovery.begin())
                    ready.set_result(None)
                    if self.shards is not None:
                        executions.create_task(self.shards.run(), name="statechain shards")
                    await self.worker.unattended.until_left(self._closing)
            finally:
                await self.worker.unattended.end()
                self.worker.abandon()
                self._threads.close()
            recovery.cancel()

    async def _hand_over(self) -> None:
        """Leave what this worker still owns to others, at once; where storage is away, the lease ends by itself."""
        try:
            async with asyncio.timeout(HAND_OVER_SECONDS if self._is_interrupted else None):
                await self._repository.release(self.worker.id)
        except (RepositoryError, TimeoutError) as fault:
            logger.warning("the executions that were interrupted can be recovered once the lease is over: %s", fault)
