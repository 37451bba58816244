"""The line: plain states of a STANDARD execution, one after the other, without waking its task between two of them.

A state is plain where it is pure, or a Task whose async handler is just called: no task token, no timeout, no
at-most-once. From the journal's answer to the handler's call, and from its result to the next write, all is a plain
function call. Each handler has its own asyncio task; the execution's task awaits one future for the whole line.

A line does what goes well. Anything else it leaves to the interpreter, at one of the places that `Exit` names.
"""

from __future__ import annotations

import asyncio
import contextvars
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple, cast

from statechain.asl.effort import TakesLong
from statechain.asl.outcome import Next
from statechain.errors import InvalidPayload, StatechainError, StateError
from statechain.execution.lines.fast_path import INSTANT, TURNS_BEFORE_YIELD
from statechain.execution.lines.stops import Exit, Stop, Taker
from statechain.execution.notify import tell_attempt_ended, tell_attempt_started, tell_entered, tell_left
from statechain.execution.stepping import record_step
from statechain.execution.variables import admit
from statechain.payload import Payload
from statechain.records.details import STRAIGHT
from statechain.records.executions import ExecutionStatus
from statechain.storage.repository import End
from statechain.tasks.call import (
    EAGER,
    cut_off,
    end_handler,
    failure_to_serve,
    is_cancelled_from_outside,
    refusal_of,
    serve,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from statechain.asl.outcome import Done
    from statechain.codec import JSONValue
    from statechain.execution.frame import Frame
    from statechain.execution.lines.shared import Lines

__all__ = ["Line"]

A = TypeVar("A")
Ts = TypeVarTuple("Ts")

EVENTS_OF_VISIT: Final = 6
"""What a Task that goes well adds to the history, and the end of the iteration that it may end."""


class _Phase(Enum):
    """What a line waits for."""

    NOTHING = auto()
    WRITE = auto()
    TURN = auto()
    HANDLER = auto()
    END = auto()


# Each state asks for these several times, and up to Python 3.11 a member of an enumeration takes longer than a call.
_NOTHING, _WRITE, _TURN, _HANDLER, _END = _Phase
_BEFORE, _BEGUN, _RETURNED, _DONE = Exit.BEFORE, Exit.BEGUN, Exit.RETURNED, Exit.DONE
_SCHEDULED, _STARTED, _SUCCEEDED = STRAIGHT


class Line:
    """Drives one line of control through plain states, from one write to the next.

    It is what the journal resolves (`resolve`), and what a handler's asyncio task answers (`set_result` and the other
    methods of a future). None of these raises: an exception becomes the result of the line. Nor do they call code that
    might before they are ready for that, since what waits for the line would wait for ever.

    All of it runs in the context of the execution: observers are notified there, and each handler's task copies it.

    ``has_stopped`` says that it does nothing more: it has stopped at its ``exit``, or was cancelled.
    """

    __slots__ = (
        "_answer",
        "_attempt_began",
        "_call",
        "_given",
        "_handler",
        "_is_calling",
        "_is_cancelled",
        "_is_cancelled_later",
        "_is_writing",
        "_lapses",
        "_lines",
        "_loop",
        "_observers",
        "_phase",
        "_state",
        "_stopping",
        "_taker",
        "context",
        "error",
        "exit",
        "frame",
        "has_stopped",
    )

    def __init__(self, lines: Lines, frame: Frame, context: contextvars.Context | None = None) -> None:
        self._lines = lines
        self.frame = frame
        self.exit = _BEFORE
        self.error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self.has_stopped = False
        self._is_writing = self._is_cancelled = self._is_cancelled_later = False
        self._stopping: Stop | None = None  # made where a task awaits the line, which most need not
        self.context = contextvars.copy_context() if context is None else context
        self._observers = frame.run.observers
        self._attempt_began: datetime | None = None
        self._phase = _NOTHING
        self._handler: asyncio.Task[None] | None = None
        self._is_calling = False
        self._answer: Callable[[], None] | None = None
        self._lapses = 0
        self._taker: Taker[Line] | None = None

    def begin(self) -> None:
        """Pass through plain states, as far as that goes without waiting."""
        self.context.run(self._safely, self._begin)

    def begin_here(self, taker: Taker[Line]) -> None:
        """Begin, within the line's context; hand the line over when it stops, unless it is cancelled."""
        self._taker = taker
        self._safely(self._begin)

    def begin_soon(self, taker: Taker[Line]) -> None:
        """Begin in the next turn of the event loop; hand the line over when it stops, unless it is cancelled."""
        self._taker = taker
        self._loop.call_soon(self._safely, self._begin, context=self.context)

    def _begin(self) -> None:
        if not self.has_stopped:  # else it was cancelled before
            self._advance(self._lines.clock.now())

    async def wait(self) -> Exit:
        """Return where the line stopped, once it has; what does not go well is left to a visit.

        A cancellation reaches the handler that runs, and is raised once that has ended, or after its grace. The history
        shows what it interrupted, as of any visit.
        """
        try:
            if not self.has_stopped:
                self._stopping = Stop(self.cancel)
                await self._stopping
            elif is_cancelled_from_outside():
                await asyncio.sleep(0)  # a handler's only step stopped the execution, which learns that here
            if self._is_cancelled or self._is_cancelled_later:
                raise asyncio.CancelledError  # noqa: TRY301 -- before it was awaited, or it waited for a write
            if self.exit is _DONE and self.error is not None:
                raise self.error  # the end could not be written
        except asyncio.CancelledError:
            try:
                if self._handler is not None and not self._handler.done():
                    await end_handler(self._handler, self._call.task.name, self._lines.limits.handler_grace_seconds)
                if self._observers:
                    self.context.run(self._tell_cancelled)
            finally:  # a second cancellation may come while the handler ends
                self._lines.recorder.record_cancelled(self.frame)
            raise
        finally:
            self._stopping = None  # the two hold each other
        return self.exit

    def result(self) -> Payload:
        """Return what the handler returned; raise what the visit failed by."""
        if self.error is not None or self.frame.result is None:
            raise cast("BaseException", self.error)
        return self.frame.result

    def _stop(self, exit_: Exit, error: BaseException | None = None) -> None:
        """Hand the line of control back to the interpreter."""
        self.exit, self.error = exit_, error
        self._phase = _NOTHING
        self._is_writing = False
        self.has_stopped = True
        if self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(None)
        if self._taker is not None and not (self._is_cancelled or self._is_cancelled_later):
            self._taker.take_stopped(self)
            self._taker = None  # afterwards: where it raises, `fail` calls it once more

    def _safely(self, go: Callable[[*Ts], None], *arguments: *Ts) -> None:
        """Go on; what is raised is the interpreter's to raise again, in the visit that is open."""
        try:
            go(*arguments)
        except Exception as error:  # noqa: BLE001 -- it is raised where the line is awaited
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Hand the visit back for an error that is none of its state: the interpreter raises it there."""
        self._tell_ended(None)
        self._stop(_RETURNED, error)

    # Visits

    def _advance(self, now: datetime) -> None:
        """Begin visit after visit, until one has to wait for a write or for its handler.

        One state is entered at the moment ``now`` at which the other is left.
        """
        frame, lines = self.frame, self._lines
        states = frame.plan.states
        while True:
            state = states[frame.state]
            call = lines.call_of(state) if state.type == "Task" else None
            if (call is None and state.type not in INSTANT) or not self._may_begin():
                self._stop(_BEFORE)
                return
            frame.begin(state, now)
            frame.steps += 1
            self._state = state
            if self._observers:
                tell_entered(frame, state)
            try:
                if call is not None:
                    self._call = call
                    self._given = frame.input if state.make is None else Payload(state.make(frame.input.value, frame))
                    break
                step = cast("Next | Done", state.enter(frame.input.value, frame))
            # Left to the interpreter, which evaluates again, drawing the same numbers, and explains the error.
            except (StateError, TakesLong):
                frame.restart_draws()
                self._stop(_BEGUN)
                return
            now = lines.clock.now()
            if not self._take(step, now, _BEGUN):
                return
        self._schedule(now)

    def _may_begin(self) -> bool:
        """Return whether a visit may begin here: what has to wait first is the interpreter's."""
        frame = self.frame
        return (
            # Without a lease another worker may own the execution by now; a line cannot wait for it.
            self._lines.recorder.lease.holds
            and frame.run.has_room(EVENTS_OF_VISIT)
            # The interpreter lets other executions run here.
            and (frame.steps + 1) % TURNS_BEFORE_YIELD != 0
        )

    def _schedule(self, now: datetime) -> None:
        """Have what the visit before produced written first, as `VisitRecorder.flush_before_effect` does."""
        frame, recorder = self.frame, self._lines.recorder
        frame.note(_SCHEDULED, now)
        if self._observers:
            tell_attempt_started(frame, cast("str", self._state.resource))
            self._attempt_began = now
        if recorder.must_flush(frame):
            self._write(_WRITE)
            return
        recorder.post_backlog(frame)
        self._take_turn()

    def _write(self, phase: _Phase) -> None:
        """Have all that the execution has to write made durable, and go on in `written`."""
        # Read before the write, which vouches for no lapse that comes while it is under way.
        self._phase, self._lapses = phase, self._lines.recorder.lease.lapses
        self._is_writing = True
        self._lines.recorder.post(self.frame, self)

    def resolve(self, outcome: object) -> None:
        """Take the outcome of a write, and go on a turn later, so that the journal sends its next commit first."""
        self._lines.resume_soon(self, outcome)

    def written(self, outcome: object) -> None:
        """Go on after a write."""
        self._is_writing = False
        if isinstance(outcome, StatechainError):
            if self._phase is _END:
                self._stop(_DONE, outcome)
            else:
                self.fail(outcome)
            return
        self._lines.recorder.flushed(self.frame, self._lapses)
        if self._phase is _END:
            self._stop(_DONE)
            return
        # Before the handler: a cancellation that waited for the write must not begin an effect.
        if self._is_cancelled_later or self.has_stopped:
            self._stop(_BEGUN)  # `run` reports the cancellation
        else:
            self._take_turn()

    def _take_turn(self) -> None:
        """Call the handler; in a branch one turn later, so that siblings are scheduled before any of them starts."""
        if self.frame.path:
            self._phase = _TURN
            self._loop.call_soon(self._safely, self._start, context=self.context)
        else:
            self._start()

    def _start(self) -> None:
        """Begin the handler in its own asyncio task."""
        # A turn has passed since it was scheduled: it may have been cancelled.
        if self.has_stopped:
            return
        caller, clock, frame, call = self._lines.caller, self._lines.clock, self.frame, self._call
        frame.note(_STARTED, clock.now())
        try:
            value = caller.private_input(frame, self._given)
        except StateError as fault:
            self._fail(fault)
            return
        self._phase, self._is_calling = _HANDLER, True
        attempt = call.tag or caller.context_of(frame, self._state)
        self._handler = asyncio.Task(serve(call.task, value, attempt, clock, self, None), loop=self._loop, **EAGER)
        self._is_calling = False
        if self._answer is not None:
            answer, self._answer = self._answer, None
            answer()
        # An eager task that failed before its handler was called answers nothing.
        elif EAGER and (failure := failure_to_serve(self._handler)) is not None:
            raise failure

    # The handler's answer

    def done(self) -> bool:
        """Return whether an answer would come too late."""
        return self._phase is not _HANDLER or self.has_stopped

    def set_result(self, result: object) -> None:
        """Take what the handler returned: leave the visit, and move on to the next write."""
        self._answered(self._return, result)

    def set_exception(self, error: Exception) -> None:
        """Take what the handler raised: retrying and catching are the interpreter's."""
        self._answered(self._take_failure, error)

    def cancel(self) -> bool:
        """Cancel the line, and what awaits it: its siblings failed, or the whole process stops in its handler.

        While a write is under way a cancellation waits for it, as it does elsewhere.
        """
        if self._is_writing or self.has_stopped:
            self._is_cancelled_later = True
            return False
        self._is_cancelled = self.has_stopped = True
        if self._stopping is not None:
            self._stopping.raise_cancelled()
        return True

    def _answered(self, go: Callable[[A], None], answer: A) -> None:
        if self._is_calling:  # an eager task, which runs within `_start`: that goes on with it
            self._answer = partial(go, answer)
        else:
            self.context.run(self._safely, go, answer)

    def _return(self, result: object) -> None:
        self._phase = _NOTHING
        frame, lines, state = self.frame, self._lines, self._state
        limits = lines.limits
        try:
            payload = Payload.isolated(result, max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)
        except InvalidPayload as error:
            refusal = refusal_of(error, self._call.task.name, limits)
            refusal.__cause__ = error
            self._fail(refusal)
            return
        now = lines.clock.now()
        if self._observers:
            self._tell_ended(None)
        frame.result = payload
        frame.note(_SUCCEEDED, now)
        if state.drops_input:
            goes_on = self._leave(state.next, payload, None, now, _RETURNED)
        else:
            try:
                step = state.leave(frame.input.value, payload.value, frame)
            # As in `_advance`: the result is kept, and only the leaving is evaluated again.
            except (StateError, TakesLong):
                frame.restart_draws()
                self._stop(_RETURNED)
                return
            goes_on = self._take(step, now, _RETURNED)
        if goes_on:
            self._advance(now)

    def _take_failure(self, error: Exception) -> None:
        self._phase = _NOTHING
        if isinstance(error, StateError):
            self._fail(cut_off(error, self._lines.limits.cause_characters))
        else:
            self.fail(error)

    def _fail(self, fault: StateError) -> None:
        if self._observers:
            self._tell_ended(fault)
        self._lines.caller.note_failure(self.frame, fault)
        self._stop(_RETURNED, fault)

    def _take(self, step: Next | Done, now: datetime, otherwise: Exit) -> bool:
        """Leave a visit by a step of the plan; return whether there is another visit."""
        following = step.state if type(step) is Next else None
        return self._leave(following, self.frame.output_of(step), step.assigned, now, otherwise)

    def _leave(
        self,
        following: str | None,
        output: Payload,
        assigned: Mapping[str, JSONValue] | None,
        now: datetime,
        otherwise: Exit,
    ) -> bool:
        """Leave a visit for the next; return whether there is one. What cannot be left is handed back as it was."""
        frame, limits = self.frame, self._lines.limits
        # The exit, and the end of the iteration that it may be.
        if not frame.run.has_room(2):
            self._stop(otherwise)
            return False
        try:
            if assigned:
                admit(frame, assigned, limits)
            record_step(frame, self._state, following, output, assigned, now, limits)
        except StateError:
            frame.restart_draws()
            self._stop(otherwise)
            return False
        if self._observers:
            tell_left(frame, self._state, now, "SUCCEEDED", following=following)
        if following is None:
            self._finish(now)
            return False
        frame.go_to(following)
        return True

    def _finish(self, now: datetime) -> None:
        """Stop at the end of the line of control, once that is durable; the root's end is that of the execution.

        Not where a timeout of the machine could still cut it short, or where another end is decided already.
        """
        frame = self.frame
        run = frame.run
        live = run.live
        if frame.path and frame.has_unsaved_effect:
            # The output of a branch must survive a crash of those that still run.
            self._write(_END)
            return
        if frame.path or live is None or not live.is_undecided or run.plan.timeout_seconds is not None:
            self._stop(_DONE)
            return
        # Before the write: from here on neither a stop nor an interruption changes the end.
        live.close(ExecutionStatus.SUCCEEDED)
        run.end = End(status=ExecutionStatus.SUCCEEDED, end_time=now, output_text=frame.input.text)
        run.ledger.current_state, run.ledger.end = frame.state, run.end
        self._write(_END)

    # Observers

    def _tell_ended(self, fault: StateError | None, *, is_cancelled: bool = False) -> None:
        """Report the end of the attempt whose start was reported."""
        began, self._attempt_began = self._attempt_began, None
        if began is not None:
            seconds = (self._lines.clock.now() - began).total_seconds()
            resource = cast("str", self._state.resource)
            tell_attempt_ended(self.frame, resource, seconds, fault=fault, is_cancelled=is_cancelled)

    def _tell_cancelled(self) -> None:
        """Report that a cancellation ended the visit, and the attempt, that are open."""
        self._tell_ended(None, is_cancelled=True)
        if self.frame.is_open:
            tell_left(self.frame, self._state, self._lines.clock.now(), "CANCELLED")
