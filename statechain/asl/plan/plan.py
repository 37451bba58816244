"""Model → plan: for each state one callable that enters it and one that leaves it, expressions compiled once.

Entering answers `Next` or `Done` for a pure state, and an effect for one that acts; leaving makes of the effect's
result what the state puts out. Running interprets no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import attrs

from statechain.asl import model
from statechain.asl.expressions.cause_text import format_unquoted, is_whole
from statechain.asl.expressions.choice import compile_rule, parse_timestamp
from statechain.asl.expressions.fields import Number, compile_number, compile_text, out_of_range
from statechain.asl.expressions.jsonata import evaluation_failed
from statechain.asl.expressions.jsonpath import compile_path
from statechain.asl.expressions.payload import expression_in
from statechain.asl.model import ABSENT
from statechain.asl.outcome import (
    Branch,
    CallTask,
    Catch,
    Context,
    Enter,
    Expression,
    Fail,
    FanOut,
    Next,
    Outcome,
    Plan,
    State,
    Step,
    WaitUntil,
)
from statechain.asl.plan.bounds import within_bounds
from statechain.asl.plan.flow import (
    compile_argument,
    compile_catch,
    compile_finish,
    compile_input,
    to_step,
)
from statechain.asl.plan.items import compile_items
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.limits import DEFAULT_LIMITS, Limits

__all__ = ["Catch", "Plan", "State", "compile_plan"]

# AWS's bound on a number of seconds.
LONGEST_WAIT = 99_999_999
FARTHEST_MOMENT = 2**31 - 1
"""How many seconds ahead a moment may be: 24,855 days, as on AWS."""

TOO_LONG = "Wait state delay is too long."


def compile_plan(machine: model.StateMachine, *, limits: Limits = DEFAULT_LIMITS) -> Plan:
    """Compile a model whose errors have been checked for."""
    states = {name: _compile_state(state, limits) for name, state in machine.states.items()}
    return Plan(machine.start_at, states, machine.timeout_seconds)


def _compile_state(state: model.State, limits: Limits) -> State:
    match state:
        case model.Pass():
            return _compile_pass(state, limits)
        case model.Choice():
            return _compile_choice(state, limits)
        case model.Succeed():
            return _compile_succeed(state, limits)
        case model.Fail():
            return _compile_fail(state, limits)
        case model.Wait():
            return _compile_wait(state, limits)
        case model.Task():
            return _compile_task(state, limits)
        case model.Parallel():
            plans = tuple(compile_plan(branch, limits=limits) for branch in state.branches)
            compiled = _working(state, "Parallel", _compile_parallel(state, plans, limits), limits)
            return attrs.evolve(compiled, plans=plans)
        case model.Map():
            processor = compile_plan(state.item_processor.machine, limits=limits)
            compiled = _working(state, "Map", compile_items(state, processor, limits), limits)
            return attrs.evolve(compiled, plans=(processor,))


def _step(state: model.State, limits: Limits, next_state: str | None) -> Step:
    return to_step(next_state, compile_finish(state, limits, output=state.output, assign=state.assign))


def _working(state: model.Task | model.Parallel | model.Map, type_: str, enter: Enter, limits: Limits) -> State:
    finish = compile_finish(state, limits, output=state.output, assign=state.assign)
    return State(
        state.name,
        type_,
        enter,
        to_step(state.next, finish),
        state.retry,
        tuple(compile_catch(catcher, state, limits) for catcher in state.catch),
        # Without fields that look at it, the input need not be kept until the result is there.
        drops_input=finish is None,
        next=state.next,
    )


def _compile_pass(state: model.Pass, limits: Limits) -> State:
    step = _step(state, limits, state.next)
    make = compile_argument(state.parameters, state, "Parameters", limits)
    if state.result is not ABSENT:
        result = state.result
        return State(state.name, "Pass", lambda raw, context: step(raw, result, context), step)
    if make is None:
        return State(state.name, "Pass", lambda raw, context: step(raw, ABSENT, context), step)
    return State(state.name, "Pass", lambda raw, context: step(raw, make(raw, context), context), step)


def _compile_succeed(state: model.Succeed, limits: Limits) -> State:
    take = compile_input(state, limits)
    step = _step(state, limits, None)
    if take is None:
        return State(state.name, "Succeed", lambda raw, context: step(raw, ABSENT, context), step)
    return State(state.name, "Succeed", lambda raw, context: step(raw, take(raw, context), context), step)


def _compile_choice(state: model.Choice, limits: Limits) -> State:
    take = compile_input(state, limits)
    rules = [
        (
            compile_rule(choice.rule, limits),
            to_step(choice.next, compile_finish(state, limits, output=choice.output, assign=choice.assign)),
        )
        for choice in state.choices
    ]
    default = None if state.default is None else _step(state, limits, state.default)

    def enter(raw: JSONValue, context: Context) -> Outcome:
        value = raw if take is None else take(raw, context)
        result = ABSENT if take is None else value  # what InputPath made is no longer the state's input
        for holds, step in rules:
            if holds(value, context):
                return step(value, result, context)
        if default is None:
            raise StateError(
                "States.NoChoiceMatched",
                "Failed to transition out of the state. The state does not point to a next state.",
            )
        return default(value, result, context)

    return State(state.name, "Choice", enter, lambda raw, _, context: cast("Next", enter(raw, context)))


def _compile_fail(state: model.Fail, limits: Limits) -> State:
    error = compile_text(state, state.error, state.error_path, "Error", limits)
    cause = compile_text(state, state.cause, state.cause_path, "Cause", limits)

    def enter(raw: JSONValue, context: Context) -> Outcome:
        return Fail(error(raw, context), cause(raw, context))

    return State(state.name, "Fail", enter, _step(state, limits, None))


def _compile_task(state: model.Task, limits: Limits) -> State:
    is_jsonata = state.query_language == "JSONata"
    template, field = (state.arguments, "Arguments") if is_jsonata else (state.parameters, "Parameters")
    make = compile_argument(template, state, field, limits)
    compiled = _working(state, "Task", _compile_call(state, make, limits), limits)
    return attrs.evolve(
        compiled, resource=state.resource, make=make, is_plain=_is_plain(state), is_bounded=_is_bounded(state)
    )


def _is_plain(state: model.Task) -> bool:
    afterwards = (state.result_selector, state.result_path, state.output_path, state.output, state.assign)
    has_answers = bool(state.retry or state.catch)
    return not (has_answers or _is_bounded(state)) and all(field is ABSENT for field in afterwards)


def _is_bounded(state: model.Task) -> bool:
    bounds = (state.timeout_seconds, state.heartbeat_seconds, state.credentials)
    paths = (state.timeout_seconds_path, state.heartbeat_seconds_path)
    return any(field is not ABSENT for field in bounds) or paths != (None, None)


def _compile_call(state: model.Task, make: Expression | None, limits: Limits) -> Enter:
    timeout = compile_number(state, state.timeout_seconds, state.timeout_seconds_path, "TimeoutSeconds", limits)
    heartbeat = compile_number(state, state.heartbeat_seconds, state.heartbeat_seconds_path, "HeartbeatSeconds", limits)
    credentials = compile_argument(state.credentials, state, "Credentials", limits)
    resource = state.resource
    is_jsonata = state.query_language == "JSONata"
    take = compile_input(state, limits)
    # Most Tasks: no bound is looked for at each visit.
    if timeout is None and heartbeat is None and state.credentials is ABSENT:
        if make is None:
            return lambda raw, _context: CallTask(resource, raw)
        return lambda raw, context: CallTask(resource, make(raw, context))

    def enter(raw: JSONValue, context: Context) -> Outcome:
        value = raw if take is None else take(raw, context)
        return CallTask(
            resource,
            # Not `value`: `make` applies InputPath itself.
            raw if make is None else make(raw, context),
            _positive(timeout, "TimeoutSeconds", value, context, is_jsonata=is_jsonata),
            _positive(heartbeat, "HeartbeatSeconds", value, context, is_jsonata=is_jsonata),
            None if credentials is None or state.credentials is ABSENT else credentials(raw, context),
        )

    return enter


def _positive(number: Number | None, field: str, raw: JSONValue, context: Context, *, is_jsonata: bool) -> float | None:
    if number is None:
        return None
    seconds = number(raw, context)
    if not 0 < seconds <= LONGEST_WAIT:
        if is_jsonata:
            raise out_of_range(seconds, field, 1, LONGEST_WAIT)
        raise StateError("States.Runtime", f"{field} must be between 1 and {LONGEST_WAIT}, and was {seconds}.")
    return seconds


def _compile_wait(state: model.Wait, limits: Limits) -> State:
    take = compile_input(state, limits)
    step = _step(state, limits, state.next)
    enter = _compile_delay(state, limits)
    if take is None:
        return State(state.name, "Wait", enter, lambda raw, _, context: step(raw, ABSENT, context))
    return State(
        state.name,
        "Wait",
        lambda raw, context: enter(take(raw, context), context),
        # Applied again: what is kept while a Wait rests is the raw input.
        lambda raw, _, context: step(raw, take(raw, context), context),
    )


def _compile_delay(state: model.Wait, limits: Limits) -> Enter:
    if state.seconds_path is not None:
        return _compile_seconds_path(state.seconds_path, limits)
    if state.timestamp_path is not None:
        return _compile_timestamp_path(state, state.timestamp_path, limits)
    if state.timestamp is not ABSENT:
        return _compile_timestamp(state, limits)
    number = cast("Number", compile_number(state, state.seconds, None, "Seconds", limits))

    def enter(raw: JSONValue, context: Context) -> Outcome:
        seconds = number(raw, context)
        if not 0 <= seconds <= LONGEST_WAIT:  # a literal is in range: this is a result of JSONata
            raise out_of_range(seconds, "Seconds", 0, LONGEST_WAIT)
        return WaitUntil(seconds=seconds)

    return enter


def _compile_seconds_path(path: str, limits: Limits) -> Enter:
    find = compile_path(path, limits=limits)

    def enter(raw: JSONValue, context: Context) -> Outcome:
        found = find(raw, context)
        place = f"{path} == {format_unquoted(found)}"
        if not is_whole(found):
            cause = f"The SecondsPath parameter cannot be parsed as a long value: {place}"
            raise StateError("States.Runtime", cause)
        if found < 0:
            raise StateError("States.Runtime", f"The SecondsPath parameter references a negative value: {place}")
        if found > LONGEST_WAIT:
            raise StateError("States.Runtime", TOO_LONG)
        return WaitUntil(seconds=int(found))

    return enter


def _compile_timestamp_path(state: model.Wait, path: str, limits: Limits) -> Enter:
    find = compile_text(state, ABSENT, path, "Timestamp", limits, any_type=True)

    def enter(raw: JSONValue, context: Context) -> Outcome:
        found: JSONValue = find(raw, context)
        moment = parse_timestamp(found)
        if moment is None:
            cause = (
                "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format "
                f"string: {path} == {format_unquoted(found)}"
            )
            raise StateError("States.Runtime", cause)
        if not _is_in_reach(moment, context):
            raise StateError("States.Runtime", TOO_LONG)
        return WaitUntil(until=_in_utc(moment))

    return enter


def _compile_timestamp(state: model.Wait, limits: Limits) -> Enter:
    """Compile a Timestamp: a literal, which was checked when the definition was loaded, or a JSONata expression."""
    find = compile_text(state, state.timestamp, None, "Timestamp", limits)
    is_expression = state.query_language == "JSONata" and expression_in(state.timestamp) is not None

    def enter(raw: JSONValue, context: Context) -> Outcome:
        found = find(raw, context)
        moment = parse_timestamp(found)
        if moment is None:
            words = "The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time format string"
            raise evaluation_failed(f"{words}: {found}", "Timestamp")
        if not _is_in_reach(moment, context):
            raise evaluation_failed(TOO_LONG, "Timestamp") if is_expression else StateError("States.Runtime", TOO_LONG)
        return WaitUntil(until=_in_utc(moment))

    return enter


def _in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC; one before the year 1 there, which Python cannot hold, is as long past as can be."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _is_in_reach(moment: datetime, context: Context) -> bool:
    return (moment - context.now()).total_seconds() <= FARTHEST_MOMENT


def _compile_parallel(state: model.Parallel, plans: Sequence[Plan], limits: Limits) -> Enter:
    is_jsonata = state.query_language == "JSONata"
    template, field = (state.arguments, "Arguments") if is_jsonata else (state.parameters, "Parameters")
    make = compile_argument(template, state, field, limits)

    def enter(raw: JSONValue, context: Context) -> Outcome:
        value = raw if make is None else within_bounds(make(raw, context), state.name, limits)
        return FanOut(branches=[Branch(plan, value, index) for index, plan in enumerate(plans)])

    return enter
