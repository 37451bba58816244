"""Model → diagnostics: where states lead, whether they are reached and end, and whether every expression compiles.

Linear in the size of the definition, and without recursion over states.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias, cast

from statechain.asl import model
from statechain.asl.intrinsics import compile_intrinsic, is_intrinsic
from statechain.asl.jsonata import compile_jsonata
from statechain.asl.jsonpath import compile_path, compile_reference_path
from statechain.asl.payload import expression_in
from statechain.asl.text import pointer_to
from statechain.codec import JSONValue
from statechain.errors import Diagnostic
from statechain.limits import Limits

__all__ = ["check"]

Answers: TypeAlias = "Sequence[model.Retrier] | Sequence[model.Catcher]"
PATHS = (
    "InputPath",
    "OutputPath",
    "ItemsPath",
    "SecondsPath",
    "TimestampPath",
    "ErrorPath",
    "CausePath",
    "TimeoutSecondsPath",
    "HeartbeatSecondsPath",
    "MaxConcurrencyPath",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentagePath",
)
TEMPLATES = ("Parameters", "ResultSelector", "ItemSelector", "Assign", "Credentials")
MACHINES = frozenset({"Branches", "ItemProcessor", "Iterator"})


def check(machine: model.StateMachine, value: JSONValue, limits: Limits) -> list[Diagnostic]:
    """Return every fault of meaning in a well-formed definition; ``value`` is what the model was made from."""
    machines = list(_machines(machine))
    states = [(each, state) for each in machines for state in each.states.values()]
    faults = [fault for each in machines for fault in _check_flow(each)]
    faults += _check_names(state for _, state in states)
    if len(states) > limits.definition_states:
        faults.append(Diagnostic("too-many-states", f"a definition has at most {limits.definition_states} states"))
    for _, state in states:
        faults += _check_answers(state)
        faults += _check_times(state)
        faults += _check_expressions(state, cast("dict[str, JSONValue]", _at(value, state.pointer)), limits)
    return faults


def _machines(machine: model.StateMachine) -> Iterator[model.StateMachine]:
    """Yield a machine and all below it."""
    pending = [machine]
    while pending:
        each = pending.pop()
        yield each
        for state in each.states.values():
            if isinstance(state, model.Parallel):
                pending.extend(state.branches)
            elif isinstance(state, model.Map):
                pending.append(state.item_processor.machine)


def _at(value: JSONValue, pointer: str) -> JSONValue:
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else cast("dict[str, JSONValue]", value)[key]
    return value


# Where states lead


def _targets(state: model.State) -> Iterator[tuple[str, str]]:
    """Yield where a state may lead, with the pointer to what says so."""
    following = getattr(state, "next", None)
    if following is not None:
        yield following, pointer_to(state.pointer, "Next")
    if isinstance(state, model.Choice):
        for index, choice in enumerate(state.choices):
            yield choice.next, f"{state.pointer}/Choices/{index}/Next"
        if state.default is not None:
            yield state.default, pointer_to(state.pointer, "Default")
    for index, catcher in enumerate(getattr(state, "catch", ())):
        yield catcher.next, f"{state.pointer}/Catch/{index}/Next"


def _check_flow(machine: model.StateMachine) -> Iterator[Diagnostic]:
    states = machine.states
    if machine.start_at and machine.start_at not in states:
        hint = _hint(machine.start_at, states)
        message = f"StartAt names {machine.start_at!r}, and there is no such state here{hint}"
        yield Diagnostic("missing-target", message, pointer=pointer_to(machine.pointer, "StartAt"))
    for state in states.values():
        for target, pointer in _targets(state):
            if target and target not in states:
                message = f"there is no state {target!r} here to go to{_hint(target, states)}"
                yield Diagnostic("missing-target", message, pointer=pointer)
    if machine.start_at not in states:
        return
    reached = _reached(machine)
    for name, state in states.items():
        if name not in reached:
            yield Diagnostic("unreachable", f"no state leads to {name!r}", pointer=state.pointer)
    if states and not any(_ends(states[name]) for name in reached):
        message = "no state that is reached ends: give one End, or lead to a Succeed or Fail state"
        yield Diagnostic("no-end", message, pointer=pointer_to(machine.pointer, "States"))


def _hint(name: str, states: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, states, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _reached(machine: model.StateMachine) -> set[str]:
    reached = {machine.start_at}
    pending = [machine.start_at]
    while pending:
        for target, _ in _targets(machine.states[pending.pop()]):
            if target in machine.states and target not in reached:
                reached.add(target)
                pending.append(target)
    return reached


def _ends(state: model.State) -> bool:
    if isinstance(state, model.Succeed | model.Fail):
        return True
    return not isinstance(state, model.Choice) and state.next is None


def _check_names(states: Iterable[model.State]) -> Iterator[Diagnostic]:
    named = list(states)
    counts = Counter(state.name for state in named)
    for state in named:
        if counts[state.name] > 1:
            message = f"the name {state.name!r} is given more than once: names are unique in the whole definition"
            yield Diagnostic("duplicate-name", message, pointer=state.pointer)


# Errors and times


def _check_answers(state: model.State) -> Iterator[Diagnostic]:
    for field in ("retry", "catch"):
        answers: Answers = getattr(state, field, ())
        for index, answer in enumerate(answers):
            pointer = f"{state.pointer}/{field.capitalize()}/{index}/ErrorEquals"
            if "States.ALL" in answer.error_equals:
                if len(answer.error_equals) > 1:
                    yield Diagnostic("states-all", "States.ALL stands alone in ErrorEquals", pointer=pointer)
                if index + 1 < len(answers):
                    message = f"States.ALL stands in the last of {field.capitalize()} only"
                    yield Diagnostic("states-all", message, pointer=pointer)


def _check_times(state: model.State) -> Iterator[Diagnostic]:
    if not isinstance(state, model.Task):
        return
    timeout, heartbeat = state.timeout_seconds, state.heartbeat_seconds
    if isinstance(timeout, int | float) and isinstance(heartbeat, int | float) and heartbeat >= timeout:
        message = "HeartbeatSeconds must be smaller than TimeoutSeconds"
        yield Diagnostic("out-of-range", message, pointer=pointer_to(state.pointer, "HeartbeatSeconds"))


# Expressions


def _check_expressions(state: model.State, value: dict[str, JSONValue], limits: Limits) -> Iterator[Diagnostic]:
    if state.query_language == "JSONata":
        own = {key: item for key, item in value.items() if key not in MACHINES and key != "Comment"}
        yield from _check_jsonata(own, state.pointer, limits)
        return
    for key in PATHS:
        if isinstance(value.get(key), str):
            yield from _check_text(cast("str", value[key]), pointer_to(state.pointer, key), limits)
    for key in TEMPLATES:
        if key in value:
            yield from _check_template(value[key], pointer_to(state.pointer, key), limits)
    yield from _check_reference(value.get("ResultPath"), pointer_to(state.pointer, "ResultPath"))
    for index, catcher in enumerate(cast("list[dict[str, JSONValue]]", value.get("Catch") or [])):
        pointer = f"{state.pointer}/Catch/{index}"
        yield from _check_reference(catcher.get("ResultPath"), f"{pointer}/ResultPath")
        yield from _check_template(catcher.get("Assign"), f"{pointer}/Assign", limits)
    for index, rule in enumerate(cast("list[dict[str, JSONValue]]", value.get("Choices") or [])):
        yield from _check_rule(rule, f"{state.pointer}/Choices/{index}", limits)


def _check_rule(rule: JSONValue, pointer: str, limits: Limits) -> Iterator[Diagnostic]:
    pending = [(rule, pointer)]
    while pending:
        each, at = pending.pop()
        if not isinstance(each, dict):
            continue
        for key, item in each.items():
            here = pointer_to(at, key)
            if key in {"And", "Or"} and isinstance(item, list):
                pending.extend((inner, pointer_to(here, index)) for index, inner in enumerate(item))
            elif key == "Not":
                pending.append((item, here))
            elif key == "Assign":
                yield from _check_template(item, here, limits)
            elif isinstance(item, str) and (key == "Variable" or key.endswith("Path")):
                yield from _check_text(item, here, limits)


def _check_template(template: JSONValue, pointer: str, limits: Limits) -> Iterator[Diagnostic]:
    if isinstance(template, list):
        for index, item in enumerate(template):
            yield from _check_template(item, pointer_to(pointer, index), limits)
    elif isinstance(template, dict):
        for key, item in template.items():
            here = pointer_to(pointer, key)
            if not key.endswith(".$"):
                yield from _check_template(item, here, limits)
            elif isinstance(item, str):
                yield from _check_text(item, here, limits)
            else:
                message = "the value of a key that ends in .$ is a path or an intrinsic function, as a string"
                yield Diagnostic("wrong-type", message, pointer=here)


def _check_text(text: str, pointer: str, limits: Limits) -> Iterator[Diagnostic]:
    try:
        if is_intrinsic(text):
            compile_intrinsic(text, limits=limits)
        else:
            compile_path(text, limits=limits)
    except ValueError as fault:
        yield _bad("bad-path", fault, pointer)


def _check_reference(path: JSONValue, pointer: str) -> Iterator[Diagnostic]:
    if isinstance(path, str):
        try:
            compile_reference_path(path)
        except ValueError as fault:
            yield _bad("bad-path", fault, pointer)


def _check_jsonata(value: JSONValue, pointer: str, limits: Limits) -> Iterator[Diagnostic]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _check_jsonata(item, pointer_to(pointer, key), limits)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _check_jsonata(item, pointer_to(pointer, index), limits)
    elif (expression := expression_in(value)) is not None:
        try:
            compile_jsonata(expression, limits=limits)
        except ValueError as fault:
            yield _bad("bad-expression", fault, pointer)


def _bad(code: str, fault: ValueError, pointer: str) -> Diagnostic:
    column = getattr(fault, "column", 0)
    return Diagnostic(code, f"{fault} (at character {column + 1} of it)", pointer=pointer)


