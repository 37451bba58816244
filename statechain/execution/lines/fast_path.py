"""The fast path: plain states of an EXPRESS execution, one after the other, with nothing kept of a visit.

An EXPRESS execution journals no visit. A state is plain where nothing can come between entering and leaving it: a pure
state, or a Task without Retry, Catch, timeouts or credentials whose handler takes its input alone. Any other state, and
any whose evaluation fails, is left to the interpreter, which visits it from the same input. Handlers run in the
execution's own asyncio task here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from statechain.asl.effort import TakesLong
from statechain.asl.outcome import FROM_INPUT, Done, Next
from statechain.asl.plan.bounds import refused_input
from statechain.clock import SystemClock
from statechain.codec import fits, private
from statechain.errors import InvalidPayload, StateError
from statechain.execution.variables import is_admitted
from statechain.payload import Payload
from statechain.tasks.call import as_failure, refusal_of
from statechain.tasks.registry import Task, TaskRegistry
from statechain.tasks.services import waits_for_token

if TYPE_CHECKING:
    from statechain.asl.plan.plan import State
    from statechain.clock import Clock
    from statechain.execution.frame import Frame
    from statechain.limits import Limits

__all__ = ["FastPath"]

INSTANT: Final = frozenset({"Pass", "Choice", "Succeed"})
# What a state would add to a history: errors name the event at which their state was entered.
EVENTS_OF_STEP = 2
EVENTS_OF_TASK = 5
TURNS_BEFORE_YIELD = 100

_STEPS: Final = (Next, Done)


class FastPath:
    """Passes frames through plain states."""

    def __init__(self, clock: Clock, tasks: TaskRegistry, limits: Limits) -> None:
        self._clock = clock
        self._tasks = tasks
        self._limits = limits
        # A virtual clock must not skip time while a handler runs; the system's clock saves the `with`.
        self._skips_time = type(clock) is not SystemClock
        self._plain: dict[State, Task] = {}

    async def pass_through(self, frame: Frame) -> bool:
        """Move a frame through plain states; return whether it has ended. Else it is before a state to be visited.

        Raises StateError where a handler fails.
        """
        states = frame.plan.states
        caller = asyncio.current_task()
        while frame.steps < self._limits.transitions:
            state = states[frame.state]
            if state.type in INSTANT:
                step = self._step(frame, state)
                if step is None:
                    return False
                following = step.state if type(step) is Next else None
                frame.put_out(frame.output_of(step), step.assigned)
            else:
                task = self._plain.get(state) or self._find(state)
                if task is None or not await self._work(frame, state, task, caller):
                    return False
                following = state.next
            if following is None:
                return True
            frame.state = following
            frame.number += 1
            if frame.steps % TURNS_BEFORE_YIELD == 0:
                await asyncio.sleep(0)
        return False

    def _step(self, frame: Frame, state: State) -> Next | Done | None:
        """Return what a pure state makes of its input; None where the interpreter has to say what is wrong."""
        frame.begin_untracked(self._clock.now())
        try:
            step = state.enter(frame.input.value, frame)
        except (StateError, TakesLong):
            return None
        if not isinstance(step, _STEPS) or (step.assigned and not is_admitted(frame, step.assigned, self._limits)):
            return None
        most, deepest = self._limits.payload_bytes, self._limits.payload_depth
        # Counted, not encoded: an EXPRESS execution needs no text between its states. What could be the input passes
        # uncounted, since it was counted before.
        if step.origin is not FROM_INPUT and not fits(step.output, max_bytes=most, max_depth=deepest):
            return None
        frame.run.events += EVENTS_OF_STEP
        return step

    async def _work(self, frame: Frame, state: State, task: Task, caller: asyncio.Task[Any] | None) -> bool:
        """Await a plain Task's handler, whose result is what the state puts out; return False where it was not called.

        The input is the handler's to change where nothing else holds a part of it.
        """
        payload = frame.input
        if state.make is None:
            frame.steps += 1  # no expression is evaluated, so nothing sees the moment at which the visit began
            frame.entered_event = frame.run.events + 1
        else:
            frame.begin_untracked(self._clock.now())
            try:
                payload = Payload(state.make(payload.value, frame))
            except (StateError, TakesLong):
                return False
        limits = self._limits
        try:
            value = payload.taken(max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)
        except InvalidPayload as error:
            raise refused_input(error, state.name) from error
        try:
            if self._skips_time:
                with self._clock.hold(briefly=True):
                    result = await task.handler(value)
            else:
                result = await task.handler(value)
        except BaseException as fault:
            failure = as_failure(fault, task.name, state.name, limits.cause_characters)
            if failure is fault:
                raise
            raise failure from fault
        if caller is not None and caller.cancelling():  # the handler has hidden that
            raise asyncio.CancelledError
        try:
            copy = private(result, max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)
        except InvalidPayload as error:
            raise refusal_of(error, task.name, limits) from error
        # A private copy: the handler may have kept what it returned.
        frame.input = Payload.owned(copy)
        frame.run.events += EVENTS_OF_TASK
        return True

    def _find(self, state: State) -> Task | None:
        """Return the handler of a plain state, or None where the state is not plain."""
        # Handlers that a test scripts differ from visit to visit.
        if not state.is_plain or state.resource is None or type(self._tasks) is not TaskRegistry:
            return None
        if waits_for_token(state.resource):
            return None
        task = self._tasks.find(state.resource)
        if task is None or not task.is_plain:
            return None
        self._plain[state] = task
        return task
