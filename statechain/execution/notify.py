"""What observers are notified of visits and attempts, reported round the coroutine that performs them.

The interpreter and the caller come here only where there is an observer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from statechain.asl.outcome import Next
from statechain.errors import StateError
from statechain.observers import AttemptEnded, AttemptStarted, StateEntered, StateLeft, StateOutcome, tell

if TYPE_CHECKING:
    from statechain.asl.outcome import CallTask, Done
    from statechain.asl.plan.plan import State
    from statechain.clock import Clock
    from statechain.execution.frame import Frame
    from statechain.payload import Payload

__all__ = ["observe_attempt", "observe_visit"]


async def observe_visit(frame: Frame, state: State, clock: Clock, visit: Awaitable[Next | Done]) -> Next | Done:
    """Await a visit, and say how a state was entered and left."""
    run = frame.run
    entered = StateEntered(
        execution=run.execution,
        state_machine=run.machine.name,
        frame=frame.path,
        number=frame.number,
        state=state.name,
        type=state.type,
    )
    tell(run.observers, entered)
    began = frame.entered
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
        left = StateLeft(
            execution=run.execution,
            state_machine=entered.state_machine,
            frame=entered.frame,
            number=entered.number,
            state=state.name,
            type=state.type,
            outcome=outcome,
            next=following,
            error=error,
            seconds=(clock.now() - began).total_seconds(),
        )
        tell(run.observers, left)
    return step


async def observe_attempt(frame: Frame, effect: CallTask, clock: Clock, attempt: Awaitable[Payload]) -> Payload:
    """Await an attempt, and say how it began and ended."""
    run = frame.run
    started = AttemptStarted(
        execution=run.execution,
        state_machine=run.machine.name,
        frame=frame.path,
        number=frame.number,
        state=frame.state,
        attempt=frame.attempt,
        resource=effect.resource,
    )
    tell(run.observers, started)
    began = clock.now()
    error = exception = None
    is_cancelled = False
    try:
        return await attempt
    except StateError as fault:
        error = fault.error
        exception = None if isinstance(fault.origin, StateError) else fault.origin
        raise
    except asyncio.CancelledError:
        is_cancelled = True
        raise
    finally:
        ended = AttemptEnded(
            execution=run.execution,
            state_machine=started.state_machine,
            frame=started.frame,
            number=started.number,
            state=started.state,
            attempt=started.attempt,
            resource=started.resource,
            error=error,
            is_cancelled=is_cancelled,
            exception=exception,
            seconds=(clock.now() - began).total_seconds(),
        )
        tell(run.observers, ended)
