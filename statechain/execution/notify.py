"""What observers are notified of visits and attempts: round the coroutine that performs them, or step by step.

The interpreter, the caller and a line come here only where there is an observer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime
from typing import TYPE_CHECKING

from statechain.asl.outcome import Next
from statechain.errors import StateError
from statechain.observers import AttemptEnded, AttemptStarted, StateEntered, StateLeft, StateOutcome, emit

if TYPE_CHECKING:
    from statechain.asl.outcome import CallTask, Done
    from statechain.asl.plan.plan import State
    from statechain.clock import Clock
    from statechain.execution.frame import Frame
    from statechain.payload import Payload

__all__ = [
    "observe_attempt",
    "observe_visit",
    "tell_attempt_ended",
    "tell_attempt_started",
    "tell_entered",
    "tell_left",
]


def tell_entered(frame: Frame, state: State) -> None:
    """Report that a frame has begun, or taken up, a visit of a state."""
    run = frame.run
    entered = StateEntered(
        execution=run.execution,
        state_machine=run.machine.name,
        frame=frame.path,
        number=frame.number,
        state=state.name,
        type=state.type,
    )
    emit(run.observers, entered)


def tell_left(
    frame: Frame,
    state: State,
    now: datetime,
    outcome: StateOutcome,
    *,
    following: str | None = None,
    error: str | None = None,
) -> None:
    """Report how the visit of a frame ended."""
    run = frame.run
    left = StateLeft(
        execution=run.execution,
        state_machine=run.machine.name,
        frame=frame.path,
        number=frame.number,
        state=state.name,
        type=state.type,
        outcome=outcome,
        next=following,
        error=error,
        seconds=(now - frame.entered).total_seconds(),
    )
    emit(run.observers, left)


def tell_attempt_started(frame: Frame, resource: str) -> None:
    """Report that an attempt of a frame's Task begins."""
    run = frame.run
    started = AttemptStarted(
        execution=run.execution,
        state_machine=run.machine.name,
        frame=frame.path,
        number=frame.number,
        state=frame.state,
        attempt=frame.attempt,
        resource=resource,
    )
    emit(run.observers, started)


def tell_attempt_ended(
    frame: Frame,
    resource: str,
    seconds: float,
    *,
    fault: StateError | None = None,
    is_cancelled: bool = False,
) -> None:
    """Report how an attempt of a frame's Task ended."""
    run = frame.run
    origin = None if fault is None else fault.origin
    ended = AttemptEnded(
        execution=run.execution,
        state_machine=run.machine.name,
        frame=frame.path,
        number=frame.number,
        state=frame.state,
        attempt=frame.attempt,
        resource=resource,
        error=None if fault is None else fault.error,
        is_cancelled=is_cancelled,
        # A TaskError is the handler's answer, and no exception to be reported.
        exception=None if isinstance(origin, StateError) else origin,
        seconds=seconds,
    )
    emit(run.observers, ended)


async def observe_visit(
    frame: Frame, state: State, clock: Clock, visit: Awaitable[Next | Done], *, is_entered: bool = False
) -> Next | Done:
    """Await a visit, and report how a state was entered and left; ``is_entered``: the first is reported already."""
    if not is_entered:
        tell_entered(frame, state)
    outcome: StateOutcome = "CANCELLED"
    error = following = None
    try:
        step = await visit
        if type(step) is Next:
            following = step.state
        outcome, error = ("SUCCEEDED", None) if frame.caught is None else ("CAUGHT", frame.caught.error)
    except StateError as fault:
        outcome, error = "FAILED", fault.error
        raise
    finally:
        tell_left(frame, state, clock.now(), outcome, following=following, error=error)
    return step


async def observe_attempt(frame: Frame, effect: CallTask, clock: Clock, attempt: Awaitable[Payload]) -> Payload:
    """Await an attempt, and report how it began and ended."""
    tell_attempt_started(frame, effect.resource)
    began = clock.now()
    error: StateError | None = None
    is_cancelled = False
    try:
        return await attempt
    except StateError as fault:
        error = fault
        raise
    except asyncio.CancelledError:
        is_cancelled = True
        raise
    finally:
        seconds = (clock.now() - began).total_seconds()
        tell_attempt_ended(frame, effect.resource, seconds, fault=error, is_cancelled=is_cancelled)
