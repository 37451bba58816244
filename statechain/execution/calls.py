"""One attempt of a Task: its handler, its task token, its activity, or its nested execution.

What an attempt waits for outside this process is durable before it waits: deadline, callbacks, and whether the
handler has been called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, cast

from statechain.asl.plan.bounds import refused_input
from statechain.codec import JSONValue, encode
from statechain.errors import InvalidPayload, StateError
from statechain.execution.notify import observe_attempt
from statechain.payload import Payload
from statechain.records.callbacks import Callback, CallbackStatus
from statechain.records.details import ExternalWait, MomentKind
from statechain.tasks import child_executions
from statechain.tasks.call import call_task, cut_off, refusal_of
from statechain.tasks.callbacks import token_hash
from statechain.tasks.registry import Task, TaskContext, TaskRegistry
from statechain.tasks.retry import TIMEOUTS, HeartbeatTimeout
from statechain.tasks.services import ActivityCall, Call, HandlerCall, NestedCall, resolve

if TYPE_CHECKING:
    from statechain.asl.outcome import CallTask
    from statechain.asl.plan.plan import State
    from statechain.clock import Clock
    from statechain.execution.frame import Frame
    from statechain.execution.recorder import VisitRecorder
    from statechain.limits import Limits
    from statechain.tasks.callbacks import Callbacks
    from statechain.tasks.child_executions import ChildExecutions
    from statechain.tasks.threads import HandlerThreads, Slot

__all__ = ["Caller"]

INTERRUPTED = "the attempt was interrupted, and is not repeated: at_most_once"


class Caller:
    """Performs the calls of Task states."""

    def __init__(
        self,
        scribe: VisitRecorder,
        clock: Clock,
        tasks: TaskRegistry,
        limits: Limits,
        callbacks: Callbacks,
        nest: ChildExecutions,
        threads: HandlerThreads,
    ) -> None:
        self._scribe = scribe
        self._clock = clock
        self._tasks = tasks
        self._limits = limits
        self._callbacks = callbacks
        self._nest = nest
        self._threads = threads
        self._plain: dict[State, Task] = {}

    async def call(self, frame: Frame, state: State, effect: CallTask) -> Payload:
        """Perform one attempt; return its result, which the frame has then; raise StateError where it failed."""
        plain = self._plain.get(state)
        if plain is not None and effect.timeout is None and effect.heartbeat is None and _is_fresh(frame):
            return await self._call_plainly(frame, state, effect, plain)
        call = resolve(effect, self._tasks.for_state(state.name))
        # Not of a subclass: handlers that a test scripts differ from attempt to attempt.
        if type(self._tasks) is TaskRegistry and isinstance(call, HandlerCall) and call.is_only_called:
            self._plain[state] = call.task
        # Version 0.1 did not refuse such a definition, and what is stored is not checked again.
        if frame.run.is_express and _waits_externally(call):
            raise StateError("States.TaskFailed", f"an EXPRESS execution cannot wait for {effect.resource!r}")
        # Otherwise an attempt from before a crash goes on, whose stored moments begin with this one.
        if frame.outside is None and not frame.attempting:
            frame.note(MomentKind.SCHEDULED, self._clock.now())
        try:
            attempt = self._attempt(frame, state, effect, call)
            result = await (observe_attempt(frame, effect, self._clock, attempt) if frame.run.observers else attempt)
        except StateError as failure:
            # Such as the description of a nested execution that failed, its input included.
            fault = cut_off(failure, self._limits.cause_characters)
            self.note_failure(frame, fault)
            raise fault from failure.__cause__
        frame.note(MomentKind.SUCCEEDED, self._clock.now())
        frame.result = result
        return result

    def note_failure(self, frame: Frame, fault: StateError) -> None:
        """Have the history show that an attempt failed."""
        kind = MomentKind.TIMED_OUT if fault.error in TIMEOUTS else MomentKind.FAILED
        frame.note(kind, self._clock.now(), fault.error, fault.cause)

    async def _call_plainly(self, frame: Frame, state: State, effect: CallTask, task: Task) -> Payload:
        """Perform an attempt that is no more than to await a handler: the short way through what follows."""
        frame.note(MomentKind.SCHEDULED, self._clock.now())
        try:
            await self._start_at_least_once(frame)
            result = await call_task(
                task,
                self.private_input(frame, frame.input if state.make is None else Payload(effect.input)),
                self.context_of(frame, state, effect.credentials),
                self._clock,
                limits=self._limits,
            )
        except StateError as fault:
            self.note_failure(frame, fault)
            raise
        frame.note(MomentKind.SUCCEEDED, self._clock.now())
        frame.result = result
        return result

    async def _attempt(self, frame: Frame, state: State, effect: CallTask, call: Call) -> Payload:
        match call:
            case HandlerCall(waits=False):
                return await self._handle(frame, state, effect, call)
            case HandlerCall():
                early = await self._hand_over(frame, state, effect, call)
                return await self._wait_for_answer(frame, effect, early)
            case NestedCall(under_token=True):
                early = await self._hand_out(frame, effect, partial(self._start_fire_and_forget, frame, call))
                return await self._wait_for_answer(frame, effect, early)
            case NestedCall():
                return await self._start_nested(frame, effect, call)
            case ActivityCall():
                return await self._offer(frame, effect, call)

    # Handlers

    async def _handle(self, frame: Frame, state: State, effect: CallTask, call: HandlerCall) -> Payload:
        """Call a handler, a plain function once there is a thread for it: only then does its timeout count."""
        if call.task.is_async:
            return await self._handle_now(frame, state, effect, call, None)
        async with self._threads.slot() as slot:
            return await self._handle_now(frame, state, effect, call, slot)

    async def _handle_now(
        self, frame: Frame, state: State, effect: CallTask, call: HandlerCall, slot: Slot | None
    ) -> Payload:
        if call.task.delivery == "at_most_once" and not frame.run.is_express:
            await self._start_at_most_once(frame)
        else:
            await self._start_at_least_once(frame)
        deadline = self._deadline(effect)
        try:
            result = await self._run_handler(frame, state, effect, call, deadline, slot)
        finally:
            frame.attempting = False
        if call.wraps:
            return self._made(effect, {"ExecutedVersion": "$LATEST", "Payload": result.value, "StatusCode": 200})
        return result

    async def _start_at_least_once(self, frame: Frame) -> None:
        """Let the attempt begin; one that a crash interrupts is run again."""
        await self._scribe.flush_before_effect(frame)
        if frame.path:
            await asyncio.sleep(0)  # siblings are scheduled before any of them starts
        frame.note(MomentKind.STARTED, self._clock.now())

    async def _start_at_most_once(self, frame: Frame) -> None:
        """Record the attempt before its handler runs; an attempt that a crash interrupted ends here."""
        # Recorded before a crash: whether the handler ran, and how far, cannot be known.
        if frame.attempting:
            frame.attempting = False
            raise StateError("States.TaskFailed", INTERRUPTED)
        frame.attempting = True
        frame.note(MomentKind.STARTED, self._clock.now())
        await self._scribe.checkpoint(frame)

    async def _run_handler(
        self,
        frame: Frame,
        state: State,
        effect: CallTask,
        call: HandlerCall,
        deadline: datetime | None,
        slot: Slot | None,
    ) -> Payload:
        is_raw = state.make is None and not call.unwraps
        return await call_task(
            call.task,
            self.private_input(frame, frame.input if is_raw else Payload(call.input)),
            self.context_of(frame, state, effect.credentials),
            self._clock,
            deadline=deadline,
            heartbeat=None if call.waits else effect.heartbeat,
            limits=self._limits,
            slot=slot,
        )

    def context_of(self, frame: Frame, state: State, credentials: JSONValue = None) -> TaskContext:
        """Return what a handler is given about the attempt that it serves."""
        execution = frame.run.execution
        return TaskContext(
            execution_id=execution.id,
            execution_name=execution.name,
            state_machine_id=execution.state_machine_id,
            state_name=state.name,
            attempt=frame.attempt,
            idempotency_key=frame.visit_key,
            task_token=frame.token,
            # Literal ones are a part of the plan, which all executions share; others may be a part of a variable.
            credentials=None if credentials is None else self.private_input(frame, Payload(credentials)),
            clock=self._clock,
        )

    def private_input(self, frame: Frame, given: Payload) -> JSONValue:
        """Return an input that its handler may change; raise StateError where it is too large."""
        try:
            return given.copied(max_bytes=self._limits.payload_bytes, max_depth=self._limits.payload_depth)
        except InvalidPayload as fault:
            raise refused_input(fault, frame.state) from fault

    def _text(self, frame: Frame, value: JSONValue) -> str:
        try:
            return encode(value, max_bytes=self._limits.payload_bytes, max_depth=self._limits.payload_depth)
        except InvalidPayload as fault:
            raise refused_input(fault, frame.state) from fault

    def _made(self, effect: CallTask, result: JSONValue) -> Payload:
        """Return the payload of a result that was made here of others; raise StateError where it is too large."""
        try:
            text = encode(result, max_bytes=self._limits.payload_bytes, max_depth=self._limits.payload_depth)
        except InvalidPayload as fault:
            raise refusal_of(fault, effect.resource, self._limits) from fault
        return Payload.owned(result, text)

    def _deadline(self, effect: CallTask) -> datetime | None:
        return None if effect.timeout is None else self._clock.now() + timedelta(seconds=effect.timeout)

    # Task tokens

    async def _hand_over(self, frame: Frame, state: State, effect: CallTask, call: HandlerCall) -> Callback | None:
        """Give a handler a task token, as `_hand_out` does; a plain function needs a thread first."""
        is_once = call.task.delivery == "at_most_once"
        is_called = frame.outside is not None and frame.outside.called
        if call.task.is_async or is_called:
            submit = partial(self._submit, frame, state, effect, call, None)
            return await self._hand_out(frame, effect, submit, is_once=is_once)
        async with self._threads.slot() as slot:
            submit = partial(self._submit, frame, state, effect, call, slot)
            return await self._hand_out(frame, effect, submit, is_once=is_once)

    async def _submit(
        self,
        frame: Frame,
        state: State,
        effect: CallTask,
        call: HandlerCall,
        slot: Slot | None,
        outside: ExternalWait,
    ) -> str:
        return (await self._run_handler(frame, state, effect, call, outside.deadline, slot)).encoded()

    async def _hand_out(
        self,
        frame: Frame,
        effect: CallTask,
        submit: Callable[[ExternalWait], Awaitable[str]],
        *,
        is_once: bool = False,
    ) -> Callback | None:
        """Hand out a task token, unless that was done before a crash.

        Returns the answer where one came before the call failed. What the call needed is gone once this returns: many
        attempts may wait for their answers, for long.
        """
        outside = frame.outside
        if outside is None:
            outside = frame.outside = ExternalWait(deadline=self._deadline(effect))
        if outside.called:
            return None
        # A token was handed out before a crash: the handler may have been called with it, and it may be answered.
        if outside.callbacks:
            close = self._callbacks.close if is_once else self._callbacks.close_answered
            answer = await close(outside.callbacks)
            if answer is not None:
                self._note_once(frame, MomentKind.STARTED)
                frame.note(MomentKind.SUBMITTED, self._clock.now(), "null")  # what the handler returned is not known
                return answer
            if is_once:
                raise StateError("States.TaskFailed", INTERRUPTED)
        # Durable before the handler has the token: an answer must find its callback, however soon it comes.
        await self._open(frame, outside, token=frame.token)
        self._note_once(frame, MomentKind.STARTED)
        try:
            submitted = await submit(outside)
        except StateError:
            # Storage decides which came first, an answer or this failure.
            early = await self._callbacks.close(outside.callbacks)
            if early is None:
                raise
            return early
        outside.called, outside.since = True, self._clock.now()
        frame.note(MomentKind.SUBMITTED, outside.since, submitted)
        await self._scribe.checkpoint(frame)
        return None

    async def _wait_for_answer(self, frame: Frame, effect: CallTask, early: Callback | None) -> Payload:
        """Wait for the answer under a task token that was handed out, unless it came early."""
        outside = cast("ExternalWait", frame.outside)
        answer = early
        if answer is None:
            answer = await self._callbacks.wait(
                outside.callbacks, deadline=outside.deadline, heartbeat=effect.heartbeat, since=outside.since
            )
        return self._answered(frame, answer)

    async def _open(
        self, frame: Frame, outside: ExternalWait, *, token: str | None, call: ActivityCall | None = None
    ) -> None:
        """Open a callback, durably; the token itself is stored nowhere."""
        callback = Callback(
            # Numbered, since each call after a crash hands out another token, and the ones before it stay valid.
            id=f"{frame.attempt_key}~{len(outside.callbacks)}",
            execution_id=frame.run.execution.id,
            redrive_count=frame.run.execution.redrive_count,
            token_hash=None if token is None else token_hash(token),
            activity=None if call is None else call.activity,
            input_text=None if call is None else self._text(frame, call.input),
            state=frame.state,
            since=self._clock.now(),
        )
        outside.callbacks.append(callback.id)
        frame.run.ledger.open_callback(callback)
        await self._scribe.checkpoint(frame)

    def _answered(self, frame: Frame, answer: Callback | None) -> Payload:
        """Return what an answer says; raise StateError where it is a failure, or none came in time."""
        outside = frame.outside
        if answer is None:
            is_late = outside is not None and outside.deadline is not None and self._clock.now() >= outside.deadline
            if is_late:
                raise StateError("States.Timeout")
            raise HeartbeatTimeout
        if answer.status is CallbackStatus.FAILED:
            raise StateError(answer.error, answer.cause)
        return Payload.of_text(answer.output_text or "null")

    # Activities

    async def _offer(self, frame: Frame, effect: CallTask, call: ActivityCall) -> Payload:
        """Offer a task to an activity's workers, and wait for the answer of the one that takes it."""
        outside = frame.outside
        if outside is None:
            outside = frame.outside = ExternalWait(deadline=self._deadline(effect))
            await self._open(frame, outside, token=None, call=call)
        self._callbacks.offer(call.activity)
        answer = await self._callbacks.wait(
            outside.callbacks,
            deadline=outside.deadline,
            heartbeat=effect.heartbeat,
            begun=partial(self._note_once, frame, MomentKind.STARTED),
        )
        return self._answered(frame, answer)

    def _note_once(self, frame: Frame, kind: MomentKind, *facts: JSONValue) -> None:
        """Note for the history what happened in this attempt, unless it was reported before a crash."""
        if not frame.has_noted(kind):
            frame.note(kind, self._clock.now(), *facts)

    # Nested executions

    async def _start_nested(self, frame: Frame, effect: CallTask, call: NestedCall) -> Payload:
        """Start an execution, and wait for its end where the Task says so."""
        outside = frame.outside
        if outside is None:
            # Only to refuse an input that is too large, before anything is durable.
            self._text(frame, call.input)
            outside = frame.outside = ExternalWait(deadline=self._deadline(effect) if call.waits else None)
            await self._scribe.checkpoint(frame)
        self._note_once(frame, MomentKind.STARTED)
        child = await self._nest.start(frame, call)
        started = child_executions.started(child.execution)
        if not call.waits:
            return self._made(effect, started)
        self._note_once(frame, MomentKind.SUBMITTED, encode(started))
        timeout = self._clock.timeout_at(outside.deadline)
        # Without its slot: in a worker whose slots are all held by parents, no child would ever run.
        async with frame.run.place.yielded():
            try:
                async with timeout:
                    ended = await self._nest.wait(frame, child)
            except TimeoutError:
                if timeout.expired():
                    raise StateError("States.Timeout") from None
                raise
        return self._made(effect, child_executions.described(ended, parses=call.parses))

    async def _start_fire_and_forget(self, frame: Frame, call: NestedCall, outside: ExternalWait) -> str:
        """Start an execution that has a task token in its input; one started before a crash has the former token."""
        try:
            child = await self._nest.start(frame, call)
        except StateError as fault:
            # The child was started before the crash, and has the token of that time, which still counts.
            if len(outside.callbacks) > 1 and fault.error == child_executions.EXISTS:
                return "null"
            raise
        return encode(child_executions.started(child.execution))


def _waits_externally(call: Call) -> bool:
    """Return whether an attempt waits for what ends outside of it, which must be found again after a crash."""
    match call:
        case HandlerCall():
            return call.waits
        case NestedCall():
            return call.waits or call.under_token
        case ActivityCall():
            return True


def _is_fresh(frame: Frame) -> bool:
    """Return whether an attempt begins here, and nothing watches it."""
    return frame.outside is None and not frame.attempting and not frame.run.observers
