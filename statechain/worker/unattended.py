"""An execution that no asyncio task drives: the journal, its line and its handlers call each other back.

Most executions pass through plain states from their start to their end, and need no more than that. Where one needs
more, or is stopped, or the engine is left, a task of the worker goes on with it to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, cast

from statechain.cancellation import await_shielded
from statechain.errors import StatechainError
from statechain.execution.lines.line import Line
from statechain.execution.lines.stops import Exit
from statechain.execution.running import RunningExecution, RunState
from statechain.storage.journal.waiters import Waiter

if TYPE_CHECKING:
    from statechain.execution.lines.shared import Lines
    from statechain.records.executions import Execution
    from statechain.storage.repository import End
    from statechain.worker.revisions import Revision

__all__ = ["UnattendedRun", "UnattendedRuns"]


class UnattendedRun:
    """Drives an execution that is to be started, without a task until it is attended.

    It is what the journal resolves with the start (`resolve`), and what a decision about the execution reaches
    (`cancel`). None of these raises.

    Attributes:
        context: The caller's context variables, which its handlers see.

        lapses: How often the worker's lease had lapsed before the start was written.

        line: What passes through its states, once the start is durable.

        is_attended: Whether a task goes on with it, or is about to.

        fault: What the engine's code raised once the start was durable, and before the line had begun.
    """

    __slots__ = (
        "_lines",
        "_outcome",
        "_runs",
        "_waiter",
        "context",
        "execution",
        "fault",
        "is_attended",
        "lapses",
        "line",
        "live",
        "revision",
    )

    def __init__(
        self,
        live: RunningExecution,
        revision: Revision,
        execution: Execution,
        *,
        runs: UnattendedRuns,
        lines: Lines,
        lapses: int,
    ) -> None:
        self.live = live
        self.revision = revision
        self.execution = execution
        self.context = copy_context()
        self.lapses = lapses
        self.line: Line | None = None
        self.is_attended = False
        self.fault: Exception | None = None
        self._runs = runs
        self._lines = lines
        self._outcome: object = None
        self._waiter: Waiter[Execution] | None = None

    # The start

    def resolve(self, outcome: object) -> None:
        """Take the outcome of the start, and go on a turn later, so that the journal sends its next commit first."""
        self._outcome = outcome
        if self._waiter is not None:
            self._waiter.resolve(outcome)
        else:
            self._lines.resume_soon(self, outcome)

    def written(self, outcome: object) -> None:
        """Go on after the start."""
        live = self.live
        if self.is_attended:
            return
        # It failed, another execution has the name, or it was decided meanwhile what becomes of this one.
        if isinstance(outcome, StatechainError) or live.state is not RunState.QUEUED:
            self.attend()
            return
        holder = cast("Execution", outcome)
        if holder.id != live.execution_id:
            self.attend()
            return
        live.state = RunState.RUNNING
        live.open(holder)
        self._runs.begin(self)

    def fail(self, error: Exception) -> None:
        """Have a task raise what the engine's code raised before the line had begun."""
        self.line, self.fault = None, error
        self.attend()

    async def holder(self) -> Execution:
        """Return the execution that has the name, once the start is durable; raise what the start failed by."""
        if self._outcome is None:
            self._waiter = Waiter()
            return await self._waiter
        if isinstance(self._outcome, StatechainError):
            raise self._outcome
        return cast("Execution", self._outcome)

    # Its end

    def take_stopped(self, line: Line) -> None:
        """Take the line, which has stopped: at the end of the execution, or where a task has to go on."""
        end = line.frame.run.end
        if self.is_attended:
            return  # the task awaits the line
        if end is not None and line.exit is Exit.DONE and line.error is None:
            self._runs.conclude(self, line, end)
        else:
            self.attend()

    def cancel(self) -> None:
        """Have a task carry out what was decided about the execution: at once, or after the start that is written."""
        if self.line is not None:
            self.attend()

    def attend(self) -> None:
        """Have a task go on with it, unless one does."""
        if not self.is_attended:
            self._runs.attend(self)
            self.is_attended = True


class UnattendedRuns:
    """The executions of a worker that run without a task: each until it is over, or has one.

    Arguments:
        live: The worker's executions.

        tasks: Returns the group in which tasks run them.

        main: Runs one in a task.

        begin: Runs one whose start is durable, as far as a line goes; sets `UnattendedRun.line` first.

        conclude: Takes one that is over, its end durable.
    """

    def __init__(
        self,
        live: Mapping[str, RunningExecution],
        tasks: Callable[[], asyncio.TaskGroup],
        main: Callable[[RunningExecution, Revision, UnattendedRun], Coroutine[None, None, None]],
        begin: Callable[[UnattendedRun], None],
        conclude: Callable[[UnattendedRun, Line, End], None],
    ) -> None:
        self._live = live
        self._tasks = tasks
        self._main = main
        self.begin = begin
        self.conclude = conclude
        self.is_open = True

    def attend(self, run: UnattendedRun) -> None:
        """Have a task go on with an execution; where the group fails, `end` does."""
        main = self._main(run.live, run.revision, run)
        try:
            # A copy: the line enters its context itself.
            self._tasks().create_task(main, context=run.context.copy())
        except (RuntimeError, StatechainError):
            main.close()
            if run.line is not None:
                run.line.cancel()  # it begins nothing more

    async def until_left(self, leaving: asyncio.Event) -> None:
        """Return once the engine is being left; from then on each execution has a task, for which the group waits."""
        try:
            await leaving.wait()
        finally:
            self.is_open = False
            for run in self._all():
                run.attend()

    async def end(self) -> None:
        """Interrupt what no task took over, since the group failed, and wait for its end."""
        ends = []
        for run in self._all():
            run.live.interrupt()
            ends.append(asyncio.ensure_future(self._main(run.live, run.revision, run)))
        if ends:
            await await_shielded(asyncio.gather(*ends, return_exceptions=True))

    def _all(self) -> list[UnattendedRun]:
        """Return those that run without a task, and those whose task has not made its first step."""
        return [live.driver for live in self._live.values() if isinstance(live.driver, UnattendedRun)]
