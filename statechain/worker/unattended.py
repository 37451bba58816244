"""An execution that no asyncio task drives: the journal, its line and its handlers call each other back.

Most executions pass through plain states from their start to their end, and need no more than that. Where one needs
more, or is stopped, or the engine is left, a task of the worker goes on with it to its end.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Protocol, cast

from statechain.errors import StatechainError
from statechain.execution.lines.line import Exit, Line
from statechain.execution.running import RunningExecution, RunState
from statechain.storage.journal.waiters import Waiter

if TYPE_CHECKING:
    from statechain.execution.lines.shared import Lines
    from statechain.records.executions import Execution
    from statechain.storage.repository import End, StartExecution
    from statechain.worker.revisions import Revision

__all__ = ["Owner", "UnattendedRun"]


class Owner(Protocol):
    """The worker, as an unattended execution sees it."""

    def begin_line(self, run: UnattendedRun) -> None:
        """Run an execution whose start is durable, as far as a line goes; set `UnattendedRun.line`."""

    def conclude_line(self, run: UnattendedRun, line: Line, end: End) -> None:
        """Take an execution that is over, its end durable."""

    def attend(self, run: UnattendedRun) -> None:
        """Have a task go on with an execution."""


class UnattendedRun:
    """Drives an execution that is to be started, without a task until it is attended.

    It is what the journal resolves with the start (`resolve`), and what a decision about the execution reaches
    (`cancel`). None of these raises.

    Attributes:
        context: The caller's context variables, which its handlers see.

        lapses: How often the worker's lease had lapsed before the start was written.

        line: What passes through its states, once the start is durable.

        is_attended: Whether a task goes on with it, or is about to.
    """

    __slots__ = ("_holder", "_lines", "_owner", "context", "is_attended", "lapses", "line", "live", "revision", "start")

    def __init__(
        self,
        live: RunningExecution,
        revision: Revision,
        start: StartExecution,
        *,
        owner: Owner,
        lines: Lines,
        lapses: int,
    ) -> None:
        self.live = live
        self.revision = revision
        self.start = start
        self.context = copy_context()
        self.lapses = lapses
        self.line: Line | None = None
        self.is_attended = False
        self._owner = owner
        self._lines = lines
        self._holder: Waiter[Execution] | None = None

    # The start

    def resolve(self, outcome: object) -> None:
        """Take the outcome of the start, and go on a turn later, so that the journal sends its next commit first."""
        self._lines.resume_soon(self, outcome)

    def written(self, outcome: object) -> None:
        """Go on after the start."""
        if isinstance(outcome, StatechainError):
            self.fail(outcome)
            return
        live, holder = self.live, cast("Execution", outcome)
        # Another execution has the name, or it was decided meanwhile what becomes of this one.
        if self.is_attended or holder.id != live.execution_id or live.state is not RunState.QUEUED:
            self._held().resolve(holder)
            self.attend()
            return
        live.state = RunState.RUNNING
        live.open(holder)
        self._owner.begin_line(self)

    def fail(self, error: Exception) -> None:
        """Have a task raise what the start failed by."""
        held = self._held()
        if not held.done():
            held.set_exception(error)
            held.exception()  # its task may be cancelled first
        self.attend()

    async def holder(self) -> Execution:
        """Return the execution that has the name, once the start is durable; raise what the start failed by."""
        return await self._held()

    def _held(self) -> Waiter[Execution]:
        if self._holder is None:
            self._holder = Waiter()
        return self._holder

    # Its end

    def stopped(self, line: Line) -> None:
        """Take the line, which has stopped: at the end of the execution, or where a task has to go on."""
        end = line.frame.run.end
        if self.is_attended:
            return  # the task awaits the line
        if end is not None and line.exit is Exit.DONE and line.error is None:
            self._owner.conclude_line(self, line, end)
        else:
            self.attend()

    def cancel(self) -> None:
        """Have a task carry out what was decided about the execution: at once, or after the start that is written."""
        if self.line is not None:
            self.attend()

    def attend(self) -> None:
        """Have a task go on with it, unless one does."""
        if not self.is_attended:
            self.is_attended = True
            self._owner.attend(self)
