"""The loop: step the plan, perform the effect, journal the visit.

Here the language and storage meet. The rule of durability: whatever an effect produced is durable before the next
effect of its line of control begins, and before a caller sees the end; visits of pure states ride along.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from statechain.asl.outcome import CallTask, Done, Fail, FanOut, Next, Outcome, WaitUntil
from statechain.codec import JSONValue, decode, encode
from statechain.errors import InvalidPayload, StateError
from statechain.records import ExecutionStatus
from statechain.runtime import services
from statechain.runtime.fanout import fan_out
from statechain.runtime.frame import Frame, Run
from statechain.runtime.retry import TIMEOUTS, catcher_for, retry_delay
from statechain.runtime.tasks import TaskContext, TaskRegistry, call_task
from statechain.storage.repository import End

if TYPE_CHECKING:
    from statechain.asl.plan import State
    from statechain.clock import Clock
    from statechain.limits import Limits
    from statechain.storage.journal import Journal

__all__ = ["Interpreter"]

PURE = frozenset({"Pass", "Choice", "Succeed", "Fail"})
TURNS_BEFORE_YIELD = 100


class Interpreter:
    """Runs executions; holds no state of theirs."""

    def __init__(self, journal: Journal, clock: Clock, tasks: TaskRegistry, limits: Limits) -> None:
        self._journal = journal
        self._clock = clock
        self._tasks = tasks
        self._limits = limits

    async def run(self, run: Run) -> End:
        """Run an execution from where it stands to its end; the end is the caller's to record."""
        frame = Frame(run, run.plan, "", run.input, text=run.execution.input_text)
        seconds = run.plan.timeout_seconds
        deadline = None if seconds is None else run.execution.start_time + timedelta(seconds=seconds)
        timeout = self._clock.timeout_at(deadline)
        try:
            async with timeout:
                await self.run_frame(frame)
        except TimeoutError:
            if not timeout.expired():
                raise
            return End(status=ExecutionStatus.TIMED_OUT, end_time=self._clock.now(), error="States.Timeout")
        except StateError as fault:
            return End(
                status=ExecutionStatus.FAILED, end_time=self._clock.now(), error=fault.error, cause=fault.cause
            )
        text = encode(frame.value) if frame.text is None else frame.text
        return End(status=ExecutionStatus.SUCCEEDED, end_time=self._clock.now(), output_text=text)

    async def run_frame(self, frame: Frame) -> JSONValue:
        """Run one line of control to its end; return its output, raise StateError where it failed."""
        last = frame.run.past.restore(frame)
        if last is not None and last.exited is not None and last.next is None:
            if last.output is None:
                raise StateError(last.error or "States.Runtime", last.cause)
            return frame.value
        waiting = last if last is not None and last.exited is None else None
        turns = 0
        while True:
            state = frame.plan.states[frame.state]
            if waiting is not None:
                frame.resume(state, waiting)
                waiting = None
            else:
                frame.begin(state, self._clock.now())
            turns += 1
            try:
                self._guard(frame, turns)
                if state.type in PURE:
                    step = self._step(frame, state)
                    if turns % TURNS_BEFORE_YIELD == 0:
                        await self._breathe(frame)
                else:
                    step = await self._act(frame, state)
                self._leave(frame, state, step)
            except StateError as fault:
                self._fail(frame, fault)
                raise
            if type(step) is Next:
                frame.state = step.state
                frame.number += 1
                if not frame.path:
                    frame.run.ledger.current_state = step.state
            else:
                if frame.path and frame.owes:
                    await self._record(frame)
                return frame.value

    def _guard(self, frame: Frame, turns: int) -> None:
        """Stop a line of control that will not end by itself."""
        limits, run = self._limits, frame.run
        if run.is_express:
            if turns > limits.transitions:
                raise StateError("States.Runtime", f"the execution visited more than {limits.transitions} states")
        elif run.events > limits.history_events:
            raise StateError("States.Runtime", f"the execution's history has more than {limits.history_events} events")

    async def _breathe(self, frame: Frame) -> None:
        """Let others run, and keep what waits to be written small."""
        if frame.run.ledger.backlog > self._limits.unwritten_visits:
            await self._record(frame)
        await asyncio.sleep(0)

    # A step and its record

    def _enter(self, frame: Frame, state: State) -> Outcome:
        try:
            return state.enter(frame.value, frame)
        except StateError as fault:
            raise self._explained(frame, state, fault) from fault

    def _step(self, frame: Frame, state: State) -> Next | Done:
        """Enter a pure state, which is to step through it."""
        outcome = self._enter(frame, state)
        if type(outcome) is Next or type(outcome) is Done:
            return outcome
        if type(outcome) is Fail:
            raise StateError(outcome.error, outcome.cause)
        raise AssertionError(f"{state.type} states have no effect {outcome!r}")

    def _explained(self, frame: Frame, state: State, fault: StateError) -> StateError:
        """Return a fault of evaluation with the place in the execution before its cause, as AWS tells it."""
        place = f"the state '{state.name}' (entered at the event id #{frame.entered_event})"
        cause = f"An error occurred while executing {place}. {fault.cause or ''}".rstrip()
        explained = StateError(fault.error, cause, location=fault.location)
        if fault.location is not None:
            frame.note("evaluation_failed", self._clock.now(), explained)
        return explained

    def _leave(self, frame: Frame, state: State, step: Next | Done) -> None:
        """Take a step's output, and remember the visit for the next write."""
        if step.output is not frame.value:
            frame.value = step.output
            frame.text = frame.result_text if step.output is frame.result else None
        if step.assigned:
            frame.variables = {**frame.variables, **step.assigned}
        if frame.run.is_express:
            frame.run.next_event()
            return
        if frame.text is None:
            frame.text = self._encode(frame, state)
        frame.run.ledger.add(frame.left(self._clock.now(), step))
        if state.type not in PURE:
            frame.owes = True

    def _encode(self, frame: Frame, state: State) -> str:
        try:
            return encode(frame.value, max_bytes=self._limits.payload_bytes, max_depth=self._limits.payload_depth)
        except InvalidPayload as fault:
            raise StateError(
                "States.DataLimitExceeded" if fault.is_too_large else "States.Runtime",
                f"The state/task '{state.name}' returned a result with a size exceeding the maximum number of bytes "
                f"service limit." if fault.is_too_large else f"the output of the state '{state.name}': {fault}",
            ) from fault

    def _fail(self, frame: Frame, fault: StateError) -> None:
        """Remember a visit that failed for good."""
        if not frame.run.is_express:
            frame.run.ledger.add(frame.failed(self._clock.now(), fault))

    async def _record(self, frame: Frame) -> None:
        """Make durable all that the execution has to write."""
        if not frame.run.is_express:
            await self._journal.record(frame.run.ledger)
            frame.owes = False

    async def _settle(self, frame: Frame) -> None:
        """Before an effect: what earlier effects produced must be durable; the rest may follow at leisure."""
        if frame.owes:
            await self._record(frame)
        elif not frame.run.is_express and frame.run.ledger.backlog:
            self._journal.post(frame.run.ledger)

    # Effects

    async def _act(self, frame: Frame, state: State) -> Next | Done:
        """Enter a state that has an effect, perform it, leave it; retry and catch as the state says."""
        while True:
            if frame.resume_at is not None and state.type != "Wait":
                await self._clock.sleep_until(frame.resume_at)
                frame.resume_at = None
            try:
                result = await self._perform(frame, state, self._enter(frame, state))
                return self._exit(frame, state, result)
            except StateError as fault:
                delay = retry_delay(state.retriers, frame.retries, fault.error, frame.random())
                if delay is None:
                    return self._catch(frame, state, fault)
                frame.retry()
                await self._pause(frame, delay)

    def _exit(self, frame: Frame, state: State, result: JSONValue) -> Next | Done:
        try:
            return state.leave(frame.value, result, frame)
        except StateError as fault:
            raise self._explained(frame, state, fault) from fault

    def _catch(self, frame: Frame, state: State, fault: StateError) -> Next:
        if state.type in {"Map", "Parallel"}:
            frame.note("failed", self._clock.now())
        catcher = catcher_for(state.catch, fault.error)
        if catcher is None:
            raise fault
        frame.caught = fault
        try:
            return catcher.apply(frame.value, fault, frame)
        except StateError as nested:
            raise self._explained(frame, state, nested) from nested

    async def _pause(self, frame: Frame, delay: float) -> None:
        """Wait out a retry's delay; its end and the attempts so far survive a crash."""
        frame.resume_at = self._clock.now() + timedelta(seconds=delay)
        await self._wait_durably(frame)
        await self._clock.sleep_until(frame.resume_at)
        frame.resume_at = None

    async def _wait_durably(self, frame: Frame) -> None:
        if not frame.run.is_express:
            frame.run.ledger.add(frame.waiting())
            await self._record(frame)

    async def _perform(self, frame: Frame, state: State, effect: Outcome) -> JSONValue:
        if type(effect) is CallTask:
            return await self._call(frame, state, effect)
        if type(effect) is WaitUntil:
            return await self._wait(frame, effect)
        if type(effect) is FanOut:
            return await self._fan_out(frame, effect)
        raise AssertionError(f"{state.type} states have no effect {effect!r}")

    async def _call(self, frame: Frame, state: State, effect: CallTask) -> JSONValue:
        call = services.resolve(effect, self._tasks)
        frame.note("scheduled", self._clock.now())
        if call.task.delivery == "at_most_once" and not frame.run.is_express:
            await self._start_at_most_once(frame)
        else:
            await self._settle(frame)
        frame.note("started", self._clock.now())
        try:
            text, result = await call_task(
                call.task,
                self._private(frame, call.input),
                self._context(frame, state, effect),
                self._clock,
                timeout=effect.timeout,
                heartbeat=effect.heartbeat,
                max_bytes=self._limits.payload_bytes,
            )
        except StateError as fault:
            kind = "timed_out" if fault.error in TIMEOUTS else "failed"
            frame.note(kind, self._clock.now(), fault)
            raise
        finally:
            frame.attempting = False
        frame.note("succeeded", self._clock.now())
        if call.is_optimized:
            result = call.wrap(result)
            text = encode(result)
        frame.result, frame.result_text = result, text
        return result

    async def _start_at_most_once(self, frame: Frame) -> None:
        """Record the attempt before its handler runs; an attempt that a crash interrupted ends here."""
        if frame.attempting:
            frame.attempting = False
            raise StateError("States.TaskFailed", "the attempt was interrupted, and is not repeated: at_most_once")
        frame.attempting = True
        await self._wait_durably(frame)

    def _private(self, frame: Frame, value: JSONValue) -> JSONValue:
        """Return a copy that a handler may do with as it likes."""
        if value is frame.value and frame.text is not None:
            return decode(frame.text)
        try:
            return decode(encode(value, max_bytes=self._limits.payload_bytes))
        except InvalidPayload as fault:
            raise StateError("States.DataLimitExceeded", f"the input of the state '{frame.state}': {fault}") from fault

    def _context(self, frame: Frame, state: State, effect: CallTask) -> TaskContext:
        execution = frame.run.execution
        return TaskContext(
            execution_id=execution.id,
            execution_name=execution.name,
            state_machine_id=execution.state_machine_id,
            state_name=state.name,
            attempt=sum(frame.retries) + 1,
            idempotency_key=frame.visit_key,
            task_token=frame.token,
            credentials=effect.credentials,
            clock=self._clock,
        )

    async def _wait(self, frame: Frame, effect: WaitUntil) -> JSONValue:
        if frame.resume_at is None:
            frame.resume_at = effect.until or frame.entered + timedelta(seconds=effect.seconds or 0)
            if frame.resume_at > self._clock.now():
                await self._wait_durably(frame)
        await self._clock.sleep_until(frame.resume_at)
        return frame.value

    async def _fan_out(self, frame: Frame, effect: FanOut) -> JSONValue:
        if effect.branches is None:
            raise StateError("States.ItemReaderFailed", "reading items is not supported by this engine")
        if frame.round == 0:
            frame.note("started", self._clock.now())
            frame.round = frame.run.events
            if effect.distributed:
                frame.note("run_started", self._clock.now())
            if not frame.run.is_express:
                frame.run.ledger.add(frame.waiting())
        await self._settle(frame)
        try:
            outputs = await fan_out(effect, effect.branches, frame, self._clock, self.run_frame)
        finally:
            frame.round = 0
        if effect.distributed:
            frame.note("run_succeeded", self._clock.now())
        frame.note("succeeded", self._clock.now())
        return outputs
