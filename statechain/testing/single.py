"""One state alone: a definition and an input → output, next state, or error, as AWS's TestState shows them.

Nothing is stored and nothing is waited for: a Wait passes at once, a Retrier that would try again is only named. What a
state does comes from handlers or from a mock.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeAlias

import attrs

from statechain.asl import load, model
from statechain.asl.effort import at_length
from statechain.asl.expressions.payload import jsonpath_template
from statechain.asl.model import ABSENT
from statechain.asl.outcome import CallTask, Done, Expression, Fail, FanOut, Next, Outcome, WaitUntil
from statechain.asl.plan.flow import compile_argument, compile_finish, compile_input
from statechain.asl.plan.plan import Plan, State, compile_plan
from statechain.clock import Clock, SystemClock
from statechain.codec import JSONValue, isolate
from statechain.errors import StateError
from statechain.execution.frame import RETRIED
from statechain.execution.run import timestamp
from statechain.limits import DEFAULT_LIMITS, Limits
from statechain.tasks.call import call_task, cut_off
from statechain.tasks.dependencies import Dependencies
from statechain.tasks.registry import TaskContext, TaskRegistry
from statechain.tasks.retry import HasErrorEquals, matches, retry_delay
from statechain.tasks.services import HandlerCall, resolve
from statechain.testing.scripted import Return, Throw

__all__ = ["StateResult", "StateStatus", "run_state"]

StateStatus: TypeAlias = Literal["SUCCEEDED", "CAUGHT_ERROR", "RETRIABLE", "FAILED"]
UNNAMED = "State"


@attrs.frozen(kw_only=True)
class StateResult:
    """What became of a state.

    Attributes:
        status: ``"SUCCEEDED"``; ``"CAUGHT_ERROR"`` where a Catcher answered; ``"RETRIABLE"`` where a Retrier would try
            again; ``"FAILED"``.

        output: What the state puts out where it was left, else None.

        next_state: The state that follows, or None.

        error: The error name, or None. A cause does not name the place in an execution, for there is none.

        cause: Its text, or None.

        variables: The variables after the state.

        inspection: The values on the way, by AWS's names, as far as the state came: ``input``, ``afterInputPath``,
            ``afterParameters`` or ``afterArguments``, ``result``, ``afterResultSelector``, ``afterResultPath``,
            ``afterItemSelector``, ``maxConcurrency``, and ``errorDetails`` with ``catchIndex``, or ``retryIndex`` and
            ``retryBackoffIntervalSeconds``.
    """

    status: StateStatus
    output: JSONValue = None
    next_state: str | None = None
    error: str | None = None
    cause: str | None = None
    variables: Mapping[str, JSONValue] = attrs.Factory(dict)
    inspection: Mapping[str, JSONValue] = attrs.Factory(dict)


async def run_state(
    definition: Mapping[str, Any] | str | Path,
    input: JSONValue = None,  # noqa: A002 -- the term of the field
    *,
    state_name: str | None = None,
    tasks: TaskRegistry | None = None,
    mock: Return | Throw | None = None,
    variables: Mapping[str, JSONValue] | None = None,
    context: Mapping[str, JSONValue] | None = None,
    retry_count: int = 0,
    clock: Clock | None = None,
    limits: Limits = DEFAULT_LIMITS,
    dependencies: Mapping[Any, object] | None = None,
) -> StateResult:
    """Run one state, as AWS's TestState does: nothing is stored, waited for or retried.

    >>> result = await run_state({"Type": "Pass", "Result": 7, "End": True})  # doctest: +SKIP
    >>> result.output  # doctest: +SKIP
    7

    Arguments:
        definition: The state, as a mapping; or a whole machine in any form, of which ``state_name`` is tested.

        input: The state's input.

        state_name: The state of the machine, nested ones included; or what a single state is called.

        tasks: The handlers of a Task.

        mock: What a Task's handler, or the branches of a Parallel or Map, come to.

        variables: The variables in scope.

        context: Fields of the context object, beside those of the execution, the machine and the state.

        retry_count: How often the state has been tried again already.

        clock: What handlers, and timestamps in the context object, go by; real time unless given.

        limits: What guards the process.

        dependencies: Values and factories for the handlers' parameters that are marked by `Depends`, as `Engine` takes
            them.

    Returns:
        What became of the state: its status, output, error and what follows.

    Raises:
        DefinitionError: The definition is not valid; the error lists all diagnostics.

        ValueError: There is no such state, or only a mock can say what the state comes to.
    """
    found, compiled = _find(definition, state_name, limits)
    bench = _Bench(
        found,
        compiled,
        limits,
        clock or SystemClock(),
        # A copy: what the test passes in is not changed by a handler.
        input=isolate(input)[1],
        variables=dict(variables or {}),
        context=dict(context or {}),
        retry_count=retry_count,
    )
    if tasks is None or mock is not None:
        return await bench.run(tasks, mock)
    values = Dependencies(dependencies or {})
    await values.open(tasks.wanted())
    try:
        return await bench.run(tasks.with_dependencies(values), mock)
    finally:
        await values.aclose()


# Finding the state


def _find(
    definition: Mapping[str, Any] | str | Path, state_name: str | None, limits: Limits
) -> tuple[model.State, State]:
    if isinstance(definition, Mapping) and "States" not in definition:
        state_name = state_name or UNNAMED
        definition = _machine_of(definition, state_name)
    loaded = load(definition, limits=limits)
    for machine in loaded.model.walk():
        if state_name is not None and state_name in machine.states:
            plan: Plan = compile_plan(machine, limits=limits)
            return machine.states[state_name], plan.states[state_name]
    known = sorted(name for machine in loaded.model.walk() for name in machine.states)
    raise ValueError(f"there is no state {state_name!r}: give state_name as one of {', '.join(known)}")


def _machine_of(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a machine around a single state, in which what it leads to ends."""
    # What it leads to need not be given: each target ends there. What has a wrong type is the checker's to refuse.
    ways = [state]
    for field in ("Catch", "Choices"):
        given = state.get(field)
        ways += [way for way in given if isinstance(way, Mapping)] if isinstance(given, list | tuple) else []
    targets = [way.get(key) for way in ways for key in ("Next", "Default")]
    states: dict[str, Any] = {target: {"Type": "Succeed"} for target in targets if isinstance(target, str)}
    return {"StartAt": name, "States": {**states, name: state}}


