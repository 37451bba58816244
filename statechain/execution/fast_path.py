"""The fast path: plain states of an EXPRESS execution, one after the other, with nothing kept of a visit.

An EXPRESS execution journals no visit. A state is plain where nothing can come between entering and leaving it: a pure
state, or a Task without Retry, Catch, timeouts or credentials whose handler takes its input alone. Any other state, and
any whose evaluation fails, is left to the interpreter, which visits it from the same input. Handlers run in the
execution's own asyncio task here.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from statechain.asl.effort import TakesLong
from statechain.asl.outcome import Done, Next
from statechain.clock import SystemClock
from statechain.codec import JSONValue, private
from statechain.errors import InvalidPayload, StateError
from statechain.execution.lengthy import at_length
from statechain.execution.variables import is_admitted
from statechain.tasks.call import as_failure, refusal_of
from statechain.tasks.registry import Task, TaskRegistry

if TYPE_CHECKING:
    from statechain.asl.plan.plan import State
    from statechain.clock import Clock
    from statechain.execution.frame import Frame
    from statechain.limits import Limits

__all__ = ["FastPath"]

INSTANT: Final = frozenset({"Pass", "Choice", "Succeed"})
EVENTS_OF_STEP = 2
EVENTS_OF_TASK = 5
TURNS_BEFORE_YIELD = 100


class FastPath:
    """Passes frames through plain states."""

    def __init__(self, clock: Clock, tasks: TaskRegistry, limits: Limits) -> None:
        self._clock = clock
        self._tasks = tasks
        self._limits = limits
        self._skips_time = type(clock) is not SystemClock
        self._plain: dict[State, Task] = {}

    async def pass_through(self, frame: Frame) -> bool:
        """Move a frame through plain states; return whether it has ended. Else it is before a state to be visited.

        Raises StateError where a handler fails.
        """
        states = frame.plan.states
        caller = asyncio.current_task()
        is_own = False  # whether only the frame holds its value, so that a handler may have it as it is
        while frame.steps < self._limits.transitions:
            state = states[frame.state]
            before = frame.value
            if state.type in INSTANT:
                step = self._step(frame, state)
                is_own = is_own and step is not None and step.output is before
            else:
                task = self._plain.get(state) or self._find(state)
                step = None if task is None else await self._work(frame, state, task, caller, is_own=is_own)
                is_own = step is not None and step.output is frame.result
            if step is None:
                return False
            frame.advance(step)
            if type(step) is Done:
                return True
            is_own = is_own and not step.assigned
            if frame.steps % TURNS_BEFORE_YIELD == 0:
                await asyncio.sleep(0)
        return False

    def _step(self, frame: Frame, state: State) -> Next | Done | None:
        """Return what a pure state makes of its input; None where the interpreter has to say what is wrong."""
        frame.begin_untracked(self._clock.now())
        try:
            step = state.enter(frame.value, frame)
        except (StateError, TakesLong):
            return None
        if not isinstance(step, Next | Done) or (step.assigned and not is_admitted(frame, step.assigned, self._limits)):
            return None
        frame.run.events += EVENTS_OF_STEP
        return step

    async def _work(
        self, frame: Frame, state: State, task: Task, caller: asyncio.Task[Any] | None, *, is_own: bool
    ) -> Next | Done | None:
        """Await a plain Task's handler; return what the state makes of its result."""
        value = frame.value
        if state.make is None:
            frame.steps += 1  # no expression is evaluated, so nothing sees when the visit began
        else:
            frame.begin_untracked(self._clock.now())
            is_own = False
            try:
                value = state.make(value, frame)
            except (StateError, TakesLong):
                return None
        if not is_own:
            value = self._private(value, task)
        try:
            if self._skips_time:
                with self._clock.hold(briefly=True):
                    result = await task.handler(value)
            else:
                result = await task.handler(value)
        except BaseException as fault:
            failure = as_failure(fault, task.name, state.name, self._limits.cause_characters)
            if failure is fault:
                raise
            raise failure from fault
        if caller is not None and caller.cancelling():  # the handler has hidden that
            raise asyncio.CancelledError
        frame.result = self._private(result, task)
        frame.run.events += EVENTS_OF_TASK
        try:
            return state.leave(frame.value, frame.result, frame)
        except TakesLong:
            return await at_length(frame, self._clock, partial(state.leave, frame.value, frame.result, frame))

    def _private(self, value: object, task: Task) -> JSONValue:
        try:
            return private(value, max_bytes=self._limits.payload_bytes, max_depth=self._limits.payload_depth)
        except InvalidPayload as fault:
            raise refusal_of(fault, task.name) from fault

    def _find(self, state: State) -> Task | None:
        """Return the handler of a plain state, or None where the state is not plain."""
        if not state.is_plain or state.resource is None or type(self._tasks) is not TaskRegistry:
            return None
        task = self._tasks.find(state.resource)
        if task is None or not task.is_plain:
            return None
        self._plain[state] = task
        return task
