"""Model → diagnostics: where states lead, whether they are reached and end, which errors they answer.

Linear in the size of the definition, and without recursion over states. What is in fields is `check_fields`'s.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, TypeAlias, cast

from statechain.asl import model
from statechain.asl.checks.fields import check_fields
from statechain.asl.checks.variables import check_variables
from statechain.asl.reader import Hints
from statechain.asl.text import pointer_to
from statechain.codec import JSONValue
from statechain.errors import Diagnostic
from statechain.limits import Limits

__all__ = ["MachineType", "check"]

Answers: TypeAlias = "Sequence[model.Retrier | model.Catcher]"
MachineType: TypeAlias = Literal["STANDARD", "EXPRESS"]


def check(
    machine: model.StateMachine, value: JSONValue, limits: Limits, type_: MachineType = "STANDARD"
) -> list[Diagnostic]:
    """Return every error of meaning in a well-formed definition; ``value`` is what the model was made from."""
    machines = list(machine.walk())
    states = [(each, state) for each in machines for state in each.states.values()]
    hints = Hints()
    found = [diagnostic for each in machines for diagnostic in _check_flow(each, _names(value, each), hints)]
    found += _check_names(state for _, state in states)
    found += _check_labels(state for _, state in states)
    found += _check_express(machine, type_)
    if len(states) > limits.definition_states:
        found.append(Diagnostic("too-many-states", f"a definition has at most {limits.definition_states} states"))
    for _, state in states:
        found += _check_answers(state)
        found += _check_times(state)
        found += check_fields(state, cast("dict[str, JSONValue]", _at(value, state.pointer)), limits)
    return found + list(check_variables(machine))


def _at(value: JSONValue, pointer: str) -> JSONValue:
    """Return what is at a pointer; None where a faulty definition has nothing there."""
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value.get(key) if isinstance(value, dict) else None
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


def _names(value: JSONValue, machine: model.StateMachine) -> Collection[str]:
    """Return the names of a machine's states, those included that are too faulty to be in the model."""
    below = _at(value, machine.pointer)
    states = below.get("States") if isinstance(below, dict) else None
    return states if isinstance(states, dict) else ()


def _check_flow(machine: model.StateMachine, names: Collection[str], hints: Hints) -> Iterator[Diagnostic]:
    states = machine.states
    if machine.start_at and machine.start_at not in names:
        near = hints.near(machine.start_at, names, machine.pointer)
        message = f"StartAt names {machine.start_at!r}, and there is no such state here{near}"
        yield Diagnostic("missing-target", message, pointer=pointer_to(machine.pointer, "StartAt"))
    for state in states.values():
        for target, pointer in _targets(state):
            if target and target not in names:
                near = hints.near(target, names, machine.pointer)
                message = f"there is no state {target!r} here to go to{near}"
                yield Diagnostic("missing-target", message, pointer=pointer)
    # As on AWS: only the whole definition must have an end, and without one, a dead end is not reported, too.
    if len(states) < len(names):
        return  # which states follow which cannot be known before all can be read
    if states and not machine.pointer and not any(map(_ends, states.values())):
        message = "no state ends the execution: give one End, or lead to a Succeed or Fail state"
        yield Diagnostic("no-end", message, pointer=pointer_to(machine.pointer, "States"))
        return
    reached = _reached(machine)
    for name, state in states.items():
        if name not in reached:
            yield Diagnostic("unreachable", f"no state leads to {name!r}", pointer=state.pointer)


def _reached(machine: model.StateMachine) -> set[str]:
    reached = {machine.start_at} & machine.states.keys()
    pending = list(reached)
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


def _check_labels(states: Iterable[model.State]) -> Iterator[Diagnostic]:
    labelled = [state for state in states if isinstance(state, model.Map) and state.label is not None]
    counts = Counter(state.label for state in labelled)
    for state in labelled:
        if counts[state.label] > 1:
            message = f"the Label {state.label!r} is given more than once: a Label identifies one Map"
            yield Diagnostic("duplicate-label", message, pointer=pointer_to(state.pointer, "Label"))


# What an EXPRESS machine cannot do

WAITING = re.compile(
    r"(?P<suffix>\.sync(?::2)?|\.waitForTaskToken)\Z|\Aarn:[^:]*:states:[^:]*:[^:]*:(?P<activity>activity):"
)


def _check_express(machine: model.StateMachine, type_: MachineType) -> Iterator[Diagnostic]:
    """Yield a diagnostic for each state that does what an EXPRESS execution cannot do."""
    pending = [(machine, type_)]
    while pending:
        each, its_type = pending.pop()
        for state in each.states.values():
            if its_type == "EXPRESS":
                yield from _check_express_state(state)
            inner_type = its_type
            # Items of a distributed Map are executions of their own type.
            if isinstance(state, model.Map) and state.item_processor.mode == "DISTRIBUTED":
                inner_type = state.item_processor.execution_type or its_type
            pending.extend((inner, inner_type) for inner in state.machines)


def _check_express_state(state: model.State) -> Iterator[Diagnostic]:
    if isinstance(state, model.Map) and state.item_processor.mode == "DISTRIBUTED":
        message = "an EXPRESS execution has no distributed Map"
        yield Diagnostic("not-in-express", message, pointer=state.pointer)
    waiting = WAITING.search(state.resource) if isinstance(state, model.Task) else None
    if waiting is not None:
        what = "an activity" if waiting["activity"] else f"what {waiting['suffix']} waits for"
        message = f"an EXPRESS execution cannot wait for {what}"
        yield Diagnostic("not-in-express", message, pointer=pointer_to(state.pointer, "Resource"))


# Errors and times


def _check_answers(state: model.State) -> Iterator[Diagnostic]:
    for field in ("retry", "catch"):
        answers: Answers = getattr(state, field, ())
        for index, answer in enumerate(answers):
            pointer = f"{state.pointer}/{field.capitalize()}/{index}/ErrorEquals"
            if "States.ALL" in answer.error_equals:
                if len(answer.error_equals) > 1:
                    yield Diagnostic("states-all", "States.ALL must be alone in ErrorEquals", pointer=pointer)
                if index + 1 < len(answers):
                    message = f"only the last of {field.capitalize()} may have States.ALL"
                    yield Diagnostic("states-all", message, pointer=pointer)


def _check_times(state: model.State) -> Iterator[Diagnostic]:
    if not isinstance(state, model.Task):
        return
    timeout, heartbeat = state.timeout_seconds, state.heartbeat_seconds
    if isinstance(timeout, int | float) and isinstance(heartbeat, int | float) and heartbeat >= timeout:
        message = "HeartbeatSeconds must be smaller than TimeoutSeconds"
        yield Diagnostic("out-of-range", message, pointer=pointer_to(state.pointer, "HeartbeatSeconds"))