# Running it


@attrs.define
class _Context:
    """What the expressions of the state see (see `statechain.asl.outcome.Context`)."""

    variables: Mapping[str, JSONValue]
    _object: dict[str, JSONValue]
    _now: datetime
    _random: Random = attrs.field(factory=lambda: Random(0))  # noqa: S311 -- reproducible by intent

    def object(self) -> dict[str, JSONValue]:
        return self._object

    def now(self) -> datetime:
        return self._now

    def random(self) -> Random:
        return self._random

    def rng(self, purpose: str) -> Random:
        return Random(purpose)  # noqa: S311 -- reproducible by intent


@attrs.define
class _Bench:
    """A state under test, and what was seen of it so far."""

    _model: model.State
    _state: State
    _limits: Limits
    _clock: Clock
    _input: JSONValue = attrs.field(kw_only=True)
    _variables: dict[str, JSONValue] = attrs.field(kw_only=True)
    _context: dict[str, JSONValue] = attrs.field(kw_only=True)
    _retry_count: int = attrs.field(kw_only=True)
    _seen: dict[str, JSONValue] = attrs.field(factory=dict, init=False)

    async def run(self, tasks: TaskRegistry | None, mock: Return | Throw | None) -> StateResult:
        """Enter the state, perform its effect, leave it."""
        self._seen["input"] = self._input
        try:
            self._see_arguments()
            outcome = self._enter()
            match outcome:
                case Next() | Done():
                    return self._left(outcome, "SUCCEEDED")
                case Fail():
                    raise StateError(outcome.error, outcome.cause)  # noqa: TRY301 -- as a state fails
                case CallTask() | WaitUntil() | FanOut():
                    result = await self._perform(outcome, tasks, mock)
            self._see_result(result)
            return self._left(self._leave(result), "SUCCEEDED")
        except StateError as fault:
            return self._failed(cut_off(fault, self._limits.cause_characters))

    @at_length()
    def _enter(self) -> Outcome:
        return self._state.enter(self._input, self._fresh())

    @at_length()
    def _leave(self, result: JSONValue) -> Next | Done:
        return self._state.leave(self._input, result, self._fresh())

    def _fresh(self) -> _Context:
        """Return a separate context for each evaluation, so that all draw the same numbers."""
        now = self._clock.now()
        moment = timestamp(now)
        state: dict[str, JSONValue] = {"EnteredTime": moment, "Name": self._state.name}
        if self._state.type in RETRIED:
            state["RetryCount"] = self._retry_count
        execution: dict[str, JSONValue] = {
            "Id": "execution",
            "Input": self._input,
            "Name": "execution",
            "RoleArn": "",
            "StartTime": moment,
            "RedriveCount": 0,
        }
        machine: dict[str, JSONValue] = {"Id": "state-machine", "Name": "state-machine"}
        known: dict[str, JSONValue] = {"Execution": execution, "StateMachine": machine, "State": state}
        return _Context(self._variables, {**known, **self._context}, now)

    # The effect

    async def _perform(
        self, effect: CallTask | WaitUntil | FanOut, tasks: TaskRegistry | None, mock: Return | Throw | None
    ) -> JSONValue:
        if isinstance(effect, FanOut):
            self._seen["maxConcurrency"] = effect.max_concurrency
            self._see_items(effect)
        if isinstance(effect, WaitUntil):
            return self._input
        if isinstance(mock, Throw):
            raise StateError(mock.error, mock.cause)
        if isinstance(mock, Return):
            return isolate(mock.result)[1]
        if isinstance(effect, FanOut):
            raise ValueError(f"the result of the branches of the {self._state.type} comes from a mock: give one")
        return await self._call(effect, TaskRegistry() if tasks is None else tasks)

    async def _call(self, effect: CallTask, tasks: TaskRegistry) -> JSONValue:
        call = resolve(effect, tasks.for_state(self._state.name))
        if not isinstance(call, HandlerCall) or call.waits:
            raise ValueError(f"what {effect.resource!r} waits for comes from a mock: give one")
        context = TaskContext(
            execution_id="execution",
            execution_name="execution",
            state_machine_id="state-machine",
            state_name=self._state.name,
            attempt=self._retry_count + 1,
            idempotency_key="execution//0",
            credentials=copy.deepcopy(effect.credentials),
            clock=self._clock,
        )
        deadline = None if effect.timeout is None else self._clock.now() + timedelta(seconds=effect.timeout)
        answer = await call_task(
            call.task,
            # The inspection shows the input as it was: a handler may change what it is given.
            copy.deepcopy(call.input),
            context,
            self._clock,
            deadline=deadline,
            heartbeat=effect.heartbeat,
            limits=self._limits,
        )
        result = answer.value
        return {"ExecutedVersion": "$LATEST", "Payload": result, "StatusCode": 200} if call.wraps else result

    # What came of it

    def _left(self, step: Next | Done, status: StateStatus, fault: StateError | None = None) -> StateResult:
        return StateResult(
            status=status,
            output=step.output,
            next_state=step.state if isinstance(step, Next) else None,
            error=None if fault is None else fault.error,
            cause=None if fault is None else fault.cause,
            variables={**self._variables, **(step.assigned or {})},
            inspection=self._seen,
        )

    @at_length()
    def _failed(self, fault: StateError) -> StateResult:
        """Return what a Retrier or a Catcher makes of an error."""
        counts = [self._retry_count] * len(self._state.retriers)
        delay = retry_delay(self._state.retriers, counts, fault, self._fresh().random())
        if delay is not None:
            index = _index(self._state.retriers, fault)
            self._seen["errorDetails"] = {"retryIndex": index, "retryBackoffIntervalSeconds": delay}
            return self._ended("RETRIABLE", fault)
        index = _index(self._state.catch, fault)
        if index is None:
            return self._ended("FAILED", fault)
        self._seen["errorDetails"] = {"catchIndex": index}
        try:
            return self._left(self._state.catch[index].apply(self._input, fault, self._fresh()), "CAUGHT_ERROR", fault)
        except StateError as nested:
            return self._ended("FAILED", cut_off(nested, self._limits.cause_characters))

    def _ended(self, status: StateStatus, fault: StateError) -> StateResult:
        return StateResult(
            status=status, error=fault.error, cause=fault.cause, variables=self._variables, inspection=self._seen
        )

    # The values on the way

    @at_length()
    def _see_arguments(self) -> None:
        state = self._model
        if state.query_language == "JSONata":
            arguments = getattr(state, "arguments", ABSENT)
            if arguments is not ABSENT:
                self._see("afterArguments", compile_argument(arguments, state, "Arguments", self._limits), self._input)
            return
        self._see("afterInputPath", compile_input(state, self._limits), self._input)
        parameters = getattr(state, "parameters", ABSENT)
        self._see("afterParameters", compile_argument(parameters, state, "Parameters", self._limits), self._input)

    @at_length()
    def _see_items(self, effect: FanOut) -> None:
        if self._state.type == "Map" and effect.branches is not None:
            self._seen["afterItemSelector"] = [branch.input for branch in effect.branches]

    @at_length()
    def _see_result(self, result: JSONValue) -> None:
        state = self._model
        if self._state.type != "Wait":
            self._seen["result"] = result
        if state.query_language == "JSONata" or isinstance(state, model.Wait):
            return
        selector = getattr(state, "result_selector", ABSENT)
        self._see(
            "afterResultSelector", None if selector is ABSENT else jsonpath_template(selector, self._limits), result
        )
        finish = compile_finish(attrs.evolve(state, output_path=ABSENT), self._limits)
        self._seen["afterResultPath"] = result if finish is None else finish(self._input, result, self._fresh())[0]

    def _see(self, name: str, evaluate: Expression | None, value: JSONValue) -> None:
        self._seen[name] = value if evaluate is None else evaluate(value, self._fresh())


def _index(answers: Sequence[HasErrorEquals], error: StateError) -> int | None:
    return next((place for place, answer in enumerate(answers) if matches(answer.error_equals, error)), None)
