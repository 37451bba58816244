"""What all lines of a worker share: how to call the handlers of plain Tasks, and which lines go on next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from statechain.clock import SystemClock
from statechain.logs import AttemptTag
from statechain.tasks.registry import Task, TaskRegistry
from statechain.tasks.services import waits_for_token

if TYPE_CHECKING:
    from contextvars import Context

    from statechain.asl.plan.plan import State
    from statechain.clock import Clock
    from statechain.execution.calls import Caller
    from statechain.execution.frame import Frame
    from statechain.execution.recorder import VisitRecorder
    from statechain.limits import Limits

__all__ = ["Lines", "PlainCall"]


class PlainCall:
    """What calling the handler of a plain Task needs, looked up once for each state.

    Attributes:
        task: The handler.

        tag: What log records say of the attempt, where its handler takes the input alone; None where a `TaskContext`
            has to be made for it.
    """

    __slots__ = ("tag", "task")

    def __init__(self, task: Task, tag: AttemptTag | None) -> None:
        self.task = task
        self.tag = tag


class Resumable(Protocol):
    """A line whose write was answered."""

    context: Context

    def written(self, outcome: object, /) -> None:
        """Go on."""

    def fail(self, error: Exception, /) -> None:
        """Stop by an exception."""

    def resolve(self, outcome: object, /) -> None:
        """Go on in a later turn."""


class Lines:
    """Makes lines, and knows the handlers of the Tasks that they pass through.

    ``resolved`` are the lines whose writes were answered, which go on in the next turn of the event loop.
    """

    def __init__(
        self, recorder: VisitRecorder, clock: Clock, tasks: TaskRegistry, caller: Caller, limits: Limits
    ) -> None:
        self.recorder = recorder
        self.clock = clock
        self.caller = caller
        self.limits = limits
        # Handlers that a test scripts differ from visit to visit: no line begins there.
        self._tasks = tasks if type(tasks) is TaskRegistry else None
        self._found: dict[State, PlainCall] = {}
        self.resolved: list[tuple[Resumable, object]] = []

    def begins(self, frame: Frame) -> bool:
        """Return whether a line may begin at the state before which a frame is."""
        state = frame.plan.states[frame.state]
        return not frame.run.is_express and state.type == "Task" and self.call_of(state) is not None

    def call_of(self, state: State) -> PlainCall | None:
        """Return how to call the handler of a Task that is just called, or None."""
        return self._found.get(state) or self._find(state)

    def resume_soon(self, line: Resumable, outcome: object) -> None:
        """Have a line go on with the outcome of its write, in the next turn of the event loop."""
        if not self.resolved:
            asyncio.get_running_loop().call_soon(self.go_on)
        self.resolved.append((line, outcome))

    def go_on(self) -> None:
        """Have the lines go on whose writes are durable, or failed, all in one turn of the event loop."""
        resolved, self.resolved = self.resolved, []
        lines = iter(resolved)
        try:
            for line, outcome in lines:
                try:
                    line.context.run(line.written, outcome)
                except Exception as error:  # noqa: BLE001 -- it is raised where the line is awaited
                    line.context.run(line.fail, error)
        finally:  # only what stops the whole process passes here: the others learn of their writes all the same
            for line, outcome in lines:
                line.resolve(outcome)

    def _find(self, state: State) -> PlainCall | None:
        if self._tasks is None or state.resource is None or state.is_bounded or waits_for_token(state.resource):
            return None
        task = self._tasks.find(state.resource)
        if task is None or not task.is_async or task.delivery != "at_least_once":
            return None
        # A virtual clock is held by `Task.__call__` only, which a bare call goes round.
        is_bare = task.is_plain and type(self.clock) is SystemClock
        call = self._found[state] = PlainCall(task, AttemptTag(state.name, 1) if is_bare else None)
        return call
