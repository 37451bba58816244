"""What goes into a state and what comes out: the fields that filter, select, merge and assign, in both languages.

A `Finish` maps (raw input, result, context) to the output, the assigned variables, and what the output was before;
ABSENT represents the result of its own state that has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

from statechain.asl import model
from statechain.asl.expressions.payload import (
    input_filter,
    jsonata_template,
    jsonpath_template,
    output_filter,
    result_merger,
    states_of,
)
from statechain.asl.model import ABSENT, Absent
from statechain.asl.outcome import FROM_INPUT, FROM_RESULT, MADE, Catch, Context, Done, Expression, Next, Origin, Step
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.limits import Limits

__all__ = ["Finish", "compile_argument", "compile_catch", "compile_finish", "compile_input", "to_step"]

Assigned: TypeAlias = "Mapping[str, JSONValue] | None"
Finish: TypeAlias = Callable[[JSONValue, "JSONValue | Absent", Context], "tuple[JSONValue, Assigned, Origin]"]


def compile_input(state: model.State, limits: Limits) -> Expression | None:
    """Compile the filter before everything else (InputPath); None where the input passes as it is."""
    return None if state.query_language == "JSONata" else input_filter(state.input_path, limits)


def compile_argument(template: model.Optional, state: model.State, field: str, limits: Limits) -> Expression | None:
    """Compile Parameters or Arguments, InputPath included; None where the input passes as it is."""
    take = compile_input(state, limits)
    if template is ABSENT:
        return take
    if state.query_language == "JSONata":
        evaluate = jsonata_template(template, field, limits)
        return lambda raw, context: evaluate(states_of(raw, context), context)
    make = jsonpath_template(template, limits)
    return make if take is None else lambda raw, context: make(take(raw, context), context)


def compile_finish(
    state: model.State,
    limits: Limits,
    *,
    output: model.Optional = ABSENT,
    assign: model.Optional = ABSENT,
) -> Finish | None:
    """Compile what a state makes of its result; None where the result (or else the input) is the output as it is."""
    if state.query_language == "JSONata":
        return _jsonata_finish(output, assign, limits)
    selector = getattr(state, "result_selector", ABSENT)
    select = None if selector is ABSENT else jsonpath_template(selector, limits)
    set_variables = None if assign is ABSENT else jsonpath_template(assign, limits)
    merge = result_merger(getattr(state, "result_path", ABSENT))
    give = output_filter(state.output_path, limits)
    if select is None and set_variables is None and merge is None and give is None:
        return None
    is_unchanged = select is None and merge is None and give is None
    # A ResultPath of null drops the result: the raw input goes on as it is, and is not encoded again.
    is_input = getattr(state, "result_path", ABSENT) is None and give is None

    def finish(raw: JSONValue, result: JSONValue | Absent, context: Context) -> tuple[JSONValue, Assigned, Origin]:
        value = raw if result is ABSENT else result
        # As on AWS, Assign and the output see the variables from before the state.
        assigned = None if set_variables is None else cast("Assigned", set_variables(value, context))
        if select is not None:
            value = select(value, context)
        if merge is not None:
            value = merge(raw, value)
        if is_input:
            return value, assigned, FROM_INPUT
        if is_unchanged:
            return value, assigned, _origin_of(result)
        return (value if give is None else give(value, context)), assigned, MADE

    return finish


def _origin_of(result: JSONValue | Absent) -> Origin:
    """Return what an output is that nothing is made of."""
    return FROM_INPUT if result is ABSENT else FROM_RESULT


def _jsonata_finish(output: model.Optional, assign: model.Optional, limits: Limits) -> Finish | None:
    if output is ABSENT and assign is ABSENT:
        return None
    give = None if output is ABSENT else jsonata_template(output, "Output", limits)
    set_variables = None if assign is ABSENT else jsonata_template(assign, "Assign", limits)

    def finish(raw: JSONValue, result: JSONValue | Absent, context: Context) -> tuple[JSONValue, Assigned, Origin]:
        own = {} if result is ABSENT else {"result": result}
        states = states_of(raw, context, **own)
        assigned = None if set_variables is None else cast("Assigned", set_variables(states, context))
        if give is not None:
            return give(states, context), assigned, MADE
        return (raw if result is ABSENT else result), assigned, _origin_of(result)

    return finish


def to_step(next_state: str | None, finish: Finish | None) -> Step:
    """Join what a state puts out with where it leads."""
    if finish is None:
        if next_state is None:
            return lambda raw, result, _context: (
                Done(raw, None, FROM_INPUT) if result is ABSENT else Done(result, None, FROM_RESULT)
            )
        return lambda raw, result, _context: (
            Next(next_state, raw, None, FROM_INPUT) if result is ABSENT else Next(next_state, result, None, FROM_RESULT)
        )
    if next_state is None:
        return lambda raw, result, context: Done(*finish(raw, result, context))
    return lambda raw, result, context: Next(next_state, *finish(raw, result, context))


def compile_catch(catcher: model.Catcher, state: model.State, limits: Limits) -> Catch:
    """Compile a Catcher: its error output through ResultPath, or Output with ``$states.errorOutput``; its Assign."""
    if state.query_language == "JSONata":
        return Catch(catcher.error_equals, _jsonata_catch(catcher, limits))
    merge = result_merger(catcher.result_path)
    set_variables = None if catcher.assign is ABSENT else jsonpath_template(catcher.assign, limits)

    def apply(raw: JSONValue, error: StateError, context: Context) -> Next:
        value: JSONValue = _error_output(error)
        assigned = None if set_variables is None else cast("Assigned", set_variables(value, context))
        return Next(catcher.next, value if merge is None else merge(raw, value), assigned)

    return Catch(catcher.error_equals, apply)


def _jsonata_catch(catcher: model.Catcher, limits: Limits) -> Callable[[JSONValue, StateError, Context], Next]:
    give = None if catcher.output is ABSENT else jsonata_template(catcher.output, "Output", limits)
    set_variables = None if catcher.assign is ABSENT else jsonata_template(catcher.assign, "Assign", limits)

    def apply(raw: JSONValue, error: StateError, context: Context) -> Next:
        value = _error_output(error)
        if give is None and set_variables is None:
            return Next(catcher.next, value)
        states = states_of(raw, context, errorOutput=value)
        assigned = None if set_variables is None else cast("Assigned", set_variables(states, context))
        return Next(catcher.next, value if give is None else give(states, context), assigned)

    return apply


def _error_output(error: StateError) -> JSONValue:
    """Return what a Catcher is given; a failure that was answered without an error has neither name nor cause."""
    return {"Error": error.error, "Cause": error.cause if error.error is None else error.cause or ""}
