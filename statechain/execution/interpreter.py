"""The loop: step the plan, perform the effect, journal the visit.

Here the language and storage meet. The rule of durability: what an effect produced is durable before the next
effect of its line of control begins, and before a caller sees the end; visits of pure states ride along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from statechain.asl.effort import TakesLong
from statechain.asl.outcome import CallTask, Done, Fail, FanOut, Next, Outcome, WaitUntil
from statechain.errors import StateError
from statechain.execution.fan_out.inline import run_inline
from statechain.execution.fan_out.map_run import run_distributed
from statechain.execution.frame import Frame
from statechain.execution.lengthy import at_length, evaluated
from statechain.execution.lines.fast_path import TURNS_BEFORE_YIELD
from statechain.execution.lines.line import Line
from statechain.execution.lines.stops import Exit
from statechain.execution.notify import observe_visit
from statechain.execution.restore import REDRIVEN, Restored
from statechain.execution.run import Run
from statechain.execution.stepping import PURE, encode_output, record_step
from statechain.execution.unexpected import PASSING, as_state_error
from statechain.execution.variables import admit
from statechain.payload import Payload
from statechain.records.details import FormerEnd, MomentKind
from statechain.records.executions import Execution, ExecutionStatus, Visit
from statechain.storage.repository import End
from statechain.tasks import services
from statechain.tasks.call import cut_off
from statechain.tasks.retry import RUNTIME, catcher_for, retry_delay

if TYPE_CHECKING:
    from contextvars import Context

    from statechain.asl.plan.plan import State
    from statechain.clock import Clock
    from statechain.execution.calls import Caller
    from statechain.execution.fan_out.shared import MapRuns
    from statechain.execution.files.items import Files
    from statechain.execution.lines.fast_path import FastPath
    from statechain.execution.lines.shared import Lines
    from statechain.execution.recorder import VisitRecorder
    from statechain.limits import Limits

__all__ = ["Interpreter"]

EVENTS_OF_REDRIVE = 3
"""The former end, the redrive, and at least one event more (AWS, "Eligibility for redriving")."""

T = TypeVar("T")


class Interpreter:
    """Runs executions; holds no state of theirs."""

    def __init__(
        self,
        scribe: VisitRecorder,
        clock: Clock,
        caller: Caller,
        lane: FastPath,
        lines: Lines,
        limits: Limits,
        files: Files,
        map_runs: Callable[[], MapRuns],
        *,
        shares_map_runs: bool,
    ) -> None:
        self._scribe = scribe
        self._clock = clock
        self._caller = caller
        self._limits = limits
        self._lane = lane
        self.lines = lines
        self._run_distributed = partial(run_distributed, files=files, map_runs=map_runs, shares=shares_map_runs)

    def line_of(self, run: Run, context: Context) -> Line:
        """Return the line as which a new STANDARD execution begins; it stops where its first state is not plain."""
        return Line(self.lines, self._root_of(run), context)

    async def run(self, run: Run, line: Line | None = None) -> End:
        """Run an execution from where it is to its end, which is the caller's to record, unless `Run.end` has it.

        With the ``line`` that it began as, go on from there.
        """
        frame = self._root_of(run) if line is None else line.frame
        try:
            began = self._take_up(run)
            if run.plan.timeout_seconds is None:
                await self.run_frame(frame, line)
            # Counted from the start of the execution, or its last redrive, and not from this worker's take-up.
            elif not await self._run_in_time(frame, began + timedelta(seconds=run.plan.timeout_seconds)):
                return End(status=ExecutionStatus.TIMED_OUT, end_time=self._clock.now())
            if run.end is not None:
                return run.end
            text = encode_output(frame.input, frame.state, self._limits)
        except StateError as fault:
            return self._failed(frame, fault)
        except PASSING:
            raise
        except Exception as error:  # noqa: BLE001 -- it is logged, and ends the execution
            return self._failed(frame, as_state_error(error, frame, self._limits))
        finally:
            run.root = None  # the two hold each other: all that an execution held would wait for the garbage collector
        return End(status=ExecutionStatus.SUCCEEDED, end_time=self._clock.now(), output_text=text)

    def _root_of(self, run: Run) -> Frame:
        """Return the root line of control of an execution, before its first state."""
        # A start hands over the input that it has decoded; of a claim there is the row's text alone.
        given = None if run.live is None else run.live.take_input()
        return Frame(run, run.plan, "", given or Payload.of_text(run.execution.input_text))

    def _failed(self, frame: Frame, fault: StateError) -> End:
        """Return how an execution ends whose root line of control failed."""
        run = frame.run
        run.ledger.current_state = frame.state
        if run.live is not None:
            run.live.exception = fault.origin
        return End(status=ExecutionStatus.FAILED, end_time=self._clock.now(), error=fault.error, cause=fault.cause)

    async def _run_in_time(self, frame: Frame, deadline: datetime) -> bool:
        """Run the root line of control; return False where the machine's TimeoutSeconds cut it short."""
        timeout = self._clock.timeout_at(deadline)
        try:
            async with timeout:
                await self.run_frame(frame)
        except TimeoutError:
            if not timeout.expired():
                raise
            return False
        return True

    def _take_up(self, run: Run) -> datetime:
        """Note a redrive that is not noted yet; return when the machine's TimeoutSeconds began to count."""
        execution, past = run.execution, run.past
        # A redrive is a write of its own; its row in the history is written with the first visit after it.
        if execution.redrive_count > len(past.redrives) and not run.is_express:
            if not run.has_room(EVENTS_OF_REDRIVE):
                raise run.history_is_full()
            now = self._clock.now()
            ended, redriven = run.next_event(), run.next_event()
            row = Visit(
                execution_id=execution.id,
                frame="",
                number=execution.redrive_count,
                state=execution.current_state or run.plan.start_at,
                type=REDRIVEN,
                entered=now,
                exited=now,
                entered_event=ended,
                exited_event=redriven,
                detail=None if run.before is None else _end_of(run.before).dump(),
            )
            past.redrives.append(now)
            past.reopen_failed()
            run.ledger.add(row)
        return past.redriven_at or execution.start_time

    async def run_branch(self, frame: Frame, line: Line | None = None) -> None:
        """Run a branch to its end, as `run_frame` does, and make that durable: siblings may run on, and crash."""
        await self.run_frame(frame, line)
        await self._scribe.flush_effects(frame)

    async def run_frame(self, frame: Frame, line: Line | None = None) -> None:
        """Run one line of control to its end, which leaves it with its output; raise StateError where it failed.

        With a ``line`` that was begun elsewhere, and has stopped, go on from there.
        """
        past = frame.run.past
        last = None if past.is_empty else await past.restore(frame)
        # A branch that had ended before the crash: its output is there, and it is not run again.
        if last is not None and last.is_over:
            if last.visit.output is None:
                raise last.failure()
            return
        # A visit that was left is over, and `restore` has moved the frame behind it; an open one goes on.
        stored = last if last is not None and last.visit.exited is None else None
        while True:
            if frame.run.is_unobserved_express and await self._lane.pass_through(frame):
                break
            if line is None and stored is None and self.lines.begins(frame):
                line = Line(self.lines, frame)
                line.begin()
            if line is not None and await line.wait() is Exit.DONE:
                break
            state = frame.plan.states[frame.state]
            # What a line could not do is done here, from where it stopped: in a visit that it has begun, or before one.
            await self._begin(frame, state, stored, line)
            stored = None
            visit = self._visit(frame, state, line)
            if frame.run.observers:
                is_entered = line is not None and line.exit is not Exit.BEFORE
                visit = observe_visit(frame, state, self._clock, visit, is_entered=is_entered)
            step = await visit
            if type(step) is not Next:
                break
            # Each turn of the loop starts without what belongs to the visit before.
            line = None
            frame.forget_visit()
            frame.go_to(step.state)
        if not frame.path:
            frame.run.ledger.current_state = frame.state

    async def _begin(self, frame: Frame, state: State, stored: Restored | None, line: Line | None) -> None:
        """Begin a visit, or take up the stored one, unless a line has begun it."""
        if stored is not None:
            frame.resume(state, stored.visit, stored.detail)
            await self._take_rest(frame, state)
        elif line is None or line.exit is Exit.BEFORE:
            frame.begin(state, self._clock.now())
        else:
            return
        frame.steps += 1

    async def _take_rest(self, frame: Frame, state: State) -> None:
        """Let a wait that is taken up again count as progress: an execution that waits brings no worker down.

        Only where the root waits: beside a branch that waits, another may be what ends the workers.
        """
        is_pausing = frame.resume_at is not None and frame.resume_at > self._clock.now()
        if not frame.path and (is_pausing or services.is_waiting_externally(frame, state.resource)):
            await self._scribe.flush(frame)
            if frame.run.live is not None:
                frame.run.live.has_rested = True

    async def _visit(self, frame: Frame, state: State, line: Line | None) -> Next | Done:
        """Pass through one state; raise StateError where it failed, also by an exception that nothing here expects.

        A line may have begun the visit, and performed its first attempt.
        """
        try:
            self._guard(frame)
            if frame.steps % TURNS_BEFORE_YIELD == 0:
                await self._breathe(frame)
            if state.type not in PURE:
                return await self._act(frame, state, line)
            if line is not None and line.error is not None:
                raise line.error  # noqa: TRY301 -- the line met it in this visit, which it may have changed
            try:
                outcome = self._enter(frame, state)
            except TakesLong:
                outcome = await self._at_length(frame, state, partial(state.enter, frame.input.value, frame))
            return self._leave(frame, state, self._step(state, outcome))
        except StateError as fault:
            self._record_failure(frame, fault)
            raise
        except PASSING:
            raise
        except Exception as error:
            failure = as_state_error(error, frame, self._limits)
            self._record_failure(frame, failure)
            raise failure from error
        except asyncio.CancelledError:
            self._scribe.record_cancelled(frame)
            raise

    def _record_failure(self, frame: Frame, fault: StateError) -> None:
        if not frame.run.is_express and frame.is_open:
            # A visit that was left has its row: what failed is the end of its iteration, for want of room.
            frame.run.ledger.add(frame.failed(self._clock.now(), fault))

    def _guard(self, frame: Frame) -> None:
        """Stop an EXPRESS execution that will not end by itself; a STANDARD one stops when its history is full."""
        most = self._limits.transitions
        if frame.run.is_express and frame.steps > most:
            raise StateError(RUNTIME, f"the execution visited more than {most} states")

    async def _breathe(self, frame: Frame) -> None:
        """Let others run, and keep what waits to be written small."""
        # A loop of pure states has no effect to wait for: its rows would pile up in memory.
        if frame.run.ledger.backlog > self._limits.unwritten_visits:
            await self._scribe.flush(frame)
        await asyncio.sleep(0)

    # A step and its record

    def _enter(self, frame: Frame, state: State) -> Outcome:
        try:
            return state.enter(frame.input.value, frame)
        except StateError as fault:
            raise self._explained(frame, state, fault) from fault

    async def _at_length(self, frame: Frame, state: State, make: Callable[[], T]) -> T:
        """Evaluate in a thread what would hold the event loop."""
        try:
            return await at_length(frame, self._clock, make)
        except StateError as fault:
            raise self._explained(frame, state, fault) from fault

    def _step(self, state: State, outcome: Outcome) -> Next | Done:
        """Return where a pure state leads, which is all that it does."""
        match outcome:
            case Next() | Done():
                return outcome
            case Fail():
                raise StateError(outcome.error, self._limits.cut_off(outcome.cause))
            case CallTask() | WaitUntil() | FanOut():
                raise AssertionError(f"{state.type} states have no effect {outcome!r}")

    def _explained(self, frame: Frame, state: State, fault: StateError) -> StateError:
        """Return an error of evaluation with the place in the execution before its cause, as AWS shows it."""
        place = f"the state '{state.name}' (entered at the event id #{frame.entered_event})"
        # Causes of evaluations show values, which may be long.
        cause = self._limits.cut_off(f"An error occurred while executing {place}. {fault.cause or ''}".rstrip())
        explained = StateError(fault.error, cause, location=fault.location)
        if fault.location is not None:
            frame.note(
                MomentKind.EVALUATION_FAILED, self._clock.now(), explained.error, explained.cause, explained.location
            )
        return explained

    def _leave(self, frame: Frame, state: State, step: Next | Done) -> Next | Done:
        """Take a step's output, and remember the visit for the next write."""
        if step.assigned:
            try:
                admit(frame, step.assigned, self._limits)
            except StateError as fault:
                raise self._explained(frame, state, fault) from fault
        following = step.state if type(step) is Next else None
        record_step(frame, state, following, frame.output_of(step), step.assigned, self._clock.now(), self._limits)
        return step

    # Effects

    async def _act(self, frame: Frame, state: State, line: Line | None) -> Next | Done:
        """Enter a state that has an effect, perform it, leave it; retry and catch as the state says."""
        # The first attempt of a visit may have been a line's; later ones are made here.
        performed = line if line is not None and line.exit is Exit.RETURNED else None
        while True:
            # The pause before a retry, which a crash does not shorten: `resume_at` was written by `checkpoint`.
            if frame.resume_at is not None and state.type != "Wait":
                await self._clock.sleep_until(frame.resume_at)
                frame.resume_at = None
            try:
                result = await self._perform(frame, state) if performed is None else performed.result()
                try:
                    step = self._exit(frame, state, result)
                except TakesLong:
                    leave = partial(state.leave, frame.input.value, result.value, frame)
                    step = await self._at_length(frame, state, leave)
                return self._leave(frame, state, step)
            except StateError as failure:
                fault = cut_off(failure, self._limits.cause_characters)
                # The draw is seeded by the visit, so that a run that is repeated after a crash waits as long.
                delay = retry_delay(state.retriers, frame.retries, fault, frame.rng("~jitter"))
                if delay is None:
                    return self._leave(frame, state, await self._catch(frame, state, fault))
                performed = None
                frame.retry()
                frame.resume_at = self._clock.now() + timedelta(seconds=delay)
                # Before the pause: a crash during it must count the retry, and keep its moment.
                await self._scribe.checkpoint(frame)

    async def _perform(self, frame: Frame, state: State) -> Payload:
        if state.resource is not None:
            # Before the state is entered: its expressions may ask for `$$.Task.Token`.
            services.prepare(frame, state.resource)
        try:
            # Again for each attempt: the context object of a retry has another RetryCount, and may have another token.
            effect = self._enter(frame, state)
        except TakesLong:
            effect = await self._at_length(frame, state, partial(state.enter, frame.input.value, frame))
        match effect:
            case CallTask():
                return await self._caller.call(frame, state, effect)
            case WaitUntil():
                return await self._wait(frame, effect)
            case FanOut():
                frame.result = await self._fan_out(frame, state, effect)
                return frame.result
            case Next() | Done() | Fail():
                raise AssertionError(f"{state.type} states have an effect, not {effect!r}")

    def _exit(self, frame: Frame, state: State, result: Payload) -> Next | Done:
        try:
            return state.leave(None if state.drops_input else frame.input.value, result.value, frame)
        except StateError as fault:
            raise self._explained(frame, state, fault) from fault

    async def _catch(self, frame: Frame, state: State, fault: StateError) -> Next:
        """Return where the Catcher of an error leads; raise the error where there is none."""
        # AWS writes MapStateFailed and ParallelStateFailed also where a Catcher goes on, but not for States.Runtime.
        if state.type in {"Map", "Parallel"} and fault.error != RUNTIME:
            frame.note(MomentKind.FAILED, self._clock.now())
        catcher = catcher_for(state.catch, fault)
        if catcher is None:
            raise fault
        frame.caught = fault
        apply = partial(catcher.apply, frame.input.value, fault, frame)
        return await evaluated(frame, self._clock, apply, partial(self._explained, frame, state))

    async def _fan_out(self, frame: Frame, state: State, effect: FanOut) -> Payload:
        run = self._run_distributed if effect.distributed else run_inline
        try:
            return await run(
                frame,
                effect,
                scribe=self._scribe,
                clock=self._clock,
                frames=self,
                limits=self._limits,
                explain=partial(self._explained, frame, state),
            )
        except StateError:
            await frame.run.place.reacquire()  # a branch that was interrupted may have had it lent
            raise

    async def _wait(self, frame: Frame, effect: WaitUntil) -> Payload:
        if frame.resume_at is None:
            # From when the state was entered, not from now: a take-up after a crash keeps the moment.
            frame.resume_at = effect.until or frame.entered + timedelta(seconds=effect.seconds or 0)
            if frame.resume_at > self._clock.now():
                await self._scribe.checkpoint(frame)
        await self._clock.sleep_until(frame.resume_at)
        return frame.input


def _end_of(execution: Execution) -> FormerEnd:
    """Return what a redrive's row remembers of the end before it."""
    return FormerEnd(str(execution.status), execution.end_time, execution.error, execution.cause)
